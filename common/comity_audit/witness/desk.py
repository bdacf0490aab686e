"""What a witness has cosigned, on disk before its signature is given away.

    desk = Desk.create(Path("witness"), "regulator.example")
    note = desk.cosign(verification, time=1_700_000_000)

In the directory lie the witness's secret, its name, and one file for each ledger that it knows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from comity_audit.ledgers.verification import Verification
from comity_common.agreement import ID_PATTERN
from comity_common.canonical import decode, encode
from comity_common.errors import LocalError, PeerError, Problem
from comity_common.ids import InstitutionId
from comity_common.ledger import checkpoints
from comity_common.ledger.keys import LedgerKeys
from comity_common.ledger.notes import NoteKey, SignedNote, read_note
from comity_common.ledger.tree import Tree
from comity_host.files import hold_alone, make_private, write_durably, write_secret

SECRET_BYTES = 64
MAX_FILE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The head of one ledger that was cosigned last.

    Attributes:
        generation: 16 bytes.
        size, root: of the head.
        note: its bytes, with the signature of the ledger's owner, which shows that it was asked.
        generations: all that were ever seen of this owner.
    """

    owner: InstitutionId
    generation: bytes
    size: int
    root: bytes
    note: bytes
    generations: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Desk:
    """One witness.

    Attributes:
        path: its directory, for its owner alone.
    """

    path: Path

    @classmethod
    def create(cls, path: Path, name: str, secret: bytes) -> "Desk":
        """Make a new witness.

        Args:
            name: under which it cosigns: no spaces and plus signs, and a dot, as in
                regulator.example, which no institution's id has.
            secret: 64 random bytes.

        Raises:
            Problem: there is one already.
            LocalError: the name cannot stand in a note.
        """
        LedgerKeys.derive(secret).public().witnesses(name)
        if ID_PATTERN.fullmatch(name):
            raise LocalError("expected a dot in it, as no institution's id has one")
        desk = cls(path)
        if desk._secret.exists():
            raise Problem("COM-WITNESS-001", home=path)
        make_private(path, desk._heads)
        write_durably(desk._name, name.encode())
        write_secret(desk._secret, secret)
        return desk

    @property
    def name(self) -> str:
        """Under which it cosigns.

        Raises:
            Problem: there is no witness here.
        """
        try:
            return self._name.read_text("utf-8")
        except (OSError, ValueError):
            raise Problem("COM-WITNESS-002", home=self.path) from None

    @property
    def keys(self) -> tuple[NoteKey, NoteKey]:
        """By which its signatures are known, Ed25519 and ML-DSA-44."""
        return self._private().public().witnesses(self.name)

    def kept(self) -> Iterator[Kept]:
        """Go through the heads that it cosigned last, one for each ledger's owner."""
        for file in sorted(self._heads.glob("*.json")):
            yield self._read(file)

    def cosign(self, verification: Verification, time: int) -> bytes:
        """Cosign the head of a package that was verified, if it goes on from the last.

        Args:
            time: now, POSIX seconds.

        Returns:
            the head as a signed note, with this witness's lines under it.

        Raises:
            Problem: it takes something back that this witness has cosigned; nothing has changed.
        """
        checkpoint = verification.checkpoint
        entries = verification.ledger.entries
        owner, generation = entries[-1].institution, entries[-1].generation
        name, keys = self.name, self._private()
        with self._alone():
            last = self._last(owner)
            if last is not None:
                _check_extends(last, verification.package.entries, generation)
            seen = () if last is None else last.generations
            generations = seen if generation in seen else (*seen, generation)
            kept = Kept(
                owner=owner,
                generation=generation,
                size=checkpoint.size,
                root=checkpoint.root,
                note=verification.package.head,
                generations=generations,
            )
            write_durably(self._file(owner), encode(kept))
        note = read_note(verification.package.head)
        lines = tuple(
            checkpoints.cosign(checkpoint, name, key, time) for key in (keys.witness, keys.lasting)
        )
        others = tuple(line for line in note.signatures if line.name != name)
        return SignedNote(text=note.text, signatures=(*others, *lines)).to_bytes()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with hold_alone(self.path / "lock"):
            yield

    def _last(self, owner: InstitutionId) -> Kept | None:
        file = self._file(owner)
        return self._read(file) if file.exists() else None

    def _read(self, file: Path) -> Kept:
        raw = file.read_bytes()
        try:
            if len(raw) > MAX_FILE_BYTES:
                raise PeerError("expected a small file")
            return decode(Kept, raw)
        except PeerError:
            raise Problem("COM-WITNESS-004", file=file) from None

    def _file(self, owner: InstitutionId) -> Path:
        return self._heads / f"{sha256(owner.encode()).hexdigest()}.json"

    def _private(self) -> LedgerKeys:
        try:
            secret = self._secret.read_bytes()
        except OSError:
            raise Problem("COM-WITNESS-002", home=self.path) from None
        if len(secret) != SECRET_BYTES:
            raise LocalError("expected the secret of a witness as it was made")
        return LedgerKeys.derive(secret)

    @property
    def _secret(self) -> Path:
        return self.path / "witness.key"

    @property
    def _name(self) -> Path:
        return self.path / "name"

    @property
    def _heads(self) -> Path:
        return self.path / "heads"


def _check_extends(last: Kept, entries: tuple[bytes, ...], generation: bytes) -> None:
    """Check that a ledger takes back nothing of the head that was cosigned last.

    A person may have declared that it goes on from a backup; then it is a new generation, which
    nobody has seen before.

    Raises:
        Problem: a rollback, a truncation or a fork.
    """
    if generation != last.generation:
        if generation in last.generations:
            raise _forked(last, "a generation that was ended by a restore")
        return
    if last.size > len(entries):
        raise _forked(last, f"only {len(entries)} entries")
    if Tree(entries[: last.size]).root() != last.root:
        raise _forked(last, f"other entries among the first {last.size}")


def _forked(last: Kept, got: str) -> Problem:
    root = last.root.hex()[:16]
    return Problem("COM-WITNESS-003", owner=last.owner, size=last.size, root=root, got=got)
