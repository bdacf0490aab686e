"""Every ε that was computed again, and whether both implementations say the same."""

from collections.abc import Iterator, Sequence

from comity_audit.epsilontext import epsilon_text
from comity_audit.ledgers.epsilons import (
    ABSOLUTE,
    RELATIVE,
    Computed,
    GrantEpsilon,
    NamespaceEpsilon,
    RunEpsilon,
    has_second,
    merged,
)
from comity_audit.report.facts import Amount, EpsilonFacts, Recomputation
from comity_audit.report.gathering.claims import mechanism_facts
from comity_common.dp.terms import SampledGaussian


def recomputation_of(recomputed: Sequence[NamespaceEpsilon] | None) -> Recomputation:
    """Tell what was computed.

    Args:
        recomputed: None if the ledger's entries do not fit each other.
    """
    return Recomputation(
        is_possible=recomputed is not None,
        has_second=has_second(),
        relative=f"{RELATIVE:g}",
        absolute=f"{ABSOLUTE:g}",
        amounts=tuple(one for space in recomputed or () for one in _amounts(space)),
    )


def _amounts(space: NamespaceEpsilon) -> Iterator[EpsilonFacts]:
    for grant in space.grants:
        if grant.of_spent is not None:
            yield _of_grant(space, grant, grant.of_spent)
    for run in space.runs:
        yield _of_run(run, Amount.SPENT, run.spent, run.of_spent)
        yield _of_run(run, Amount.SCHEDULE, run.scheduled, run.of_schedule)


def _of_grant(space: NamespaceEpsilon, grant: GrantEpsilon, of_spent: Computed) -> EpsilonFacts:
    terms = grant.statement.grant
    guarantee = terms.guarantee
    return EpsilonFacts(
        namespace=space.namespace,
        amount=Amount.GRANT,
        subject=terms.grant.hex(),
        delta="" if guarantee is None else f"{guarantee.delta:f}",
        order=terms.order,
        mechanisms=(),
        claim="" if guarantee is None else epsilon_text(guarantee.epsilon),
        is_kept=guarantee is None or of_spent.ours <= float(guarantee.epsilon),
        ours=epsilon_text(of_spent.ours),
        theirs=_theirs(of_spent),
        difference=_difference(of_spent),
        is_bound=of_spent.is_bound,
        agree=_agree(of_spent),
    )


def _of_run(
    run: RunEpsilon, amount: Amount, events: Sequence[SampledGaussian], of: Computed
) -> EpsilonFacts:
    claim = run.claim
    return EpsilonFacts(
        namespace=run.namespace,
        amount=amount,
        subject=run.agreement,
        delta="" if claim is None else f"{claim.delta:f}",
        order=0,
        mechanisms=tuple(map(mechanism_facts, merged(events))),
        claim="" if claim is None else epsilon_text(claim.epsilon),
        is_kept=run.is_kept,
        ours=epsilon_text(of.ours),
        theirs=_theirs(of),
        difference=_difference(of),
        is_bound=of.is_bound,
        agree=_agree(of),
    )


def _theirs(of: Computed) -> str:
    return "" if of.theirs is None else epsilon_text(of.theirs)


def _difference(of: Computed) -> str:
    return "" if of.difference is None else epsilon_text(of.difference)


def _agree(of: Computed) -> bool | None:
    return None if of.theirs is None else of.agree
