"""With which arguments the site runs the examples."""

from pathlib import Path


def arguments(gallery_conf, script_vars):
    """Return the arguments of an example."""
    if Path(script_vars["src_file"]).name == "plot_choose_rho.py":
        return ["--splits", "1"]  # as much as shows what it does
    return []
