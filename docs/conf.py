"""How Sphinx builds the site: ``make docs``."""

import os
import re
import sys
import warnings
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT)]

import _cards  # noqa: E402
import _reference  # noqa: E402

import sksharp  # noqa: E402

project = "sksharp"
copyright = "The sksharp developers"
version = release = sksharp.__version__

extensions = [
    "_mathml",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.extlinks",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinxext.opengraph",
]
exclude_patterns = ["_build", "sg_execution_times.rst"]

myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 4

autodoc_typehints = "none"  # numpydoc has them in words
autodoc_member_order = "groupwise"
numpydoc_show_class_members = False
extlinks = {"arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s")}

smartquotes = False  # 'sam' is to be copied

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = f"sksharp {version}"
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": []}
html_theme_options = {
    "footer_start": ["copyright"],
    "footer_end": [],
    "header_links_before_dropdown": 6,
    "logo": {
        "alt_text": "sksharp",
        "image_dark": "_static/logo-dark.svg",
        "image_light": "_static/logo.svg",
        "text": "sksharp",
    },
    "navbar_persistent": ["search-button"],
    "navigation_with_keys": False,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "show_prev_next": False,
}

# what is shown of a page where somebody links to it; the address is that of the host
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", "")
ogp_site_url = html_baseurl
ogp_site_name = "sksharp"
ogp_image = "_static/social-card.png"
ogp_image_alt = "sksharp: neural networks with scikit-learn's interface"
ogp_social_cards = {"enable": False}

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
    "thumbnail_size": (800, 560),
    "within_subsection_order": "_gallery.place",
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
    "index": [
        "gallery/index",
        "Release notes <project/changelog>",
        "project/contributing",
    ],
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


def show_cards(app, name, source):
    """Show a map of pages as cards."""
    if name in ("index", *SECTIONS):
        source[0] = _cards.with_cards(source[0])


def children(name):
    """Return the pages below a map: what it links to and has no place elsewhere."""
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    pages = dict.fromkeys(re.findall(r"\]\(([\w-]+)\.md[)#]", text))
    before = SECTIONS if name == "index" else SECTIONS[: SECTIONS.index(name)]
    placed = {page for section in before for page in children(section)}
    placed |= {"index"} if name == "index" else {"index", *SECTIONS}
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
    app.connect("source-read", show_cards, priority=600)  # of redirected links
    app.connect("source-read", add_children, priority=400)
    app.connect("missing-reference", leave_unlinked)
