"""A terms file says everything that an operator decides, and nothing that is wrong gets further."""

import re
import textwrap
import tomllib
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.ledger_keys import public_keys

from comity_common.agreement import Agreement, Gate, ModelOptimizer, Party, PublicIdentity, Unit
from comity_common.canonical import decode, encode
from comity_common.dp import pld
from comity_common.dp.accountant import fits
from comity_common.dp.accounts import Account
from comity_common.dp.gate import Asked, keeps_its_claim
from comity_common.dp.tally import is_within, keeps
from comity_common.dp.terms import Guarantee, SampledGaussian
from comity_common.errors import LocalError, Problem
from comity_common.fixedpoint import largest_range
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import BudgetGrant, DatasetId, NamespaceId
from comity_common.mechanisms import schedule_events, spending_of
from comity_common.tuning import Tune
from comity_host import settings
from comity_server.drafting import Start, evaluation_of, noise_of, write_agreement
from comity_server.recipes import RECIPES
from comity_server.terms import SAMPLE, Terms, terms_schema

SAMPLE_TEXT = SAMPLE.read_text("utf-8")
SCORES = {"epsilon": 1, "units": 1000}
START = Start(base=Digest("ab" * 32), parameters=1155, initial_state=Digest("cd" * 32))
REQUIRED = {
    "federation": "card-desk",
    "purpose": "sort the messages that customers send to their bank",
    "institutions": ("berlin", "nairobi", "paris", "recife"),
    "evaluation_set": "evaluation.jsonl",
    "task": {"labels": ("card", "loan", "fraud")},
    "privacy": {"epsilon": 8, "delta": Decimal("0.00001")},
    "schedule": {"expires": "2030-12-31"},
}


def party(id: str) -> Party:
    name = id.encode()
    identity = PublicIdentity(
        ed25519=name.ljust(32),
        mldsa44=name.ljust(1312),
        tls=name.ljust(32),
        ledger=public_keys(name),
    )
    return Party(id=InstitutionId(id), name=id.title(), jurisdiction="DE", identity=identity)


def agreed(terms: Terms, nonce: bytes = bytes(16)) -> Agreement:
    return write_agreement(
        terms,
        party("operator"),
        [party(id) for id in reversed(terms.institutions)],
        START,
        Digest("ef" * 32),
        nonce=nonce,
        seed=bytes(32),
    )


def terms_with(**sections: dict[str, object]) -> Terms:
    return Terms.model_validate(
        REQUIRED | {name: {**REQUIRED.get(name, {}), **keys} for name, keys in sections.items()}  # type: ignore[dict-item]
    )


def keys_of_the_schema() -> dict[tuple[str, ...], dict[str, Any]]:
    """Every key of a terms file by its path, with its schema; sections too."""
    schema = terms_schema()
    found = {}
    for name, part in schema["properties"].items():
        kinds = [kind.get("$ref", "") for kind in part.get("anyOf", [part])]
        section = schema["$defs"].get(kinds[0].rpartition("/")[2], {})
        found[(name,)] = part | section
        for key, inner in section.get("properties", {}).items():
            found[(name, key)] = inner
    return found


def explained() -> dict[tuple[str, ...], str]:
    """The comment above every key and section of the sample, by its path."""
    found, comment, section = {}, [], ()
    for line in SAMPLE_TEXT.splitlines():
        if line.startswith("# "):
            comment.append(line[2:])
            continue
        if heading := re.fullmatch(r"#?\[(\w+)\]", line):
            section = (heading[1],)
            found[section] = " ".join(comment)
        elif key := re.match(r"#?(\w+) = ", line):
            found[(*section, key[1])] = " ".join(comment)
        comment = []
    return found


WHOLE, OPTIONAL = SAMPLE_TEXT.split("#[private_evaluation]")
"""The sample up to the section that may be left out, and what is in it."""


def uncommented(*left: str, text: str = WHOLE) -> str:
    """The sample with the keys that it shows in comments, but for some."""
    return re.sub(rf"(?m)^#(?!{'|'.join(left) or '-'})(\w+ = )", r"\1", text)


