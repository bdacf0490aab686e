"""The blocks of a document and what is to be done with each.

Every block has a mark on the line before it:

    <!-- run: WHO -->                   typed by the operator, by every institution, or by one
    <!-- run: WHO, in the background --> typed, and it ends while the next blocks are typed
    <!-- run: operator, for each institution -->  typed once for each, with its name and country
    <!-- file: WHO NAME -->             written to a file
    <!-- not run: REASON -->            neither
"""

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"(?:<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block.

    Attributes:
        act: `run`, `file` or `not run`; empty where there is no mark.
        who: whom it is for, or why it is not run.
        how: what is said behind the comma, or the file's name.
        language: as it is written behind the fence.
    """

    act: str
    who: str
    how: str
    language: str
    text: str
    line: int


def blocks(document: Path) -> list[Block]:
    """Return the blocks of a document in their order."""
    text = document.read_text("utf-8")
    return [_block(found, text) for found in FENCE.finditer(text)]


def _block(found: re.Match[str], text: str) -> Block:
    act, _, rest = (found["mark"] or "").partition(": ")
    between = " " if act == "file" else ", "
    who, _, how = (rest, "", "") if act == "not run" else rest.partition(between)
    line = text.count("\n", 0, found.start("language")) + 1
    return Block(
        act=act, who=who, how=how, language=found["language"], text=found["text"], line=line
    )
