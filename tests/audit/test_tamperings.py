"""A few hundred tamperings of every family, and each forgery of a dishonest owner once."""

import random

import pytest

from comity_audit.steps import Outcome
from tests.audit.campaign import FAMILIES, Tally, campaign, subjects
from tests.audit.forgeries import FORGERIES
from tests.audit.meaning import Said, judge
from tests.audit.subject import Subject

TAMPERINGS = 200


@pytest.fixture(scope="module")
def honest() -> list[Subject]:
    return subjects()


def test_the_honest_ledgers_are_clean(honest: list[Subject]) -> None:
    for one in honest:
        _, steps = one.verified
        assert [step for step in steps if step.outcome is Outcome.FAILS] == []


def test_nothing_that_changes_the_meaning_goes_unnoticed(honest: list[Subject]) -> None:
    tallies = dict[str, Tally]()
    assert list(campaign(honest, 1, range(TAMPERINGS), tallies)) == list(range(TAMPERINGS))
    assert tallies.keys() == FAMILIES.keys()
    assert [each for tally in tallies.values() for each in tally.unnoticed] == []
    assert sum(tally.counted for tally in tallies.values()) > 0.9 * TAMPERINGS


@pytest.mark.parametrize("name", FORGERIES)
def test_every_forgery_is_found_by_the_rule_that_it_breaks(
    honest: list[Subject], name: str
) -> None:
    forgery, chance = FORGERIES[name], random.Random(name)
    found = judge(honest[0], forgery.package(honest[0], chance))
    assert found.said is Said.FAILS
    assert forgery.rule in found.steps