def scored(text: str = "") -> str:
    """The sample with its optional section."""
    return f"{WHOLE}[private_evaluation]\n{text or uncommented(text=OPTIONAL)}"


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_the_sample_is_loaded_and_makes_an_agreement():
    terms = settings.load(SAMPLE, Terms)
    agreement = agreed(terms)
    assert decode(Agreement, encode(agreement)) == agreement
    assert agreement.roster == ("berlin", "nairobi", "paris", "recife")
    assert agreement.schedule.expires == "2030-12-31"


def test_every_key_of_the_schema_is_in_the_sample_with_its_description_above_it():
    keys = keys_of_the_schema()
    assert len(keys) > 30
    assert {path: part["description"] for path, part in keys.items()} == explained()


def test_what_the_sample_writes_out_is_what_holds_without_it():
    assert settings.load(SAMPLE, Terms) == Terms.model_validate(REQUIRED)


def test_what_the_sample_shows_in_comments_is_what_holds_without_it(tmp_path):
    terms = settings.load(
        written(tmp_path / "terms.toml", uncommented("seed", "noise_multiplier")), Terms
    )
    assert terms.training.local_steps == 20
    assert agreed(terms) == agreed(settings.load(SAMPLE, Terms))


def test_the_examples_that_the_sample_shows_in_comments_may_be_used(tmp_path):
    terms = settings.load(written(tmp_path / "terms.toml", uncommented()), Terms)
    assert terms.model.seed is not None
    assert agreed(terms).training.noise_multiplier == Decimal(2)


def test_what_the_optional_section_shows_holds_without_it_but_for_what_it_needs(tmp_path):
    whole, least = (
        settings.load(written(tmp_path / "terms.toml", text), Terms)
        for text in (scored(), scored("epsilon = 1\nunits = 1000"))
    )
    assert whole != least
    assert agreed(whole) == agreed(least) != agreed(settings.load(SAMPLE, Terms))


def test_the_sample_can_be_read_by_others():
    assert set(tomllib.loads(scored())) == {path[0] for path in keys_of_the_schema()}
    assert max(len(line) for line in SAMPLE_TEXT.splitlines()) <= 100


def test_a_day_may_be_written_as_toml_has_it(tmp_path):
    text = SAMPLE_TEXT.replace('"2030-12-31"', "2030-12-31")
    terms = settings.load(written(tmp_path / "terms.toml", text), Terms)
    assert terms.schedule.expires == date(2030, 12, 31)


