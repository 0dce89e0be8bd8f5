"""Write formulas as MathML, which browsers show without a script or a font."""

import re

from docutils import nodes
from latex2mathml.converter import convert


def setup(app):
    """Offer the renderer to Sphinx."""
    app.add_html_math_renderer(
        "mathml", inline_renderers=(visit, None), block_renderers=(visit_block, None)
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def visit(writer, node):
    """Write a formula within a line."""
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def visit_block(writer, node):
    """Write formulas with lines of their own."""
    parts = [part.strip() for part in node.astext().split("\n\n") if part.strip()]
    writer.body += [f'<div class="formula">{block(part)}</div>\n' for part in parts]
    raise nodes.SkipNode


def block(formula):
    """Return a formula, with its lines below each other if it has several."""
    around = re.sub(r"\\begin\{(\w+)\}.*?\\end\{\1\}", "", formula, flags=re.S)
    if r"\\" in around or "&" in around:
        formula = rf"\begin{{align*}}{formula}\end{{align*}}"
    # of words, which have no use for the backslash
    return convert(formula.replace(r"\_", "_"), display="block")
