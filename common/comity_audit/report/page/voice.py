"""In which language a page speaks: phrases with their facts put in, as markup."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import cache

from comity_audit.report.evidence import DATA
from comity_audit.report.facts import Bilingual
from comity_audit.report.page import phrases
from comity_audit.report.page.phrases import Phrase, Phrases
from comity_host.markup import Markup, text

SHOWN = 120  # characters of a stranger's text; the JSON has the rest
VERIFIERS = "en"  # the language in which a verification tells its steps and findings


class Language(StrEnum):
    """A language, by its BCP 47 tag."""

    EN = "en"
    ZH = "zh-Hans"


class Voice:
    """One language."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._place = list(Language).index(language)

    def __call__(self, phrase: Phrase, **facts: Markup) -> Markup:
        """Say a phrase with its facts."""
        return Markup(text(phrase[self._place]).format(**facts))

    def plain(self, phrase: Phrase, **facts: str) -> str:
        """Say a phrase as text that is no markup yet, for drawings."""
        return phrase[self._place].format(**facts)

    def of(self, table: Phrases, key: str, **facts: Markup) -> Markup:
        """Say what a table has for a key; what it does not have stands as it came."""
        return self(table[key], **facts) if key in table else code(key)

    def both(self, told: Bilingual) -> Markup:
        """Say a text that the report itself has in both languages."""
        return text(told.en if self.language is Language.EN else told.zh)

    def country(self, code: str) -> Markup:
        """Name a country, with its code."""
        return text(self.plain_country(code))

    def plain_country(self, code: str) -> str:
        """Name a country as text that is no markup yet."""
        names = _countries().get(code)
        return code if names is None else f"{names[self._place]} ({code})"

    def listed(self, parts: Iterable[Markup]) -> Markup:
        """Put parts in a row; a word for none."""
        return Markup(self(phrases.COMMA).join(parts)) or self(phrases.NONE)

    def more(self, shown: int, count: int) -> Markup:
        """Say how many are left out, in a paragraph; nothing if none is."""
        if count <= shown:
            return Markup("")
        left = Markup(f"{count - shown:,}")
        return Markup(f'<p class="quiet">{self(phrases.MORE, count=left)}</p>')

    def yes(self, so: bool) -> Markup:
        """Say yes or no."""
        return self(phrases.YES if so else phrases.NO)


def outside(value: str, shown: int = SHOWN) -> Markup:
    """Show a stranger's text, cut, and so that it cannot turn its neighbours around."""
    cut = value if len(value) <= shown else value[: shown - 1] + "…"
    return Markup(f"<bdi>{text(cut)}</bdi>")


def code(value: str, shown: int = 0) -> Markup:
    """Show something for machines: a digest, a name; the first signs of it, or all."""
    cut = f"{value[:shown]}…" if 0 < shown < len(value) else value
    return Markup(f"<code>{text(cut)}</code>")


def verifiers(value: str) -> Markup:
    """Show what a verification said, in its own English."""
    return Markup(f'<span lang="{VERIFIERS}">{text(value)}</span>')


@cache
def _countries() -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = tomllib.loads(DATA.joinpath("countries.toml").read_text("utf-8"))
    return found
