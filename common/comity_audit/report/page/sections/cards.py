"""Section 3: what is claimed for each agreement, in the form of NIST SP 800-226."""

from collections.abc import Iterator

from comity_audit.report.facts import ClaimCard, MechanismFacts, Report
from comity_audit.report.page import numbers, phrases
from comity_audit.report.page.elements import definitions, joined, paragraph
from comity_audit.report.page.sections.parties import SHOWN_DIGEST
from comity_audit.report.page.voice import Voice, code, outside
from comity_host.markup import Markup, text

SHOWN_CARDS = 10


def cards(report: Report, say: Voice) -> Markup:
    """Write the section."""
    if not report.claims:
        return paragraph(say(phrases.NO_CARDS))
    names = {one.digest: one.federation for one in report.parties.agreements}
    shown = report.claims[:SHOWN_CARDS]
    return joined(
        paragraph(say(phrases.CLAIMS_WORDS)),
        *(_card(one, names.get(one.agreement, ""), say) for one in shown),
        say.more(len(shown), len(report.claims)),
    )


def mechanism(one: MechanismFacts, say: Voice) -> Markup:
    """Write a mechanism with its numbers."""
    return say(
        phrases.CARD_MECHANISM_WORDS,
        name=say.of(phrases.MECHANISMS, one.name),
        q=text(one.sampling_probability),
        sigma=text(one.noise_multiplier),
        steps=numbers.whole(one.steps),
    )


def _card(card: ClaimCard, federation: str, say: Voice) -> Markup:
    caption = say(
        phrases.CARD,
        federation=outside(federation),
        digest=code(card.agreement, SHOWN_DIGEST),
    )
    if not card.is_private:
        return joined(
            definitions(caption, [(say(phrases.CARD_EPSILON), say(phrases.INFINITE))]),
            paragraph(say(phrases.CARD_NONE)),
        )
    return definitions(caption, _rows(card, say))


def _rows(card: ClaimCard, say: Voice) -> Iterator[tuple[Markup, Markup]]:
    yield (
        say(phrases.CARD_VARIANT),
        say.of(phrases.VARIANTS, card.gate, order=numbers.whole(card.order)),
    )
    yield (
        say(phrases.CARD_EPSILON),
        say(
            phrases.CARD_EPSILON_WORDS,
            epsilon=numbers.bound(card.epsilon),
            delta=numbers.delta(card.delta),
        ),
    )
    rows = numbers.whole(card.rows_per_unit)
    yield say(phrases.CARD_UNIT), say.of(phrases.UNITS, card.unit, rows=rows)
    yield say(phrases.CARD_ADJACENCY), say(phrases.CARD_ADJACENCY_WORDS)
    yield say(phrases.CARD_RELEASED), _released(card, say)
    yield (
        say(phrases.CARD_MECHANISM),
        Markup("<br/>".join(mechanism(one, say) for one in card.schedule)),
    )
    yield say(phrases.CARD_CLIPPING), text(card.clip_norm)
    schedule = say(
        phrases.CARD_SCHEDULE_WORDS,
        rounds=numbers.whole(card.rounds),
        spare=numbers.whole(card.spare_rounds),
    )
    yield say(phrases.CARD_SCHEDULE), schedule
    yield say(phrases.CARD_TRUST), say(phrases.CARD_TRUST_WORDS)
    yield say(phrases.CARD_MUST), say(phrases.CARD_MUST_WORDS)
    yield say(phrases.CARD_THEOREM), say.of(phrases.THEOREMS, card.gate)
    yield say(phrases.CARD_CHANCE), say(phrases.CARD_CHANCE_WORDS)
    yield say(phrases.CARD_OUTSIDE), say(phrases.CARD_OUTSIDE_WORDS)


def _released(card: ClaimCard, say: Voice) -> Markup:
    if not card.scores:
        return say(phrases.CARD_RELEASED_WORDS)
    scores = say.listed(map(numbers.whole, card.scores))
    return say(phrases.CARD_RELEASED_SCORES, scores=scores)
