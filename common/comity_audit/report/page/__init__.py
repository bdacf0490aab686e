"""The page of a report: one file in one language or in both, that opens anywhere and prints.

Rules it keeps:

* It is made from the original alone: the same JSON gives the same bytes.
* Self-contained: no script, no request, no font or image from elsewhere, and a policy in it that
  forbids browsers all of that. Well-formed XML as well as HTML. Light, dark and paper.
* Every text from outside is escaped and cut, and stands in an element that keeps its direction in.
* Findings come first; a package for which nobody vouches is called so in large letters.
* It never says that a law was kept. It says what it is evidence for, and what cannot be concluded.
"""

import base64
from collections.abc import Sequence
from hashlib import sha256

from comity_audit.report.original import Original
from comity_audit.report.page import phrases
from comity_audit.report.page.elements import joined, section
from comity_audit.report.page.sections import opening
from comity_audit.report.page.sections.amounts import amounts
from comity_audit.report.page.sections.budgets import budgets
from comity_audit.report.page.sections.cards import cards
from comity_audit.report.page.sections.clauses import clauses
from comity_audit.report.page.sections.closing import footer, limits
from comity_audit.report.page.sections.incidents import incidents
from comity_audit.report.page.sections.integrity import integrity
from comity_audit.report.page.sections.parties import parties
from comity_audit.report.page.sections.runs import runs
from comity_audit.report.page.sections.selftests import selftests
from comity_audit.report.page.sections.traffic import traffic
from comity_audit.report.page.style import STYLE
from comity_audit.report.page.voice import Language, Voice
from comity_host.markup import Markup, text

ALL_LANGUAGES = tuple(Language)
AFTER_SUMMARY = (
    parties,
    cards,
    budgets,
    runs,
    amounts,
    selftests,
    traffic,
    incidents,
    integrity,
    clauses,
    limits,
)
"""Sections 2 to 12."""


def render(original: Original, languages: Sequence[Language] = (Language.EN,)) -> str:
    """Write the page as one HTML document, to be stored as UTF-8.

    Args:
        languages: at least one, each once; one article for each, in this order.
    """
    summary = original.report.summary
    voices = [Voice(language) for language in languages]
    name = summary.name or summary.owner
    title = " · ".join(f"{say.plain(phrases.KICKER)}: {name}" for say in voices)
    articles = joined(*(_article(original, say) for say in voices))
    return (
        f'<!DOCTYPE html>\n<html lang="{languages[0]}"><head><meta charset="utf-8"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy()}"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        '<meta name="color-scheme" content="light dark"/>'
        '<meta name="referrer" content="no-referrer"/>'
        f"<title>{text(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>\n{_tongues(voices)}{articles}\n</main></body></html>\n"
    )


def _article(original: Original, say: Voice) -> Markup:
    report, id = original.report, say.language.value
    titles = list(opening.titles(say))
    sections = [
        section(f"{id}", number, titles[number - 1], write(report, say))
        for number, write in enumerate(AFTER_SUMMARY, start=2)
    ]
    first = section(f"{id}", 1, titles[0], opening.summary(report, say))
    return joined(
        f'<article lang="{id}" id="{id}">',
        opening.header(original, say),
        opening.banners(report.summary, say),
        opening.tiles(report, say),
        first.replace("<section ", '<section class="summary" ', 1),
        _contents(id, titles, say),
        *sections,
        footer(original, say),
        "</article>",
    )


def _contents(id: str, titles: Sequence[Markup], say: Voice) -> Markup:
    items = "".join(
        f'<li><a href="#{id}-{number}"><span class="no">{number}</span>{title}</a></li>'
        for number, title in enumerate(titles, start=1)
    )
    name = say(phrases.CONTENTS)
    return Markup(
        f'<nav aria-label="{name}"><h3 class="contents-title">{name}</h3>'
        f'<ul class="contents">{items}</ul></nav>'
    )


def _tongues(voices: Sequence[Voice]) -> Markup:
    if len(voices) == 1:
        return Markup("")
    links = "".join(
        f'<a href="#{say.language}" lang="{say.language}">{say(phrases.LANGUAGE)}</a>'
        for say in voices
    )
    return Markup(f'<nav class="tongues">{links}</nav>')


def _policy() -> str:
    """Allow this page its own style sheet, and nothing else."""
    own = base64.b64encode(sha256(STYLE.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{own}'; base-uri 'none'; form-action 'none'"
