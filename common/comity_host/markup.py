"""Markup of pages that are written here: text that cannot break out, tables, drawings in SVG.

Rules it keeps:

* What comes from outside passes `text`, which leaves nothing that is a tag, an attribute's end or
  a sign that moves the cursor or turns the line around.
* All of it is well-formed XML as well as HTML.
* A drawing has no colours of its own, only names of classes, so that light, dark and paper work;
  it says in words what is seen.

>>> text('<b>"Ann" & Bob</b>')
'&lt;b&gt;&quot;Ann&quot; &amp; Bob&lt;/b&gt;'
"""

import re
from collections.abc import Sequence
from html import escape
from typing import NewType

Markup = NewType("Markup", str)
"""Text that may stand between tags and in attributes as it is; mypy tells it from other text."""

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)


def printable(value: str) -> str:
    """Put U+FFFD in the place of control characters, direction marks and lone surrogates."""
    return _UNPRINTABLE.sub("\ufffd", value)


def text(value: str) -> Markup:
    """Make a text safe between tags and in attributes."""
    return Markup(escape(printable(value), quote=True))


def rect(x: float, y: float, width: float, height: float, style: str, radius: float = 0) -> Markup:
    """Draw a box; `style` names classes."""
    return Markup(
        f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" rx="{radius:.1f}"/>'
    )


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    """Draw a line."""
    return Markup(
        f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
    )


def label(x: float, y: float, value: str, style: str) -> Markup:
    """Write a text whose line begins at (x, y), or where its class anchors it."""
    return Markup(f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{text(value)}</text>')


def svg(width: float, height: float, title: str, parts: Sequence[str], told: str = "") -> Markup:
    """Put a drawing together.

    Args:
        title: what it is.
        told: what is seen in it, for who cannot see it; empty where the title says all.
    """
    desc = f"<desc>{text(told)}</desc>" if told else ""
    return Markup(
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img"><title>{text(title)}</title>'
        + desc
        + "".join(parts)
        + "</svg>"
    )
