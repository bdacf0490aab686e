"""Which clauses of which law the facts of a report are evidence for.

What the clauses ask for stands in `regimes/*.toml`, in our own words, with the facts that are
evidence for them. Which facts a report holds is decided here. Present means that they are in the
report, missing that one of them is not; whether a duty was done is nobody's to say here.

A law is shown as applicable if a party of the agreements is in one of its countries; a clause about
transfers, if another is outside of all of them. Whether it really applies, people decide.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from comity_audit.epsilontext import INFINITE
from comity_audit.report.facts import (
    Bilingual,
    BudgetHistory,
    ClaimCard,
    ClaimId,
    ClauseEvidence,
    ClauseStatus,
    Conclusion,
    FactId,
    Limit,
    Parties,
    Recomputation,
    RegimeEvidence,
    Summary,
    Traffic,
)

DATA = files("comity_audit.report")
REGIMES = ("gdpr", "pipl", "cac", "hipaa", "aiact", "lgpd")
SCOPES = ("party", "border")


def evidence_for(
    summary: Summary,
    parties: Parties,
    claims: Sequence[ClaimCard],
    budgets: Sequence[BudgetHistory],
    recomputation: Recomputation,
    traffic: Traffic,
) -> tuple[RegimeEvidence, ...]:
    """Hold the facts of a report against every clause."""
    there = _present(summary, parties, claims, budgets, recomputation, traffic)
    countries = tuple(country.code for country in parties.countries)
    return tuple(_regime(name, there, countries) for name in REGIMES)


def limits() -> tuple[Limit, ...]:
    """List what cannot be concluded from any ledger."""
    return tuple(
        Limit(id=one["id"], text=Bilingual(en=one["en"], zh=one["zh"]))
        for one in _data("limits.toml")["limits"]
    )


def _present(
    summary: Summary,
    parties: Parties,
    claims: Sequence[ClaimCard],
    budgets: Sequence[BudgetHistory],
    recomputation: Recomputation,
    traffic: Traffic,
) -> frozenset[FactId]:
    holds = {one.id for one in summary.claims if one.conclusion is Conclusion.HOLDS}
    is_finite = all(one.reserved != INFINITE for one in budgets)
    checks = {
        FactId.PURPOSE: all(one.purpose for one in parties.agreements),
        FactId.PARTIES: all(one.name for one in parties.parties),
        FactId.SIGNED_TERMS: any(one.is_signed for one in parties.agreements)
        and ClaimId.WHOLE in holds,
        FactId.EGRESS_LOG: any(one.is_egress for one in traffic.kinds),
        FactId.COVERED: ClaimId.COVERED in holds,
        FactId.MATCHED: ClaimId.MATCHED in holds,
        FactId.PRIVACY_CLAIM: bool(claims) and is_finite and all(one.is_private for one in claims),
        FactId.BUDGET_KEPT: ClaimId.BUDGET in holds and bool(budgets) and is_finite,
        FactId.RECOMPUTED: ClaimId.EPSILON in holds,
        FactId.SELF_TESTS: ClaimId.TESTED in holds,
        FactId.INTEGRITY: ClaimId.WHOLE in holds,
        FactId.WITNESSES: ClaimId.WITNESSED in holds and bool(summary.complete),
        FactId.VOUCHED: summary.is_anchored,
        FactId.INCIDENT_LOG: ClaimId.WHOLE in holds,
        FactId.LIMITS: True,
        FactId.LEGAL_BASIS: all(one.legal_basis for one in parties.countries),
        FactId.DATA_DESCRIPTION: False,  # no entry and no agreement has a field for it
    }
    return frozenset(id for id, is_there in checks.items() if is_there)


def _regime(name: str, there: frozenset[FactId], countries: Sequence[str]) -> RegimeEvidence:
    data = _data(f"regimes/{name}.toml")
    inside = tuple(code for code in countries if code in data["countries"])
    applicable = {"party": bool(inside), "border": 0 < len(inside) < len(countries)}
    return RegimeEvidence(
        id=data["id"],
        title=_text(data["title"]),
        applies=_text(data["applies"]),
        countries=inside,
        clauses=tuple(_clauses(data["clauses"], there, applicable)),
    )


def _clauses(
    clauses: Sequence[Mapping[str, Any]],
    there: frozenset[FactId],
    applicable: Mapping[str, bool],
) -> Iterator[ClauseEvidence]:
    for clause in clauses:
        wanted = [FactId(name) for name in clause["facts"]] if applicable[clause["scope"]] else []
        missing = tuple(fact for fact in wanted if fact not in there)
        status = ClauseStatus.MISSING if missing else ClauseStatus.PRESENT
        yield ClauseEvidence(
            id=clause["id"],
            title=_text(clause["title"]),
            asks=_text(clause["asks"]),
            elsewhere=_text(clause["elsewhere"]),
            status=status if wanted else ClauseStatus.NOT_APPLICABLE,
            present=tuple(fact for fact in wanted if fact in there),
            missing=missing,
        )


def _text(data: Mapping[str, str]) -> Bilingual:
    return Bilingual(en=data["en"], zh=data["zh"])


@cache
def _data(name: str) -> dict[str, Any]:
    return tomllib.loads(DATA.joinpath(name).read_text("utf-8"))
