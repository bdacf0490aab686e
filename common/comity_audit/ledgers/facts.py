"""A single fact of a ledger: one entry with its way to the cosigned head (C2SP tlog-proof).

It is enough to show that this one thing happened, without the ledger around it. Whose keys these
are says an agreement, as with a package.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from comity_audit.anchor import is_anchored
from comity_audit.ledgers.heads import (
    Witness,
    check_log,
    check_outside,
    moment,
    read_outside,
    read_witnesses,
)
from comity_audit.ledgers.parties import Parties, owner_of, party_of
from comity_audit.steps import Outcome, Step, outcome_of
from comity_common.agreement import Agreement
from comity_common.errors import LocalError, PeerError
from comity_common.ledger.entries import Entry
from comity_common.ledger.notes import NoteKey, SignedNote, read_note
from comity_common.ledger.package import AuditPackage
from comity_common.ledger.proofs import Proof
from comity_common.ledger.signed import read
from comity_common.ledger.tree import Tree, check_inclusion
from comity_common.words import printable

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


def misfit(check: "FactCheck") -> tuple[str, str] | None:
    """Tell which option names a file that this proof is not checked with, and why not."""
    try:
        head, owner = owner_of(read_note(check.proof.note))
        kept, whose = (head, owner) if check.kept is None else owner_of(check.kept)
    except PeerError:
        return None  # the steps say what is wrong with which
    if whose != owner:
        return "--head", f"it is a head of {whose}, and the entry is of {owner}"
    if kept.size != head.size:
        return "--head", (
            f"it has {kept.size} entries, and the proof is for one of {head.size}; between two "
            "heads only a package leads"
        )
    return None


@dataclass(slots=True)
class FactCheck:
    """One proof, verified.

    Attributes:
        agreement: whose keys signed it.
        anchor: from `read_anchor`; empty if nobody outside vouches for the agreement.
        outside: keys of witnesses that are in no agreement, each of which must have cosigned.
        kept: the same head as somebody kept it, with more cosignatures.
        entry: what happened, once its step holds.
    """

    proof: Proof
    agreement: Agreement
    anchor: str = ""
    outside: Sequence[NoteKey] = ()
    kept: SignedNote | None = None
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
            ("kept head", self._check_kept),
            ("outsiders", self._check_outside),
        )
        for number, (name, check) in enumerate(checks, start=1):
            outcome, detail = outcome_of(check)
            yield Step(number=number, name=name, outcome=outcome, detail=printable(detail))
            if outcome is Outcome.FAILS:
                return

    def _check_agreement(self) -> Found:
        agreement = self.agreement
        _, owner = owner_of(read_note(self.proof.note))
        party = party_of(agreement, owner)
        vouched = bool(self.anchor) and is_anchored(agreement.digest, self.anchor)
        self._parties = Parties(
            owner=party,
            agreements={agreement.digest: agreement},
            signers={},
            vouched=frozenset({agreement.digest} if vouched else ()),
        )
        return Outcome.HOLDS, f"{agreement.federation}, {agreement.digest[:16]}…, names {owner}"

    def _check_anchor(self) -> Found:
        if not self.anchor:
            return Outcome.UNANCHORED, "nobody outside has vouched for these keys"
        if not self._known.vouched:
            raise PeerError(
                "expected the agreement that was named from outside, --terms is another"
            )
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

    def _check_kept(self) -> Found:
        if self.kept is None:
            return Outcome.ABSENT, "no head was given that somebody kept"
        checkpoint, _ = owner_of(read_note(self.proof.note))
        kept, _ = owner_of(self.kept)
        check_log(self.kept, kept, self._known.owner.identity)
        if kept != checkpoint:
            raise PeerError("expected the head that was kept, got another: there are two ledgers")
        return Outcome.HOLDS, "it is the head that was kept"

    def _check_outside(self) -> Found:
        notes = [read_note(self.proof.note), *([] if self.kept is None else [self.kept])]
        seen = [one for note in notes for one in self._outsiders(note)]
        return check_outside(self.outside, seen)

    def _outsiders(self, note: SignedNote) -> tuple[Witness, ...]:
        checkpoint, _ = owner_of(note)
        return read_outside(note, checkpoint, self.outside)

    @property
    def _known(self) -> Parties:
        assert self._parties is not None
        return self._parties
