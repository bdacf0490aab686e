"""Section 7: the self-tests of the machinery."""

from comity_audit.report.facts import Report, SelfTestFacts
from comity_audit.report.page import numbers, phrases
from comity_audit.report.page.elements import Column, heading, joined, listed, paragraph, table
from comity_audit.report.page.sections.parties import SHOWN_DIGEST
from comity_audit.report.page.voice import Voice, code, outside
from comity_host.markup import Markup

SHOWN_SELFTESTS, SHOWN_TESTS = 20, 40


def selftests(report: Report, say: Voice) -> Markup:
    """Write the section."""
    told = report.self_tests
    bound = outside(told.lower_bound) if told.lower_bound else say(phrases.NOT_STATED)
    lower = joined(
        heading(say(phrases.LOWER_BOUND)),
        paragraph(bound),
        paragraph(say(phrases.LOWER_BOUND_WORDS), "quiet"),
    )
    if not told.tests:
        return joined(paragraph(say(phrases.SELFTESTS_NONE)), lower)
    shown, count = told.tests[-SHOWN_SELFTESTS:], told.passed + told.failed
    tried = dict.fromkeys(test for one in shown for test in one.tests)
    return joined(
        paragraph(say(phrases.SELFTESTS_WORDS)),
        paragraph(
            say(
                phrases.SELFTESTS_COUNT,
                passed=numbers.whole(told.passed),
                failed=numbers.whole(told.failed),
            )
        ),
        table(
            say(phrases.SELFTESTS_CAPTION),
            [
                Column(say(phrases.ENTRY), "n"),
                Column(say(phrases.TIME), "t"),
                Column(say(phrases.AGREEMENT)),
                Column(say(phrases.RESULT)),
                Column(say(phrases.ATTEMPT), "n"),
                Column(say(phrases.TESTS), "n"),
                Column(say(phrases.FAILED)),
            ],
            [_selftest(one, say) for one in shown],
        ),
        say.more(len(shown), count),
        heading(say(phrases.TRIED_CAPTION)),
        listed(_tried(test, say) for test in list(tried)[:SHOWN_TESTS]),
        say.more(min(len(tried), SHOWN_TESTS), len(tried)),
        lower,
    )


def _selftest(one: SelfTestFacts, say: Voice) -> tuple[Markup, ...]:
    style, words = ("holds", phrases.PASSED) if one.passed else ("fails", phrases.NOT_PASSED)
    under = code(one.agreement, SHOWN_DIGEST) if one.agreement else say(phrases.STANDARD_TERMS)
    return (
        numbers.whole(one.sequence),
        numbers.moment(one.time),
        under,
        Markup(f'<span class="mark {style}">{say(words)}</span>'),
        numbers.whole(one.attempt),
        numbers.whole(len(one.tests)),
        say.listed(map(code, one.failed)),
    )


def _tried(test: str, say: Voice) -> Markup:
    if test not in phrases.TESTED:
        return code(test)
    return Markup(f"{code(test)} {say(phrases.TESTED[test])}")
