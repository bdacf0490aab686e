"""What a package says, and what the verifier says to a package that was tampered with.

A tampering counts if it changes what the package is parsed to. Not everything in a file does: a
zip has dates and flags that nobody reads, and the lines under a head may stand in any order. And a
package may say *less* than it did, and nothing untrue: with fewer cosignatures than there were and
still enough of them, or with a line by a key that nobody knows, which the format asks to ignore.
The verifier then says so in its words; it is counted apart.
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from comity_audit.ledgers.verification import Verification
from comity_audit.steps import Outcome, Step, Verdict, verdict
from comity_common.errors import PeerError, Problem
from comity_common.ledger.notes import NoteSignature, read_note
from comity_common.ledger.package import AuditPackage, Signatures, read_package

if TYPE_CHECKING:
    from tests.audit.subject import Subject


@dataclass(frozen=True)
class Meaning:
    """What a package is parsed to.

    Attributes:
        text, lines: of the head; the whole head as text where it is no note.
    """

    entries: tuple[bytes, ...]
    text: str
    lines: Counter[NoteSignature]
    agreements: dict[str, bytes]
    signatures: dict[str, Signatures]

    @classmethod
    def of(cls, package: AuditPackage) -> "Meaning":
        """Parse the head too."""
        try:
            note = read_note(package.head)
            text, lines = note.text, Counter(note.signatures)
        except PeerError:
            text, lines = repr(package.head), Counter()
        return cls(package.entries, text, lines, package.agreements, package.signatures)

    def is_but_for_cosignatures(self, other: "Meaning") -> bool:
        """Tell whether only lines under the head are different."""
        mine = (self.entries, self.text, self.agreements, self.signatures)
        return mine == (other.entries, other.text, other.agreements, other.signatures)


@dataclass(frozen=True, kw_only=True)
class Tampered:
    """A package that somebody changed.

    Attributes:
        raw: the file.
        kept: a head that the auditor kept, as bytes of a note; none for none.
        anchored: whether somebody outside vouches for the agreement.
        how: what was done.
    """

    raw: bytes
    kept: bytes = b""
    anchored: bool = True
    how: str = ""


class Said(StrEnum):
    """What came of it.

    Attributes:
        SAME: it is parsed to the same; it does not count.
        UNREADABLE: it is no package.
        FAILS: a step fails.
        UNANCHORED: everything holds if keys are right for which nobody vouches.
        LESS: everything holds, and less is said than before.
        NOTHING: nobody noticed.
    """

    SAME = "same"
    UNREADABLE = "unreadable"
    FAILS = "fails"
    UNANCHORED = "unanchored"
    LESS = "less"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Judgement:
    """What came of one tampering.

    Attributes:
        steps: the names of those that fail.
    """

    said: Said
    steps: tuple[str, ...] = ()


def judge(subject: "Subject", tampered: Tampered) -> Judgement:
    """Read and verify a package as an auditor does; whatever else is raised goes up."""
    try:
        package = read_package(tampered.raw)
        kept = read_note(tampered.kept) if tampered.kept else None
    except (PeerError, Problem):
        return Judgement(Said.UNREADABLE)
    meaning = Meaning.of(package)
    if meaning == subject.meaning:
        return Judgement(Said.SAME)
    anchors = subject.anchors if tampered.anchored else ()
    verification = Verification(package, anchors=anchors, older=kept)
    steps = list(verification.steps())
    fails = tuple(step.name for step in steps if step.outcome is Outcome.FAILS)
    if fails:
        return Judgement(Said.FAILS, fails)
    if verdict(steps) is Verdict.UNANCHORED:
        return Judgement(Said.UNANCHORED)
    only_lines = meaning.is_but_for_cosignatures(subject.meaning) and not tampered.kept
    if only_lines and _says_less(subject, verification, steps):
        return Judgement(Said.LESS)
    return Judgement(Said.NOTHING)


def _says_less(subject: "Subject", verification: Verification, steps: list[Step]) -> bool:
    """Tell whether less is claimed than of the honest package, and the verifier's words say so."""
    honest, known = subject.verified
    now, before = verification.witnessed, honest.witnessed
    claimed = {*now.institutions, *now.others} <= {*before.institutions, *before.others}
    as_early = (now.complete or 0) <= (before.complete or 0)
    return claimed and as_early and [one.detail for one in steps] != [one.detail for one in known]
