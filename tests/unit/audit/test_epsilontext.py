"""An ε is never written smaller than it is, wherever it stands."""

import math
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.commands import comity
from tests.unit.audit.reported import Ledger

from comity_audit.epsilontext import INFINITE, epsilon_shown, epsilon_text
from comity_audit.ledgers.epsilons import recompute
from comity_audit.report.page import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1e-12, "0.000000001"),
        (6.39845203486048, "6.398452035"),
        (Decimal(8), "8"),
        (Decimal("0.1"), "0.1"),
        (float("inf"), INFINITE),
        (float("nan"), INFINITE),
        (1e16, INFINITE),
        (-1e-12, "0"),
    ],
)
def test_an_epsilon_is_rounded_up_and_never_down(value: float | Decimal, text: str) -> None:
    assert epsilon_text(value) == text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.0000"),
        (-1e-12, "0.0000"),
        (7.18091, "7.1810"),
        (Decimal("7.1809"), "7.1809"),
        (1e-12, "0.0001"),
        (float("inf"), "∞"),
        (float("nan"), "∞"),
        (1e16, "∞"),
    ],
)
def test_people_are_shown_four_decimals_rounded_up(value: float | Decimal, shown: str) -> None:
    assert epsilon_shown(value) == shown


@given(st.floats(min_value=0, max_value=1e6))
def test_a_page_shows_what_the_command_line_shows(value: float) -> None:
    assert numbers.epsilon(epsilon_text(value)) == epsilon_shown(value)
    assert Decimal(epsilon_shown(value)) >= Decimal(value)


def test_the_command_line_and_the_report_show_the_same_epsilons(
    tmp_path: Path,
) -> None:
    ledger = Ledger().begin()
    ledger.release(1)
    ledger.release(2)  # ε = 6.08084 by now, which is nearer to 6.0808 than to 6.0809
    verification, _ = ledger.verified()
    (space,) = recompute(verification.ledger)
    (run,) = space.runs
    file, page = tmp_path / "audit.zip", tmp_path / "report.html"
    file.write_bytes(ledger.package().to_bytes())
    told = comity("audit", "epsilon", file, "--agreement", ledger.agreement.digest).output
    comity("audit", "report", file, "-o", page, "--agreement", ledger.agreement.digest)
    html = page.read_text("utf-8")
    for one in (run.of_spent, run.of_schedule, space.grants[0].of_spent):
        assert one is not None
        rounded_up = f"{math.ceil(Decimal(one.ours) * 10_000) / 10_000:.4f}"
        assert f"ε = {rounded_up}" in told
        assert f">{rounded_up}<" in html
