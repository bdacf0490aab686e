"""Who takes part, what for, and where: from the agreements that entries name."""

from collections import defaultdict
from collections.abc import Iterator

from comity_audit.ledgers.parties import Parties as KnownParties
from comity_audit.report.facts import AgreementFacts, CountryFacts, Parties, PartyFacts, cut
from comity_common.agreement import Agreement
from comity_common.words import agreement_words


def parties_of(known: KnownParties) -> Parties:
    """Tell the parties of all agreements, each once."""
    agreements = [known.agreements[digest] for digest in sorted(known.agreements)]
    parties = sorted(
        {one for agreement in agreements for one in _named(agreement, known.owner.id)},
        key=lambda one: (not one.is_owner, not one.is_operator, one.id, one.country, one.name),
    )
    return Parties(
        agreements=tuple(_agreement(known, one) for one in agreements),
        parties=tuple(parties),
        countries=tuple(_countries(parties)),
    )


def _agreement(known: KnownParties, agreement: Agreement) -> AgreementFacts:
    return AgreementFacts(
        digest=agreement.digest,
        words=agreement_words(agreement.digest),
        federation=cut(agreement.federation),
        purpose=cut(agreement.purpose),
        expires=agreement.schedule.expires,
        is_signed=agreement.digest in known.signed,
        is_vouched=agreement.digest in known.vouched,
        operator=agreement.operator.id,
        institutions=agreement.roster,
    )


def _named(agreement: Agreement, owner: str) -> Iterator[PartyFacts]:
    for party in (agreement.operator, *agreement.institutions):
        yield PartyFacts(
            id=party.id,
            name=cut(party.name),
            country=party.jurisdiction,
            is_operator=party == agreement.operator,
            is_owner=party.id == owner,
        )


def _countries(parties: list[PartyFacts]) -> Iterator[CountryFacts]:
    there: dict[str, list[str]] = defaultdict(list)
    for party in parties:
        if party.id not in there[party.country]:
            there[party.country].append(party.id)
    for code, ids in sorted(there.items()):
        yield CountryFacts(code=code, parties=tuple(ids), legal_basis="")
