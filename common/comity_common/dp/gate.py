"""Whether a mechanism may be reserved: every rule that an agreement must keep, then its grant.

Each rule is a function that says in a sentence why not; all are asked, and the first that objects
refuses. The sentence is for the institution's own eyes; what leaves is the code alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from comity_common.dp.accountant import allowance, cost, fits, total_cost
from comity_common.dp.accounts import EXACT, Account
from comity_common.dp.spending import Spending
from comity_common.dp.tally import claimed, epsilon_under, is_within, keeps
from comity_common.dp.terms import MIN_ORDER, Gate, Guarantee, SampledGaussian, Unit
from comity_common.errors import Refusal, RefusalCode
from comity_common.ids import Digest
from comity_common.ledger.bodies import BudgetGrant, DatasetId, NamespaceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A reserve that is asked for."""

    agreement: Digest
    event: SampledGaussian
    schedule: tuple[SampledGaussian, ...]
    guarantee: Guarantee | None


LEAST_COST = 1e-300  # nats; a schedule so cheap that its cost underflows still counts as something
MOST_RUNS = 10**15  # that are told

Rule = Callable[[Account, DatasetId, Spending, tuple[SampledGaussian, ...]], str | None]


def check_spending(
    account: Account, dataset: DatasetId, spending: Spending, events: tuple[SampledGaussian, ...]
) -> BudgetGrant:
    """Find the grant under which an agreement may run mechanisms next.

    Raises:
        Refusal: `BUDGET`.
    """
    for rule in (*RULES_FOR_TERMS, *RULES_FOR_STEPS):
        if (why := rule(account, dataset, spending, events)) is not None:
            raise Refusal(RefusalCode.BUDGET, why)
    return _grant_for(account, spending, events)


def runs_left(account: Account, dataset: DatasetId, spending: Spending) -> int:
    """Count how many more agreements on the same terms could run to their end."""
    for rule in RULES_FOR_TERMS:
        if rule(account, dataset, spending, spending.schedule) is not None:
            return 0
    grants = [one for one in account.grants.values() if one.gate is spending.gate]
    return sum(
        _runs_within(account, one, spending) for one in grants or _grant_of_rest(account, spending)
    )


def protects_its_unit(
    account: Account, dataset: DatasetId, spending: Spending, events: tuple[SampledGaussian, ...]
) -> str | None:
    """A budget counts in one unit, and persons can only be told apart by a key column."""
    if account.unit is Unit.PERSON and spending.unit is not Unit.PERSON:
        return "expected an agreement that protects persons, as this budget counts persons"
    if spending.unit is Unit.PERSON and account.datasets[dataset] is not Unit.PERSON:
        return "expected a data set with a key column, as the agreement protects persons"
    return None


def finds_privacy(
    account: Account, dataset: DatasetId, spending: Spending, events: tuple[SampledGaussian, ...]
) -> str | None:
    """Nothing can be promised any more for what a mechanism without privacy has touched."""
    if spending.guarantee is None:
        return None
    if any(math.isinf(cost(one.event, MIN_ORDER)) for one in account.sums.values()):
        return (
            "expected rows that were only ever trained on with privacy; a mechanism without it "
            "has touched them, so their ε is infinite for good"
        )
    return None


def keeps_its_claim(
    account: Account, dataset: DatasetId, spending: Spending, events: tuple[SampledGaussian, ...]
) -> str | None:
    """What the agreement claims must follow from its own schedule, by its own accountant."""
    claim, schedule = spending.guarantee, spending.schedule
    if claim is None:
        return None
    if spending.gate is Gate.RENYI:
        kept = fits(schedule, claim, spending.order)
    else:
        kept = keeps(schedule, claim)
    return None if kept else "expected a schedule within the guarantee that the agreement claims"


def stays_within_its_schedule(
    account: Account, dataset: DatasetId, spending: Spending, events: tuple[SampledGaussian, ...]
) -> str | None:
    """No agreement takes more steps than were scheduled, spare rounds included (T_max)."""
    for event in events:
        scheduled = spending.steps_of(event)
        if not scheduled:
            return "expected a mechanism of the agreement's schedule"
        taken = account.steps(spending.agreement, event)
        if taken + event.steps > scheduled:
            return (
                f"expected at most {scheduled} steps under this agreement, of which {taken} are "
                f"reserved, got {event.steps} more"
            )
    return None


