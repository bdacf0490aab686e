"""The page of a run: one well-formed file, no script, no request, hostile names are text."""

import re
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from comity_local.page import render
from comity_local.results import DemoResult, RoundResult

EVIL = "</title><script>document.title='owned'</script>\x00\u202e\"'&<img src=x onerror=\"x()\">"
CHROMIUM = shutil.which("chromium")
QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def hostile(result: DemoResult) -> DemoResult:
    """Put hostile text wherever text goes."""
    return replace(
        result,
        institutions=tuple(
            replace(one, id=EVIL + one.id, name=EVIL, jurisdiction=EVIL)
            for one in result.institutions
        ),
        rounds=tuple(replace(one, reason=EVIL, survivors=(EVIL,)) for one in result.rounds),
        alone={EVIL + id: one for id, one in result.alone.items()},
        agreement=EVIL,
        model=EVIL,
        tune=EVIL,
        data=EVIL,
        ledger=Path(EVIL.replace("\x00", "")),
    )


def parse(page: str) -> ElementTree.Element:
    return ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


def words(page: str) -> str:
    return re.sub(r"\s+", " ", " ".join(parse(page).itertext()))


def test_the_page_tells_what_was_learnt_spent_and_sent(result: DemoResult) -> None:
    text = words(render(result))
    for part in (
        "3 institutions in 3 jurisdictions taught one model", "0.800", "from 0.083",
        "the best one alone reached 0.620", "ε = 6.50", "of 8 allowed", "27.7 kB", "90.9 MB",
        "Privacy cost 8.0 points", "1 upload came, 3 are needed", "1 of them void", "Never left",
        "/tmp/run/ledger", "3f" * 32,
    ):  # fmt: skip
        assert part in text, part


def test_the_grid_shows_who_was_in_which_round(result: DemoResult) -> None:
    page = render(result)
    assert "spree-bank, round 1: in the sum" in page
    assert "spree-bank, round 2: uploaded, round void" in page
    assert "spree-bank, round 3: absent" in page
    assert page.count("in the sum</title>") == 5


@pytest.mark.parametrize("rounds", [0, 1, 60])
def test_any_number_of_rounds_is_drawn_inside_the_picture(result: DemoResult, rounds: int) -> None:
    many = tuple(
        RoundResult(
            n=n, void=n % 7 == 0, survivors=("banco-ipe",), seconds=1.0,
            accuracy=0.5, macro_f1=0.5,
        )
        for n in range(1, rounds + 1)
    )  # fmt: skip
    page = parse(render(replace(result, rounds=many)))
    for svg in page.iter("svg"):
        _, _, width, height = (float(x) for x in svg.attrib["viewBox"].split())
        for shape in svg.iter("rect"):
            x, y = float(shape.attrib["x"]), float(shape.attrib["y"])
            assert x >= -0.1
            assert x + float(shape.attrib["width"]) <= width + 0.1
            assert y + float(shape.attrib["height"]) <= height + 0.1


def test_labels_beside_a_curve_do_not_touch(result: DemoResult) -> None:
    close = replace(result, without_dp=result.federated, baseline=result.federated)
    for svg in parse(render(close)).iter("svg"):
        heights = sorted(
            float(label.attrib["y"])
            for label in svg.iter("text")
            if "sidelabel" in label.attrib["class"]
        )
        assert all(b - a >= 14 for a, b in pairwise(heights))


def test_the_page_asks_nobody_and_runs_nothing(result: DemoResult) -> None:
    page = render(result)
    assert not re.search(r"https?:|//[a-z]|<script|<link|<img|<iframe|url\(|@import|\son\w+=", page)


def test_hostile_names_stay_text(result: DemoResult) -> None:
    page = render(hostile(result))
    root = parse(page)
    assert {element.tag for element in root.iter()}.isdisjoint({"script", "img"})
    assert "\x00" not in page
    assert "\u202e" not in page
    assert "document.title='owned'" in words(page)


def test_without_privacy_the_page_claims_none(result: DemoResult) -> None:
    bare = tuple(replace(i, epsilon=None, epsilon_reserved=None) for i in result.institutions)
    text = words(render(replace(result, institutions=bare, without_dp=None, alone={})))
    assert "ε = ∞" in text
    assert "no guarantee" in text
    assert "differentially private" not in text
    assert "Noise was added in the vault" not in text


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_shows_the_page_and_runs_nothing_of_a_hostile_name(
    result: DemoResult, tmp_path: Path
) -> None:
    assert CHROMIUM is not None
    page = tmp_path / "report.html"
    page.write_text(render(hostile(result)), encoding="utf-8")
    shot = tmp_path / "page.png"
    command = [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}"]
    dom = subprocess.run(
        [*command, "--dump-dom", page.as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip
    assert re.search(r"<title>Comity: 3 institutions", dom)
    assert "<script" not in dom
    assert dom.count("<svg") >= 5
    subprocess.run(
        [*command, f"--screenshot={shot}", page.as_uri()],
        capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    assert shot.stat().st_size > 20_000
