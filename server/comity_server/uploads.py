"""Masked vectors on their way to disk, 1 MiB at a time, in any order.

* An institution declares one upload per plan. The same header again is the same upload; another
  one is refused for ever, also after a restart.
* Each chunk is checked against the hash that its header's root covers before any of it is written,
  at its place in a file that has its full size from the beginning. One that is here already is
  not written again. Any number of streams may bring chunks of one upload.
* No note says which chunks are here: the file does. What hashes to its leaf is here, so a crash
  between a write and a note, or a power cut that loses what was written, cannot make a false note.
  The file is read once when an upload is taken up, 1 MiB at a time.
* An upload is finished when every chunk is here and the file is synced.

A stream holds one chunk of 1 MiB in memory, and the next one while it comes.
"""

import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from comity_common import chunks
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Signed
from comity_common.errors import PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import Ingress
from comity_common.secagg.messages import Header
from comity_common.secagg.participant import header_digest
from comity_host.files import sync_directory
from comity_server.errors import Overtaken, WrongTime
from comity_server.store import Store
from comity_server.tables import uploads


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What comes before the bytes of an upload.

    Attributes:
        boxes: per participant.
        leaves: per chunk, its hash.
    """

    header: bytes
    header_signature: bytes
    upload: bytes
    upload_signature: bytes
    boxes: tuple[bytes, ...]
    leaves: tuple[bytes, ...]

    @property
    def signed_header(self) -> Signed:
        """The header as it was signed."""
        return Signed(body=self.header, signature=self.header_signature)

    @property
    def signed_upload(self) -> Signed:
        """The promise of its boxes as it was signed."""
        return Signed(body=self.upload, signature=self.upload_signature)


@dataclass(slots=True, kw_only=True)
class _Upload:
    """One upload that grows; `lock` guards what follows it.

    Attributes:
        missing: places of the chunks that are not here; None before the file was read.
        here: bytes that are known to be here.
    """

    institution: InstitutionId
    size: int
    leaves: tuple[bytes, ...]
    lock: threading.Lock = field(default_factory=threading.Lock)
    file: FileIO
    missing: set[int] | None = None
    here: int = 0


class Uploads:
    """The uploads of all rounds, in one directory."""

    def __init__(self, store: Store, directory: Path) -> None:
        self._store = store
        self._directory = directory
        self._lock = threading.Lock()
        self._growing: dict[Digest, _Upload] = {}

    def begin(self, declared: Declared) -> Digest:
        """Declare an upload whose header was verified, or come back to it; return its name.

        Raises:
            PeerError: the chunk hashes do not fit, or another upload was begun for this plan.
        """
        header = decode(Header, declared.header)
        name = header_digest(header)
        chunks.check_leaves(header.size, declared.leaves, header.root)
        known = self.find(header.plan, header.institution)
        if known is None:
            known = self._insert(header, name, declared)
        if known != name:
            raise PeerError("expected the header of the first upload; another is refused for ever")
        return name

    def held(self, name: Digest, sender: InstitutionId) -> bytes:
        """Say which chunks of an upload are here, as a bitmap of `chunks`.

        Raises:
            PeerError: the upload is unknown.
        """
        if self.is_finished(name):
            return chunks.bitmap(len(self.declared(name).leaves), ())
        upload = self._open(name, sender)
        with upload.lock:
            return chunks.bitmap(len(upload.leaves), _missing(upload))

    def put(self, name: Digest, sender: InstitutionId, pieces: Iterable[tuple[int, bytes]]) -> None:
        """Take chunks, each with its offset, until there are no more.

        Raises:
            PeerError: the upload is unknown, or a chunk is not the one that its header promised;
                what came before it stays.
            Overtaken: the upload was closed meanwhile.
        """
        upload = self._open(name, sender)
        for offset, data in pieces:
            place = _checked_place(upload, offset, data)
            with upload.lock:
                if place in _missing(upload):
                    _write(upload, place, data)

    def sync(self, name: Digest, sender: InstitutionId) -> None:
        """Take a complete upload to the disk. Idempotent.

        Raises:
            PeerError: the upload is unknown.
            Overtaken: chunks are missing, or it was closed meanwhile.
        """
        if self.is_finished(name):
            return
        upload = self._open(name, sender)
        with upload.lock:
            if missing := _missing(upload):
                raise Overtaken(f"expected all chunks, {len(missing)} are missing")
            os.fsync(upload.file.fileno())

    def finish(self, name: Digest, sender: InstitutionId, arrived: Ingress) -> None:
        """Close a complete upload, and write down that it is here. Idempotent.

        Args:
            arrived: the entry for the ledger.

        Raises:
            PeerError: the upload is unknown.
            Overtaken: chunks are missing, or it was closed meanwhile.
        """
        if self.is_finished(name):
            return
        self.sync(name, sender)
        with self._store.write() as tx:
            tx.execute(update(uploads).where(uploads.c.header == name).values(finished=True))
            self._store.ledger.append(tx, arrived)
        self._forget(name)

    def find(self, plan: Digest, institution: InstitutionId) -> Digest | None:
        """Return the upload that an institution began for a plan."""
        query = select(uploads.c.header).where(
            uploads.c.plan == plan, uploads.c.institution == institution
        )
        with self._store.read() as tx:
            found = tx.execute(query).scalar()
        return None if found is None else Digest(found)

    def declared(self, name: Digest) -> Declared:
        """Return what was declared.

        Raises:
            PeerError: the upload is unknown.
        """
        with self._store.read() as tx:
            raw = tx.execute(select(uploads.c.declared).where(uploads.c.header == name)).scalar()
        if raw is None:
            raise PeerError("expected an upload that was begun")
        return decode(Declared, raw)

    def plan(self, name: Digest) -> Digest:
        """Return the plan of an upload.

        Raises:
            PeerError: the upload is unknown.
        """
        with self._store.read() as tx:
            plan = tx.execute(select(uploads.c.plan).where(uploads.c.header == name)).scalar()
        if plan is None:
            raise PeerError("expected an upload that was begun")
        return Digest(plan)

    def is_finished(self, name: Digest) -> bool:
        """Tell whether all of an upload is here."""
        with self._store.read() as tx:
            found = tx.execute(select(uploads.c.finished).where(uploads.c.header == name)).scalar()
        return bool(found)

    def progress(self, plan: Digest) -> Mapping[InstitutionId, tuple[int, int]]:
        """Return who began an upload for a plan, with the bytes that are here and the size.

        After a restart nothing is known to be here until the institution comes back.
        """
        with self._store.read() as tx:
            rows = tx.execute(select(uploads).where(uploads.c.plan == plan)).all()
        return {
            InstitutionId(row.institution): (
                row.size if row.finished else self._here(Digest(row.header)),
                row.size,
            )
            for row in rows
        }

    def path(self, name: Digest) -> Path:
        """Return where an upload's bytes lie."""
        return self._directory / f"{name}.masked"

    def abandon(self, plan: Digest) -> None:
        """Stop taking bytes for a plan."""
        with self._store.read() as tx:
            names = tx.execute(select(uploads.c.header).where(uploads.c.plan == plan)).scalars()
            growing = [Digest(name) for name in names]
        for name in growing:
            self._forget(name)

    def _insert(self, header: Header, name: Digest, declared: Declared) -> Digest:
        self._make_room(name, header.size)
        row = {
            "header": name,
            "plan": header.plan,
            "institution": header.institution,
            "declared": encode(declared),
            "size": header.size,
            "finished": False,
        }
        try:
            with self._store.write() as tx:
                tx.execute(insert(uploads).values(row))
        except IntegrityError:  # another call was faster
            return self.find(header.plan, header.institution) or name
        return name

    def _make_room(self, name: Digest, size: int) -> None:
        """Take the whole room at once, so that a full disk is noticed before a byte is sent."""
        path = self.path(name)
        path.touch(mode=0o600)
        try:
            with FileIO(path, "r+") as file:
                os.posix_fallocate(file.fileno(), 0, size)
                os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        sync_directory(self._directory)

    def _open(self, name: Digest, sender: InstitutionId) -> _Upload:
        with self._lock:
            if name not in self._growing:
                self._growing[name] = self._reopened(name)
            upload = self._growing[name]
        if upload.institution != sender:
            raise PeerError("expected an upload of this institution")
        return upload

    def _reopened(self, name: Digest) -> _Upload:
        with self._store.read() as tx:
            row = tx.execute(select(uploads).where(uploads.c.header == name)).first()
        if row is None:
            raise PeerError("expected an upload that was begun")
        if row.finished:
            raise WrongTime("expected an upload that is not finished")
        return _Upload(
            institution=InstitutionId(row.institution),
            size=row.size,
            leaves=decode(Declared, row.declared).leaves,
            file=FileIO(self.path(name), "r+"),
        )

    def _here(self, name: Digest) -> int:
        with self._lock:
            upload = self._growing.get(name)
        return 0 if upload is None else upload.here

    def _forget(self, name: Digest) -> None:
        with self._lock:
            upload = self._growing.pop(name, None)
        if upload is not None:
            with upload.lock:
                upload.file.close()


