"""A message has one spelling, and bytes of any other origin raise `PeerError` and nothing else."""

import base64
import json
import random
from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from comity_common.agreement import Agreement
from comity_common.canonical import MAX_INTEGER, decode, encode
from comity_common.errors import LocalError, PeerError
from comity_common.secagg.messages import CertificateBody, Header, Plan, Reveal


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    label: str
    weights: tuple[Decimal, ...]

    def __post_init__(self) -> None:
        if len(self.weights) > 5:
            raise LocalError("expected at most five weights")


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    text: str
    count: int
    flag: bool
    raw: bytes
    amount: Decimal
    colour: Colour
    inner: Inner
    many: tuple[Inner, ...]
    chunks: tuple[bytes, ...]
    maybe: int | None


decimals = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent),
    st.integers(-(10**20), 10**20),
    st.integers(-19, 19),
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
inners = st.builds(Inner, label=texts, weights=st.lists(decimals, max_size=5).map(tuple))
messages = st.builds(
    Everything,
    text=texts,
    count=st.integers(-MAX_INTEGER, MAX_INTEGER),
    flag=st.booleans(),
    raw=st.binary(),
    amount=decimals,
    colour=st.sampled_from(Colour),
    inner=inners,
    many=st.lists(inners, max_size=3).map(tuple),
    chunks=st.lists(st.binary(max_size=40), max_size=3).map(tuple),
    maybe=st.none() | st.integers(-5, 5),
)

SAMPLE = Everything(
    text='grüß \u2028 \U0001f600 "\\',
    count=7,
    flag=True,
    raw=b"\x00\xff\x10",
    amount=Decimal("1.25"),
    colour=Colour.RED,
    inner=Inner(label="a", weights=(Decimal(1), Decimal("-0.5"))),
    many=(Inner(label="", weights=()),),
    chunks=(b"", b"x"),
    maybe=None,
)
TREE = json.loads(encode(SAMPLE))


