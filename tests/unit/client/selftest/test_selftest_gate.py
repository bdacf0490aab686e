"""One repetition on an alarm, both on the ledger; after two failures nothing trains."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from comity_client.config import VaultConfig
from comity_client.institution import Institution
from comity_client.selftest.gate import Examined, attempts, is_barred, passes
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import SelfTest, Verdict

OURS, OTHER = Digest("a" * 64), Digest("b" * 64)


@dataclass
class Found:
    failed: tuple[str, ...]
    tests: tuple[str, ...] = ("noise-scale", "clipping")


GOOD, BAD = Found(()), Found(("clipping",))


@pytest.fixture
def inst(tmp_path: Path) -> Institution:
    id = InstitutionId("a")
    config = VaultConfig(id=id, name="A", jurisdiction="DE", server="127.0.0.1:1")
    return Institution.create(tmp_path / "home", config)


def in_turn(*results: Found | Exception) -> Callable[[], Examined]:
    """Examine with these results, one after the other; more attempts are an error."""
    left = iter(results)

    def examine() -> Examined:
        result = next(left)
        if isinstance(result, Exception):
            raise result
        return result

    return examine


def recorded(inst: Institution) -> list[SelfTest]:
    bodies = [entry.body for entry in inst.ledger.entries()]
    return [body for body in bodies if isinstance(body, SelfTest)]


def test_a_pass_is_recorded_once(inst: Institution) -> None:
    assert passes(inst, OURS, in_turn(GOOD))
    assert recorded(inst) == [
        SelfTest(verdict=Verdict.PASS, tests=GOOD.tests, failed=(), attempt=1, agreement=OURS)
    ]
    assert not is_barred(inst.ledger, OURS)


def test_an_alarm_is_repeated_once_and_both_are_recorded(inst: Institution) -> None:
    assert passes(inst, OURS, in_turn(BAD, GOOD))
    assert [(e.verdict, e.failed, e.attempt) for e in recorded(inst)] == [
        (Verdict.FAIL, ("clipping",), 1),
        (Verdict.PASS, (), 2),
    ]
    assert not is_barred(inst.ledger, OURS)


def test_two_failures_bar_this_agreement_alone_also_after_a_restart(inst: Institution) -> None:
    assert not passes(inst, OURS, in_turn(BAD, BAD))
    assert [e.attempt for e in recorded(inst)] == [1, 2]
    again = Institution(inst.home.path)
    assert is_barred(again.ledger, OURS)
    assert not is_barred(again.ledger, OTHER)
    assert not is_barred(again.ledger, Digest(""))


def test_a_first_failure_that_was_never_repeated_bars_nothing(inst: Institution) -> None:
    next(attempts(inst, OURS, in_turn(BAD, BAD)))
    assert len(recorded(inst)) == 1
    assert not is_barred(inst.ledger, OURS)


def test_a_later_pass_lifts_the_bar_and_a_pass_of_another_does_not(inst: Institution) -> None:
    passes(inst, OURS, in_turn(BAD, BAD))
    passes(inst, OTHER, in_turn(GOOD))
    assert is_barred(inst.ledger, OURS)
    passes(inst, OURS, in_turn(GOOD))
    assert not is_barred(inst.ledger, OURS)


def test_an_examination_that_breaks_off_is_a_failure(inst: Institution) -> None:
    assert not passes(inst, OURS, in_turn(MemoryError("row 17"), ValueError("row 17")))
    assert {e.failed for e in recorded(inst)} == {("finished",)}
    assert is_barred(inst.ledger, OURS)


def test_a_full_disk_is_no_failure_of_the_machinery(inst: Institution) -> None:
    with pytest.raises(OSError):
        passes(inst, OURS, in_turn(OSError(28, "no space left on device")))
    assert recorded(inst) == []
