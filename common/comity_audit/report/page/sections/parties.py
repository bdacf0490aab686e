"""Section 2: who takes part, what for, and on which legal basis."""

from comity_audit.report.facts import AgreementFacts, PartyFacts, Report
from comity_audit.report.page import numbers, phrases
from comity_audit.report.page.elements import Column, joined, paragraph, table
from comity_audit.report.page.voice import Voice, code, outside
from comity_host.markup import Markup, text

SHOWN_PARTIES, SHOWN_AGREEMENTS = 60, 20
SHOWN_DIGEST = 12


def parties(report: Report, say: Voice) -> Markup:
    """Write the section."""
    told = report.parties
    people, agreements = told.parties[:SHOWN_PARTIES], told.agreements[:SHOWN_AGREEMENTS]
    return joined(
        table(
            say(phrases.PARTIES_CAPTION),
            [
                Column(say(phrases.PARTY)),
                Column(say(phrases.NAME)),
                Column(say(phrases.COUNTRY)),
                Column(say(phrases.ROLE)),
            ],
            [
                (code(one.id), outside(one.name), say.country(one.country), _role(one, say))
                for one in people
            ],
        ),
        say.more(len(people), len(told.parties)),
        table(
            say(phrases.AGREEMENTS_CAPTION),
            [
                Column(say(phrases.FEDERATION)),
                Column(say(phrases.AGREEMENT)),
                Column(say(phrases.PURPOSE)),
                Column(say(phrases.EXPIRES), "t"),
                Column(say(phrases.SIGNED)),
                Column(say(phrases.VOUCHED)),
            ],
            [_agreement(one, say) for one in agreements],
        ),
        table(
            say(phrases.WORDS_CAPTION),
            [Column(say(phrases.AGREEMENT)), Column(say(phrases.WORDS))],
            [(code(one.digest, SHOWN_DIGEST), text(one.words)) for one in agreements],
        ),
        say.more(len(agreements), len(told.agreements)),
        table(
            say(phrases.BASIS_CAPTION),
            [
                Column(say(phrases.COUNTRY)),
                Column(say(phrases.PARTY)),
                Column(say(phrases.BASIS)),
            ],
            [
                (
                    say.country(one.code),
                    _few(one.parties, say),
                    outside(one.legal_basis) if one.legal_basis else say(phrases.NOT_STATED),
                )
                for one in told.countries
            ],
        ),
        paragraph(say(phrases.BASIS_WORDS), "quiet"),
    )


def _role(one: PartyFacts, say: Voice) -> Markup:
    role = say(phrases.ROLE_OPERATOR if one.is_operator else phrases.ROLE_INSTITUTION)
    return say(phrases.ROLE_OWNER, role=role) if one.is_owner else role


def _agreement(one: AgreementFacts, say: Voice) -> tuple[Markup, ...]:
    return (
        outside(one.federation),
        code(one.digest, SHOWN_DIGEST),
        outside(one.purpose) if one.purpose else say(phrases.NOT_STATED),
        text(one.expires),
        say.yes(one.is_signed),
        say.yes(one.is_vouched),
    )


def _few(ids: tuple[str, ...], say: Voice) -> Markup:
    shown = [code(id) for id in ids[:SHOWN_PARTIES]]
    left = len(ids) - len(shown)
    return say.listed([*shown, Markup(f"+{numbers.whole(left)}")] if left else shown)
