"""Section 10: that the log is whole, and the command with which to see it."""

import shlex
from collections.abc import Iterator

from comity_audit.report.facts import Integrity, Report, StepFacts, WitnessFacts
from comity_audit.report.page import numbers, phrases
from comity_audit.report.page.elements import (
    Column,
    definitions,
    heading,
    joined,
    paragraph,
    table,
)
from comity_audit.report.page.sections.cosigners import cosigner
from comity_audit.report.page.voice import Voice, code, outside, verifiers
from comity_audit.steps import Outcome
from comity_host.markup import Markup, text

SHOWN_WITNESSES, SHOWN_NAME = 60, 80
ASKED_BY = {
    "older head": " --head kept-head.note",
    "outsiders": ' --witness "KEY"',
    "crossings": " --operator operator.zip",
}
"""The option that asks for a step, with what its reader has in its place."""

TAKEN = (Outcome.HOLDS, Outcome.FAILS, Outcome.WORD)
STYLES = {
    Outcome.HOLDS: "holds",
    Outcome.FAILS: "fails",
    Outcome.INAPPLICABLE: "not-applicable",
}


def integrity(report: Report, say: Voice) -> Markup:
    """Write the section."""
    told = report.integrity
    shown = told.witnesses[:SHOWN_WITNESSES]
    counts = say(phrases.COUNTS, needed=numbers.whole(told.needed))
    return joined(
        paragraph(say(phrases.INTEGRITY_WORDS)),
        definitions(say(phrases.HEAD_CAPTION), _head(told, say)),
        table(
            say(phrases.WITNESSES_CAPTION),
            [
                Column(say(phrases.WITNESS)),
                Column(say(phrases.ROLE)),
                Column(say(phrases.TIME), "t"),
                Column(counts),
            ],
            [_witness(one, report, say) for one in shown],
        )
        if shown
        else "",
        say.more(len(shown), len(told.witnesses)),
        paragraph(say(phrases.STEPS_WORDS), "quiet"),
        table(
            say(phrases.STEPS_CAPTION),
            [
                Column(say(phrases.STEP), "n"),
                Column(say(phrases.CHECKED)),
                Column(say(phrases.RESULT)),
                Column(say(phrases.DETAIL)),
            ],
            [_step(one, say) for one in told.steps],
        ),
        heading(say(phrases.COMMAND_TITLE)),
        f"<pre><code>{_commands(told, say)}</code></pre>",
        paragraph(say(phrases.COMMAND_WORDS)),
        paragraph(say(phrases.COMMAND_KEEP)),
    )


def _head(told: Integrity, say: Voice) -> Iterator[tuple[Markup, Markup]]:
    yield say(phrases.ORIGIN), code(told.origin)
    yield say(phrases.SIZE), numbers.whole(told.size)
    yield say(phrases.ROOT), code(told.root)
    yield say(phrases.GENERATIONS), numbers.whole(told.generations)
    yield say(phrases.PACKAGE), outside(told.package.name) or say(phrases.NOT_STATED)
    yield say(phrases.PACKAGE_SHA256), code(told.package.sha256)
    yield say(phrases.PACKAGE_BYTES), numbers.whole(told.package.bytes)


def _witness(one: WitnessFacts, report: Report, say: Voice) -> tuple[Markup, ...]:
    role = say(phrases.COSIGNERS[cosigner(one, report)])
    return outside(one.name), role, numbers.moment(one.time), say.yes(one.counts)


def _step(one: StepFacts, say: Voice) -> tuple[Markup, ...]:
    words = say(phrases.STEP_OUTCOMES[one.outcome.value])
    style = STYLES.get(one.outcome, "open")
    return (
        numbers.whole(one.number),
        say.of(phrases.STEP_NAMES, one.name),
        Markup(f'<span class="mark {style}">{words}</span>'),
        verifiers(one.detail),
    )


def _commands(told: Integrity, say: Voice) -> Markup:
    """Write the commands as they are typed; the file's name cannot run anything."""
    file = shlex.quote(told.package.name[:SHOWN_NAME] or "audit.zip")
    words = say.plain(phrases.COMMAND_WORD)
    taken = (one.name for one in told.steps if one.outcome in TAKEN)
    asked = "".join(ASKED_BY.get(name, "") for name in taken)
    commands = (
        f"sha256sum {file}",
        f'comity audit verify {file} --agreement "{words}"{asked}',
        f'comity audit epsilon {file} --agreement "{words}"',
    )
    return Markup("\n".join(map(text, commands)))
