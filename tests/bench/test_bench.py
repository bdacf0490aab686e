"""The measurements run and say what they say in the form that they promise; never how fast."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.bench.figures import Figure, as_markdown, as_text
from tests.bench.measuring import ROOT, Growth, in_a_process_of_its_own, in_turns
from tests.bench.page import LINE, PAGE, rewritten

FIELDS = {"row", "measured", "value", "unit", "at_most", "at_least", "met"}
UNITS = {"s", "MB", "×", "alarms"}
LIMIT_S = 120


def quick(*rows: str, limit_s: int = LIMIT_S) -> list[dict]:
    """Measure some rows in small sizes."""
    chosen = [word for row in rows for word in ("--only", row)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick", "--json", *chosen],
        cwd=ROOT,
        capture_output=True,
        timeout=limit_s,
        check=True,
    )
    return json.loads(done.stdout)


def check_shape(figures: list[dict], rows: set[str]) -> None:
    """Check what every figure is made of."""
    assert {figure["row"] for figure in figures} == rows
    for figure in figures:
        assert figure.keys() == FIELDS
        assert figure["unit"] in UNITS
        assert figure["value"] > 0 or figure["unit"] in ("MB", "alarms")  # may well be none
        has_bar = figure["at_most"] is not None or figure["at_least"] is not None
        assert (figure["met"] is not None) == has_bar


def test_rows_of_one_process_run_in_small_sizes():
    rows = ("masking", "aggregation", "secaggplus", "simulated", "budget")
    figures = quick(*rows)
    check_shape(figures, set(rows))
    uploads = [figure for figure in figures if "upload, SecAgg+" in figure["measured"]]
    assert [round(figure["value"], 1) for figure in uploads] == [2.0, 2.7]  # 8 bytes against w/8


@pytest.mark.slow
def test_the_row_of_training_runs_in_small_sizes():
    training = pytest.importorskip(
        "tests.bench.training"
    )  # with torch, for which others do not wait
    if why := training.missing():
        pytest.skip(why)
    figures = quick("training", limit_s=5 * LIMIT_S)
    check_shape(figures, {"training"})
    assert len(figures) >= 13


@pytest.mark.slow
def test_the_self_test_is_examined_a_few_times():
    figures = quick("selftest")
    check_shape(figures, {"selftest"})
    assert all(figure["met"] for figure in figures if "caught" in figure["measured"])


@pytest.mark.slow
def test_rows_of_real_daemons_run_in_small_sizes():
    rows = ("protocol_round", "many_sums")
    check_shape(quick(*rows), set(rows))


def test_a_table_of_small_sizes_is_never_written():
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--write", "--quick"],
        cwd=ROOT,
        capture_output=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 2
    assert b"expected --write of rows in their full sizes" in done.stderr


def test_rows_that_were_not_measured_stay_as_they_are():
    one, two = (Figure(row=name, measured="time", value=1.0, unit="s") for name in "ab")
    page = rewritten("<!-- table:benchmarks -->\n<!-- end -->\n", [one, one, two])
    again = rewritten(page, [replace(one, value=2.0), replace(two, row="c", value=3.0)])
    assert [line for line in again.splitlines() if line.startswith("| ")][2:] == [
        "| a | time | 2 s |  |  |",
        "| b | time | 1 s |  |  |",
        "| c | time | 3 s |  |  |",
    ]
    assert page.count("| a | time | 1 s |") == 2
    before = PAGE.read_text("utf-8")
    rows = [line.split()[1] for line in before.splitlines() if LINE.match(line + "\n")]
    assert {"masking", "training", "simulated"} <= set(rows)


def test_a_bar_is_met_on_its_own_side_and_tables_say_so():
    low = Figure(row="a", measured="time", value=1.0, unit="s", at_most=1.0)
    high = Figure(row="b", measured="ratio", value=0.8449, unit="×", at_least=0.85)
    free = Figure(row="c", measured="much", value=123456.7, unit="MB")
    assert (low.met, high.met, free.met) == (True, False, None)
    assert as_text([low, high, free]).splitlines() == [
        "row  measured  value      bar       met",
        "a    time      1 s        ≤ 1 s     yes",
        "b    ratio     0.845 ×    ≥ 0.85 ×  no",
        "c    much      123457 MB",
    ]
    assert as_markdown([high]).splitlines()[2] == "| b | ratio | 0.845 × | ≥ 0.85 × | no |"


def test_two_works_are_measured_in_turns_and_their_ratios_are_of_neighbours():
    order = []
    answers = iter([3.0, 1.0, 2.0])

    def second() -> float:
        order.append("b")
        return next(answers)

    both = in_turns(lambda: order.append("a"), second, repetitions=3)
    assert order == ["a", *"ab" * 3]
    assert both.b == 2.0


def take(megabytes: int) -> dict[str, int]:
    """Hold so much memory for a moment."""
    growth = Growth()
    bytearray(megabytes * 1_000_000)
    return {"peak": growth.peak()}


def test_memory_that_was_held_for_a_moment_is_seen():
    grown = in_a_process_of_its_own(take, 50)["peak"]
    assert 45e6 < grown < 70e6
