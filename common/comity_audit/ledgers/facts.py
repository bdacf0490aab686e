"""A single fact of a ledger: one entry with its way to the cosigned head (C2SP tlog-proof).

It is enough to show that this one thing happened, without the ledger around it. Whose keys these
are says an agreement, as with a package.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from comity_audit.anchor import is_anchored
from comity_audit.ledgers.heads import check_log, moment, read_witnesses
from comity_audit.ledgers.parties import Parties, owner_of, party_of
from comity_audit.steps import Outcome, Step, outcome_of
from comity_common.agreement import Agreement
from comity_common.canonical import decode
from comity_common.errors import LocalError, PeerError
from comity_common.ledger.entries import Entry
from comity_common.ledger.notes import read_note
from comity_common.ledger.package import AuditPackage
from comity_common.ledger.proofs import Proof
from comity_common.ledger.signed import read
from comity_common.ledger.tree import Tree, check_inclusion
from comity_common.words import agreement_words, printable

Found = tuple[Outcome, str]


def prove(package: AuditPackage, sequence: int) -> Proof:
    """Take one entry out of a package that was verified.

    Raises:
        LocalError: there is no such entry.
    """
    if not 0 <= sequence < len(package.entries):
        raise LocalError(f"expected an entry from 0 to {len(package.entries) - 1}, got {sequence}")
    path = Tree(package.entries).inclusion(sequence)
    return Proof(extra=package.entries[sequence], index=sequence, path=path, note=package.head)


@dataclass(slots=True)
class FactCheck:
    """One proof, verified.

    Attributes:
        terms: bytes of the agreement whose keys signed it.
        anchor: from `read_anchor`; empty if nobody outside vouches for the agreement.
        entry: what happened, once its step holds.
    """

    proof: Proof
    terms: bytes
    anchor: str
    entry: Entry | None = None
    _parties: Parties | None = None

    def steps(self) -> Iterator[Step]:
        """Look at one thing after the other; the first that fails is the last."""
        checks: tuple[tuple[str, Callable[[], Found]], ...] = (
            ("agreement", self._check_agreement),
            ("anchor", self._check_anchor),
            ("entry", self._check_entry),
            ("inclusion", self._check_inclusion),
            ("head", self._check_head),
            ("witnesses", self._check_witnesses),
        )
        for number, (name, check) in enumerate(checks, start=1):
            outcome, detail = outcome_of(check)
            yield Step(number=number, name=name, outcome=outcome, detail=printable(detail))
            if outcome is Outcome.FAILS:
                return

    def _check_agreement(self) -> Found:
        agreement = decode(Agreement, self.terms)
        _, owner = owner_of(read_note(self.proof.note))
        party = party_of(agreement, owner)
        vouched = bool(self.anchor) and is_anchored(agreement.digest, self.anchor)
        self._parties = Parties(
            owner=party,
            agreements={agreement.digest: agreement},
            signers={},
            vouched=frozenset({agreement.digest} if vouched else ()),
        )
        return Outcome.HOLDS, f"{agreement.federation}: {agreement_words(agreement.digest)}"

    def _check_anchor(self) -> Found:
        if not self.anchor:
            return Outcome.UNANCHORED, "nobody outside has vouched for these keys"
        if not self._known.vouched:
            raise PeerError("expected the agreement that was named from outside, got another")
        return Outcome.HOLDS, "it is the agreement that was named from outside"

    def _check_entry(self) -> Found:
        self.entry = read(self.proof.extra, self._known.owner.identity.ledger.entries)
        if (self.entry.institution, self.entry.sequence) != (
            self._known.owner.id,
            self.proof.index,
        ):
            raise PeerError("expected the entry of this ledger at this place")
        return Outcome.HOLDS, (
            f"{self.entry.kind.value}, entry {self.entry.sequence} of {self.entry.institution}"
        )

    def _check_inclusion(self) -> Found:
        checkpoint, _ = owner_of(read_note(self.proof.note))
        size, root = checkpoint.size, checkpoint.root
        check_inclusion(self.proof.extra, self.proof.index, size, root, self.proof.path)
        return Outcome.HOLDS, f"it is among the {size:,} entries of the head"

    def _check_head(self) -> Found:
        note = read_note(self.proof.note)
        checkpoint, _ = owner_of(note)
        check_log(note, checkpoint, self._known.owner.identity)
        return Outcome.HOLDS, "signed by the ledger's owner"

    def _check_witnesses(self) -> Found:
        note = read_note(self.proof.note)
        checkpoint, _ = owner_of(note)
        found = read_witnesses(note, checkpoint, self._known, ())
        if not found.is_enough:
            raise PeerError(
                f"expected {found.needed} other institutions to have cosigned the head, "
                f"got {len(found.institutions)}"
            )
        names = ", ".join(one.name for one in found.institutions)
        since = "" if found.complete is None else f" as of {moment(found.complete)}"
        return Outcome.HOLDS, f"cosigned by {names}{since}"

    @property
    def _known(self) -> Parties:
        assert self._parties is not None
        return self._parties
