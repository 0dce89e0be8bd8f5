"""Show maps of pages as cards, which are tables and headings on a code host.

A table of questions and pages becomes a card per row. Between the comments
``<!-- cards: 1 1 3 3 -->`` and ``<!-- end -->``, with the cards beside each other from
phone to wide screen, every heading of the third level begins a card. What is between
``<!-- hero -->``, ``<!-- beside -->`` and ``<!-- end -->`` stands beside each other.
"""

import re

TABLE = re.compile(r"^\| question \| page \|\n\|[-| ]+\|\n((?:\|.*\n)+)", re.M)
CARDS = re.compile(r"^<!-- cards: ([\d ]+) -->\n(.*?)^<!-- end -->\n", re.M | re.S)
HERO = re.compile(
    r"^<!-- hero -->\n(.*?)^<!-- beside -->\n(.*?)^<!-- end -->\n", re.M | re.S
)
LINK = re.compile(r"\[((?:[^][]|\[\])+)\]\(([^)\s]+)\)")
GRID = ":::::{{grid}} {columns}\n:gutter: 3\n\n{cards}\n:::::\n"
CARD = "::::{{grid-item-card}} {title}\n{body}\n::::"
SIDE = "::::{grid-item}\n%s\n::::"


def with_cards(text):
    """Return a page with cards."""
    text = TABLE.sub(lambda found: of_rows(found[1]), text)
    text = HERO.sub(lambda found: beside(found.groups()), text)
    return CARDS.sub(lambda found: of_headings(*found.groups()), text)


def of_rows(rows):
    """Return the cards of the rows of a table."""
    cells = (row.strip("| \n").split(" | ") for row in rows.splitlines())
    return grid("1 1 2 2", [(question, stretched(page)) for question, page in cells])


def of_headings(columns, text):
    """Return the cards of headings and what is below them."""
    _, *parts = re.split(r"^### (.+)\n", text, flags=re.M)
    return grid(columns, zip(parts[::2], parts[1::2], strict=True))


def beside(sides):
    """Return parts of a page beside each other."""
    sides = "\n\n".join(SIDE % side.strip("\n") for side in sides)
    return GRID.format(columns="1 1 1 2", cards=sides)


def grid(columns, cards):
    """Return cards beside each other, of titles and bodies."""
    cards = [CARD.format(title=title, body=body.strip("\n")) for title, body in cards]
    return GRID.format(columns=columns, cards="\n\n".join(cards))


def stretched(text):
    """Let the only link of a text be that of all the card."""
    if len(LINK.findall(text)) != 1:
        return text
    return LINK.sub(r"[\1](\2){.sd-stretched-link}", text)
