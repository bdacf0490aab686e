"""The comparison on made-up rows: small, but every part is the real one."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from comity_client.model.evaluate import Scores
from comity_common.agreement import ModelOptimizer
from comity_common.dp.accountant import calibrate
from comity_local.samples import Row, write_rows
from tests.tiny_bert import save_tiny_bert
from tests.utility import __main__ as program
from tests.utility import page, rows, tuning
from tests.utility.arms import CHOSEN, EPSILONS, RECIPE, Arm, Settings, Spread, arms, chosen
from tests.utility.measuring import GOAL_SET, Line, Table, measure
from tests.utility.world import World

LABELS = ("card", "loan", "fraud")
REGIONS = {"north": ("card", "loan"), "south": ("loan", "fraud"), "west": ("card", "fraud")}
FILLERS = ("please", "help", "now", "today", "again", "the")
SAID = 5  # times in every text: training ends where every text is known, however rows are drawn
TRIED = re.compile(r"(?P<kind>.+): (?P<score>[\d.]+) on dev with (?P<settings>.+)")
ALONE = Arm(spread=Spread.ALONE, region="north")
POOLED, FEDERATED = Arm(spread=Spread.POOLED), Arm(spread=Spread.FEDERATED)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> rows.DataSet:
    """Three regions, each of which never sees one of the labels."""
    folder = tmp_path_factory.mktemp("made")
    texts = [
        (label, " ".join((a, *[label] * SAID, b)))
        for label in LABELS
        for a in FILLERS
        for b in FILLERS
    ]
    for file in rows.FILES:
        several = [
            Row(id=f"{region}-{n}", region=region, text=text, label=label)
            for region, seen in REGIONS.items()
            for n, (label, text) in enumerate(texts)
            if label in seen or file != "train.jsonl"
        ]
        write_rows(folder / file, several)
    return rows.read(folder)


@pytest.fixture(scope="module")
def world(data: rows.DataSet, tmp_path_factory: pytest.TempPathFactory) -> World:
    place = tmp_path_factory.mktemp("base")
    base = save_tiny_bert(place, (*LABELS, *FILLERS), hidden=64, positions=64, seed=3)
    return World(data, base, place / "features", print)


def test_a_data_set_is_cut_into_the_regions_that_its_rows_name(data: rows.DataSet) -> None:
    assert {id: len(one) for id, one in data.regions.items()} == dict.fromkeys(REGIONS, 72)
    assert len(data.pooled()) == 3 * 72
    assert len(data.dev) == len(data.test) == 3 * 108


def test_together_regions_learn_the_label_that_each_never_saw(world: World) -> None:
    alone, pooled, federated = (
        world.on_test(world.train(arm, Settings())).accuracy for arm in (ALONE, POOLED, FEDERATED)
    )
    assert alone <= 2 / 3
    assert pooled > 0.9
    assert federated > 0.8


def test_noise_is_calibrated_for_all_rounds_and_spare_rounds_and_by_no_rows(world: World) -> None:
    agreement = world.agreement(8, Settings())
    q, steps = RECIPE.sampling_probability, RECIPE.local_steps * (RECIPE.rounds + 2)
    noise, order = calibrate(q, steps, 8, 1e-5)
    assert (agreement.training.noise_multiplier, agreement.privacy.order) == (noise, order)
    assert agreement.training.sampling_probability == q
    assert agreement.training.divisor == RECIPE.divisor
    assert not world.agreement(None, Settings()).privacy.is_private


def test_every_arm_is_trained_and_tables_show_it(world: World, data: rows.DataSet) -> None:
    settings = {arm.kind: Settings(rounds=1, local_steps=2) for arm in arms(list(REGIONS))}
    table = measure(world, settings, 2, print)
    assert [line.arm.words for line in table.lines] == [
        "north alone, no DP",
        "south alone, no DP",
        "west alone, no DP",
        "pooled, no DP",
        "pooled, ε = 8",
        "federated, no DP",
        *(f"federated, ε = {epsilon}" for epsilon in EPSILONS),
    ]
    noises = [line.noise for line in table.lines[-len(EPSILONS) :]]
    assert noises == sorted(noises)
    assert all(0 < line.fixed_noise < line.noise for line in table.lines if line.noise)
    markdown = page.as_markdown([table])
    assert markdown.count("\n| ") == 2 + len(table.lines)
    assert json.loads(page.as_json([table]))[0]["test_rows"] == len(data.test)


def test_a_search_keeps_what_does_better_on_dev_and_encodes_no_test_row(
    world: World, data: rows.DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = World(replace(data, test=None), world.base, None, print)  # type: ignore[arg-type]
    monkeypatch.setattr(tuning, "RATES", ("0.000001", "0.04"))
    monkeypatch.setattr(tuning, "arms", lambda regions: [POOLED, FEDERATED])
    monkeypatch.setattr(tuning, "OTHERS", ({"rounds": 1, "local_steps": 1},))
    said: list[str] = []
    found = tuning.tune(fresh, said.append)
    tries = [TRIED.fullmatch(words) for words in said]
    scores = [(one["kind"], float(one["score"]), one["settings"]) for one in tries if one]
    assert [kind for kind, *_ in scores] == [POOLED.kind] * 2 + [FEDERATED.kind] * 3
    for arm in (POOLED, FEDERATED):
        of_arm = [(score, settings) for kind, score, settings in scores if kind == arm.kind]
        best = max(of_arm, key=lambda pair: pair[0])  # the first, where several are as good
        assert str(found[arm.kind]) == best[1]


def scored(arm: Arm, *accuracies: float) -> Line:
    """Make a line with scores that nothing was trained for."""
    scores = tuple(Scores(accuracy=one, macro_f1=one) for one in accuracies)
    return Line(arm=arm, settings=Settings(), noise=0, order=0, fixed_noise=0, scores=scores)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("alone", "pooled", "federated", "met"),
    [(0.7, 0.9, 0.81, True), (0.7, 0.9, 0.79, False), (0.85, 0.9, 0.84, False)],
)
def test_the_goal_is_ten_points_behind_at_most_and_above_every_region(
    alone: float, pooled: float, federated: float, met: bool
) -> None:
    lines = (
        scored(ALONE, 0.1),
        scored(replace(ALONE, region="south"), alone),
        scored(POOLED, pooled),
        scored(replace(FEDERATED, epsilon=8), federated - 0.01, federated + 0.01),
    )
    table = Table(name=GOAL_SET, labels=3, rows={}, test_rows=9, lines=lines)
    assert table.met is met
    assert replace(table, name="another").met is None


def test_what_was_chosen_makes_an_agreement_for_every_arm(data: rows.DataSet, world: World) -> None:
    kinds = {arm.kind for arm in arms(["a"])}
    for name in rows.NAMES:
        assert chosen(name).keys() == kinds
        for one in chosen(name).values():
            terms = world.agreement(None, one)
            with_momentum = terms.aggregation.optimizer is ModelOptimizer.FEDAVGM
            assert with_momentum == (one.momentum > 0)
    assert json.loads(CHOSEN.read_text("utf-8")).keys() == set(rows.NAMES)


def test_a_data_set_that_is_missing_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(rows.VARIABLE, str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["utility", "--json"])
    program.main()
    said = capsys.readouterr()
    assert said.out == "[]\n"
    assert said.err.count("is left out: no train.jsonl of") == len(rows.NAMES)


def test_tables_of_part_of_the_rows_are_never_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["utility", "--write", "--quick"])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 2


def test_the_page_has_a_place_for_every_data_set_and_others_stay_as_they_are() -> None:
    text = page.PAGE.read_text("utf-8")
    assert {found[2] for found in page.MARKED.finditer(text)} == set(rows.NAMES)
    lines = (scored(ALONE, 0.5), scored(POOLED, 0.5), scored(replace(FEDERATED, epsilon=8), 0.5))
    table = Table(name=rows.NAMES[1], labels=3, rows={}, test_rows=9, lines=lines)
    after = page.rewritten(text, [table])
    before, new = (
        {found[2]: found[3] for found in page.MARKED.finditer(one)} for one in (text, after)
    )
    assert new.pop(rows.NAMES[1]) == page.as_markdown([table])
    del before[rows.NAMES[1]]
    assert new == before
