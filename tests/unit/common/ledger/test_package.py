"""Audit packages: the same content is the same bytes, and nothing else is read."""

import io
import tracemalloc
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity_common.canonical import encode
from comity_common.errors import LocalError, PeerError
from comity_common.ids import InstitutionId
from comity_common.ledger.package import (
    ENTRIES,
    HEAD,
    MAX_ENTRIES,
    MAX_MEMBERS,
    AuditPackage,
    PartySignature,
    Signatures,
    read_package,
)

DIGEST = "ab" * 32
SIGNED = Signatures.of({InstitutionId("b"): b"bb", InstitutionId("a"): b"aa"})
PACKAGE = AuditPackage(
    entries=(b'{"a":1}', b'{"b":2}'),
    head=b"head",
    agreements={DIGEST: b"agreement"},
    signatures={DIGEST: SIGNED},
)
RAW = PACKAGE.to_bytes()
MEMBERS = {
    ENTRIES: b"one\ntwo\n",
    HEAD: b"head",
    f"agreements/{DIGEST}.json": b"agreement",
    f"signatures/{DIGEST}.json": encode(SIGNED),
}


def packed(members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", how) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return made.getvalue()


def traced(raw: bytes, why: str) -> int:
    """Refuse a package, and return the most memory that it took, in bytes."""
    tracemalloc.start()
    try:
        with pytest.raises(PeerError, match=why):
            read_package(raw)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def without(name: str) -> dict[str, bytes]:
    return {key: value for key, value in MEMBERS.items() if key != name}


def test_what_is_written_is_read_again_and_is_always_the_same_bytes():
    assert read_package(RAW) == PACKAGE
    assert PACKAGE.to_bytes() == RAW
    assert read_package(packed(MEMBERS)).entries == (b"one", b"two")


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "an empty file"),
        (RAW[: len(RAW) // 2], "no whole zip"),
        (RAW[10:], "does not begin as a zip"),
        (b"PK\x03\x04" + bytes(100), "no whole zip"),
        (RAW + b"\n", "something behind it"),
        (packed(without(ENTRIES)), "package with entries.jsonl"),
        (packed(without(HEAD)), "package with head.note"),
        (packed(MEMBERS | {"report.html": b""}), "alone"),
        (packed(MEMBERS | {"../head.note": b""}), "alone"),
        (packed(MEMBERS | {"/etc/passwd": b""}), "alone"),
        (packed(MEMBERS | {"agreements/../x.json": b""}), "alone"),
        (packed(MEMBERS | {"agreements/": b""}), "alone"),
        (packed(MEMBERS | {ENTRIES: b""}), "each with a newline"),
        (packed(MEMBERS | {ENTRIES: b"one"}), "each with a newline"),
        (packed(MEMBERS | {ENTRIES: bytes((1 << 20) + 1) + b"\n"}), "at most 1 MiB"),
        (packed(MEMBERS | {HEAD: bytes((4 << 20) + 1)}), "at most 4194304"),
    ],
)
def test_anything_else_is_no_package(raw: bytes, why: str):
    with pytest.raises(PeerError, match=why):
        read_package(raw)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_is_refused():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in (ENTRIES, HEAD, HEAD):
            archive.writestr(name, b"x\n")
    with pytest.raises(PeerError, match="once"):
        read_package(made.getvalue())


def test_a_changed_byte_of_a_file_is_noticed_by_its_checksum():
    at = RAW.index(b"head.note") + len(b"head.note") + 2
    with pytest.raises(PeerError):
        read_package(RAW[:at] + bytes([RAW[at] ^ 0xFF]) + RAW[at + 1 :])


def test_a_bomb_is_refused_within_bounded_memory():
    bomb = packed(MEMBERS | {f"agreements/{DIGEST}.json": bytes(200 << 20)})
    assert len(bomb) < 1 << 20
    assert traced(bomb, "at most 4194304") < 32 << 20


def test_a_bomb_of_newlines_is_refused_before_it_is_cut_into_lines():
    bomb = packed(MEMBERS | {ENTRIES: b"\n" * (64 << 20)})
    assert len(bomb) < 1 << 20
    assert traced(bomb, f"1 to {MAX_ENTRIES} entries") < 3 * (64 << 20)