def spelled(tree: object) -> bytes:
    """Any JSON in the white space and order of RFC 8785."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def only_a_peer_error(kind: type, raw: bytes) -> None:
    """Decode hostile bytes: either they are the canonical bytes of a message, or `PeerError`."""
    try:
        message = decode(kind, raw)
    except PeerError:
        return
    assert encode(message) == raw


@given(messages)
def test_decode_undoes_encode(message):
    raw = encode(message)
    assert decode(Everything, raw) == message
    assert encode(decode(Everything, raw)) == raw


@given(messages)
def test_the_bytes_are_what_json_sorts_and_prints_without_white_space(message):
    raw = encode(message)
    assert raw == spelled(json.loads(raw))


@given(messages, messages)
def test_different_messages_have_different_bytes(one, other):
    assert (one == other) == (encode(one) == encode(other))


def test_known_bytes_of_a_message_with_every_type():
    assert (
        encode(SAMPLE)
        == (
            '{"amount":"1.25","chunks":["","eA=="],"colour":"red","count":7,"flag":true,'
            '"inner":{"label":"a","weights":["1","-0.5"]},"many":[{"label":"","weights":[]}],'
            '"maybe":null,"raw":"AP8Q","text":"grüß \u2028 \U0001f600 \\"\\\\"}'
        ).encode()
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1", "1"),
        ("1.0", "1"),
        ("-0", "0"),
        ("-0.000", "0"),
        ("0E+5", "0"),
        ("1E+3", "1000"),
        ("1E-7", "0.0000001"),
        ("100", "100"),
        ("-12.3400", "-12.34"),
        ("9" * 40, "9" * 40),
        ("1E+39", "1" + "0" * 39),
        ("1E-40", "0." + "0" * 39 + "1"),
    ],
)
def test_a_decimal_is_spelled_in_full_and_comes_back_equal(value, text):
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Amount:
        value: Decimal

    raw = encode(Amount(value=Decimal(value)))
    assert raw == b'{"value":"%s"}' % text.encode()
    assert decode(Amount, raw).value == Decimal(value)


@pytest.mark.parametrize("value", ["1E+40", "123E+38", "12E+39"])
def test_encode_writes_no_decimal_that_decode_refuses(value):
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Amount:
        value: Decimal

    try:
        raw = encode(Amount(value=Decimal(value)))
    except LocalError:
        return
    assert decode(Amount, raw).value == Decimal(value)


@pytest.mark.parametrize(
    "value",
    [
        "NaN", "sNaN", "Infinity", "-Infinity", "1E+41", "1E-41", "9" * 41, "1E+999999",
    ],
)  # fmt: skip
def test_encode_refuses_a_decimal_without_canonical_form(value):
    with pytest.raises(LocalError):
        encode(Inner(label="", weights=(Decimal(value),)))


@pytest.mark.parametrize("count", [MAX_INTEGER + 1, -MAX_INTEGER - 1, 10**4000])
def test_encode_refuses_an_integer_beyond_the_exact_doubles(count):
    with pytest.raises(LocalError):
        encode(changed(count=count))


@pytest.mark.parametrize("value", [1.5, [1], {"a": 1}, bytearray(b"x"), {1}, object(), Everything])
def test_encode_refuses_a_type_without_canonical_form(value):
    with pytest.raises(LocalError):
        encode(changed(text=value))


def test_encode_refuses_a_lone_surrogate():
    with pytest.raises(LocalError):
        encode(changed(text="\ud800"))


def changed(**values: object) -> Everything:
    return Everything(**{f.name: getattr(SAMPLE, f.name) for f in fields(SAMPLE)} | values)


NOT_CANONICAL = {
    "a space": encode(SAMPLE).replace(b'":', b'": ', 1),
    "a newline at the end": encode(SAMPLE) + b"\n",
    "a byte order mark": b"\xef\xbb\xbf" + encode(SAMPLE),
    "utf-16": encode(SAMPLE).decode().encode("utf-16"),
    "escaped letters": json.dumps(TREE, sort_keys=True, separators=(",", ":")).encode(),
    "an escaped slash": spelled(TREE | {"text": "/"}).replace(b'"/"', b'"\\/"'),
    "keys in another order": json.dumps(
        dict(reversed(TREE.items())), separators=(",", ":"), ensure_ascii=False
    ).encode(),
    "a doubled key": encode(SAMPLE)[:-1] + b',"text":"x"}',
    "a doubled equal key": encode(SAMPLE)[:-1] + b',"count":7}',
    "a doubled key within": encode(SAMPLE).replace(b'"label":"a",', b'"label":"a","label":"a",'),
    "an unknown key": spelled(TREE | {"zzz": 1}),
    "a missing key": spelled({k: v for k, v in TREE.items() if k != "flag"}),
    "a missing optional key": spelled({k: v for k, v in TREE.items() if k != "maybe"}),
    "minus zero": encode(SAMPLE).replace(b'"count":7', b'"count":-0'),
    "a leading zero": encode(SAMPLE).replace(b'"count":7', b'"count":07'),
    "a plus": encode(SAMPLE).replace(b'"count":7', b'"count":+7'),
    "an exponent": encode(SAMPLE).replace(b'"count":7', b'"count":7e0'),
    "a fraction": encode(SAMPLE).replace(b'"count":7', b'"count":7.0'),
    "not a number": encode(SAMPLE).replace(b'"count":7', b'"count":NaN'),
    "infinity": encode(SAMPLE).replace(b'"count":7', b'"count":-Infinity'),
    "a huge integer": encode(SAMPLE).replace(b'"count":7', b'"count":9007199254740992'),
    "a very huge integer": encode(SAMPLE).replace(b'"count":7', b'"count":' + b"9" * 4000),
    "an unparsable integer": encode(SAMPLE).replace(b'"count":7', b'"count":' + b"9" * 50000),
    "a boolean for an integer": spelled(TREE | {"count": True}),
    "an integer for a boolean": spelled(TREE | {"flag": 1}),
    "a string for an integer": spelled(TREE | {"count": "7"}),
    "an integer for a string": spelled(TREE | {"text": 7}),
    "null for a string": spelled(TREE | {"text": None}),
    "null for a list": spelled(TREE | {"many": None}),
    "an object for a list": spelled(TREE | {"many": {}}),
    "a string for a list": spelled(TREE | {"many": "abc"}),
    "a list for an object": spelled(TREE | {"inner": []}),
    "a string for an optional": spelled(TREE | {"maybe": "1"}),
    "another colour": spelled(TREE | {"colour": "blue"}),
    "a colour by its name": spelled(TREE | {"colour": "RED"}),
    "a decimal as a number": spelled(TREE | {"amount": 1}),
    "a decimal with an exponent": spelled(TREE | {"amount": "1e2"}),
    "a decimal that no sum holds": spelled(TREE | {"amount": "1e999999999999"}),
    "a decimal that is no number": spelled(TREE | {"amount": "NaN"}),
    "a lone surrogate": encode(SAMPLE).replace(b'"text":"', b'"text":"\\ud800'),
    "a surrogate in utf-8": encode(SAMPLE).replace(b'"text":"', b'"text":"\xed\xa0\x80'),
    "a surrogate pair escaped": encode(SAMPLE).replace(b'"text":"', b'"text":"\\ud83d\\ude00'),
    "a lone surrogate as base64": encode(SAMPLE).replace(b'"AP8Q"', b'"\\ud800"'),
    "a lone surrogate as a decimal": encode(SAMPLE).replace(b'"1.25"', b'"\\udfff"'),
    "a lone surrogate as a colour": encode(SAMPLE).replace(b'"red"', b'"\\udfff"'),
    "a lone surrogate as a key": encode(SAMPLE).replace(b'"flag"', b'"\\ud800"'),
    "too many weights": spelled(TREE | {"inner": {"label": "a", "weights": ["1"] * 6}}),
    "nothing": b"",
    "null": b"null",
    "an empty object": b"{}",
    "an empty list": b"[]",
    "two messages": encode(SAMPLE) * 2,
    "deep lists": b"[" * 200_000,
    "deep lists, closed": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"text":' * 100_000,
    "deep lists in a field": encode(SAMPLE).replace(
        b'"many":[', b'"many":[' + b"[" * 900 + b"]" * 900 + b","
    ),
}


@pytest.mark.parametrize("raw", NOT_CANONICAL.values(), ids=NOT_CANONICAL)
def test_decode_refuses_every_other_spelling(raw):
    with pytest.raises(PeerError):
        decode(Everything, raw)


@pytest.mark.parametrize(
    "amount",
    [
        "NaN", "sNaN", "-NaN123", "Infinity", "inf", "1e3", "1E+3", "+1", "01", "1.0", "1.", ".5",
        "-0", "0.0", "1_000", " 1", "1 ", "1\n", "", "x", "--1", "١", "１", "1,5", "0x10",
        "1E+999999999999999999999", "1E-999999999999999999999", "1E+400000000", "9" * 41,
        "9" * 10000, "0." + "0" * 40 + "1",
    ],
)  # fmt: skip
def test_decode_refuses_every_other_spelling_of_a_decimal(amount):
    with pytest.raises(PeerError):
        decode(Everything, spelled(TREE | {"amount": amount}))


@pytest.mark.parametrize(
    "text",
    [
        "AP8", "AP8Q=", "AP8Q====", "A", "A===", "=", "====", "AP8Q\n", " AP8Q", "AP 8Q", "AP8-",
        "_P8Q", "YR==", "YWJ=", "ÄP8Q", "\ud7ff", "YQ==YQ==",
    ],
)  # fmt: skip
def test_decode_refuses_every_other_spelling_of_base64(text):
    with pytest.raises(PeerError):
        decode(Everything, spelled(TREE | {"raw": text}))


def test_the_url_alphabet_is_another_spelling():
    raw = b"\xfb\xff\xfe"
    assert decode(Everything, spelled(TREE | {"raw": base64.b64encode(raw).decode()})).raw == raw
    with pytest.raises(PeerError):
        decode(Everything, spelled(TREE | {"raw": base64.urlsafe_b64encode(raw).decode()}))


@given(st.binary(max_size=200))
@example(b'{"a":' * 3000)
def test_random_bytes_raise_only_peer_errors(raw):
    only_a_peer_error(Everything, raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=40)
@given(field=st.sampled_from(sorted(TREE)), value=json_values, inside=st.booleans())
def test_any_json_in_any_field_raises_only_peer_errors(field, value, inside):
    tree = TREE | ({"many": [TREE["inner"] | {"weights": value}]} if inside else {field: value})
    raw = json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()
    only_a_peer_error(Everything, raw)
    only_a_peer_error(Everything, raw.decode("unicode_escape", "ignore").encode("utf-8", "ignore"))


def mutated(raw: bytes, chance: random.Random) -> bytes:
    """Damage valid bytes as a fuzzer does."""
    out = bytearray(raw)
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        at = chance.randrange(len(out) + 1)
        to = min(len(out), at + chance.randrange(12))
        match chance.randrange(6):
            case 0 if out:
                out[at % len(out)] ^= 1 << chance.randrange(8)
            case 1:
                out[at:to] = b""
            case 2:
                out[at:at] = out[at:to]
            case 3:
                out[at:at] = chance.choice(TOKENS)
            case 4:
                out[at:to] = chance.choice(TOKENS)
            case _:
                out[at:at] = chance.randbytes(chance.randrange(4))
    return bytes(out)


TOKENS = [
    b"null", b"true", b"-1", b"1e9", b"0.1", b"NaN", b'""', b'"', b"\\", b"\\ud800", b"\\u0000",
    b"[", b"]", b"{", b"}", b",", b":", b"9" * 30, b"9" * 5000, b"[" * 3000, b'{"a":' * 3000,
    b"\xff", b"\xed\xa0\x80", b"=", b'"NaN"', b'"1E+999999999999999999"', b" ",
]  # fmt: skip


def fuzzed(kind: type, raw: bytes, tries: int, seed: int) -> int:
    """Decode damaged bytes; return how many were still a message."""
    chance = random.Random(seed)
    accepted = 0
    for _ in range(tries):
        damaged = mutated(raw, chance)
        only_a_peer_error(kind, damaged)
        try:
            decode(kind, damaged)
        except PeerError:
            continue
        accepted += damaged != raw
    return accepted


def test_damaged_messages_raise_only_peer_errors():
    assert fuzzed(Everything, encode(SAMPLE), 3000, seed=1) > 0  # some damage is another message


def protocol_samples() -> list[object]:
    digest, name = "ab" * 32, "inst-00"
    plan = Plan(
        agreement=digest, epoch=1, round=1, participants=(name,), previous=digest, model=digest,
        nonce=bytes(16), kind="train", threshold=1, minimum=1, ring_width=32, lanes=1,
        lane_bound=1, range=Decimal(1), sampling_probability=Decimal("0.1"),
        noise_multiplier=Decimal(1), clip_norm=Decimal(1), steps=1,
    )  # fmt: skip
    return [
        plan,
        Header(
            plan=digest, institution=name, size=8, root=bytes(32), commitments=(bytes(32),),
            shares=(bytes(32),),
        ),
        Reveal(survivors=digest, institution=name, shares=(bytes(32),), complaints=()),
        CertificateBody(
            agreement=digest, epoch=1, round=1, plan=digest, survivors=(name,), total=bytes(32),
            reason="",
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("message", protocol_samples(), ids=lambda m: type(m).__name__)
def test_damaged_protocol_messages_raise_only_peer_errors(message):
    fuzzed(type(message), encode(message), 500, seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_long_fuzzing_of_every_kind_raises_only_peer_errors(seed):
    for message in [SAMPLE, *protocol_samples()]:
        fuzzed(type(message), encode(message), 20_000, seed=100 + seed)


@settings(max_examples=30)
@given(st.binary(max_size=400))
def test_random_bytes_are_no_agreement(raw):
    with pytest.raises(PeerError):
        decode(Agreement, raw)
