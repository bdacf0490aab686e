"""`comity model start`: what training starts from, built wherever PyTorch is."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.commands import Outcome, comity

from comity_client.model.base import base_digest
from comity_common.agreement import TaskKind
from comity_common.modelfile import read_state
from comity_common.optimizer import state_digest
from comity_common.tuning import Tune
from comity_host.modelterms import ModelStart

SEED = "5e" * 32


@pytest.fixture
def terms_file(tiny_base: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Write a terms file: `terms_file(tune="lora")`; keys of [model], and more text behind."""

    def of(more: str = "", kind: str = "sequence-classification", **model: object) -> Path:
        keys = {"name": str(tiny_base), "tune": "head", "lora_rank": 2, "seed": SEED} | model
        lines = [
            'federation = "not read here"',
            "[task]",
            f"kind = {json.dumps(kind)}",
            'labels = ["card", "loan", "fraud"]',
            "max_tokens = 48",
            "[model]",
            *(f"{key} = {json.dumps(value)}" for key, value in keys.items() if value is not None),
            more,
        ]
        path = tmp_path / "terms.toml"
        path.write_text("\n".join(lines))
        return path

    return of


def start(terms: Path, out: Path) -> Outcome:
    return comity("model", "start", terms, "--out", out, "--json")


@pytest.mark.parametrize("tune", list(Tune))
def test_the_state_is_that_of_the_classifier_that_every_vault_builds(
    tune: Tune, terms_file, tiny_base: Path, build_tiny, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    data = start(terms_file(tune=tune, lora_alpha=4), tmp_path / "out").data
    wanted = build_tiny(tune, seed=bytes.fromhex(SEED)).initial_vector()
    state = read_state((tmp_path / "out" / "start.state").read_bytes())
    assert np.array_equal(state.parameters, wanted)
    assert (state.round, state.momentum) == (0, None)
    assert data["parameters"] == wanted.size
    assert data["base"] == base_digest(tiny_base)
    assert data["initial_state"] == state_digest(state)
    assert data["seed"] == SEED
    assert json.loads((tmp_path / "out" / "start.json").read_text()) == data
    assert ModelStart.model_validate(data).tune is tune


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "xlm-roberta"])
def test_every_family_starts_with_every_kind_of_task(
    family: str, terms_file, tiny_bases, build_family, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    for kind in TaskKind:
        terms = terms_file(kind=kind, name=str(tiny_bases[family]), tune="full")
        terms.write_text(terms.read_text().replace("48", "24"))
        data = start(terms, tmp_path / kind).data
        assert data["kind"] == kind
        assert data["parameters"] == build_family(family, kind, Tune.FULL).layout.size


def test_a_model_that_moves_with_momentum_starts_with_some(terms_file, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    plain = start(terms_file(), tmp_path / "a").data
    more = '[aggregation]\noptimizer = "fedavgm"\ncollusion = 1'
    moving = start(terms_file(more), tmp_path / "b").data
    state = read_state((tmp_path / "b" / "start.state").read_bytes())
    assert state.momentum is not None
    assert not state.momentum.any()
    assert moving["optimizer"] == "fedavgm"
    assert moving["initial_state"] == state_digest(state) != plain["initial_state"]


def test_without_a_seed_every_start_draws_another(terms_file, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    terms = terms_file(seed=None)
    seeds = {start(terms, tmp_path / "out").data["seed"] for _ in range(2)}
    assert len(seeds) == 2
    assert all(len(bytes.fromhex(seed)) == 32 for seed in seeds)


def test_people_are_told_how_large_it_is_and_what_to_do_with_it(terms_file, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    told = comity("model", "start", terms_file(), "--out", tmp_path / "out")
    assert told.exit_code == 0
    assert "head: 51 trained parameters" in told.output  # 16 × 3 and 3
    assert "--start" in told.output
    assert told.error == "building the first model\n"


def _other_kind(base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))


def test_a_base_that_is_no_bert_is_refused_and_nothing_is_written(
    terms_file, tiny_base: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    other = tmp_path / "other"
    other.mkdir()
    for file in tiny_base.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    _other_kind(other)
    told = start(terms_file(name=str(other)), tmp_path / "out")
    error = told.envelope["error"]
    assert (told.exit_code, error["code"]) == (1, "COM-MODEL-001")
    assert error["message"].endswith("roberta or xlm-roberta, got gpt2")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "model", "code", "told"),
    [
        (
            "",
            {"tun": "head"},
            "COM-CONF-001",
            "unknown key model.tun; the nearest that exists is tune",
        ),
        ("", {"tune": "heads"}, "COM-CONF-002", "model.tune"),
        ("", {"seed": "5e"}, "COM-CONF-002", "model.seed"),
        ('[aggregation]\noptimizer = "sgd"', {}, "COM-CONF-002", "aggregation.optimizer"),
        ("[", {}, "COM-CONF-003", "cannot read terms.toml"),
    ],
)
def test_terms_that_are_wrong_are_refused(
    more: str, model: dict[str, object], code: str, told: str, terms_file, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    outcome = start(terms_file(more, **model), tmp_path / "out")
    assert (outcome.exit_code, outcome.envelope["error"]["code"]) == (1, code)
    assert told in outcome.envelope["error"]["message"]
    assert not (tmp_path / "out").exists()
