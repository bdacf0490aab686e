"""A backup: one encrypted file with what cannot be made again, and the way back from it.

    comity-backup/1 ‖ time ‖ salt ‖ nonce ‖ ChaCha20-Poly1305 of a zip

The head is authenticated with the content. Its first word fixes every parameter, so a file cannot
ask for more memory or for less work. What is in the zip: keys, settings, and a copy of the store
from which all is taken out that must not live twice: key epochs, shares, messages on their way.

A vault that comes back is older than its own past. Therefore

* what its agreements could have spent since the backup counts as spent, up to each data set's
  ceiling, which the lost vault kept too: a budget never shows less than may have been spent;
* these agreements are refused, so nothing is sent under them again;
* agreements that were signed after the backup are not known here. Only people can tell whether
  there were any; if there were, or nobody knows, all that was left of every budget is gone.
"""

import io
import os
import re
import shutil
import sqlite3
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from comity.v1 import transfer_pb2 as pb
from comity_client.forfeits import Forfeit, forfeit
from comity_client.home import Home
from comity_client.institution import Institution
from comity_client.keystore import Keystore
from comity_common.errors import LocalError, Problem
from comity_host.files import is_disk_full, make_private, sync_directory, write_secret

MAGIC = b"comity-backup/1\n"
TIME_BYTES, SALT_BYTES, NONCE_BYTES = 20, 16, 12
HEAD_BYTES = len(MAGIC) + TIME_BYTES + SALT_BYTES + NONCE_BYTES
MIN_PASSPHRASE = 12  # characters
SCRYPT = {"length": 32, "n": 2**17, "r": 8, "p": 1}  # 128 MiB and half a second for each guess

NAME = re.compile(r"((keys|flower)/)?[A-Za-z0-9_-][A-Za-z0-9._-]*")
DATABASE = "vault.db"

CLEARED = (
    "delete from chains",
    "delete from epochs",
    "update rounds set upload = null, held = null, reveal = null",
    "update rounds set phase = 'closed', outcome = 'restored' where phase != 'closed'",
    "vacuum",  # what was deleted is not in free pages either
)


class Passphrase:
    """What a person remembers; never printed."""

    def __init__(self, text: str) -> None:
        self._text = unicodedata.normalize("NFC", text)

    def __repr__(self) -> str:
        return "Passphrase(...)"

    @classmethod
    def from_file(cls, file: Path) -> "Passphrase":
        """Read the first line of a file.

        Raises:
            Problem: it is empty or not UTF-8.
        """
        with suppress(UnicodeDecodeError):
            lines = file.read_text("utf-8").splitlines()
            if lines and lines[0]:
                return cls(lines[0])
        raise Problem("COM-KEYS-001", file=file)

    def check_length(self) -> "Passphrase":
        """Return it, if it may protect a backup.

        Raises:
            Problem: it is too short.
        """
        if len(self._text) < MIN_PASSPHRASE:
            raise Problem("COM-KEYS-002", least=MIN_PASSPHRASE)
        return self

    def cipher(self, salt: bytes) -> ChaCha20Poly1305:
        """Derive the key of one backup (RFC 7914)."""
        return ChaCha20Poly1305(Scrypt(salt=salt, **SCRYPT).derive(self._text.encode()))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Backup:
    """What was in a backup.

    Attributes:
        time: when it was made, `YYYY-MM-DDTHH:MM:SSZ`.
        files: contents by their place in the home.
    """

    time: str
    files: Mapping[str, bytes]


def write_backup(home: Home, file: Path, passphrase: Passphrase, now: datetime) -> None:
    """Write a backup of an institution, which may be running.

    Args:
        file: readable by its owner alone; never overwritten.
        now: in UTC.

    Raises:
        Problem: there is such a file, or no institution.
    """
    check_absent(file)
    content = _packed(home)
    salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
    head = MAGIC + f"{now:%Y-%m-%dT%H:%M:%SZ}".encode() + salt + nonce
    sealed = passphrase.cipher(salt).encrypt(nonce, content, head)
    try:
        write_secret(file, head + sealed)
    except OSError:
        file.unlink(missing_ok=True)  # half of a backup is none
        raise


