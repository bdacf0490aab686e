"""A few tamperings of every family, and each forgery of a dishonest owner once."""

import random

import pytest

from comity_audit.ledgers.verification import RULES
from comity_audit.steps import Outcome
from tests.audit.campaign import FAMILIES, Campaign, subjects
from tests.audit.federation import OPERATOR
from tests.audit.forgeries import FORGERIES, of_owner
from tests.audit.forging import Forgery
from tests.audit.meaning import Said, judge
from tests.audit.subject import RESTORED, Subject

TAMPERINGS = 260


def owner_of(forgery: Forgery) -> Subject:
    """Return the operator's ledger for its rules, and one that was restored for all others."""
    (operator,) = (one for one in subjects() if one.owner == OPERATOR)
    (restored,) = (one for one in subjects() if one.owner == RESTORED)
    return operator if forgery.name in of_owner(operator) else restored


@pytest.mark.parametrize("of", subjects(), ids=lambda of: str(of.owner))
def test_the_honest_ledgers_are_clean(of: Subject) -> None:
    _, steps = of.verified
    assert [step for step in steps if step.outcome is Outcome.FAILS] == []


def test_nothing_that_changes_the_meaning_goes_unnoticed() -> None:
    campaign = Campaign(seed=1, workers=1)
    campaign.run(list(FAMILIES), TAMPERINGS, 600.0, lambda words: None)
    assert {name: count.missed for name, count in campaign.counts.items() if count.missed} == {}
    assert sum(count.changed for count in campaign.counts.values()) == TAMPERINGS


@pytest.mark.parametrize("name", FORGERIES)
def test_every_forgery_is_found_by_the_rule_that_it_breaks(name: str) -> None:
    forgery = FORGERIES[name]
    of = owner_of(forgery)
    found = judge(of, forgery.package(of, random.Random(name)))
    assert found.said is Said.FAILS
    assert forgery.rule in found.steps


def test_every_rule_has_a_forgery_that_breaks_it() -> None:
    assert {name for name, *_ in RULES} <= {one.rule for one in FORGERIES.values()}
