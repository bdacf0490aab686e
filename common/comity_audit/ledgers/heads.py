"""The head of a ledger: that it is the ledger's own, who cosigned it, and since when it holds."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from comity_audit.ledgers.parties import Parties
from comity_audit.steps import Outcome
from comity_common.agreement import Agreement, PublicIdentity
from comity_common.errors import PeerError
from comity_common.ids import Digest
from comity_common.ledger import checkpoints
from comity_common.ledger.checkpoints import Checkpoint
from comity_common.ledger.notes import NoteKey, NoteSignature, SignedNote
from comity_common.ledger.witness import quorum


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """One that cosigned a head with all its keys.

    Attributes:
        time: when, POSIX seconds; of several lines the earliest.
    """

    name: str
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnessed:
    """What cosignatures under a head amount to.

    Attributes:
        agreement: under which a quorum cosigned or, if none did, the most institutions.
        institutions: those of its other institutions that did, the latest first.
        needed: how many must have; at least c + 1, so that one of them is honest.
        others: the operator, and witnesses whose keys were given from outside.
        unknown: how many lines are by keys that nobody here knows; they say nothing.
        complete: POSIX seconds. One honest institution at least had not seen anything newer then.
    """

    agreement: Digest
    institutions: tuple[Witness, ...]
    needed: int
    others: tuple[Witness, ...]
    unknown: int
    complete: int | None

    @property
    def is_enough(self) -> bool:
        """Whether a quorum cosigned."""
        return len(self.institutions) >= self.needed


def check_log(note: SignedNote, checkpoint: Checkpoint, owner: PublicIdentity) -> None:
    """Check that the ledger's owner signed a head.

    Raises:
        PeerError: it did not, or more than once.
    """
    key = owner.ledger.log(checkpoint.origin)
    lines = [line for line in note.signatures if line.is_by(key)]
    if len(lines) != 1:
        raise PeerError(f"expected the head to be signed once by its own log, {checkpoint.origin}")
    checkpoints.verify(checkpoint, key, lines[0])


def read_witnesses(
    note: SignedNote, checkpoint: Checkpoint, parties: Parties, outside: Sequence[NoteKey]
) -> Witnessed:
    """Verify every line of a witness that is known.

    Args:
        outside: keys of witnesses that are in no agreement.

    Raises:
        PeerError: a line names a known key and is not by it, or only one of two keys signed.
    """
    lines = _Lines(note, checkpoint)
    found = [_under(agreement, lines, parties) for agreement in parties.witnessing]
    best = max(found, key=lambda one: (one.is_enough, len(one.institutions)))
    others = (*best.others, *_outsiders(lines, outside))
    own = parties.owner.identity.ledger.log(checkpoint.origin)
    return replace(best, others=others, unknown=lines.unread(own))


def read_outside(
    note: SignedNote, checkpoint: Checkpoint, outside: Sequence[NoteKey]
) -> tuple[Witness, ...]:
    """Verify the lines of witnesses that are in no agreement; all keys of one must have signed.

    Raises:
        PeerError: a line names a known key and is not by it, or not all keys of one signed.
    """
    return _outsiders(_Lines(note, checkpoint), outside)


def check_outside(keys: Sequence[NoteKey], seen: Collection[Witness]) -> tuple[Outcome, str]:
    """Check that every witness whose keys were given from outside has cosigned.

    Args:
        seen: from `read_outside`, under whatever heads there are.

    Raises:
        PeerError: one has not.
    """
    names = list(dict.fromkeys(key.name for key in keys))
    if not names:
        return Outcome.ABSENT, "no key of a witness was given from outside"
    cosigned = {one.name for one in seen}
    if missing := [name for name in names if name not in cosigned]:
        raise PeerError(f"expected a head that {missing[0]} cosigned")
    return Outcome.HOLDS, f"cosigned by {', '.join(names)}, whose keys were given from outside"


def _outsiders(lines: "_Lines", outside: Sequence[NoteKey]) -> tuple[Witness, ...]:
    names = dict.fromkeys(key.name for key in outside)
    found = [lines.witness([key for key in outside if key.name == name]) for name in names]
    return tuple(one for one in found if one is not None)


def _under(agreement: Agreement, lines: "_Lines", parties: Parties) -> Witnessed:
    institutions: list[Witness] = []
    others: list[Witness] = []
    for party in (agreement.operator, *agreement.institutions):
        if party.id == parties.owner.id:
            continue
        found = lines.witness(party.identity.ledger.witnesses(party.id))
        if found is None:
            continue
        (others if party == agreement.operator else institutions).append(found)
    institutions.sort(key=lambda one: -one.time)
    one_honest = agreement.aggregation.collusion  # of so many more, one at least is
    complete = institutions[one_honest].time if len(institutions) > one_honest else None
    return Witnessed(
        agreement=agreement.digest,
        institutions=tuple(institutions),
        needed=quorum(agreement),
        others=tuple(others),
        unknown=0,
        complete=complete,
    )


class _Lines:
    """The lines under a head, by the key that each names."""

    def __init__(self, note: SignedNote, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._by_key: dict[tuple[str, bytes], list[NoteSignature]] = {}
        self._read: set[tuple[str, bytes]] = set()
        for line in note.signatures:
            self._by_key.setdefault((line.name, line.key_id), []).append(line)

    def witness(self, keys: Sequence[NoteKey]) -> Witness | None:
        """Verify the lines of one witness; None if there are none.

        Raises:
            PeerError: one is not by the key that it names, or a key has none or two.
        """
        times = []
        for key in keys:
            lines = self._by_key.get((key.name, key.id), [])
            self._read.add((key.name, key.id))
            if len(lines) > 1:
                raise PeerError(f"expected one signature of each key of {key.name}")
            times += [self._time(key, line) for line in lines]
        if not times:
            return None
        if len(times) < len(keys):
            raise PeerError(f"expected the signatures of all keys of {keys[0].name}")
        return Witness(name=keys[0].name, time=min(times))

    def unread(self, own: NoteKey) -> int:
        """Count the lines of keys that nobody asked for, apart from the log's own."""
        read = {*self._read, (own.name, own.id)}
        return sum(len(lines) for key, lines in self._by_key.items() if key not in read)

    def _time(self, key: NoteKey, line: NoteSignature) -> int:
        time = checkpoints.verify(self._checkpoint, key, line)
        if time is None:
            raise PeerError(f"expected a time with the signature of the witness {key.name}")
        return time


def moment(seconds: int) -> str:
    """Write POSIX seconds as people read them, in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s after 1970"