def _missing(upload: _Upload) -> set[int]:
    """Return the places of the chunks that are not here, by the file itself; under the lock."""
    if upload.file.closed:
        raise Overtaken("expected an upload that was not closed meanwhile")
    if upload.missing is None:
        places = range(len(upload.leaves))
        upload.missing = {place for place in places if not _is_here(upload, place)}
        upload.here = sum(_length(upload, place) for place in places if place not in upload.missing)
    return upload.missing


def _is_here(upload: _Upload, place: int) -> bool:
    start = place * chunks.CHUNK_BYTES
    found = os.pread(upload.file.fileno(), _length(upload, place), start)
    return chunks.leaf(found) == upload.leaves[place]


def _length(upload: _Upload, place: int) -> int:
    return min(chunks.CHUNK_BYTES, upload.size - place * chunks.CHUNK_BYTES)


def _checked_place(upload: _Upload, offset: int, data: bytes) -> int:
    """Return the place of a chunk that is the promised one."""
    place, beside = divmod(offset, chunks.CHUNK_BYTES)
    if beside or not 0 <= place < len(upload.leaves):
        raise PeerError(f"expected the offset of one of {len(upload.leaves)} chunks, got {offset}")
    expected = _length(upload, place)
    if len(data) != expected:
        raise PeerError(f"expected a chunk of {expected} bytes, got {len(data)}")
    if chunks.leaf(data) != upload.leaves[place]:
        raise PeerError(f"expected the chunk at {offset} that the header promised")
    return place


def _write(upload: _Upload, place: int, data: bytes) -> None:
    """Write a missing chunk; under the lock."""
    assert upload.missing is not None
    start = place * chunks.CHUNK_BYTES
    if os.pwrite(upload.file.fileno(), data, start) != len(data):
        raise OSError("expected room on the disk for a chunk")
    upload.missing.discard(place)
    upload.here += len(data)
