"""What a reader sees first: whose ledger, what was found, four numbers; then the summary."""

from collections.abc import Iterator

from comity_audit.epsilontext import INFINITE
from comity_audit.report.facts import BudgetHistory, Conclusion, Report, Summary, epsilon_value
from comity_audit.report.original import Original
from comity_audit.report.page import numbers, phrases
from comity_audit.report.page.elements import (
    Column,
    heading,
    joined,
    listed,
    paragraph,
    table,
)
from comity_audit.report.page.sections.cosigners import cosigner
from comity_audit.report.page.voice import Voice, outside, verifiers
from comity_host.markup import Markup

SHOWN_FINDINGS = 20
NAMED_COUNTRIES = 3
NAMED_WITNESSES, SHOWN_WITNESS = 3, 40
MARKS = {
    Conclusion.HOLDS: "✓",
    Conclusion.FAILS: "✗",
    Conclusion.PARTLY: "~",
    Conclusion.OPEN: "–",
}


def header(original: Original, say: Voice) -> Markup:
    """Say whose ledger it is, and if nobody signed what is said of it."""
    summary = original.report.summary
    lead, title = phrases.LEAD_INSTITUTION, phrases.TITLE
    if summary.is_operator:
        lead, title = phrases.LEAD_OPERATOR, phrases.TITLE_OPERATOR
    words = say(
        lead,
        country=say.country(summary.country),
        entries=numbers.whole(summary.entries),
        first=numbers.moment(summary.first[:10]),
        last=numbers.moment(summary.last[:10]),
    )
    return joined(
        "<header>",
        paragraph(say(phrases.KICKER), "kicker"),
        f"<h1>{say(title, name=outside(summary.name or summary.owner))}</h1>",
        paragraph(words, "lead"),
        "" if original.signer else paragraph(say(phrases.UNSIGNED)),
        "</header>",
    )


def banners(summary: Summary, say: Voice) -> Markup:
    """Say what was found, and in large letters if nobody vouches for any of it."""
    parts = []
    if summary.findings_count:
        parts.append(_findings(summary, say))
    if not summary.is_anchored:
        parts.append(
            _banner("warn", say(phrases.UNANCHORED), paragraph(say(phrases.UNANCHORED_WORDS)))
        )
    if not parts:
        words = paragraph(say(phrases.FINDINGS_NONE_WORDS))
        parts.append(_banner("", say(phrases.FINDINGS_NONE), words))
    return joined(*parts)


def tiles(report: Report, say: Voice) -> Markup:
    """Show four numbers: spent, left, rounds, other institutions that cosigned."""
    cells = "".join(
        f'<div class="tile"><h3>{name}</h3><p class="number">{number}</p><p>{words}</p></div>'
        for name, number, words in (
            _spent(report, say),
            _crossed(report, say),
            _rounds(report, say),
            _witnesses(report, say),
        )
    )
    return Markup(f'<div class="tiles">{cells}</div>')


def summary(report: Report, say: Voice) -> Markup:
    """List every statement that was checked, and what was not."""
    rows = [
        (say(phrases.CLAIMS[one.id.value]), mark(one.conclusion, say))
        for one in report.summary.claims
    ]
    columns = (Column(say(phrases.CLAIM)), Column(say(phrases.RESULT)))
    limits = {one.id: one.text for one in report.limits}
    few = [say.both(limits[id]) for id in phrases.SUMMARY_LIMITS if id in limits]
    return joined(
        table(say(phrases.CLAIMS_CAPTION), columns, rows, style="claims"),
        heading(say(phrases.NOT_COVERED)),
        paragraph(say(phrases.NOT_COVERED_WORDS), "quiet"),
        listed(few, "limits"),
    )


def mark(conclusion: Conclusion, say: Voice) -> Markup:
    """Write what became of a statement, with a sign and a word."""
    words = say(phrases.CONCLUSIONS[conclusion.value])
    return Markup(f'<span class="mark {conclusion.value}">{MARKS[conclusion]} {words}</span>')


def _findings(summary: Summary, say: Voice) -> Markup:
    count, shown = summary.findings_count, summary.findings[:SHOWN_FINDINGS]
    many = say(phrases.FINDINGS_MANY, count=numbers.whole(count))
    items = "".join(f"<li>{verifiers(one)}</li>" for one in shown)
    return _banner(
        "bad",
        say(phrases.FINDINGS_ONE) if count == 1 else many,
        joined(
            paragraph(say(phrases.FINDINGS_WORDS)),
            f"<ol>{items}</ol>",
            say.more(len(shown), count),
        ),
    )


def _banner(style: str, title: Markup, words: Markup) -> Markup:
    return Markup(f'<div class="banner {style}" role="note"><h2>{title}</h2>{words}</div>')


Tile = tuple[Markup, Markup, Markup]


