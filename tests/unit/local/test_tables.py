"""The tables at the end, where a terminal is narrow or no terminal at all."""

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from comity_local.page import render
from comity_local.results import DemoResult
from comity_local.tables import show
from comity_local.wording import change, delta, fraction, in_bytes, in_time


def printed(result: DemoResult, width: int = 80) -> str:
    out = io.StringIO()
    show(result, Console(file=out, width=width))
    return out.getvalue()


def test_everything_fits_80_columns_and_carries_no_terminal_codes(result: DemoResult) -> None:
    text = printed(result)
    assert "\x1b" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    for id in ("DE spree-bank", "BR banco-ipe", "KE ziwa-sacco"):
        assert id in text


def test_learnt_spent_and_sent_are_all_there(result: DemoResult) -> None:
    text = printed(result, width=100)
    for part in (
        "before the first round", "0.083", "federation without privacy", "0.880",
        "what privacy cost: −0.080", "6.50", "46.2 kB", "1/3,934", "90.9 MB", "1e-5",
        "void: 1 upload came, 3 are needed", "2 of 3", "3 min 07 s",
    ):  # fmt: skip
        assert part in text, part
    for path in (result.model_dir, result.ledger, result.logs, result.report):
        assert str(path) in text


def test_a_long_path_is_not_broken(result: DemoResult) -> None:
    path = Path("/" + "x" * 150 + "/report.html")
    assert str(path) in printed(replace(result, report=path))


def test_without_privacy_epsilon_is_infinite_and_parts_not_run_are_left_out(
    result: DemoResult,
) -> None:
    bare = tuple(replace(i, epsilon=None, epsilon_reserved=None) for i in result.institutions)
    text = printed(replace(result, institutions=bare, without_dp=None, alone={}))
    assert "∞" in text
    assert "alone" not in text
    assert "what privacy cost" not in text


def test_a_hostile_reason_moves_no_cursor_and_is_no_markup(result: DemoResult) -> None:
    first, void, last = result.rounds
    evil = replace(void, reason="[red]\x1b[2J[/red]\u202e")
    text = printed(replace(result, rounds=(first, evil, last)), width=100)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red]" in text


def test_numbers_are_written_with_units() -> None:
    assert [in_bytes(n) for n in (0, 999, 46_200, 999_400, 90_868_224, 2_500_000_000)] == [
        "0 B", "999 B", "46.2 kB", "999 kB", "90.9 MB", "2.5 GB",
    ]  # fmt: skip
    assert [in_time(s) for s in (0.4, 59.6, 187.4, 3720)] == [
        "0 s", "1 min 00 s", "3 min 07 s", "1 h 02 min",
    ]  # fmt: skip
    assert [delta(d) for d in (1e-5, 2.5e-6)] == ["1e-5", "2.5e-6"]
    assert [fraction(1, 2000), fraction(1, 4), fraction(0, 4)] == ["1/2,000", "25%", "–"]
    assert change(-0.02) == "−0.020"


def test_a_score_on_private_rows_is_told_with_its_error(result: DemoResult) -> None:
    words = "81.2 % ± 2.4 right, loss 0.500 ± 0.060"
    score = replace(result.rounds[-1], n=4, kind="evaluate", score={"words": words})
    scored = replace(result, rounds=(*result.rounds, score))
    assert not score.moved
    text = printed(scored, width=140)
    assert f"score on private rows: {words}" in text
    assert max(len(line.rstrip()) for line in printed(scored).splitlines()) <= 80
    page = render(scored)
    assert f"with noise from each of them: {words}." in page
    assert "score on private rows</td>" in page
