"""Lines of text about a fit: labels, wrapped text and tables."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

WIDTH = 88
INDENT = 15

Row: TypeAlias = Sequence[str]
# a label, what it is about, None for nothing to say, and a table below
Part: TypeAlias = tuple[str, str | None, Sequence[Row]]


def lines_of(parts: Iterable[Part]) -> list[str]:
    """Return the lines of a text."""
    lines = []
    for label, text, rows in parts:
        if text is not None:
            start, rest = f"  {label:<{INDENT - 2}}", " " * INDENT
            lines += textwrap.wrap(
                " ".join(text.split()),  # the repr of an object may have lines
                WIDTH,
                initial_indent=start,
                subsequent_indent=rest,
                break_long_words=False,
                break_on_hyphens=False,
            )
            lines += [rest + line for line in _table(rows)]
    return lines


def _table(rows: Sequence[Row]) -> list[str]:
    """Return rows of cells as lines, with columns that end at the same place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(n) for cell, n in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number of things."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def joined(parts: Iterable[str | None], separator: str = ", ") -> str:
    """Return the parts that there are as one text."""
    return separator.join(part for part in parts if part)


def table_of_radii(estimator: Any) -> list[Row]:
    """Return the table of the radii that were tried, if there are several."""
    if len(getattr(estimator, "rho_grid_", ())) < 2:
        return []
    names = {
        "rho_grid_": "rho",
        "rho_scores_": "score",
        "rho_losses_": "loss",
        "rho_differences_": "above lowest",
        "rho_standard_errors_": "standard error",
    }
    columns = [
        [head, *(f"{value:.4g}" for value in getattr(estimator, name))]
        for name, head in names.items()
        if hasattr(estimator, name)
    ]
    if hasattr(estimator, "rho_epochs_"):
        columns.append(["epochs", *map(str, estimator.rho_epochs_)])
    marks = ["", *("*" if r == estimator.rho_ else "" for r in estimator.rho_grid_)]
    return [*zip(marks, *columns, strict=True)]


def cells(values: Iterable[float | None]) -> list[str]:
    """Return the cells of a column, of what is not known a dash."""
    return [
        "-" if v is None else f"{v}" if isinstance(v, int) else f"{v:.4g}"
        for v in values
    ]


def epochs_and_limit(n_epochs: int, n_last: int, limit: str) -> str:
    """Return how many epochs there were, how many in the last call, and how many may be."""
    of_all = counted(n_epochs, "epoch")
    if n_last == n_epochs:
        return f"{of_all} ({limit})"
    return f"{of_all}, {n_last:,} of them in the last call ({limit})"
