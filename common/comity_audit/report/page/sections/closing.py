"""Section 12, what cannot be concluded, and the page's foot."""

from comity_audit.report.facts import Report
from comity_audit.report.original import Original
from comity_audit.report.page import numbers, phrases
from comity_audit.report.page.elements import joined, listed, paragraph
from comity_audit.report.page.voice import Voice, code, outside
from comity_host.markup import Markup


def limits(report: Report, say: Voice) -> Markup:
    """Write the section."""
    return joined(
        paragraph(say(phrases.LIMITS_WORDS)),
        listed((say.both(one.text) for one in report.limits), "limits"),
    )


def footer(original: Original, say: Voice) -> Markup:
    """Say what the page was made from."""
    summary = original.report.summary
    software = outside(summary.software) if summary.software else say(phrases.NOT_STATED)
    made = say(phrases.MADE_UNDATED, software=software)
    if summary.made:
        made = say(phrases.MADE, made=numbers.moment(summary.made), software=software)
    kept = say(phrases.ORIGINAL_UNSIGNED, sha256=code(original.sha256))
    if original.signer:
        kept = say(
            phrases.ORIGINAL_SIGNED, sha256=code(original.sha256), signer=code(original.signer)
        )
    return joined(
        "<footer>",
        paragraph(made),
        paragraph(Markup(f"{kept} {say(phrases.ORIGINAL_ONLY)}")),
        "</footer>",
    )
