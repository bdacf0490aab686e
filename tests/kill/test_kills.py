"""Vaults that train are killed for real; whatever the kill hits, the ledger counts all noise."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.measuring import ROOT
from tests.kill.campaign import ANY_TIME, BOUNDARIES, Kill
from tests.kill.table import as_markdown, figures

LIMIT_S = 120


def kill(*words: str, limit_s: float = LIMIT_S) -> tuple[int, list[Kill]]:
    """Run a campaign in a process of its own, as it forks; return its exit code and the kills."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.kill", "--json", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=limit_s,
    )
    assert done.stdout, done.stderr
    return done.returncode, [Kill(**one) for one in json.loads(done.stdout)["kills"]]


def check(code: int, kills: list[Kill], count: int) -> None:
    assert (code, len(kills)) == (0, count)
    assert sum(one.under for one in kills) == 0
    assert all(one.over <= 1 for one in kills)
    assert sum(one.where == ANY_TIME for one in kills) == count // 2


def test_no_kill_hides_noise_and_a_campaign_goes_on_where_it_was(tmp_path: Path) -> None:
    at = ("--at", str(tmp_path), "--fresh-every", "0", "--seed", "7")
    check(*kill(*at, "--kills", "30"), count=30)
    code, kills = kill(*at, "--kills", "30")  # nothing is left to do
    check(code, kills, count=30)
    assert sum(one.drawn for one in kills) > 0
    assert sum(one.over for one in kills) > 0


@pytest.mark.slow
def test_a_reserve_of_one_step_too_few_is_found() -> None:
    words = ("--kills", "16", "--fresh-every", "0", "--seed", "7", "--one-step-too-few")
    code, kills = kill(*words)
    assert code == 1
    assert sum(one.under for one in kills) > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_kills_hide_nothing() -> None:
    code, kills = kill("--kills", "1000", "--seconds", "3000", limit_s=3500)
    check(code, kills, count=1000)
    assert sum(one.fresh for one in kills) >= 20
    assert {one.where for one in kills} == {ANY_TIME, *BOUNDARIES}


def test_the_table_adds_up() -> None:
    kills = [
        Kill(where="joined", fresh=False, drawn=0, under=0, over=1),
        Kill(where=ANY_TIME, fresh=True, drawn=1, under=1, over=0),
    ]
    table = as_markdown(kills).splitlines()
    assert "| joined | 1 | 0 | 0 | 1 | 0 |" in table
    assert table[-1] == "| in all | 2 | 1 | 1 | 1 | 1 |"
    assert [figure.met for figure in figures(kills, 2, 4.0)] == [False, True, False]
