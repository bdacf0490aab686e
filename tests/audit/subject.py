"""What is tampered with: honest packages, a head that somebody kept, and all keys.

A federation has four: of three institutions, one of which was once restored, and of its operator.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from comity_audit.ledgers.verification import Verification
from comity_audit.steps import Step
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import Body
from comity_common.ledger.entries import Entry
from comity_common.ledger.keys import LedgerKeys
from comity_common.ledger.notes import read_note
from comity_common.ledger.package import AuditPackage, read_package
from tests.audit.book import BEGINNING, Book
from tests.audit.federation import OPERATOR, Federation
from tests.audit.history import History
from tests.audit.meaning import Meaning
from tests.audit.operatorhistory import OperatorHistory

RESTORED = InstitutionId("insurer")
OWNERS = (InstitutionId("bank"), InstitutionId("clinic"), RESTORED, OPERATOR)
KEPT = 0.6  # of the entries: what the head that somebody kept is over


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One institution's package, and everything that a tamperer could wish for.

    Attributes:
        owner: whose ledger it is, an institution's or the operator's.
        book: the ledger, as it was written.
        raw: the package that its owner hands out.
        kept: a head of it that an auditor was given before, as bytes of a note.
    """

    federation: Federation
    owner: InstitutionId
    book: Book
    raw: bytes
    kept: bytes

    @property
    def keys(self) -> LedgerKeys:
        """The owner's keys."""
        return self.federation.ledger_keys(self.owner)

    @property
    def anchors(self) -> tuple[str, ...]:
        """What an auditor was told by somebody outside."""
        return (self.federation.first.digest,)

    @cached_property
    def package(self) -> AuditPackage:
        """What is in it."""
        return read_package(self.raw)

    @cached_property
    def meaning(self) -> Meaning:
        """What it says."""
        return Meaning.of(self.package)

    @cached_property
    def verified(self) -> tuple[Verification, list[Step]]:
        """What the verifier says of it."""
        verification = Verification(self.package, anchors=self.anchors)
        return verification, list(verification.steps())

    @property
    def kept_size(self) -> int:
        """How many entries the kept head is over."""
        return int(read_note(self.kept).text.split("\n")[1])

    @property
    def others(self) -> list[InstitutionId]:
        """The other institutions."""
        return self.federation.others(self.owner)

    def at(self, size: int) -> AuditPackage:
        """Return the package that was right when the ledger had so many entries."""
        return self.packed(self.book.entries[:size], self.book.raw[:size])

    def written(self, bodies: Sequence[Body], *, beginning: object = BEGINNING) -> Book:
        """Write another ledger with the owner's keys; nobody asks whether it may be."""
        return Book(self.owner, self.keys, bodies, counts=False, beginning=beginning)  # type: ignore[arg-type]

    def packed(self, entries: Sequence[Entry], raw: Sequence[bytes]) -> AuditPackage:
        """Let all others cosign a ledger, and put it together."""
        return self.federation.package(entries, raw, self.federation.head(entries, raw))


def subject(federation: Federation, owner: InstitutionId, seed: int = 0) -> Subject:
    """Let an institution or the operator live, and export its ledger."""
    book = Book(owner, federation.ledger_keys(owner))
    chance = random.Random(f"{seed} {owner}")
    if owner == OPERATOR:
        OperatorHistory(book, federation, chance).live()
    else:
        History(book, federation, chance).live(restored=owner == RESTORED)
    kept = int(KEPT * len(book.raw))
    head = federation.head(book.entries, book.raw)
    return Subject(
        federation=federation,
        owner=owner,
        book=book,
        raw=federation.package(book.entries, book.raw, head).to_bytes(),
        kept=federation.head(book.entries[:kept], book.raw[:kept]),
    )
