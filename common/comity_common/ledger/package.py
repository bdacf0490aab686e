"""An audit package: a ledger, its signed head and its agreements in one file for an outsider.

    entries.jsonl             one signed entry a line, in order (`signed`)
    head.note                 the head with the log's and the witnesses' signatures (`checkpoints`)
    agreements/DIGEST.json    every agreement that an entry names, as it was signed
    signatures/DIGEST.json    beside each: whose signatures the entries tell of (`signers`)

A zip with these names and no others. Nothing in it is believed because it is in it, and nothing is
ever unpacked to disk. The same content is the same bytes.
"""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from comity_common.canonical import decode, encode
from comity_common.errors import LocalError, PeerError
from comity_common.ids import InstitutionId
from comity_common.ledger.notes import MAX_NOTE_BYTES
from comity_common.ledger.signed import MAX_ENTRY_BYTES

ENTRIES, HEAD = "entries.jsonl", "head.note"
MAX_PACKAGE_BYTES = 256 << 20
MAX_UNPACKED_BYTES = 512 << 20
MAX_ENTRIES = 400_000
MAX_AGREEMENTS = 1_000
MAX_MEMBERS = 2 * MAX_AGREEMENTS + 2
MAX_AGREEMENT_BYTES = 4 << 20
MAX_SIGNATURES_BYTES = 2 << 20  # 256 parties with 2484 bytes each
_LOCAL = b"PK\x03\x04"  # begins a zip, and what stands before each of its members
_END, _END_BYTES = b"PK\x05\x06", 22  # ends a zip without a comment
_LISTED = b"PK\x01\x02"  # begins what the list at the end of a zip says of one member
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # other ways fail in ways of their own
_BY_CHANCE = 100  # so often it may stand among packed bytes
_AGREEMENT = re.compile(r"(agreements|signatures)/([0-9a-f]{64})\.json")
_BEGINNING = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can name
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    NotImplementedError,  # said by zipfile of a newer or a stranger kind of zip
    OSError,
    OverflowError,
    RuntimeError,  # a password is asked for
    ValueError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartySignature:
    """What a party put under an agreement, over its exact bytes."""

    party: InstitutionId
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatures:
    """Who signed an agreement, each once, in order; nobody may have."""

    given: tuple[PartySignature, ...]

    def __post_init__(self) -> None:
        parties = [one.party for one in self.given]
        if parties != sorted(set(parties)):
            raise LocalError("expected signatures in order of the parties, each once")

    @classmethod
    def of(
        cls, by_party: Mapping[InstitutionId, bytes], whose: Collection[InstitutionId] | None = None
    ) -> "Signatures":
        """Put signatures in order: all, or those of some parties alone."""
        given = (
            PartySignature(party=id, signature=raw)
            for id, raw in sorted(by_party.items())
            if whose is None or id in whose
        )
        return cls(given=tuple(given))

    @property
    def by_party(self) -> dict[InstitutionId, bytes]:
        """The signatures of each."""
        return {one.party: one.signature for one in self.given}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPackage:
    """What is in a package; nothing is checked yet.

    Attributes:
        entries: bytes of each signed entry, in order, without newlines.
        head: bytes of the signed note.
        agreements: bytes of each, by digest.
        signatures: under each, by digest.
    """

    entries: tuple[bytes, ...]
    head: bytes
    agreements: dict[str, bytes]
    signatures: dict[str, Signatures]

    def to_bytes(self) -> bytes:
        """Write the zip.

        Raises:
            LocalError: more than a package may hold.
        """
        if len(self.entries) > MAX_ENTRIES or len(self.agreements) > MAX_AGREEMENTS:
            raise LocalError(f"expected at most {MAX_ENTRIES} entries in a package")
        members = {ENTRIES: b"".join(entry + b"\n" for entry in self.entries), HEAD: self.head}
        for digest, raw in sorted(self.agreements.items()):
            members[f"agreements/{digest}.json"] = raw
        for digest, given in sorted(self.signatures.items()):
            members[f"signatures/{digest}.json"] = encode(given)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, raw in members.items():
                archive.writestr(zipfile.ZipInfo(name, _BEGINNING), raw, zipfile.ZIP_DEFLATED)
        return packed.getvalue()


