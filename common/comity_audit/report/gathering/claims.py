"""What is claimed for each agreement under which something may touch rows."""

from collections.abc import Iterator

from comity_audit.epsilontext import INFINITE, epsilon_text
from comity_audit.ledgers.entries import AuditedLedger
from comity_audit.report.facts import ClaimCard, MechanismFacts
from comity_common.agreement import Agreement
from comity_common.dp.terms import SampledGaussian
from comity_common.ledger.bodies import AgreementSign, BudgetReserve
from comity_common.mechanisms import schedule_events


def claims_of(ledger: AuditedLedger) -> Iterator[ClaimCard]:
    """Tell the claims of the agreements that were signed or spent under, in that order."""
    bodies = [entry.body for entry in ledger.entries]
    named = [one.agreement for one in bodies if isinstance(one, AgreementSign | BudgetReserve)]
    for digest in dict.fromkeys(named):
        if digest in ledger.parties.agreements:
            yield _card(ledger.parties.agreements[digest])


def mechanism_facts(event: SampledGaussian) -> MechanismFacts:
    """Tell a mechanism."""
    return MechanismFacts(
        name=event.mechanism[:40],
        sampling_probability=f"{event.sampling_probability:f}",
        noise_multiplier=f"{event.noise_multiplier:f}",
        steps=event.steps,
    )


def _card(agreement: Agreement) -> ClaimCard:
    privacy, scores = agreement.privacy, agreement.private_evaluation
    return ClaimCard(
        agreement=agreement.digest,
        is_private=privacy.is_private,
        epsilon=epsilon_text(privacy.epsilon) if privacy.is_private else INFINITE,
        delta=f"{privacy.delta:f}" if privacy.is_private else "",
        unit=privacy.unit.value,
        rows_per_unit=privacy.rows_per_unit,
        adjacency=privacy.adjacency,
        noise=privacy.noise.value,
        gate=privacy.gate.value,
        order=privacy.order,
        clip_norm=f"{agreement.training.clip_norm:f}",
        schedule=tuple(map(mechanism_facts, schedule_events(agreement))),
        rounds=agreement.schedule.rounds,
        spare_rounds=agreement.schedule.spare_rounds,
        scores=() if scores is None else scores.after,
    )
