"""Where the demo's rows come from: made by a seed, or read from a folder.

Why the file exists: `comity demo` must run on a machine without any data, and on the reader's own.
Both ways end in the same `Samples`: regions with private rows, and one public evaluation set.

Rules it keeps:

* Made rows are a function of the seed alone, on every machine and Python.
* No text of the public evaluation set is a row of any region.
* A country writes about some things often and about others hardly or never (`phrases`), so that no
  one learns the task alone; the evaluation set asks about everything, in everyone's words.
* `into_institutions` moves rows and never drops or repeats one.
"""

import hashlib
import json
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

from comity_common.agreement import ID_PATTERN
from comity_common.errors import LocalError
from comity_local.phrases import INTENTS, LOCALES, Intent, Locale

EVALUATION_ROWS_PER_CELL = 16  # × 12 intents × 5 countries = 960 rows

_OPENER, _ASIDE, _CLOSER, _TYPO = 0.4, 0.15, 0.35, 0.2  # probabilities of each ornament
_TEMPLATES_PER_COUNTRY = 6  # of the eight seen templates of an intent
_MAX_ATTEMPTS = 1000  # draws for one new text; the grammar holds millions

_QUESTIONS = "can could do does how is on was what when where which who why"
_ALTERNATIVES = re.compile(r"\[([^\[\]]+)\]")
_SLOT = re.compile(r"\{([a-z]+)\}")