def read_package(raw: bytes) -> AuditPackage:
    """Take a package apart.

    Args:
        raw: at most 256 MiB; what it unpacks to is at most 512 MiB.

    Raises:
        PeerError: it is none, says what is wrong with it.
    """
    if len(raw) > MAX_PACKAGE_BYTES:
        raise PeerError("expected a package of at most 256 MiB")
    if not raw.startswith(_LOCAL):
        what = "a file that does not begin as a zip does" if raw else "an empty file"
        raise PeerError(f"expected an audit package, got {what}")
    if not raw[-_END_BYTES:].startswith(_END):
        raise PeerError("expected an audit package, got no whole zip, or something behind it")
    if raw.count(_LISTED) > MAX_MEMBERS + _BY_CHANCE:  # before the list is read, which is at once
        raise _too_many()
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = _members(archive)
    except _BROKEN as error:
        raise PeerError(f"expected an audit package, got no whole zip: {_shown(error)}") from None
    joined = members.pop(ENTRIES)
    if not joined.endswith(b"\n") or joined.count(b"\n") > MAX_ENTRIES:
        raise PeerError(f"expected 1 to {MAX_ENTRIES} entries in {ENTRIES}, each with a newline")
    lines = joined[:-1].split(b"\n")
    if max(map(len, lines)) > MAX_ENTRY_BYTES:
        raise PeerError(f"expected entries of at most 1 MiB in {ENTRIES}")
    head = members.pop(HEAD)
    agreements, signatures = {}, {}
    for name, raw in members.items():
        folder, _, file = name.partition("/")
        if folder == "agreements":
            agreements[file[:64]] = raw
        else:
            signatures[file[:64]] = decode(Signatures, raw)
    return AuditPackage(
        entries=tuple(lines), head=head, agreements=agreements, signatures=signatures
    )


def _members(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """Read the members that a package has, each within its bound.

    Raises:
        PeerError: another member, one twice, a missing or a too large one.
    """
    listed = archive.infolist()
    if len(listed) > MAX_MEMBERS:
        raise _too_many()
    if len({one.filename for one in listed}) != len(listed):
        raise PeerError("expected every file of a package once")
    members, room = {}, MAX_UNPACKED_BYTES
    for one in listed:
        most = _bound(one.filename)
        if not most:
            raise PeerError("expected a package with entries, head and agreements alone")
        if one.compress_type not in _PACKED:
            raise PeerError("expected every file of a package stored or deflated")
        if one.file_size > most:
            raise _too_large(one.filename, most)
        room -= one.file_size
        if room < 0:
            raise PeerError("expected a package that unpacks to at most 512 MiB")
        with archive.open(one) as member:
            members[one.filename] = member.read(most + 1)
        if len(members[one.filename]) > most:
            raise _too_large(one.filename, most)
    for name in (ENTRIES, HEAD):
        if name not in members:
            raise PeerError(f"expected a package with {name}")
    return members


def _too_many() -> PeerError:
    return PeerError(f"expected at most {MAX_AGREEMENTS} agreements in a package")


def _too_large(name: str, most: int) -> PeerError:
    return PeerError(f"expected {name} to be of at most {most} bytes")


def _bound(name: str) -> int:
    """Return how many bytes a file may have; 0: it is none of a package's."""
    if found := _AGREEMENT.fullmatch(name):
        return MAX_AGREEMENT_BYTES if found[1] == "agreements" else MAX_SIGNATURES_BYTES
    return {ENTRIES: MAX_UNPACKED_BYTES, HEAD: MAX_NOTE_BYTES}.get(name, 0)


def _shown(error: Exception) -> str:
    """Word what a library says so that what a peer wrote moves no cursor."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(error)[:100])
