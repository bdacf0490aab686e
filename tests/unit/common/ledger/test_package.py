"""Audit packages: the same content is the same bytes, and nothing else is read."""

import io
import tracemalloc
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity_common.errors import PeerError
from comity_common.ledger.package import ENTRIES, HEAD, AuditPackage, read_package

DIGEST = "ab" * 32
PACKAGE = AuditPackage(
    entries=(b'{"a":1}', b'{"b":2}'), head=b"head", agreements={DIGEST: b"agreement"}
)
RAW = PACKAGE.to_bytes()
MEMBERS = {ENTRIES: b"one\ntwo\n", HEAD: b"head", f"agreements/{DIGEST}.json": b"agreement"}


def packed(members: dict[str, bytes], **changes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return made.getvalue()


def without(name: str) -> dict[str, bytes]:
    return {key: value for key, value in MEMBERS.items() if key != name}


def test_what_is_written_is_read_again_and_is_always_the_same_bytes():
    assert read_package(RAW) == PACKAGE
    assert PACKAGE.to_bytes() == RAW
    assert read_package(packed(MEMBERS)).entries == (b"one", b"two")


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "no whole zip"),
        (RAW[: len(RAW) // 2], "no whole zip"),
        (RAW[10:], "expected"),
        (b"PK\x03\x04" + bytes(100), "no whole zip"),
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
    tracemalloc.start()
    try:
        with pytest.raises(PeerError, match="at most 4194304"):
            read_package(bomb)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


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
    """An agreement may be gone from the list of files; that it is missing, the verifier finds."""
    at = data.draw(st.integers(0, len(RAW) - 1))
    new = data.draw(st.integers(0, 255))
    try:
        found = read_package(RAW[:at] + bytes([new]) + RAW[at + 1 :])
    except PeerError:
        return
    assert (found.entries, found.head) == (PACKAGE.entries, PACKAGE.head)
    assert found.agreements.items() <= PACKAGE.agreements.items()
