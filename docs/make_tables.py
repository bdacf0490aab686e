"""Writes the tables of some documents from the code that they describe, so they cannot lie.

A table stands between `<!-- table:NAME -->` and `<!-- end -->`; what is between is replaced.

    python docs/make_tables.py          # rewrite
    python docs/make_tables.py --check  # exit code 1 if a table is not current
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from comity_common.catalogue import ENGLISH
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import BODIES
from comity_common.ledger.entries import Entry
from comity_common.ledger.messagetags import MESSAGES
from comity_common.ledger.tags import ENTRIES, Tags
from comity_common.secagg import reasons
from comity_common.secagg.round import INSTITUTION, OPERATOR, Event, Phase, Stage, Step
from comity_common.secagg.thresholds import thresholds

DOCUMENTS = tuple(
    Path(__file__).with_name(name) for name in ("protocol.md", "errors.md", "what-a-ledger-says.md")
)
MARKED = re.compile(r"(<!-- table:([a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)

SIZES = ((3, 1), (4, 1), (5, 1), (7, 1), (7, 2), (10, 2), (20, 5), (100, 33))  # (n, c)


def transitions(
    table: Mapping[Any, StrEnum], states: Sequence[StrEnum], moves: Sequence[StrEnum]
) -> str:
    """Draw a table state × event: the cell is the next state, empty where the event is refused."""
    rows = [["", *(str(move) for move in moves)]]
    for state in states:
        cells = (str(table.get((state, move), "")) for move in moves)
        rows.append([f"**{state}**", *cells])
    return markdown(rows)


def limits() -> str:
    """Draw thresholds(n, c) for some sizes."""
    rows = [["n", "c", "t", "m", "may be missing at upload", "or else silent at reveal", "g"]]
    for n, c in SIZES:
        found = thresholds(n, c)
        t, m = found.shares, found.survivors
        rows.append([str(cell) for cell in (n, c, t, m, n - m, n - t, found.honest_inputs)])
    return markdown(rows)


def void_reasons() -> str:
    """Draw the reasons for which a round is void, in the words of a certificate."""
    a, b = InstitutionId("aachen"), InstitutionId("basel")
    examples = {
        reasons.too_few_uploads: reasons.too_few_uploads(3, 5, 4),
        reasons.unlike_seeds: reasons.unlike_seeds([(a, b)]),
        reasons.too_few_reveals: reasons.too_few_reveals(3, 4),
        reasons.false_share: reasons.false_share(a, b),
        reasons.false_reveals: reasons.false_reveals([a], [(a, b)]),
    }
    rows = [["the certificate says, for example", "when"]]
    rows += [[words, _first_line(made)] for made, words in examples.items()]
    return markdown(rows)


def _first_line(documented: Callable[..., str]) -> str:
    return (documented.__doc__ or "").split("\n", 1)[0]


def errors() -> str:
    """Draw the catalogue of errors."""
    rows = [["code", "what happened", "what to do", "exit code"]]
    for code, one in sorted(ENGLISH.items()):
        cells = (f"`{code}`", _plain(one.cause), _plain(one.fix), str(one.exit_code))
        rows.append([cell.replace("|", "\\|") for cell in cells])
    return markdown(rows)


def entry_tags() -> str:
    """Draw what each field of an entry depends on."""
    kinds = {body: f"`{kind}`" for kind, body in BODIES.items()} | {Entry: "every entry"}
    return tagged(ENTRIES, lambda kind: kinds.get(kind, f"{kind.__name__}, in others"))


def message_tags() -> str:
    """Draw what each field of a message depends on."""
    return tagged(MESSAGES, lambda kind: kind.__name__)


def tagged(tags: Tags, named: Callable[[type], str]) -> str:
    """Draw tags, fields of one tag and one reason in a row."""
    rows = [["of", "fields", "tag", "why"]]
    for kind, of_kind in tags.items():
        for one in dict.fromkeys(of_kind.values()):
            fields = ", ".join(f"`{name}`" for name, has in of_kind.items() if has == one)
            rows.append([named(kind), fields, one.tag.value, one.why])
    return markdown(rows)


def _plain(sentence: str) -> str:
    return re.sub(r"\{(\w+)\}", r"*\1*", sentence).replace("<", "&lt;")


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Write rows as a Markdown table; the first is the head."""
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body]) + "\n"


def rewritten(text: str) -> str:
    """Return a document with current tables.

    Raises:
        KeyError: a marker names no table.
    """
    tables = {
        "institution": transitions(INSTITUTION, list(Phase), list(Step)),
        "operator": transitions(OPERATOR, list(Stage), list(Event)),
        "thresholds": limits(),
        "reasons": void_reasons(),
        "errors": errors(),
        "entrytags": entry_tags(),
        "messagetags": message_tags(),
    }
    return MARKED.sub(lambda found: found[1] + tables[found[2]] + found[3], text)


def main(arguments: Sequence[str]) -> int:
    """Rewrite the documents, or check them."""
    stale = False
    for document in DOCUMENTS:
        before = document.read_text("utf-8")
        after = rewritten(before)
        stale |= after != before
        if "--check" not in arguments:
            document.write_text(after, "utf-8")
    return int(stale and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
