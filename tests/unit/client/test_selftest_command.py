"""`comity client selftest`: what people and scripts read, and what the ledger keeps."""

from collections.abc import Iterator

import pytest
from tests.commands import comity
from tests.injected import injected
from tests.simulation.federation import promising_nothing
from tests.unit.client.test_rehearsal import Place, place  # noqa: F401

from comity_client.selftest import gate, ghosts
from comity_common.catalogue import FINDINGS
from comity_common.ledger.bodies import SelfTest, Verdict
from comity_common.tuning import Tune


@pytest.fixture(autouse=True)
def _fewer_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ghosts, "STEPS", 60)
        yield


def recorded(here: Place) -> list[SelfTest]:
    bodies = [entry.body for entry in here.inst.ledger.entries()]
    return [body for body in bodies if isinstance(body, SelfTest)]


def test_people_read_a_line_for_each_test_and_two_pictures(place: Place) -> None:  # noqa: F811
    agreement = place.write(Tune.LORA)
    place.offer(agreement)
    outcome = comity("client", "selftest", "--home", place.inst.home.path)
    assert outcome.exit_code == 0, outcome.output + outcome.error
    lines = outcome.output.splitlines()
    assert lines[0] == "northern-banks, attempt 1: all passed"
    assert sum(line.startswith("  ok ") for line in lines) == 18
    for words in ("noise-scale", "step ", "█", "ε ≥", "nothing was spent, nothing has left"):
        assert words in outcome.output
    assert "training 60 steps on canaries" in outcome.error
    (entry,) = recorded(place)
    assert (entry.verdict, entry.agreement) == (Verdict.PASS, agreement.digest)


def test_a_failure_is_tried_twice_told_and_no_success(place: Place) -> None:  # noqa: F811
    with injected("noise × 0.5"):
        outcome = comity("client", "selftest", "--home", place.inst.home.path)
    assert outcome.exit_code == FINDINGS
    assert "standard terms, attempt 1: " in outcome.output
    assert "standard terms, attempt 2: " in outcome.output
    assert outcome.output.count("FAILED noise-scale") == 2
    assert "until a self-test passes" in outcome.output
    assert [(e.verdict, e.attempt) for e in recorded(place)] == [
        (Verdict.FAIL, 1),
        (Verdict.FAIL, 2),
    ]


def test_scripts_read_every_p_value(place: Place) -> None:  # noqa: F811
    agreement = place.write()
    place.offer(agreement)
    words = ("--agreement", agreement.digest[:12], "--home", place.inst.home.path, "--json")
    data = comity("client", "selftest", *words).data
    assert (data["agreement"], data["passed"], len(data["attempts"])) == (agreement.digest, True, 1)
    tests = data["attempts"][0]["tests"]
    assert [test["test"] for test in tests] == list(recorded(place)[0].tests)
    assert all(test["p"] is None or 0 < test["p"] <= 1 for test in tests)


def test_an_agreement_that_nobody_knows_is_told(place: Place) -> None:  # noqa: F811
    words = ("--agreement", "nobody", "--home", place.inst.home.path, "--json")
    assert comity("client", "selftest", *words).envelope["error"]["code"] == "COM-AGREE-001"
    assert recorded(place) == []


def test_an_agreement_that_promises_nothing_is_not_barred_by_a_test_of_its_promise(
    place: Place,  # noqa: F811
) -> None:
    silent = promising_nothing(place.write())
    place.offer(silent)
    words = ("--agreement", silent.federation, "--home", place.inst.home.path, "--json")
    told = comity("client", "selftest", *words).envelope["error"]
    assert (told["code"], recorded(place)) == ("COM-SELFTEST-001", [])
    assert "northern-banks promises no privacy" in told["message"]
    data = comity("client", "selftest", "--home", place.inst.home.path, "--json").data
    assert (data["agreement"], data["passed"]) == ("", True)  # standard terms
    assert not gate.is_barred(place.inst.ledger, silent.digest)