def repeats_its_terms(
    account: Account, dataset: DatasetId, spending: Spending, events: tuple[SampledGaussian, ...]
) -> str | None:
    """One agreement has one unit, schedule and guarantee from its first reserve to its last."""
    terms = (spending.unit, spending.schedule, spending.guarantee)
    begun = account.begun.get(spending.agreement)
    if begun is not None and begun.terms != {terms}:
        return "expected the terms with which this agreement has reserved before"
    return None


RULES_FOR_TERMS: tuple[Rule, ...] = (protects_its_unit, finds_privacy, keeps_its_claim)
RULES_FOR_STEPS: tuple[Rule, ...] = (stays_within_its_schedule, repeats_its_terms)


def _grant_for(
    account: Account, spending: Spending, events: tuple[SampledGaussian, ...]
) -> BudgetGrant:
    """Find the grant: of the agreement's earlier reserves, or one with room for its schedule."""
    begun = account.begun.get(spending.agreement)
    known = [account.grants[begun.grant]] if begun else list(account.grants.values())
    grants = [one for one in known if one.gate is spending.gate]
    if not grants:
        raise Refusal(RefusalCode.BUDGET, _not_granted(spending.gate))
    grants.sort(key=lambda one: one.order != spending.order)
    for wanted in (spending.schedule, events) if begun is None else (events,):
        for grant in grants:
            if is_within(grant, [*account.summed(grant.grant), *_asked(spending, wanted)]):
                return grant
    raise Refusal(RefusalCode.BUDGET, _too_much(account, grants[0]))


def _not_granted(gate: Gate) -> str:
    if gate is Gate.NONE:  # the one grant that signing never makes
        return "expected a grant by hand: comity client budget grant --without-privacy"
    return f"expected a data set with a granted budget that is counted by {gate.value}"


def _asked(spending: Spending, events: tuple[SampledGaussian, ...]) -> list[Asked]:
    return [
        Asked(
            agreement=spending.agreement,
            event=event,
            schedule=spending.schedule,
            guarantee=spending.guarantee,
        )
        for event in events
    ]


def _too_much(account: Account, grant: BudgetGrant) -> str:
    if grant.guarantee is None:
        raise AssertionError("a grant without privacy has no limit")
    held = epsilon_under(grant, account.summed(grant.grant))
    why = (
        f"expected a mechanism within what is left of ε = {grant.guarantee.epsilon:f}, "
        f"of which {held:.2f} is spent or reserved"
    )
    if grant.gate is Gate.RENYI:
        why += (
            f"; it costs more where it was not made for order {grant.order}, at which these rows "
            "are counted since their first agreement"
        )
    return why


def _grant_of_rest(account: Account, spending: Spending) -> list[BudgetGrant]:
    """The grant that signing such an agreement would make, if there is room for one."""
    rest = account.rest()
    if rest is None or spending.guarantee is None:
        return []
    grant = BudgetGrant(
        grant=bytes(16),
        namespace=NamespaceId("0" * 32),
        guarantee=rest,
        gate=spending.gate,
        order=spending.order,
    )
    return [grant] if account.why_not_granted(grant) is None else []


def _runs_within(account: Account, grant: BudgetGrant, spending: Spending) -> int:
    """Count how many more times a whole schedule fits below a grant."""
    if grant.guarantee is None or spending.guarantee is None:
        return 0
    held = account.summed(grant.grant)
    if grant.gate is Gate.RENYI:
        spent = total_cost([one.event for one in held], grant.order)
        each = max(total_cost(spending.schedule, grant.order), LEAST_COST)
        most = allowance(grant.guarantee, grant.order)
        runs = math.floor(min(max(0.0, (most - spent) / each), MOST_RUNS))
        return runs if spent + runs * each <= most else runs - 1
    claims = claimed(held)
    if claims is None:
        return 0
    return min(
        _times(grant.guarantee.epsilon, claims[0], spending.guarantee.epsilon),
        _times(grant.guarantee.delta, claims[1], spending.guarantee.delta),
    )


def _times(most: Decimal, taken: Decimal, each: Decimal) -> int:
    return max(0, int(EXACT.divide_int(EXACT.subtract(most, taken), each)))
