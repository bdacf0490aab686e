"""The chain of entries: what happened, in order, so that nothing can be taken back.

Each entry names the hash of the one before it, so a gap, an edit or another order shows as soon
as somebody knows the last hash, the *head*. Rules:

* An entry is appended, never edited; a correction is a `note`.
* The order is the sequence. The time is only informative.
* Entries are hashed and stored as their canonical bytes; the body's bytes are hashed as they
  came, so that an entry verifies before its body is understood.

>>> first = append(None, Genesis(nonce=bytes(16), software="comity 0.1.0"),
...                institution=InstitutionId("a"), time="2026-01-01T00:00:00Z")
>>> verify_chain([first]) == chain_hash(first)
True
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from comity_common.canonical import decode, encode
from comity_common.crypto.derive import DIGEST_BYTES, digest
from comity_common.errors import LocalError, PeerError
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import BODIES, Body, EntryKind, Genesis

VERSION = "comity-ledger/1"
NOTHING_BEFORE = bytes(DIGEST_BYTES)

TIME_PATTERN = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the ledger.

    Attributes:
        sequence: 0 for the genesis, then one more each.
        time: `YYYY-MM-DDTHH:MM:SSZ` in UTC, informative.
        body: canonical bytes of the kind's own dataclass.
        previous: chain hash of the entry before, 32 bytes; zeros for the genesis.
    """

    version: str
    sequence: int
    kind: EntryKind
    institution: InstitutionId
    time: str
    body: bytes
    previous: bytes

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise LocalError(f"expected {VERSION}, got {self.version}")
        if self.sequence < 0 or len(self.previous) != DIGEST_BYTES:
            raise LocalError("expected a sequence of at least 0 and a hash of 32 bytes")
        if not TIME_PATTERN.fullmatch(self.time):
            raise LocalError("expected a time as YYYY-MM-DDTHH:MM:SSZ")


def chain_hash(entry: Entry) -> bytes:
    """Hash an entry and with it all before it.

    Returns:
        32 bytes.
    """
    return digest("ledger-entry", encode(entry))


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
        sequence=0 if last is None else last.sequence + 1,
        kind=kind_of(body),
        institution=institution,
        time=time,
        body=encode(body),
        previous=NOTHING_BEFORE if last is None else chain_hash(last),
    )


def read(entry: Entry) -> Body:
    """Read an entry's body.

    Raises:
        PeerError: the bytes are no body of its kind, or this version knows none of that kind.
    """
    if entry.kind not in BODIES:
        raise PeerError(f"expected a kind with a known body, got {entry.kind}")
    return decode(BODIES[entry.kind], entry.body)


def kind_of(body: Body) -> EntryKind:
    """Name the kind of entry that a body belongs in."""
    return next(kind for kind, type_ in BODIES.items() if type(body) is type_)


def verify_chain(entries: Iterable[Entry], head: bytes | None = None) -> bytes:
    """Check that entries form one unbroken ledger from its genesis.

    Args:
        entries: in order.
        head: the chain hash of the last entry, known from elsewhere. Without it nobody can tell
            whether entries are missing at the end or the last one was edited.

    Returns:
        The chain hash of the last entry, 32 bytes.

    Raises:
        PeerError: a gap, an edit, another order, a body that is not of its kind, or another head.
    """
    first: Entry | None = None
    expected, reached = 0, NOTHING_BEFORE
    for entry in entries:
        first = first or entry
        if entry.sequence != expected:
            raise PeerError(f"expected entry {expected}, got {entry.sequence}")
        if entry.previous != reached:
            raise PeerError(f"expected entry {expected} to follow the one before it")
        if entry.institution != first.institution:
            raise PeerError(f"expected entry {expected} of {first.institution}")
        if (entry.kind is EntryKind.GENESIS) is not (expected == 0):
            raise PeerError(f"expected a genesis first and nowhere else, got {entry.kind}")
        read(entry)
        expected, reached = expected + 1, chain_hash(entry)
    if first is None:
        raise PeerError("expected a ledger with a genesis, got no entries")
    if head is not None and head != reached:
        raise PeerError(f"expected the known head after {expected} entries, got another")
    return reached
