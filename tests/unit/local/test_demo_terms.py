"""The demo's options become terms like any operator's."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from comity_common.errors import LocalError
from comity_common.tuning import Tune
from comity_local.options import Options
from comity_local.terms import model_seed, terms_of

OPTIONS = Options(
    workdir=Path("run"),
    data=None,
    institutions=None,
    model="minilm",
    tune=Tune.LORA,
    rounds=None,
    spare_rounds=1,
    epsilon=Decimal(8),
    delta=Decimal("0.00001"),
    score_epsilon=None,
    ceiling=None,
    clip_norm=Decimal("0.5"),
    seed=3,
    faults=(),
    baselines=False,
)
IDS = ("spree-bank", "banco-ipe", "ziwa-sacco")


def test_every_option_that_an_agreement_knows_is_in_the_terms():
    terms = terms_of(OPTIONS, ("card", "loan"), IDS, Path("public.jsonl"), 60)
    assert terms.institutions == tuple(sorted(IDS))
    assert terms.task.labels == ("card", "loan")
    assert (terms.model.name, terms.model.tune) == ("minilm", Tune.LORA)
    assert terms.model.seed == model_seed(OPTIONS).hex()
    assert terms.training.clip_norm == Decimal("0.5")
    assert (terms.privacy.epsilon, terms.privacy.delta) == (Decimal(8), Decimal("0.00001"))
    assert (terms.schedule.rounds, terms.schedule.spare_rounds) == (None, 1)
    assert terms.private_evaluation is None


def test_a_score_is_in_the_terms_where_it_is_asked_for():
    scored = replace(OPTIONS, score_epsilon=Decimal(1))
    terms = terms_of(scored, ("card", "loan"), IDS, Path("public.jsonl"), 999)
    assert (terms.private_evaluation.epsilon, terms.private_evaluation.units) == (Decimal(1), 199)
    assert terms.private_evaluation.share == Decimal("0.2")
    for epsilon in (0, 8, 9):
        with pytest.raises(LocalError, match="--score-epsilon below --epsilon"):
            replace(OPTIONS, score_epsilon=Decimal(epsilon))


def test_another_seed_draws_other_parameters():
    assert model_seed(OPTIONS) != model_seed(replace(OPTIONS, seed=4))


def test_an_option_that_is_out_of_bounds_is_named():
    with pytest.raises(LocalError, match=r"^rounds: Input should be less than"):
        terms_of(replace(OPTIONS, rounds=901), ("card", "loan"), IDS, Path("public.jsonl"), 60)
    with pytest.raises(LocalError, match=r"^institutions: expected 3 to 255 institutions, got 2"):
        terms_of(OPTIONS, ("card", "loan"), IDS[:2], Path("public.jsonl"), 60)
