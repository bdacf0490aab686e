"""The report in `docs/sample-report`: what its makers say it is, and as the code is now."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from tests.commands import comity

from comity_audit.report.facts import ClaimId, Conclusion
from comity_audit.report.original import read_original

ROOT = Path(__file__).parents[3]
MAKING: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "make_sample_report.py"))
PAGE: Path = MAKING["PAGE"]
ORIGINAL: Path = MAKING["ORIGINAL"]
KEY: str = MAKING["KEY"].read_text("utf-8").strip()
MACHINE_PATH = re.compile(r"(?<![\w.<])/(?:home|root|tmp|work|usr|opt|mnt|srv|var|Users)/")
MAX_BYTES = 200_000  # of all files together, for whoever clones


def test_its_signed_json_gives_its_page_to_the_last_byte(tmp_path: Path) -> None:
    found = comity("audit", "page", ORIGINAL, "--key", KEY, "-o", tmp_path / "page.html")
    assert found.exit_code == 0, f"{found.error}: make sample-report"
    is_current = (tmp_path / "page.html").read_bytes() == PAGE.read_bytes()
    assert is_current, "pages look different now: make sample-report ARGS=--pages"


def test_another_key_or_another_byte_is_refused(tmp_path: Path) -> None:
    page, spoiled = tmp_path / "page.html", tmp_path / "report.json"
    assert comity("audit", "page", ORIGINAL, "--key", "00" * 32, "-o", page).exit_code == 4
    raw = ORIGINAL.read_bytes()
    spoiled.write_bytes(raw.replace(b'"payload":"', b'"payload":"A', 1))
    assert spoiled.read_bytes() != raw
    assert comity("audit", "page", spoiled, "--key", KEY, "-o", page).exit_code == 4
    assert not page.exists()


def test_it_tells_of_a_federation_in_which_something_went_wrong_and_was_paid() -> None:
    report = read_original(ORIGINAL.read_bytes(), bytes.fromhex(KEY)).report
    summary = report.summary
    assert summary.owner == MAKING["INSTITUTION"]
    assert summary.is_anchored
    assert summary.findings_count == 0
    concluded = {one.id: one.conclusion for one in summary.claims}
    for claim in (ClaimId.WITNESSED, ClaimId.COVERED, ClaimId.BUDGET, ClaimId.EPSILON):
        assert concluded[claim] is Conclusion.HOLDS
    assert concluded[ClaimId.MATCHED] is Conclusion.PARTLY  # an upload left and never arrived
    (run,) = report.runs
    assert run.void == 1


@pytest.mark.parametrize("language", ["en", "zh-Hans"])
def test_its_page_has_both_languages(language: str) -> None:
    assert f'<article lang="{language}"' in PAGE.read_text("utf-8")


def test_it_is_small_and_names_no_path_of_a_machine() -> None:
    files = sorted(PAGE.parent.iterdir())
    assert files == sorted((PAGE, ORIGINAL, MAKING["KEY"]))
    assert sum(file.stat().st_size for file in files) < MAX_BYTES
    report = read_original(ORIGINAL.read_bytes(), bytes.fromhex(KEY)).report
    for text in (repr(report), PAGE.read_text("utf-8")):
        assert not MACHINE_PATH.search(text)
