"""Headings, tables and lists of a page."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from comity_host.markup import Markup


class Column(NamedTuple):
    """A column of a table; `style` is `n` for numbers, which stand under each other."""

    head: Markup
    style: str = ""


def joined(*parts: str) -> Markup:
    """Put markup one under the other."""
    return Markup("\n".join(part for part in parts if part))


def paragraph(words: Markup, style: str = "") -> Markup:
    """Make a paragraph."""
    return Markup(f"<p{_class(style)}>{words}</p>")


def heading(words: Markup) -> Markup:
    """Make a heading within a section."""
    return Markup(f"<h3>{words}</h3>")


def section(id: str, number: int, title: Markup, *parts: str) -> Markup:
    """Make one of the numbered sections."""
    return Markup(
        f'<section id="{id}-{number}" aria-labelledby="{id}-{number}-title">'
        f'<h2 id="{id}-{number}-title"><span class="no">{number}</span> {title}</h2>\n'
        f"{joined(*parts)}</section>"
    )


def table(
    caption: Markup,
    columns: Sequence[Column],
    rows: Iterable[Sequence[Markup]],
    total: Sequence[Markup] = (),
    style: str = "",
) -> Markup:
    """Make a table; the first cell of each row names it.

    Args:
        total: the last row, set off; none if empty.
    """
    heads = "".join(f'<th scope="col"{_class(one.style)}>{one.head}</th>' for one in columns)
    body = "\n".join(_row(columns, row) for row in rows)
    foot = f"<tfoot>{_row(columns, total)}</tfoot>" if total else ""
    return Markup(
        f'<div class="scroll"><table{_class(style)}><caption>{caption}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody>{foot}</table></div>"
    )


def definitions(caption: Markup, rows: Iterable[tuple[Markup, Markup]]) -> Markup:
    """Make a table of two columns: what, and what is said of it."""
    body = "\n".join(f'<tr><th scope="row">{name}</th><td>{told}</td></tr>' for name, told in rows)
    return Markup(
        f'<table class="pairs"><caption>{caption}</caption><tbody>\n{body}\n</tbody></table>'
    )


def listed(items: Iterable[Markup], style: str = "") -> Markup:
    """Make a list."""
    return Markup(f"<ul{_class(style)}>{''.join(f'<li>{item}</li>' for item in items)}</ul>")


def _row(columns: Sequence[Column], cells: Sequence[Markup]) -> str:
    first, *rest = zip(columns, cells, strict=True)
    named = f'<th scope="row"{_class(first[0].style)}>{first[1]}</th>'
    others = "".join(f"<td{_class(column.style)}>{cell}</td>" for column, cell in rest)
    return f"<tr>{named}{others}</tr>"


def _class(style: str) -> str:
    return f' class="{style}"' if style else ""
