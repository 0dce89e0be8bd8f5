"""In which order the site shows the examples, and with which arguments it runs them."""

import re
from pathlib import Path

TUTORIALS = Path(__file__).with_name("tutorials.md")


def arguments(gallery_conf, script_vars):
    """Return the arguments of an example."""
    if Path(script_vars["src_file"]).name == "plot_choose_rho.py":
        return ["--splits", "1"]  # as much as shows what it does
    return []


def place(name):
    """Return the place of an example: where the tutorials name it."""
    text = TUTORIALS.read_text(encoding="utf-8")
    return re.findall(r"examples/(\w+\.py)", text).index(name)