@pytest.mark.parametrize(
    ("line", "instead", "told"),
    [
        (
            "max_tokens = 64",
            "max_token = 64",
            "unknown key task.max_token; the nearest that exists is max_tok",
        ),
        ('federation = "card-desk"', 'federation = "x"\nspeed = 1', "unknown key speed"),
        ('"fraud"]', '"card"]', "task.labels: expected every label once, got 'card' twice"),
        ('["card", "loan", "fraud"]', '["card"]', "task.labels: expected at least two labels"),
        ('"nairobi", "paris", ', "", "institutions: expected 3 to 255 institutions, got 2"),
        ('"nairobi"', '"Nairobi"', "institutions: expected ids of 1 to 40 lower-case letters"),
        ('"nairobi"', '"paris"', "institutions: expected every institution once, got paris twice"),
        ('purpose = "sort', 'purpose = "\\u001b[2Jsort', "purpose: expected one line of visible"),
        ('purpose = "sort', 'purpose = "a\\nb', "purpose: expected one line of visible"),
        ('"head"', '"heads"', "model.tune: Input should be 'head', 'lora', 'lora-plain', 'bitfit'"),
        ("lora_rank = 4", "lora_rank = 0", "model.lora_rank: Input should be greater"),
        ('#seed = "01', 'seed = "', "model.seed: expected 64 hexadecimal digits"),
        ("max_tokens = 64", "max_tokens = 513", "task.max_tokens: Input should be less"),
        ("#sampling_probability = 0.2", "sampling_probability = 1.1", "sampling_probability: "),
        ("clip_norm = 1", "clip_norm = 0", "training.clip_norm: Input should be greater than 0"),
        ("clip_norm = 1", "clip_norm = nan", "training.clip_norm: Input should be a finite"),
        ("clip_norm = 1", "clip_norm = 1e-30", "training.clip_norm: Decimal input should have no"),
        ("epsilon = 8", "", "privacy: expected epsilon and delta, unless noise is none"),
        ("epsilon = 8", "epsilon = 0", "privacy.epsilon: Input should be greater than 0"),
        (
            'noise = "full-in-each-vault"',
            'noise = "none"',
            "privacy: expected no epsilon and delta",
        ),
        ("#rows_per_unit = 1", "rows_per_unit = 2", "rows_per_unit 1 where the unit is a record"),
        ('gate = "renyi"', 'gate = "none"', "privacy.gate: Input should be 'renyi' or 'fixed-sch"),
        ('unit = "record"', 'unit = "family"', "privacy.unit: Input should be 'record' or 'pers"),
        ("delta = 0.00001", "delta = 1", "privacy.delta: Input should be less than 1"),
        ("#min_participants = 3", "min_participants = 5", "min_participants from 3 to 4, got 5"),
        ("#min_participants = 3", "min_participants = 2", "aggregation.min_participants: "),
        ("collusion = 1", "collusion = 4", "aggregation: expected a smaller collusion than 4"),
        ("#momentum = 0", "momentum = 0.5", "aggregation.momentum: expected no momentum with fed"),
        ("spare_rounds = 2", "spare_rounds = -1", "schedule.spare_rounds: Input should be"),
        ("2030-12-31", "2030-02-30", "schedule.expires: Input should be a valid date"),
    ],
)
def test_bad_terms_are_refused_in_one_line_that_names_the_key(line, instead, told, tmp_path):
    assert line in SAMPLE_TEXT
    file = written(tmp_path / "terms.toml", SAMPLE_TEXT.replace(line, instead, 1))
    with pytest.raises(Problem) as caught:
        settings.load(file, Terms)
    assert str(caught.value).startswith("terms.toml: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "instead", "told"),
    [
        ("#epsilon = 1", "", "private_evaluation.epsilon: Field required"),
        ("#units = 1000", "", "private_evaluation.units: Field required"),
        (
            "#epsilon = 1",
            "epsilon = 8",
            "terms.toml: taken together: expected private_evaluation.epsilon below privacy.epsilon",
        ),
        ("#units = 1000", "units = 0", "private_evaluation.units: Input should be greater"),
        ("#units = 1000", "units = 268435456", "units of at most 268435455, got 268435456: at a"),
        ("#share = 0.2", "share = 0.51", "private_evaluation.share: Input should be less"),
        ("#share = 0.2", "shares = 0.2", "the nearest that exists is share"),
        ("#after = [5]", "after = []", "private_evaluation.after: expected at least one round"),
        ("#after = [5]", "after = [2, 2]", "ascending, each once, from 1"),
        ("#after = [5]", "after = [0, 2]", "ascending, each once, from 1"),
        ("#after = [5]", "after = [3, 2]", "ascending, each once, from 1"),
        ("#after = [5]", "after = [1, 6]", "private_evaluation.after of at most 5, got 6"),
        ("#spare = 1", "spare = -1", "private_evaluation.spare: Input should be greater"),
        ("#loss_clip = 4", "loss_clip = 0", "private_evaluation.loss_clip: Input should be"),
        ("#grid = 64", "grid = 7", "private_evaluation.grid: expected an even grid, got 7"),
        ("#grid = 64", "grid = 1048576", "units of at most 511, got 1000: at a grid of 1048576"),
    ],
)
def test_bad_terms_of_scores_are_refused_in_one_line_too(line, instead, told, tmp_path):
    assert line in OPTIONAL
    text = uncommented(text=OPTIONAL.replace(line, instead, 1))
    if not line.startswith("#grid"):
        text = text.replace("grid = 64", "")
    with pytest.raises(Problem) as caught:
        settings.load(written(tmp_path / "terms.toml", scored(text)), Terms)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_scores_are_refused_where_nothing_is_promised_and_beyond_all_rounds():
    with pytest.raises(
        ValidationError, match=r"no private_evaluation where privacy\.noise is none"
    ):
        terms_with(
            privacy={"noise": "none", "epsilon": None, "delta": None}, private_evaluation=SCORES
        )
    most = {"rounds": 900, "spare_rounds": 99}
    assert terms_with(schedule=most, private_evaluation=SCORES | {"spare": 0})
    with pytest.raises(ValidationError, match="at most 1000 rounds, scores and spare ones in, got"):
        terms_with(schedule=most, private_evaluation=SCORES)


