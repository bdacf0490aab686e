"""Signed notes: one spelling each, and nothing else is read."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity_common.errors import LocalError, PeerError
from comity_common.ledger.notes import NoteKey, NoteSignature, SignatureType, SignedNote, read_note

LINE = NoteSignature(name="ledger.example/a", key_id=b"\x01\x02\x03\x04", signature=b"s" * 64)
NOTE = SignedNote(text="first\n\nsecond\n", signatures=(LINE, LINE))


def test_what_is_written_is_read_again():
    assert read_note(NOTE.to_bytes()) == NOTE


def test_the_text_ends_at_the_last_empty_line():
    assert (
        NOTE.to_bytes().decode().startswith("first\n\nsecond\n\n\u2014 ledger.example/a AQIDBHNz")
    )


def test_a_key_is_named_as_the_published_example_has_it():
    """The example of golang.org/x/mod/sumdb/note's documentation."""
    vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    key = NoteKey("PeterNeumann", SignatureType.ED25519, base64.b64decode(vkey.split("+")[2])[1:])
    assert (key.id.hex(), key.vkey) == ("c74f20a3", vkey)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\n\n",
        NOTE.to_bytes()[:-1],
        NOTE.to_bytes() + b"\n",
        NOTE.to_bytes().replace(b"AQIDBHNz", b"AQIDBHN"),
        NOTE.to_bytes().replace(b"AQIDBHNz", b"AQID BHNz"),
        NOTE.to_bytes().replace(b"ledger.example/a AQ", b"ledger+example/a AQ"),
        NOTE.to_bytes().replace(b"first", b"fir\tst"),
        NOTE.to_bytes().replace("\u2014".encode(), b"-"),
        NOTE.to_bytes().replace(b"first", b"\xff"),
        NOTE.to_bytes().replace(b"\n", b"\r\n"),
        b"text\n\n" + LINE.line.encode() * 601,
        b"x" * (4 << 20) + NOTE.to_bytes(),
    ],
)
def test_anything_else_is_no_note(raw: bytes):
    with pytest.raises(PeerError, match="expected a signed note"):
        read_note(raw)


def test_base64_with_loose_bits_is_a_second_spelling_and_refused():
    short = SignedNote(text="t\n", signatures=(
        NoteSignature(name="a", key_id=b"abcd", signature=b"1"),
    ))  # fmt: skip
    raw = short.to_bytes()
    assert raw.endswith(b"YWJjZDE=\n")
    with pytest.raises(PeerError):
        read_note(raw.replace(b"ZDE=", b"ZDF="))


@given(st.text(max_size=60), st.binary(max_size=40), st.binary(max_size=8))
def test_whatever_can_be_written_is_read_and_is_what_was_written(name, signature, key_id):
    try:
        line = NoteSignature(name=name, key_id=key_id, signature=signature)
        note = SignedNote(text=f"{name}\n", signatures=(line,))
    except (LocalError, UnicodeEncodeError):
        return
    assert read_note(note.to_bytes()) == note


@given(st.binary(max_size=200))
def test_hostile_bytes_raise_the_one_error(raw):
    with pytest.raises(PeerError):
        read_note(raw)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "x" * 256, "a\nb"])
def test_no_key_has_a_name_with_a_space_a_plus_or_too_long(name: str):
    with pytest.raises(LocalError):
        NoteKey(name, SignatureType.ED25519, bytes(32))