def open_backup(file: Path, passphrase: Passphrase) -> Backup:
    """Decrypt and check a backup.

    Raises:
        Problem: it is no backup, the passphrase is another one, or the file is damaged.
    """
    raw = file.read_bytes()
    head, sealed = raw[:HEAD_BYTES], raw[HEAD_BYTES:]
    if len(head) < HEAD_BYTES or not head.startswith(MAGIC):
        raise Problem("COM-KEYS-003", file=file)
    time, salt, nonce = _parts(head)
    try:
        content = passphrase.cipher(salt).decrypt(nonce, sealed, head)
    except InvalidTag:
        raise Problem("COM-KEYS-004", file=file) from None
    return Backup(time=time.decode("ascii"), files=_unpacked(content))


def restore(backup: Backup, home: Path, *, signed_since: bool) -> tuple[Forfeit, ...]:
    """Write a home from a backup, whole and durably, or nothing.

    Args:
        home: empty, or not there yet.
        signed_since: whether agreements may have been signed after the backup was made.

    Returns:
        what counts as spent from now on.

    Raises:
        Problem: the home is not empty.
    """
    check_empty(home)
    home.parent.mkdir(parents=True, exist_ok=True)
    with _draft_of(home) as draft:
        place = Home(draft)
        place.create()
        for name, content in backup.files.items():
            if not NAME.fullmatch(name):
                raise LocalError("expected a backup of an institution's home alone")
            write_secret(draft / name, content)
        try:
            institution = Institution(draft)  # checks keys, settings and the ledger's chain
            with institution.store.transaction() as tx:
                forfeits = forfeit(institution, tx, signed_since=signed_since)
            institution.store.reading().close()
        except sqlite3.DatabaseError as error:
            if is_disk_full(error):
                raise
            raise LocalError(f"expected a backup with a whole store: {error}") from None
        for directory in (place.keys, place.flower, draft):
            sync_directory(directory)
    return forfeits


def check_absent(file: Path) -> None:
    """Refuse to write over anything.

    Raises:
        Problem: there is such a file.
    """
    if file.exists():
        raise Problem("COM-KEYS-005", file=file)


def check_empty(home: Path) -> None:
    """Refuse to restore over anything.

    Raises:
        Problem: there is something already.
    """
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise Problem("COM-KEYS-006", home=home)


def _parts(head: bytes) -> tuple[bytes, bytes, bytes]:
    time_end = len(MAGIC) + TIME_BYTES
    salt_end = time_end + SALT_BYTES
    return head[len(MAGIC) : time_end], head[time_end:salt_end], head[salt_end:]


def _packed(home: Home) -> bytes:
    home.settings()
    Keystore(home.keys)
    wanted = [home.config, home.policy, home.card, home.path / "enrolment.request"]
    wanted += [home.flower / "node", home.flower / "node.pub", *sorted(home.keys.iterdir())]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as pack:
        for path in wanted:
            if path.is_file():
                pack.writestr(str(path.relative_to(home.path)), path.read_bytes())
        pack.writestr(DATABASE, _copy_of(home.database))
    return content.getvalue()


def _unpacked(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as pack:
        return {name: pack.read(name) for name in pack.namelist()}


def _copy_of(database: Path) -> bytes:
    """Copy the store as of one moment, in memory, without what must not live twice."""
    uri = f"{database.resolve().as_uri()}?mode=ro"
    try:
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=30)) as source,
            closing(sqlite3.connect(":memory:", isolation_level=None)) as copy,
        ):
            source.backup(copy)
            copy.execute("delete from outbox where kind != ?", (pb.PARCEL_KIND_WITHDRAWAL,))
            for statement in CLEARED:
                copy.execute(statement)
            return copy.serialize()
    except sqlite3.Error as error:
        raise LocalError(f"expected the institution's store in {database.name}: {error}") from None


@contextmanager
def _draft_of(home: Path) -> Iterator[Path]:
    """Make a directory beside the home that takes its name when the block succeeds."""
    draft = home.with_name(f".{home.name}.restoring")
    shutil.rmtree(draft, ignore_errors=True)  # of a restore that was killed
    make_private(draft)
    try:
        yield draft
        draft.replace(home)
    except BaseException:
        shutil.rmtree(draft)
        raise
    sync_directory(home.parent)