UNKNOWN_JURISDICTION = "ZZ"  # ISO 3166-1 leaves it to users; here: not known
_ISO_3166_1 = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR"
    " BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ"
    " EC EE EG EH ER ES ET EU FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU"
    " GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW"
    " KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU"
    " MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW"
    " PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF"
    " TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA"
    " ZM ZW"
)  # alpha-2 codes, and EU, which the standard reserves
_COUNTRIES = frozenset(_ISO_3166_1.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One message.

    Attributes:
        id: unique within its `Samples`.
        region: where it was written, also after `into_institutions`.
    """

    id: str
    region: str
    text: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """What one institution holds.

    Attributes:
        id: fit for an agreement's `InstitutionId`.
        jurisdiction: ISO 3166-1 alpha-2, `EU`, or `ZZ` where it is not known.
    """

    id: str
    name: str
    jurisdiction: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The private rows of every region, the public evaluation set, and the classes.

    Attributes:
        labels: sorted; every label of any row is among them.
    """

    regions: tuple[Region, ...]
    evaluation_rows: tuple[Row, ...]
    labels: tuple[str, ...]


def generate(seed: int) -> Samples:
    """Make five banks' customer messages and a public evaluation set.

    Returns:
        900 to 1,300 rows per region with skewed labels, 960 evaluation rows with every intent
        and country evenly, a quarter of them from templates that no region has.
    """
    seen: set[str] = set()
    evaluation = _evaluation_rows(_rng(seed, "evaluation"), seen)
    regions = tuple(
        Region(
            id=locale.id,
            name=locale.name,
            jurisdiction=locale.jurisdiction,
            rows=_private_rows(locale, _rng(seed, locale.id), seen),
        )
        for locale in LOCALES
    )
    labels = tuple(sorted(intent.label for intent in INTENTS))
    return Samples(regions=regions, evaluation_rows=evaluation, labels=labels)


def _rng(seed: int, purpose: str) -> random.Random:
    return random.Random(f"comity-samples/{seed}/{purpose}")  # noqa: S311 - nothing here is private


def _evaluation_rows(rng: random.Random, seen: set[str]) -> tuple[Row, ...]:
    rows = []
    for intent, locale, turn in product(INTENTS, LOCALES, range(EVALUATION_ROWS_PER_CELL)):
        templates = intent.seen if turn % 4 else intent.unseen
        text = _new_text(rng, locale, intent, templates, seen)
        rows.append((locale.id, text, intent.label))
    rng.shuffle(rows)
    return tuple(
        Row(id=f"evaluation-{n:04}", region=region, text=text, label=label)
        for n, (region, text, label) in enumerate(rows)
    )


def _private_rows(locale: Locale, rng: random.Random, seen: set[str]) -> tuple[Row, ...]:
    habits = {i.label: rng.sample(i.seen, _TEMPLATES_PER_COUNTRY) for i in INTENTS}
    intents = rng.choices(INTENTS, weights=locale.mix, k=locale.rows)
    return tuple(
        Row(
            id=f"{locale.id}-{n:04}",
            region=locale.id,
            text=_new_text(rng, locale, intent, habits[intent.label], seen),
            label=intent.label,
        )
        for n, intent in enumerate(intents)
    )


def _new_text(
    rng: random.Random,
    locale: Locale,
    intent: Intent,
    templates: Sequence[str],
    seen: set[str],
) -> str:
    for _ in range(_MAX_ATTEMPTS):
        text = _message(rng, locale, intent, rng.choice(templates))
        if text not in seen:
            seen.add(text)
            return text
    raise LocalError(f"expected phrases for more texts about {intent.label} of {locale.id}")


def _message(rng: random.Random, locale: Locale, intent: Intent, template: str) -> str:
    parts = [_sentence(rng, locale, template)]
    if rng.random() < _ASIDE:
        other = rng.choice([i for i in INTENTS if i is not intent])
        aside = _sentence(rng, locale, rng.choice(other.asides))
        parts.insert(rng.randrange(2), aside)
    if rng.random() < _OPENER:
        parts.insert(0, rng.choice(locale.openers))
    if rng.random() < _CLOSER:
        parts.append(_fill(rng, locale, rng.choice(locale.closers)))
    text = " ".join(parts)
    return _mistype(rng, text) if rng.random() < _TYPO else text


def _sentence(rng: random.Random, locale: Locale, template: str) -> str:
    text = _fill(rng, locale, template)
    start = rng.choice((text[0], text[0].upper()))
    question = text.split()[0].lower() in _QUESTIONS.split()
    return (
        start + text[1:] + rng.choice(("?", "?", "") if question else (".", ".", "!", " ...", ""))
    )


def _fill(rng: random.Random, locale: Locale, template: str) -> str:
    chosen = _ALTERNATIVES.sub(lambda match: rng.choice(match[1].split("|")), template)
    return _SLOT.sub(lambda match: rng.choice(locale.words[match[1]]), chosen)


def _mistype(rng: random.Random, text: str) -> str:
    """Swap, drop or double one letter within a word of at least four letters."""
    places = [m.start() + 1 for m in re.finditer(r"[^\W\d_](?=[^\W\d_]{3})", text)]
    if not places:
        return text
    at = rng.choice(places)
    one, two = text[at], text[at + 1]
    return text[:at] + rng.choice((two + one, two, one + one + two)) + text[at + 2 :]


def read_folder(path: Path) -> Samples:
    """Read `train.jsonl` (private, one region per value of `region`) and `test.jsonl` (public).

    Raises:
        LocalError: a file is missing, empty or not lines of `{"id", "region", "text", "label"}`;
            an id comes twice; a region's name is not fit for an institution; a private row has a
            label that no public row has; fewer than two labels.
    """
    private = _read_rows(path / "train.jsonl")
    evaluation = _read_rows(path / "test.jsonl")
    regions = tuple(
        Region(
            id=region,
            name=region,
            jurisdiction=guess_jurisdiction(region),
            rows=tuple(row for row in private if row.region == region),
        )
        for region in sorted({row.region for row in private})
    )
    for region in regions:
        if not ID_PATTERN.fullmatch(region.id):
            raise LocalError(
                f"expected regions of 1 to 40 lower-case letters, digits and hyphens, "
                f"got {region.id!r} in {path / 'train.jsonl'}"
            )
    # A label that stands in private rows alone would be published with the model.
    labels = tuple(sorted({row.label for row in evaluation}))
    if len(labels) < 2:
        raise LocalError(f"expected at least two labels in {path / 'test.jsonl'}")
    for row in private:
        if row.label not in labels:
            raise LocalError(
                f"expected labels that stand in test.jsonl too, which is public; the row "
                f"{row.id!r} of train.jsonl has another"
            )
    return Samples(regions=regions, evaluation_rows=evaluation, labels=labels)


def _read_rows(path: Path) -> tuple[Row, ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LocalError(f"expected train.jsonl and test.jsonl, found no {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"cannot read {path} as UTF-8 text: {error}") from None
    lines = text.split("\n")
    rows = tuple(_row(line, f"{path}:{n}") for n, line in enumerate(lines, 1) if line.strip())
    if not rows:
        raise LocalError(f"expected rows in {path}, got none")
    if len({row.id for row in rows}) != len(rows):
        raise LocalError(f"expected every id once in {path}")
    return rows


def _row(line: str, where: str) -> Row:
    try:
        value = json.loads(line)
    except ValueError:
        raise LocalError(f"expected one JSON object at {where}") from None
    if not isinstance(value, dict):
        raise LocalError(f"expected one JSON object at {where}")
    if "tokens" in value or "tags" in value:
        raise LocalError(
            f"expected texts with a label, got tokens with tags at {where}: "
            "token classification is not a task of this version"
        )
    fields = {key: value.get(key) for key in ("id", "region", "text", "label")}
    for key, found in fields.items():
        if not isinstance(found, str) or not found:
            raise LocalError(f"expected a text as {key!r} at {where}")
    return Row(**fields)  # type: ignore[arg-type]  # every field is a str: checked above


def guess_jurisdiction(region: str) -> str:
    """Return the country code that a region's id is, starts with or ends with; else `ZZ`.

    `ke-tz-swahili` is Kenya's: the first code wins.
    """
    parts = region.split("-")
    for part in (parts[0], parts[-1]):
        if part.upper() in _COUNTRIES:
            return part.upper()
    return UNKNOWN_JURISDICTION


def into_institutions(samples: Samples, n: int) -> Samples:
    """Return the same rows in exactly `n` regions.

    Too many regions: the two smallest become one, again and again; it keeps the id and country of
    the larger. Too few: the region with the most rows per part is cut once more, rows going to
    parts by a hash of their ids.

    Raises:
        LocalError: n is below 1, or a part would have no row.
    """
    if n < 1:
        raise LocalError(f"expected at least one institution, got {n}")
    regions = list(samples.regions)
    while len(regions) > n:
        small, larger = sorted(regions, key=lambda region: (len(region.rows), region.id))[:2]
        regions[regions.index(larger)] = replace(
            larger, name=f"{larger.name} and {small.name}", rows=larger.rows + small.rows
        )
        regions.remove(small)
    parts = dict.fromkeys((region.id for region in regions), 1)
    for _ in range(n - len(regions)):
        widest = max(regions, key=lambda region: len(region.rows) / parts[region.id])
        parts[widest.id] += 1
    cut = tuple(part for region in regions for part in _cut(region, parts[region.id]))
    if len({region.id for region in cut}) != n:
        raise LocalError(f"expected {n} different ids, got {[region.id for region in cut]}")
    return replace(samples, regions=cut)


def _cut(region: Region, parts: int) -> Iterable[Region]:
    if parts == 1:
        return (region,)
    rows: list[list[Row]] = [[] for _ in range(parts)]
    for row in region.rows:
        digest = hashlib.sha256(row.id.encode()).digest()
        rows[int.from_bytes(digest[:8]) % parts].append(row)
    if not all(rows):
        raise LocalError(f"expected enough rows for {parts} parts of {region.id}")
    return tuple(
        replace(region, id=f"{region.id}-{k}", name=f"{region.name} {k}", rows=tuple(part))
        for k, part in enumerate(rows, 1)
    )


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write JSON Lines of `{"id", "region", "text", "label"}`, UTF-8."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
