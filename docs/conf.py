"""How Sphinx builds the site: ``make docs``."""

import re
import sys
import warnings
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT)]

import _reference  # noqa: E402

import sksharp  # noqa: E402

project = "sksharp"
copyright = "The sksharp developers"
version = release = sksharp.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.extlinks",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "sg_execution_times.rst"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

autodoc_typehints = "none"  # numpydoc has them in words
autodoc_member_order = "groupwise"
numpydoc_show_class_members = False
extlinks = {"arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s")}

smartquotes = False  # 'sam' is to be copied

html_theme = "pydata_sphinx_theme"
html_title = "sksharp"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "footer_start": ["copyright"],
    "footer_end": [],
    "header_links_before_dropdown": 5,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
}

sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": "/plot_",
    "abort_on_example_error": True,
    "capture_repr": (),
    "download_all_examples": False,
    "remove_config_comments": True,
    "reset_argv": "_gallery.arguments",
    "show_memory": False,
    "show_signature": False,
}
warnings.filterwarnings("ignore", message=".*FigureCanvasAgg is non-interactive")


# -- pages from elsewhere, and the links to them -----------------------------------------

COPIES = {"changelog": ROOT / "CHANGELOG.md", "contributing": ROOT / "CONTRIBUTING.md"}
MOVED = {
    r"(?:\.\./)?CHANGELOG\.md": "/project/changelog.md",
    r"(?:\.\./)?CONTRIBUTING\.md": "/project/contributing.md",
    r"(?:\.\./)?README\.md": "/start.md",
    r"\.\./examples/(\w+)\.py": r"/gallery/\1.rst",
    r"docs/([\w-]+\.md)": r"/\1",
}
SECTIONS = ["tutorials", "how-to", "reference", "explanation"]
# pages that are made here and are not in the repository
MADE = {
    "index": ["gallery/index", *(f"project/{name}" for name in COPIES)],
    "reference": _reference.INDEX,
}


def redirect_links(app, name, source):
    """Point links to files of the repository at their pages on the site."""
    for old, new in MOVED.items():
        source[0] = re.sub(rf"\]\({old}(?=[)#])", f"]({new}", source[0])


def add_children(app, name, source):
    """Append the pages that a map of pages links to as its table of contents."""
    if name in ("index", *SECTIONS):
        source[0] += "\n" + "\n".join(_reference.toctree(children(name)))


def children(name):
    """Return the pages below a map: what it links to and has no place elsewhere."""
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    pages = dict.fromkeys(re.findall(r"\]\(([\w-]+)\.md[)#]", text))
    placed = {"index", *SECTIONS}
    if name == "index":
        placed = {page for section in SECTIONS for page in children(section)}
    pages = [page for page in pages if page not in placed]
    if name == "index":  # behind the examples
        return SECTIONS + MADE[name] + [page for page in pages if page not in SECTIONS]
    return pages + MADE.get(name, [])


def write_pages(app):
    """Write the pages that come from elsewhere."""
    for name, path in COPIES.items():
        replace(DOCS / "project" / f"{name}.md", path.read_text(encoding="utf-8"))
    _reference.write(DOCS / "api", replace)


def replace(path, text):
    """Write a file if it changes, since Sphinx reads it again then."""
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def leave_unlinked(app, env, node, contnode):
    """Show what inherited docstrings refer to in other projects as plain text."""
    if node["refdoc"].startswith("api/") and node.get("reftype") in ("ref", "term"):
        return contnode
    return None


def setup(app):
    """Connect the functions above."""
    # before Sphinx looks which pages there are
    app.connect("builder-inited", write_pages, priority=100)
    app.connect("source-read", redirect_links)
    app.connect("source-read", add_children, priority=400)
    app.connect("missing-reference", leave_unlinked)
