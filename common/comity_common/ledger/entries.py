"""The entries of a ledger: what happened, in order, so that nothing can be taken back.

An entry is appended, never edited; a correction is a `note`. The order is the sequence, the time is
only informative. As bytes an entry is a signed envelope (`signed`), and envelopes are the leaves of
a Merkle tree (`tree`), whose head is signed and cosigned by others (`checkpoints`): a gap, an edit
or another order shows as soon as somebody knows the head.

>>> first = append(None, Genesis(nonce=bytes(16), software="comity 0.1.0"),
...                institution=InstitutionId("a"), time="2026-01-01T00:00:00Z")
>>> check_order([first])
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from comity_common.errors import LocalError, PeerError
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import (
    BODIES,
    NONCE_BYTES,
    Body,
    EntryKind,
    Genesis,
    Restore,
)

VERSION = "comity-ledger/1"

TIME_PATTERN = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the ledger.

    Attributes:
        institution: whose ledger it is.
        generation: which one, 16 bytes: the nonce of its genesis, or of the entry with which a
            person declared that it goes on from a backup.
        sequence: 0 for the genesis, then one more each.
        time: `YYYY-MM-DDTHH:MM:SSZ` in UTC, informative.
    """

    version: str
    institution: InstitutionId
    generation: bytes
    sequence: int
    time: str
    body: Body

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise LocalError(f"expected {VERSION}, got {self.version}")
        if self.sequence < 0 or len(self.generation) != NONCE_BYTES:
            raise LocalError("expected a sequence of at least 0 and a generation of 16 bytes")
        if not TIME_PATTERN.fullmatch(self.time):
            raise LocalError("expected a time as YYYY-MM-DDTHH:MM:SSZ")

    @property
    def kind(self) -> EntryKind:
        """What happened."""
        return kind_of(self.body)


def append(last: Entry | None, body: Body, institution: InstitutionId, time: str) -> Entry:
    """Make the entry that follows.

    Args:
        last: the entry before; None for the genesis.
        time: now, `YYYY-MM-DDTHH:MM:SSZ` in UTC.

    Raises:
        LocalError: it does not begin with a genesis, has a second one, or the ledger belongs to
            somebody else.
    """
    if isinstance(body, Genesis) is not (last is None):
        raise LocalError("expected a genesis first and nowhere else")
    if last is not None and last.institution != institution:
        raise LocalError(f"expected an entry of {last.institution}, got one of {institution}")
    return Entry(
        version=VERSION,
        institution=institution,
        generation=_generation(last, body),
        sequence=0 if last is None else last.sequence + 1,
        time=time,
        body=body,
    )


def kind_of(body: Body) -> EntryKind:
    """Name the kind of entry that a body belongs in."""
    return _KINDS[type(body)]


def check_order(entries: Iterable[Entry]) -> None:
    """Check that entries form one ledger from its genesis, without a gap.

    Args:
        entries: in order; whether they are signed has been checked, and whether any are missing at
            the end only a head can tell.

    Raises:
        PeerError: a gap, another order, another institution's entry or another generation's.
    """
    last: Entry | None = None
    for entry in entries:
        expected = 0 if last is None else last.sequence + 1
        if entry.sequence != expected:
            raise PeerError(f"expected entry {expected}, got {entry.sequence}")
        if isinstance(entry.body, Genesis) is not (last is None):
            raise PeerError(f"expected a genesis first and nowhere else, got {entry.kind}")
        if last is not None and entry.institution != last.institution:
            raise PeerError(f"expected entry {expected} of {last.institution}")
        if entry.generation != _generation(last, entry.body):
            raise PeerError(f"expected entry {expected} of the generation that it is in")
        last = entry
    if last is None:
        raise PeerError("expected a ledger with a genesis, got no entries")


def _generation(last: Entry | None, body: Body) -> bytes:
    match body:
        case Genesis(nonce=generation):
            return generation
        case Restore(generation=generation) if generation:
            return generation
    assert last is not None
    return last.generation


_KINDS = {type_: kind for kind, type_ in BODIES.items()}
