"""An agreement outside its bounds cannot be made, neither here nor from the wire."""

import json
from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
from itertools import pairwise

import pytest
from tests.ledger_keys import public_keys
from tests.simulation.federation import make_agreement, promising_nothing

from comity_common.agreement import (
    MAX_INSTITUTIONS,
    Agreement,
    Gate,
    ModelOptimizer,
    Noise,
    Party,
    PublicIdentity,
    stored_agreement,
)
from comity_common.canonical import decode, encode
from comity_common.crypto.derive import digest
from comity_common.crypto.sign import SigningKeys
from comity_common.errors import LocalError, PeerError, Problem
from comity_common.fixedpoint import RING_WIDTHS, largest_range
from comity_common.ids import Digest, InstitutionId
from comity_common.tuning import Tune

IDS = [InstitutionId(name) for name in ("berlin", "paris", "rome", "vienna")]
AGREEMENT = make_agreement({id: SigningKeys.generate() for id in IDS}, SigningKeys.generate())
PARTY = AGREEMENT.institutions[0]


def refuses(part: object, **change: object) -> bool:
    """Whether a part of the agreement cannot be made with these values."""
    try:
        replace(part, **change)
    except LocalError:
        return True
    return False


def hostile(path: str, value: object) -> bytes:
    """The agreement's bytes with one value replaced, `a.b.0.c` deep."""
    tree = json.loads(encode(AGREEMENT))
    *way, last = path.split(".")
    node = tree
    for step in way:
        node = node[int(step) if isinstance(node, list) else step]
    node[int(last) if isinstance(node, list) else last] = value
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_an_agreement_comes_back_from_its_bytes():
    again = decode(Agreement, encode(AGREEMENT))
    assert again == AGREEMENT
    assert again.digest == AGREEMENT.digest == digest("agreement", encode(AGREEMENT)).hex()


def test_the_roster_is_in_order_and_parties_are_found_by_id():
    assert AGREEMENT.roster == tuple(IDS)
    assert AGREEMENT.party(IDS[2]).name == "rome"
    for stranger in (InstitutionId("madrid"), AGREEMENT.operator.id, InstitutionId("")):
        with pytest.raises(LocalError):
            AGREEMENT.party(stranger)


def leaves(part: object, path: str = "") -> list[str]:
    if is_dataclass(part):
        return [
            leaf
            for field in fields(part)
            for leaf in leaves(getattr(part, field.name), f"{path}.{field.name}".lstrip("."))
        ]
    if isinstance(part, tuple):
        return [leaf for k, item in enumerate(part) for leaf in leaves(item, f"{path}.{k}")]
    return [path]


@pytest.mark.parametrize("path", leaves(AGREEMENT))
def test_every_value_of_the_agreement_is_in_its_digest(path):
    """A changed value makes another agreement, or none at all."""
    raw = json.loads(encode(AGREEMENT))
    node = raw
    for step in path.split("."):
        node = node[int(step) if isinstance(node, list) else step]
    other = node + 1 if isinstance(node, int) else "1" if node == "2" else "2"
    if isinstance(node, str) and len(node) > 40:
        other = ("B" if node[0] == "A" else "A") + node[1:]
    try:
        changed = decode(Agreement, hostile(path, other))
    except PeerError:
        return
    assert changed.digest != AGREEMENT.digest