@pytest.mark.parametrize("tune", list(Tune))
def test_what_is_left_out_follows_from_what_is_trained(tune):
    agreement = agreed(terms_with(model={"tune": tune}))
    recipe, training = RECIPES[tune], agreement.training
    assert (training.learning_rate, training.local_steps) == (
        recipe.learning_rate,
        recipe.local_steps,
    )
    assert (training.sampling_probability, training.divisor) == (
        recipe.sampling_probability,
        recipe.divisor,
    )
    assert agreement.schedule.rounds == recipe.rounds
    assert agreement.aggregation.range == (
        Decimal("1.5") * recipe.learning_rate * recipe.local_steps
    )


@pytest.mark.parametrize(("count", "fewest"), [(3, 3), (4, 3), (5, 4), (6, 4), (7, 5), (10, 7)])
def test_two_thirds_of_all_take_part_and_never_fewer_than_three(count, fewest):
    ids = tuple(f"bank-{k}" for k in range(count))
    terms = Terms.model_validate(REQUIRED | {"institutions": ids})
    assert agreed(terms).aggregation.min_participants == fewest


def test_fewer_than_two_thirds_are_refused():
    seven = {"institutions": tuple(f"bank-{k}" for k in range(7))}
    for least in (3, 4, 8):
        with pytest.raises(ValidationError, match=f"min_participants from 5 to 7, got {least}"):
            Terms.model_validate(REQUIRED | seven | {"aggregation": {"min_participants": least}})


def test_a_range_at_which_steps_drown_in_rounding_is_refused():
    terms = terms_with(aggregation={"ring_width": 24})
    most = largest_range(24, len(terms.institutions), terms.step)
    for range in (terms.range, most):
        chosen = terms_with(aggregation={"ring_width": 24, "range": range})
        assert agreed(chosen).aggregation.range == range
    with pytest.raises(ValidationError, match=r"range of at most .* with 24 bits"):
        terms_with(aggregation={"ring_width": 24, "range": most * 2})


def test_every_recipe_fits_lanes_of_24_bits_for_a_hundred_institutions():
    ids = {"institutions": tuple(f"bank-{k}" for k in range(100))}
    for tune in RECIPES:
        narrow = {"model": {"tune": tune}, "aggregation": {"ring_width": 24}}
        assert Terms.model_validate(REQUIRED | ids | narrow).range > 0


def test_momentum_follows_from_how_the_model_moves():
    plain, moving = (
        agreed(terms_with(aggregation={"optimizer": kind})).aggregation.momentum
        for kind in ModelOptimizer
    )
    assert (plain, moving) == (0, Decimal("0.9"))
    chosen = terms_with(aggregation={"optimizer": "fedavgm", "momentum": Decimal("0.5")})
    assert agreed(chosen).aggregation.momentum == Decimal("0.5")


def schedule_fits(agreement: Agreement, noise: Decimal) -> bool:
    """Whether all attempts keep the promise, at the agreement's own order."""
    whole = SampledGaussian(
        sampling_probability=agreement.training.sampling_probability,
        noise_multiplier=noise,
        steps=agreement.training.local_steps * agreement.schedule.attempts,
    )
    promise = Guarantee(epsilon=agreement.privacy.epsilon, delta=agreement.privacy.delta)
    return fits([whole], promise, agreement.privacy.order)


@pytest.mark.parametrize("spare", [0, 2, 50])
def test_the_noise_pays_for_all_rounds_and_spare_rounds_and_not_for_more(spare):
    agreement = agreed(terms_with(schedule={"spare_rounds": spare}))
    noise = agreement.training.noise_multiplier
    assert schedule_fits(agreement, noise)
    assert not schedule_fits(agreement, noise * Decimal("0.999"))


def test_noise_that_is_given_is_kept_when_it_keeps_the_promise():
    least, _ = noise_of(terms_with())
    for noise in (least, least + Decimal("0.5"), Decimal(50)):
        agreement = agreed(terms_with(training={"noise_multiplier": noise}))
        assert agreement.training.noise_multiplier == noise
        assert schedule_fits(agreement, noise)