def _spent(report: Report, say: Voice) -> Tile:
    name = say(phrases.TILE_SPENT)
    if not report.budgets:
        return name, Markup("0"), say(phrases.TILE_SPENT_NONE)
    fullest = max(report.budgets, key=_fill)
    if fullest.reserved == INFINITE:
        return name, Markup("∞"), say(phrases.TILE_SPENT_INFINITE)
    many = len(report.budgets) > 1
    words = say(
        phrases.TILE_SPENT_MANY if many else phrases.TILE_SPENT_WORDS,
        ceiling=numbers.bound(fullest.epsilon),
        delta=numbers.delta(fullest.delta),
        unit=say.of(phrases.UNIT_NAMES, fullest.unit),
        **({"count": numbers.whole(len(report.budgets))} if many else {}),
    )
    return name, numbers.epsilon(fullest.reserved), words


def _fill(one: BudgetHistory) -> float:
    reserved, ceiling = epsilon_value(one.reserved), epsilon_value(one.epsilon)
    if reserved is None:
        return float("inf")
    return float(reserved / ceiling) if ceiling else 0.0


def _crossed(report: Report, say: Voice) -> Tile:
    """Tell what left an institution, or what reached an operator."""
    name, words, none = phrases.TILE_LEFT, phrases.TILE_LEFT_WORDS, phrases.TILE_LEFT_NONE
    if report.summary.is_operator:
        name, words = phrases.TILE_ARRIVED, phrases.TILE_ARRIVED_WORDS
        none = phrases.TILE_ARRIVED_NONE
    told = [one for one in report.traffic.kinds if one.is_egress != report.summary.is_operator]
    if not told:
        return say(name), Markup("0"), say(none)
    countries = sorted({one.country for one in told})
    named = say.listed(map(say.country, countries))
    if len(countries) > NAMED_COUNTRIES:
        named = say(phrases.COUNTRIES_MANY, count=numbers.whole(len(countries)))
    said = say(
        words,
        messages=numbers.whole(sum(one.messages for one in told)),
        countries=named,
        covered=numbers.whole(sum(one.messages for one in told if one.is_mechanism)),
    )
    return say(name), numbers.whole(sum(one.bytes for one in told)), said


def _rounds(report: Report, say: Voice) -> Tile:
    if report.summary.is_operator:
        runs = report.operation.runs
        words = say(
            phrases.TILE_OPERATED_WORDS,
            certified=numbers.whole(sum(run.certified for run in runs)),
            void=numbers.whole(sum(run.void for run in runs)),
        )
        return say(phrases.TILE_OPERATED), numbers.whole(sum(run.planned for run in runs)), words
    words = say(
        phrases.TILE_ROUNDS_WORDS,
        released=numbers.whole(sum(run.released for run in report.runs)),
        void=numbers.whole(sum(run.void for run in report.runs)),
    )
    joined_ = numbers.whole(sum(run.joined for run in report.runs))
    return say(phrases.TILE_ROUNDS), joined_, words


def _witnesses(report: Report, say: Voice) -> Tile:
    needed = numbers.whole(report.integrity.needed)
    complete = report.summary.complete
    words = say(phrases.TILE_WITNESSES_UNKNOWN, needed=needed)
    if complete:
        words = say(phrases.TILE_WITNESSES_WORDS, needed=needed, complete=numbers.moment(complete))
    count = sum(one.counts for one in report.integrity.witnesses)
    told = Markup(f"{words}{_uncounted(report, say)}")
    return say(phrases.TILE_WITNESSES), numbers.whole(count), told


def _uncounted(report: Report, say: Voice) -> Markup:
    """Name those who cosigned and do not count for the quorum, each with what it is."""
    beside = [one for one in report.integrity.witnesses if not one.counts]
    if not beside:
        return Markup("")
    if len(beside) > NAMED_WITNESSES:
        said = say(phrases.TILE_WITNESSES_MANY, count=numbers.whole(len(beside)))
    else:
        names = (
            say(
                phrases.COSIGNER,
                name=outside(one.name, SHOWN_WITNESS),
                role=say(phrases.COSIGNERS[cosigner(one, report)]),
            )
            for one in beside
        )
        said = say(phrases.TILE_WITNESSES_BESIDE, names=say.listed(names))
    return Markup(f"<br/>{said}")


def titles(say: Voice) -> Iterator[Markup]:
    """Name the sections, in order."""
    for one in (
        phrases.SECTION_SUMMARY,
        phrases.SECTION_PARTIES,
        phrases.SECTION_CLAIMS,
        phrases.SECTION_BUDGET,
        phrases.SECTION_RUNS,
        phrases.SECTION_RECOMPUTATION,
        phrases.SECTION_SELFTESTS,
        phrases.SECTION_TRAFFIC,
        phrases.SECTION_INCIDENTS,
        phrases.SECTION_INTEGRITY,
        phrases.SECTION_EVIDENCE,
        phrases.SECTION_LIMITS,
    ):
        yield say(one)