def roster_of(count: int, **terms: int) -> Agreement:
    institutions = tuple(
        Party(
            id=InstitutionId(f"i-{k:03d}"),
            name="",
            jurisdiction="DE",
            identity=PublicIdentity(
                ed25519=k.to_bytes(32, "big"),
                mldsa44=k.to_bytes(1312, "big"),
                tls=bytes(32),
                ledger=public_keys(b"%d" % k),
            ),
        )
        for k in range(count)
    )
    minimum = terms.get("minimum", -(-2 * count // 3))
    return replace(
        AGREEMENT,
        institutions=institutions,
        aggregation=replace(AGREEMENT.aggregation, min_participants=minimum),
    )


@pytest.mark.parametrize("count", [0, 1, 2, MAX_INSTITUTIONS + 1])
def test_too_few_or_too_many_institutions_are_refused(count):
    with pytest.raises(LocalError):
        roster_of(count)


@pytest.mark.parametrize(
    ("count", "fewest"), [(3, 2), (4, 3), (5, 4), (6, 4), (7, 5), (9, 6), (10, 7), (100, 67)]
)
def test_a_plan_needs_at_least_two_thirds_of_the_roster(count, fewest):
    for minimum in (-1, 0, 1, fewest - 1, count + 1, 2**53 - 1):
        with pytest.raises(LocalError):
            roster_of(count, minimum=minimum)
    for minimum in (fewest, count):
        assert roster_of(count, minimum=minimum).aggregation.min_participants == minimum


def test_institutions_are_in_order_each_once_and_the_operator_apart():
    one, two, three, four = AGREEMENT.institutions
    for institutions in (
        (two, one, three, four),
        (one, one, three, four),
        (one, replace(four, id=AGREEMENT.operator.id), two, three),
    ):
        with pytest.raises(LocalError):
            replace(AGREEMENT, institutions=institutions)


@pytest.mark.parametrize("version", ["", "comity-agreement/2", "comity-agreement/1 "])
def test_another_version_is_refused(version):
    assert refuses(AGREEMENT, version=version)
    with pytest.raises(PeerError):
        decode(Agreement, hostile("version", version))


BAD_IDS = [
    "", "-a", "A", "a_b", "a b", "a.b", "a/b", "../a", "a\n", "é", "a" * 41, "a\x00", "ａ",
]  # fmt: skip


@pytest.mark.parametrize("id", BAD_IDS)
def test_an_id_is_short_lower_case_and_safe_in_a_path(id):
    assert refuses(PARTY, id=id)
    with pytest.raises(PeerError):
        decode(Agreement, hostile("institutions.0.id", id))


@pytest.mark.parametrize("id", ["a", "0", "a-", "9-to-5", "a" * 40])
def test_ordinary_ids_are_accepted(id):
    assert not refuses(PARTY, id=id)


@pytest.mark.parametrize("jurisdiction", ["", "D", "de", "DEU", "D1", "ÄÖ", "DE\n"])
def test_a_jurisdiction_is_two_capital_letters(jurisdiction):
    assert refuses(PARTY, jurisdiction=jurisdiction)


@pytest.mark.parametrize(
    ("field", "size"),
    [("ed25519", 31), ("ed25519", 33), ("mldsa44", 1311), ("tls", 0), ("tls", 33)],
)
def test_keys_have_their_length(field, size):
    assert refuses(PARTY.identity, **{field: bytes(size)})


BAD = [
    ("task", {"labels": ()}),
    ("task", {"labels": ("a",)}),
    ("task", {"labels": ("a", "a")}),
    ("task", {"max_tokens": 7}),
    ("task", {"max_tokens": 513}),
    ("training", {"sampling_probability": Decimal(0)}),
    ("training", {"sampling_probability": Decimal("1.01")}),
    ("training", {"sampling_probability": Decimal(-1)}),
    ("training", {"learning_rate": Decimal(0)}),
    ("training", {"clip_norm": Decimal(0)}),
    ("training", {"noise_multiplier": Decimal(-1)}),
    ("training", {"divisor": Decimal(0)}),
    ("training", {"local_steps": 0}),
    ("training", {"local_steps": 10_001}),
    ("privacy", {"rows_per_unit": 0}),
    ("privacy", {"rows_per_unit": 2}),
    ("privacy", {"adjacency": "replace-one"}),
    ("privacy", {"noise": Noise.NONE}),
    ("privacy", {"gate": Gate.NONE}),
    ("privacy", {"gate": Gate.FIXED_SCHEDULE}),
    ("privacy", {"order": 0}),
    ("privacy", {"order": 1}),
    ("privacy", {"epsilon": Decimal(0)}),
    ("privacy", {"epsilon": Decimal(-1)}),
    ("privacy", {"delta": Decimal(0)}),
    ("privacy", {"delta": Decimal(1)}),
    ("aggregation", {"collusion": 0}),
    ("aggregation", {"collusion": -1}),
    ("aggregation", {"ring_width": 16}),
    ("aggregation", {"ring_width": 64}),
    ("aggregation", {"range": Decimal(0)}),
    ("aggregation", {"range": Decimal(-1)}),
    ("aggregation", {"learning_rate": Decimal(0)}),
    ("aggregation", {"momentum": Decimal(1)}),
    ("aggregation", {"momentum": Decimal("-0.1")}),
    ("schedule", {"rounds": 0}),
    ("schedule", {"rounds": -1}),
    ("schedule", {"spare_rounds": -1}),
]


def as_json(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Decimal) else value


@pytest.mark.parametrize(("part", "change"), BAD, ids=lambda value: str(value))
def test_a_term_out_of_bounds_is_refused_here_and_from_the_wire(part, change):
    assert refuses(getattr(AGREEMENT, part), **change)
    ((field, value),) = change.items()
    with pytest.raises(PeerError):
        decode(Agreement, hostile(f"{part}.{field}", as_json(value)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("privacy.unit", "institution"),
        ("privacy.noise", "half"),
        ("privacy.gate", "basic"),
        ("training.noise_multiplier", "0"),
    ],
)
def test_a_word_that_no_version_knows_and_noise_of_nothing_are_refused(path, value):
    with pytest.raises(PeerError):
        decode(Agreement, hostile(path, value))


def test_an_agreement_without_noise_promises_nothing_and_none_with_noise_does():
    baseline = promising_nothing(AGREEMENT)
    assert decode(Agreement, encode(baseline)) == baseline
    assert not baseline.privacy.is_private
    for change in ({"privacy": baseline.privacy}, {"training": baseline.training}):
        with pytest.raises(LocalError, match="noise where privacy is promised"):
            replace(AGREEMENT, **change)


@pytest.mark.parametrize("width", RING_WIDTHS)
def test_a_range_at_which_steps_drown_in_rounding_is_refused_here_and_from_the_wire(width):
    n, step = len(AGREEMENT.institutions), AGREEMENT.training.learning_rate
    most = largest_range(width, n, step)
    narrow = replace(AGREEMENT.aggregation, ring_width=width, range=most)
    fitting = replace(AGREEMENT, aggregation=narrow)
    assert decode(Agreement, encode(fitting)) == fitting
    with pytest.raises(LocalError, match="drown in rounding"):
        replace(AGREEMENT, aggregation=replace(narrow, range=most * 2))
    coarse = AGREEMENT.aggregation.range * 10**9
    with pytest.raises(PeerError):
        decode(Agreement, hostile("aggregation.range", str(coarse)))


GOOD = [
    ("task", {"max_tokens": 8}),
    ("task", {"max_tokens": 512}),
    ("training", {"sampling_probability": Decimal(1)}),
    ("training", {"local_steps": 10_000}),
    ("privacy", {"order": 2}),
    ("aggregation", {"optimizer": ModelOptimizer.FEDAVGM, "momentum": Decimal("0.99")}),
    ("schedule", {"spare_rounds": 0}),
    ("model", {"tune": Tune.FULL}),
]


@pytest.mark.parametrize(("part", "change"), GOOD, ids=lambda value: str(value))
def test_a_term_on_its_bound_is_accepted(part, change):
    changed = replace(AGREEMENT, **{part: replace(getattr(AGREEMENT, part), **change)})
    assert decode(Agreement, encode(changed)) == changed
    assert changed.digest != AGREEMENT.digest


def test_attempts_count_spare_rounds():
    assert AGREEMENT.schedule.attempts == AGREEMENT.schedule.rounds + 2


UNCHECKED = [
    ("schedule.expires", "tomorrow"),
    ("schedule.expires", "2099-13-01"),
    ("schedule.expires", ""),
    ("nonce", ""),
    ("model.seed", "AA=="),
    ("model.parameters", 0),
    ("model.parameters", -5),
    ("model.base", "xyz"),
    ("model.initial_state", ""),
    ("evaluation_set", "A" * 64),
    ("model.lora_rank", -1),
    ("aggregation.collusion", 3),  # no safe thresholds for four institutions, nor for three
]


@pytest.mark.parametrize(("path", "value"), UNCHECKED)
def test_a_value_that_can_never_be_right_is_refused_before_anyone_signs(path, value):
    with pytest.raises(PeerError):
        decode(Agreement, hostile(path, value))


def test_no_two_parties_share_a_key():
    """Whoever stands in the roster twice counts twice among c without being counted."""
    for one, other in pairwise((*AGREEMENT.institutions, AGREEMENT.operator)):
        doubled = tuple(
            replace(party, identity=other.identity) if party is one else party
            for party in AGREEMENT.institutions
        )
        with pytest.raises(LocalError):
            replace(AGREEMENT, institutions=doubled)


def test_digests_of_agreements_that_differ_in_the_nonce_alone_differ():
    assert replace(AGREEMENT, nonce=bytes(15) + b"\x01").digest != AGREEMENT.digest
    assert isinstance(Digest(AGREEMENT.digest), str)


def test_an_agreement_that_was_changed_in_a_store_is_not_read_back() -> None:
    raw = encode(AGREEMENT)
    assert stored_agreement(raw, AGREEMENT.digest) == AGREEMENT
    other = encode(replace(AGREEMENT, purpose="something else"))
    for changed in (other, raw[:-1], b"", b"\xff" + raw):
        with pytest.raises(Problem) as problem:
            stored_agreement(changed, AGREEMENT.digest)
        assert problem.value.code == "COM-AGREE-006"