def test_a_fixed_schedule_is_calibrated_with_its_own_accountant():
    agreement = agreed(terms_with(privacy={"gate": "fixed-schedule"}))
    noise, training = agreement.training.noise_multiplier, agreement.training
    steps = training.local_steps * agreement.schedule.attempts

    assert (agreement.privacy.gate, agreement.privacy.order) == (Gate.FIXED_SCHEDULE, 0)
    assert noise == pld.calibrate(training.sampling_probability, steps, 8, Decimal("0.00001"))
    assert noise < agreed(terms_with()).training.noise_multiplier
    with pytest.raises(Problem) as caught:  # a Rényi gate refuses it
        agreed(terms_with(training={"noise_multiplier": noise}))
    assert caught.value.code == "COM-TERMS-004"


def booked(agreement: Agreement) -> list[Asked]:
    """All that an agreement may ever reserve."""
    spending = spending_of(agreement)
    return [
        Asked(
            agreement=agreement.digest,
            event=event,
            schedule=spending.schedule,
            guarantee=spending.guarantee,
        )
        for event in spending.schedule
    ]


def granted(agreement: Agreement, part: Decimal = Decimal(1)) -> BudgetGrant:
    privacy = agreement.privacy
    return BudgetGrant(
        grant=bytes(16),
        namespace=NamespaceId("0" * 32),
        guarantee=Guarantee(epsilon=privacy.epsilon * part, delta=privacy.delta),
        gate=privacy.gate,
        order=privacy.order,
    )


def admitted(agreement: Agreement) -> bool:
    """Whether the rule that every vault asks first lets the agreement's own claim stand."""
    spending = spending_of(agreement)
    account = Account(ceiling=spending.guarantee, unit=spending.unit)
    return keeps_its_claim(account, DatasetId("0" * 32), spending, spending.schedule) is None


@pytest.mark.parametrize("gate", ["renyi", "fixed-schedule"])
def test_training_and_scores_together_keep_the_promise_and_no_less_noise_does(gate):
    terms = terms_with(privacy={"gate": gate}, private_evaluation=SCORES | {"after": (2, 5)})
    agreement = agreed(terms)
    scores, training = agreement.private_evaluation, agreement.training

    assert (scores.after, scores.attempts, scores.grid) == ((2, 5), 3, 64)
    assert [event.steps for event in schedule_events(agreement)] == [140, 3]
    assert (
        training.noise_multiplier
        > agreed(terms_with(privacy={"gate": gate})).training.noise_multiplier
    )
    assert admitted(agreement)
    assert is_within(granted(agreement), booked(agreement))
    assert not is_within(granted(agreement, Decimal("0.999")), booked(agreement))
    noise = training.noise_multiplier * Decimal("0.999")
    assert not admitted(replace(agreement, training=replace(training, noise_multiplier=noise)))


@pytest.mark.parametrize("gate", ["renyi", "fixed-schedule"])
@pytest.mark.parametrize("epsilon", [Decimal("0.1"), Decimal("0.5"), Decimal("7.9")])
def test_scores_alone_cost_their_part_and_not_less(gate, epsilon):
    terms = terms_with(privacy={"gate": gate}, private_evaluation=SCORES | {"epsilon": epsilon})
    scores = evaluation_of(terms)
    part = Guarantee(epsilon=epsilon, delta=Decimal("0.00001"))
    alone = scores.score.event(scores.attempts)
    less = replace(alone, noise_multiplier=alone.noise_multiplier * Decimal("0.999"))

    assert keeps((alone,), part)
    assert not keeps((less,), part)
    assert admitted(agreed(terms))


def test_scores_of_an_agreement_that_goes_on_are_counted_at_the_order_of_the_earlier_one():
    terms = terms_with(private_evaluation=SCORES | {"epsilon": Decimal("0.5")})
    free, _ = noise_of(terms)
    for order in (3, 20):
        noise, kept = noise_of(terms, order)
        agreement = agreed(terms)
        agreement = replace(
            agreement,
            privacy=replace(agreement.privacy, order=order),
            training=replace(agreement.training, noise_multiplier=noise),
        )
        assert kept == order
        assert noise > free
        assert admitted(agreement)


