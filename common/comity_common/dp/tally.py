"""What reserves amount to under a grant, by the grant's own accountant.

* `renyi`: the costs of all mechanisms at the grant's order, against its allowance; what the
  agreements claim plays no part.
* `fixed-schedule`: each agreement that reserved anything costs what it claims, (ε_i, δ_i), and
  claims add up (Dwork & Roth 2014, thm. 3.16). A claim covers its schedule once: whatever goes
  beyond it costs the claim again, and what its schedule does not keep costs ε = ∞.
* `none`: ε = ∞ as soon as anything is reserved.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Protocol

from comity_common.dp import pld
from comity_common.dp.accountant import allowance, epsilon_of, fits, total_cost
from comity_common.dp.accounts import EXACT, total
from comity_common.dp.spending import mechanism_of
from comity_common.dp.terms import MAX_ORDER, MIN_ORDER, Gate, Guarantee, SampledGaussian
from comity_common.errors import LocalError
from comity_common.ids import Digest
from comity_common.ledger.bodies import BudgetGrant

ORDERS = range(MIN_ORDER, MAX_ORDER + 1)


class Booked(Protocol):
    """What counts: a reserve that was made, or one that is asked for."""

    @property
    def agreement(self) -> Digest:
        """The agreement it is for."""

    @property
    def event(self) -> SampledGaussian:
        """The mechanism."""

    @property
    def schedule(self) -> tuple[SampledGaussian, ...]:
        """All that the agreement may run."""

    @property
    def guarantee(self) -> Guarantee | None:
        """What the agreement claims for all of it."""


def is_within(grant: BudgetGrant, booked: Iterable[Booked]) -> bool:
    """Tell whether what is booked stays within its grant."""
    if grant.guarantee is None:
        return True
    if grant.gate is Gate.RENYI:
        return fits(_events(booked), grant.guarantee, grant.order)
    claims = claimed(booked)
    if claims is None:
        return False
    epsilon, delta = claims
    return epsilon <= grant.guarantee.epsilon and delta <= grant.guarantee.delta


def epsilon_under(grant: BudgetGrant, booked: Iterable[Booked]) -> float:
    """Compute the ε at the grant's δ to which what is booked amounts; 0.0 for nothing."""
    booked = list(booked)
    if grant.guarantee is None:
        return math.inf if booked else 0.0
    if grant.gate is Gate.RENYI:
        return epsilon_of(_events(booked), grant.order, grant.guarantee.delta)
    claims = claimed(booked)
    return math.inf if claims is None else float(claims[0])


def share_under(grant: BudgetGrant, booked: Iterable[Booked]) -> float:
    """Compute which part of a grant is booked: 0.0 to 1.0, never more if all was asked for."""
    booked = list(booked)
    if grant.guarantee is None:
        return math.inf if booked else 0.0
    if grant.gate is Gate.RENYI:
        return total_cost(_events(booked), grant.order) / allowance(grant.guarantee, grant.order)
    claims = claimed(booked)
    if claims is None:
        return math.inf
    return max(
        float(EXACT.divide(claims[0], grant.guarantee.epsilon)),
        float(EXACT.divide(claims[1], grant.guarantee.delta)),
    )


def claimed(booked: Iterable[Booked]) -> tuple[Decimal, Decimal] | None:
    """Add up what agreements claim for what they have booked.

    Returns:
        ε and δ; None for ε = ∞.
    """
    steps: dict[tuple[object, ...], Counter[tuple[object, ...]]] = defaultdict(Counter)
    terms: dict[tuple[object, ...], Booked] = {}
    for one in booked:
        key: tuple[object, ...] = (one.agreement, one.guarantee, one.schedule)
        terms[key] = one
        steps[key][mechanism_of(one.event)] += one.event.steps
    epsilons, deltas = [], []
    for key, one in terms.items():
        if one.guarantee is None or not keeps(one.schedule, one.guarantee):
            return None
        scheduled = Counter[tuple[object, ...]]()
        for event in one.schedule:
            scheduled[mechanism_of(event)] += event.steps
        if not steps[key].keys() <= scheduled.keys():
            return None
        times = max(-(-done // scheduled[which]) for which, done in steps[key].items())
        epsilons.append(EXACT.multiply(one.guarantee.epsilon, times))
        deltas.append(EXACT.multiply(one.guarantee.delta, times))
    return total(epsilons), total(deltas)


@lru_cache(maxsize=1024)
def keeps(schedule: tuple[SampledGaussian, ...], guarantee: Guarantee) -> bool:
    """Tell whether a schedule that was fixed beforehand is within a guarantee.

    It is if it is at any integer order from 2 to 256: as nothing is chosen on the way, the order
    may be chosen afterwards (Mironov 2017, prop. 3). Else its privacy loss distribution decides,
    if it agrees with these orders (`pld.check_consistent`); if not, nothing is kept.
    """
    if any(fits(schedule, guarantee, order) for order in ORDERS):
        return True
    try:
        return pld.check_consistent(schedule, guarantee.delta) <= float(guarantee.epsilon)
    except LocalError:
        return False


def schedule_epsilon(schedule: tuple[SampledGaussian, ...], delta: Decimal) -> float:
    """Bound the ε at δ of a schedule that was fixed beforehand, by its loss distribution."""
    return pld.epsilon(schedule, delta)


def _events(booked: Iterable[Booked]) -> list[SampledGaussian]:
    return [one.event for one in booked]
