"""Masked vectors on their way to disk, 1 MiB at a time.

* An institution declares one upload per plan. The same header again is the same upload; another
  one is refused for ever, also after a restart.
* Bytes are appended at the committed offset alone, and each chunk is checked against the hash that
  its header's root covers before any of it is written.
* What is called committed is on disk. After a crash the file is cut back to it.
* A newer stream of an upload ends the older one, whose connection may have died unnoticed.
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
from comity_common.secagg.messages import Header
from comity_common.secagg.participant import header_digest
from comity_host.files import sync_directory
from comity_server.errors import Overtaken, WrongTime
from comity_server.store import Store, uploads

COMMIT_EVERY_BYTES = 8 * chunks.CHUNK_BYTES


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
    """One upload that grows; `lock` guards what follows it."""

    institution: InstitutionId
    size: int
    leaves: tuple[bytes, ...]
    file: FileIO
    lock: threading.Lock = field(default_factory=threading.Lock)
    written: int
    committed: int
    stream: int = 0


class Uploads:
    """The uploads of all rounds, in one directory."""

    def __init__(self, store: Store, directory: Path) -> None:
        self._store = store
        self._directory = directory
        self._lock = threading.Lock()
        self._growing: dict[Digest, _Upload] = {}

    def begin(self, declared: Declared) -> int:
        """Declare an upload whose header was verified, or come back to it.

        Returns:
            the committed offset, from which on bytes are wanted.

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
        if self.is_finished(name):
            return header.size
        upload = self._open(name, header.institution)
        with upload.lock:
            upload.stream += 1
            self._commit(name, upload)
            return upload.committed

    def append(
        self, name: Digest, sender: InstitutionId, pieces: Iterable[tuple[int, bytes]]
    ) -> int:
        """Append chunks, each with its offset, until there are no more.

        Returns:
            the committed offset.

        Raises:
            PeerError: the upload is unknown, or a chunk is not the one that its header promised;
                what came before it stays.
            Overtaken: not at the committed offset, or a newer stream is open.
        """
        upload = self._open(name, sender)
        with upload.lock:
            upload.stream += 1
            stream = upload.stream
        try:
            for offset, data in pieces:
                with upload.lock:
                    _check_piece(upload, stream, offset, data)
                    _write(upload, data)
                    if upload.written - upload.committed >= COMMIT_EVERY_BYTES:
                        self._commit(name, upload)
        finally:
            with upload.lock:
                if upload.stream == stream:
                    self._commit(name, upload)
        return upload.committed

    def finish(self, name: Digest, sender: InstitutionId) -> None:
        """Close a complete upload. Idempotent.

        Raises:
            PeerError: it is unknown.
            WrongTime: bytes are missing.
        """
        if self.is_finished(name):
            return
        upload = self._open(name, sender)
        with upload.lock:
            upload.stream += 1
            self._commit(name, upload)
            if upload.committed != upload.size:
                raise WrongTime(f"expected {upload.size} bytes, got {upload.committed}")
            with self._store.write() as tx:
                tx.execute(update(uploads).where(uploads.c.header == name).values(finished=True))
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

    def is_finished(self, name: Digest) -> bool:
        """Tell whether all of an upload is here."""
        with self._store.read() as tx:
            found = tx.execute(select(uploads.c.finished).where(uploads.c.header == name)).scalar()
        return bool(found)

    def progress(self, plan: Digest) -> Mapping[InstitutionId, tuple[int, int]]:
        """Return who began an upload for a plan, with committed bytes and size."""
        query = select(uploads.c.institution, uploads.c.committed, uploads.c.size)
        with self._store.read() as tx:
            rows = tx.execute(query.where(uploads.c.plan == plan)).all()
        return {InstitutionId(row.institution): (row.committed, row.size) for row in rows}

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
        self.path(name).touch(mode=0o600)
        sync_directory(self._directory)
        row = {
            "header": name,
            "plan": header.plan,
            "institution": header.institution,
            "declared": encode(declared),
            "size": header.size,
            "committed": 0,
            "finished": False,
        }
        try:
            with self._store.write() as tx:
                tx.execute(insert(uploads).values(row))
        except IntegrityError:  # another call was faster
            return self.find(header.plan, header.institution) or name
        return name

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
        file = FileIO(self.path(name), "r+")
        file.truncate(row.committed)
        return _Upload(
            institution=InstitutionId(row.institution),
            size=row.size,
            leaves=decode(Declared, row.declared).leaves,
            file=file,
            written=row.committed,
            committed=row.committed,
        )

    def _commit(self, name: Digest, upload: _Upload) -> None:
        if upload.written == upload.committed:
            return
        os.fsync(upload.file.fileno())
        with self._store.write() as tx:
            tx.execute(
                update(uploads).where(uploads.c.header == name).values(committed=upload.written)
            )
        upload.committed = upload.written

    def _forget(self, name: Digest) -> None:
        with self._lock:
            upload = self._growing.pop(name, None)
        if upload is not None:
            with upload.lock:
                upload.written = upload.committed
                upload.file.close()


def _check_piece(upload: _Upload, stream: int, offset: int, data: bytes) -> None:
    if upload.stream != stream or upload.file.closed:
        raise Overtaken("expected the newest stream of this upload")
    if offset != upload.written:
        raise Overtaken(f"expected offset {upload.written}, got {offset}")
    expected = min(chunks.CHUNK_BYTES, upload.size - offset)
    if len(data) != expected or not data:
        raise PeerError(f"expected a chunk of {expected} bytes, got {len(data)}")
    if chunks.leaf(data) != upload.leaves[offset // chunks.CHUNK_BYTES]:
        raise PeerError(f"expected the chunk at {offset} that the header promised")


def _write(upload: _Upload, data: bytes) -> None:
    upload.file.seek(upload.written)
    if upload.file.write(data) != len(data):
        raise OSError("expected room on the disk for a chunk")
    upload.written += len(data)