@pytest.mark.parametrize(("units", "grid"), [(1, 64), (513, 64), (514, 32), (1027, 32), (16000, 2)])
def test_the_grid_is_as_fine_as_the_sum_has_room_for(units, grid):
    # 255 institutions share 24 bits: each has 32,896 either way.
    ids = {"institutions": tuple(f"bank-{k}" for k in range(255))}
    narrow = {"model": {"tune": "lora"}, "aggregation": {"ring_width": 24}}
    scores = {"private_evaluation": SCORES | {"units": units}}
    assert Terms.model_validate(REQUIRED | ids | narrow | scores).grid == grid


def test_scores_for_which_no_noise_is_enough_are_refused():
    terms = terms_with(private_evaluation=SCORES | {"epsilon": Decimal("0.0001")})
    with pytest.raises(Problem, match=r"for scores with ε = 0\.0001") as caught:
        agreed(terms)
    assert caught.value.code == "COM-TERMS-008"


def test_a_baseline_has_no_noise_and_promises_nothing():
    terms = terms_with(privacy={"noise": "none", "epsilon": None, "delta": None})
    agreement = agreed(terms)

    assert noise_of(terms) == (0, 0)
    assert agreement.training.noise_multiplier == 0
    assert not agreement.privacy.is_private
    assert agreement.privacy.gate is Gate.NONE
    with pytest.raises(ValidationError, match=r"no training\.noise_multiplier where"):
        terms_with(
            privacy={"noise": "none", "epsilon": None, "delta": None},
            training={"noise_multiplier": Decimal(1)},
        )


@pytest.mark.parametrize(("given", "rows"), [({}, 100), ({"rows_per_unit": 7}, 7)])
def test_a_person_may_be_the_unit(given, rows):
    agreement = agreed(terms_with(privacy={"unit": "person", **given}))

    assert (agreement.privacy.unit, agreement.privacy.rows_per_unit) == (Unit.PERSON, rows)


@pytest.mark.parametrize("part", [Decimal("0.9999"), Decimal("0.5"), Decimal("0.000001")])
def test_noise_that_is_too_little_is_refused_with_what_would_be_enough(part):
    least, _ = noise_of(terms_with())
    noise = (least * part).quantize(Decimal("1e-10"))
    with pytest.raises(Problem, match="is too little for ε = 8 at δ") as caught:
        agreed(terms_with(training={"noise_multiplier": noise}))
    assert caught.value.code == "COM-TERMS-004"
    assert caught.value.facts["least"] == least


@pytest.mark.parametrize("noise", [None, Decimal(1_000_000)])
def test_a_promise_that_no_noise_keeps_is_refused(noise):
    terms = terms_with(privacy={"epsilon": Decimal("0.001")}, training={"noise_multiplier": noise})
    with pytest.raises(Problem, match=r"no noise is enough for ε = 0\.001") as caught:
        agreed(terms)
    assert caught.value.code == "COM-TERMS-003"


def test_an_agreement_is_among_the_institutions_that_the_terms_name():
    terms = terms_with()
    for others in (("berlin", "nairobi", "paris"), ("berlin", "nairobi", "paris", "rome")):
        with pytest.raises(LocalError, match="institutions that the terms name"):
            write_agreement(
                terms,
                party("operator"),
                [party(id) for id in others],
                START,
                Digest("ef" * 32),
                nonce=bytes(16),
                seed=bytes(32),
            )


def test_equal_terms_make_equal_agreements_apart_from_the_nonce():
    assert agreed(terms_with()) == agreed(terms_with())
    assert agreed(terms_with()).digest != agreed(terms_with(), nonce=bytes(15) + b"1").digest


def test_a_description_says_what_the_schema_says_too():
    """The bounds that a person reads are those that are checked."""
    for path, part in keys_of_the_schema().items():
        for kind in part.get("anyOf", [part]):
            for bound in ("minimum", "maximum"):
                if kind.get("type") == "integer" and bound in kind:
                    shown = textwrap.shorten(part["description"], 1000)
                    assert re.search(rf"\b{kind[bound]}\b", shown), (path, bound)