@pytest.mark.parametrize("count", [MAX_MEMBERS + 1, 200_000])
def test_more_files_than_a_package_can_have_are_refused(count: int):
    """Python lists the files of a zip at once, each with some 500 bytes."""
    empty = packed({"a": b""}, zipfile.ZIP_STORED)
    at = empty.index(b"PK\x01\x02")
    end = empty.index(b"PK\x05\x06")
    listed = empty[at:end] * count
    ending = bytearray(empty[end:])
    ending[8:12] = (count & 0xFFFF).to_bytes(2, "little") * 2
    ending[12:16] = len(listed).to_bytes(4, "little")
    raw = empty[:at] + listed + bytes(ending)
    assert traced(raw, "at most 1000 agreements") < 2 << 20


def test_a_package_of_as_many_files_as_it_can_have_is_read():
    digests = [f"{k:064x}" for k in range((MAX_MEMBERS - 2) // 2)]
    package = AuditPackage(
        entries=(b"one",),
        head=b"head",
        agreements=dict.fromkeys(digests, b"{}"),
        signatures=dict.fromkeys(digests, Signatures(given=())),
    )
    assert read_package(package.to_bytes()) == package


def test_packed_bytes_that_look_like_a_list_of_files_are_no_list():
    lines = b"PK\x01\x02" * 90 + b"\n"
    assert read_package(packed(MEMBERS | {ENTRIES: lines}, zipfile.ZIP_STORED)).entries


def test_a_package_with_a_password_or_an_unknown_way_of_packing_is_refused():
    plain = packed(MEMBERS)
    found = ((6, 1, "no whole zip"), (8, 99, "stored or deflated"))
    for place, value, why in found:  # of the flags and the method in a file's own header
        raw = bytearray(plain)
        for mark, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
            at = raw.index(mark) + place + shift
            raw[at : at + 2] = value.to_bytes(2, "little")
        with pytest.raises(PeerError, match=why):
            read_package(bytes(raw))


@pytest.mark.parametrize("way", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_package_that_is_packed_in_a_way_of_its_own_is_refused(way: int):
    with pytest.raises(PeerError, match="stored or deflated"):
        read_package(packed(MEMBERS, way))


def test_a_file_that_is_a_link_is_read_as_the_bytes_that_it_has():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, raw in MEMBERS.items():
            link = zipfile.ZipInfo(name)
            link.external_attr = 0o120777 << 16
            archive.writestr(link, raw)
    assert read_package(made.getvalue()) == read_package(packed(MEMBERS))


def test_signatures_are_in_order_each_once():
    assert [one.party for one in SIGNED.given] == ["a", "b"]
    one = PartySignature(party=InstitutionId("a"), signature=b"aa")
    for wrong in ((one, one), SIGNED.given[::-1]):
        with pytest.raises(LocalError, match="each once"):
            Signatures(given=wrong)
    twice = encode(SIGNED).replace(b'"b"', b'"a"')
    with pytest.raises(PeerError, match="each once"):
        read_package(packed(MEMBERS | {f"signatures/{DIGEST}.json": twice}))


def test_a_size_that_the_list_of_files_lies_about_is_no_way_around_the_bound():
    bomb = packed(MEMBERS | {HEAD: bytes(8 << 20)})
    lied = bomb.replace((8 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    assert lied != bomb
    with pytest.raises(PeerError):
        read_package(lied)


@given(st.binary(max_size=400))
def test_hostile_bytes_raise_the_one_error(raw):
    with pytest.raises(PeerError):
        read_package(raw)


@given(st.data())
def test_damaged_packages_raise_it_too_or_say_nothing_that_was_not_in_them(data):
    """A file may be gone from the list of files; that it is missing, the verifier finds."""
    at = data.draw(st.integers(0, len(RAW) - 1))
    new = data.draw(st.integers(0, 255))
    try:
        found = read_package(RAW[:at] + bytes([new]) + RAW[at + 1 :])
    except PeerError:
        return
    assert (found.entries, found.head) == (PACKAGE.entries, PACKAGE.head)
    assert found.agreements.items() <= PACKAGE.agreements.items()
    assert found.signatures.items() <= PACKAGE.signatures.items()
