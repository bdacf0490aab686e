"""The page: one well-formed file, in both languages alike, in which hostile names are text."""

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from hashlib import sha256
from importlib import resources
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from tests.simulation.federation import promising_nothing
from tests.unit.audit.reported import (
    OPERATOR,
    PLACES,
    REGULATOR,
    Ledger,
    digest_of,
    full,
    operators,
)

from comity_audit.ledgers.verification import RULES
from comity_audit.report.facts import (
    Amount,
    ClaimId,
    ClauseStatus,
    Conclusion,
    RoundOutcome,
)
from comity_audit.report.original import Original, original_of
from comity_audit.report.page import ALL_LANGUAGES, phrases, render
from comity_audit.report.page.drawing import ticks
from comity_audit.report.page.phrases import Phrase
from comity_audit.report.page.style import DARK, LIGHT, PRINT, STYLE
from comity_audit.report.page.voice import Language
from comity_audit.report.writing import Written
from comity_audit.steps import Outcome
from comity_common.agreement import Agreement
from comity_common.dp.terms import Gate, Unit
from comity_common.errors import RefusalCode
from comity_common.ledger.bodies import Note
from comity_common.ledger.controls import CONTROLS, PURPOSE_OF_ROUND, PURPOSES, UPLOAD

EVIL = "</title><script>document.title='owned'</script>\x00\u202e\"'&<img src=x onerror=\"x()\">"
CHINESE = re.compile("[\u4e00-\u9fff]")
VERDICTS = re.compile(r"complian|comply|complies|anonym|conform|合规|匿名|符合", re.IGNORECASE)
LOADS = re.compile(r"https?:|//[a-z]|<script|<link|<img|<iframe|url\(|@import|\son\w+=")


def parse(page: str) -> ElementTree.Element:
    return ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


def words(page: str | ElementTree.Element) -> str:
    root = parse(page) if isinstance(page, str) else page
    return re.sub(r"\s+", " ", " ".join(root.itertext()))


def figures(root: ElementTree.Element | None) -> list[str]:
    """Find everything that has a digit in it."""
    assert root is not None
    return [one.rstrip(",.:-") for one in re.findall(r"[0-9a-f]*\d[\d,.:\-a-f]*", words(root))]


def articles(original: Original) -> dict[str, ElementTree.Element]:
    page = parse(render(original, ALL_LANGUAGES))
    return {one.attrib["lang"]: one for one in page.iter("article")}


def every_phrase() -> Iterator[tuple[str, Phrase]]:
    for name, found in vars(phrases).items():
        if isinstance(found, Phrase):
            yield name, found
        elif isinstance(found, dict) and name.isupper():
            for key, one in found.items():
                yield f"{name}.{key}", one


def hostile() -> Original:
    """Write a report with hostile text wherever text goes."""

    def changed(agreement: Agreement) -> Agreement:
        return replace(agreement, federation=EVIL, purpose=EVIL)

    places = {id: (country, EVIL + id) for id, (country, _) in PLACES.items()}
    ledger = Ledger(places=places, operator=("DE", EVIL), changed=changed).begin()
    ledger.release(1)
    ledger.refund(2, EVIL)
    ledger.control(EVIL)
    ledger.add(Note(text=EVIL, about=None))
    report = ledger.written().original.report
    package = replace(report.integrity.package, name=EVIL + "$(rm -r x)`y`")
    return original_of(replace(report, integrity=replace(report.integrity, package=package)))


@pytest.fixture(scope="module")
def page(written: Written) -> str:
    return render(written.original)


def test_the_page_tells_every_section(page: str, written: Written) -> None:
    text = words(page)
    report = written.original.report
    for part in (
        "What left Spree Bank", "42 entries from 2026-01-05 to 2026-01-15", "No finding",
        "129,880", "of these computed from rows: 4", "not stated",
        "in the form of NIST SP 800-226", "a record: one line of the data",
        "Reserved now: ε", "ceiling 8", "Refunded:", "agree", "within our bound",
        "the noise is as large as promised", "masked update or score, with noise",
        "In both ledgers, with the same digest and size: messages 17",
        "1 upload came, 3 are needed", report.integrity.root,
        'comity audit verify bank.zip --agreement "word word …"', "Art. 44", "not applicable",
        "That δ is below one over the number of units", MADE_AS_SHOWN,
    ):  # fmt: skip
        assert part in text, part
    headings = [one for one in parse(page).iter("h2") if one.attrib.get("id")]
    assert len(headings) == 12


MADE_AS_SHOWN = "2026-03-01 10:00:00"


def test_the_command_asks_again_for_what_was_asked() -> None:
    command = 'comity audit verify bank.zip --agreement "word word …"'
    assert f"{command} comity" in words(full().written().html)
    assert f"{command} --operator operator.zip comity" in words(
        full().written(operator=operators(full())).html
    )
    report = full().written().original.report
    steps = tuple(
        replace(one, outcome=Outcome.FAILS) if one.name == "older head" else one
        for one in report.integrity.steps
    )
    shown = original_of(replace(report, integrity=replace(report.integrity, steps=steps)))
    assert f"{command} --head kept-head.note comity" in words(render(shown))


def test_what_only_institutions_can_show_is_not_missed_at_the_operator_in_silence() -> None:
    theirs = words(operators(full()).written().html)
    assert "✗ budget kept (4) , which an institution's report can show" in theirs
    assert "✗ kinds of data and persons (2) , which" not in theirs
    assert "which an institution's report can show" not in words(full().written().html)


def test_both_languages_have_every_phrase_with_the_same_facts_and_digits() -> None:
    found = list(every_phrase())
    assert len(found) > 250
    for name, one in found:
        assert one.en, name
        assert one.zh, name
        assert not CHINESE.search(one.en) or name == "LANGUAGE", name
        facts = [sorted(re.findall(r"{(\w+)}", text)) for text in one]
        assert facts[0] == facts[1], name
        digits = [sorted(re.findall(r"\d+", text)) for text in one]
        assert digits[0] == digits[1], name
        if re.search("[A-Za-z]{3}", re.sub(r"{\w+}", "", one.en)) and one.en != one.zh:
            assert CHINESE.search(one.zh), name


def test_every_phrase_is_said_somewhere() -> None:
    folder = resources.files("comity_audit.report.page")
    sources = [
        one.read_text("utf-8") for one in folder.joinpath("sections").iterdir() if one.is_file()
    ]
    sources += [folder.joinpath(f"{name}.py").read_text("utf-8") for name in ("__init__", "voice")]
    said = set(re.findall(r"phrases\.([A-Z_0-9]+)\b", "\n".join(sources)))
    names = {name for name in vars(phrases) if name.isupper()}
    assert names - said == set()


def test_the_tables_of_phrases_have_what_the_program_knows() -> None:
    assert set(phrases.CLAIMS) == {one.value for one in ClaimId}
    assert set(phrases.CONCLUSIONS) == {one.value for one in Conclusion}
    assert set(phrases.OUTCOMES) == {one.value for one in RoundOutcome}
    assert set(phrases.AMOUNTS) == {one.value for one in Amount}
    assert set(phrases.STATUSES) == {one.value for one in ClauseStatus}
    assert set(phrases.STEP_OUTCOMES) == {one.value for one in Outcome}
    assert set(phrases.GATES) == set(phrases.VARIANTS) == {one.value for one in Gate}
    assert set(phrases.UNITS) == set(phrases.UNIT_NAMES) == {one.value for one in Unit}
    assert set(phrases.REFUSALS) == {one.value for one in RefusalCode}
    assert set(phrases.KINDS) == {UPLOAD, *CONTROLS}
    assert set(phrases.PURPOSES) == {*PURPOSES.values(), *PURPOSE_OF_ROUND.values()}
    assert {name for name, *_ in RULES} <= set(phrases.STEP_NAMES)


def test_every_step_of_a_verification_has_a_name_in_both_languages(written: Written) -> None:
    steps = written.original.report.integrity.steps
    assert [one.name for one in steps if one.name not in phrases.STEP_NAMES] == []


def test_why_a_grant_and_an_agreement_have_two_epsilons_is_said_where_both_stand(
    written: Written,
) -> None:
    for language, part in (("en", "at its one order, while"), ("zh-Hans", "单一阶数上累加")):
        article = articles(written.original)[language]
        section = article.find(f".//section[@id='{language}-6']")
        assert section is not None
        assert words(section).count(part) == 1


def test_the_chinese_page_says_that_the_verifier_is_quoted_in_english(written: Written) -> None:
    section = articles(written.original)["zh-Hans"].find(".//section[@id='zh-Hans-10']")
    assert section is not None
    assert "引用验证程序的英文原文" in words(section)
    steps = [row for row in section.iter("tr") if row.find(".//span[@lang='en']") is not None]
    assert len(steps) == len(written.original.report.integrity.steps)
    for row in steps:
        _, name, outcome, said = row
        assert CHINESE.search(words(name))
        assert CHINESE.search(words(outcome))
        assert [one.attrib.get("lang") for one in said] == ["en"]


def test_the_chinese_page_speaks_of_generations_and_points_to_where_things_stand() -> None:
    everything = "".join(one.zh for _, one in every_phrase())
    assert "代数" not in everything
    assert phrases.GENERATIONS.zh == "账本世代"
    assert "以下命令" not in everything  # the commands stand above these words


def test_a_step_that_does_not_apply_has_neither_the_mark_of_a_held_one_nor_of_a_gap(
    written: Written,
) -> None:
    report = written.original.report
    for language, traffic, arrivals, held, said in (
        (Language.EN, "traffic", "arrivals", "holds", "does not apply to this ledger"),
        (Language.ZH, "流量", "流入", "成立", "不适用于本账本"),
    ):
        page = render(original_of(report), [language])
        assert step_mark(page, traffic) == ("mark holds", held)
        assert step_mark(page, arrivals) == ("mark not-applicable", said)


def step_mark(page: str, name: str) -> tuple[str, str]:
    (row,) = [row for row in parse(page).iter("tr") if len(row) == 4 and words(row[1]) == name]
    (mark,) = row[2]
    return mark.attrib["class"], words(mark)


def test_numbers_dates_and_digests_are_the_same_in_both_languages(written: Written) -> None:
    found = articles(written.original)
    for n in range(1, 13):
        english, chinese = (
            sorted(figures(found[language].find(f".//section[@id='{language}-{n}']")))
            for language in ALL_LANGUAGES
        )
        assert english == chinese, n
        assert english, n


def test_each_language_is_marked_and_stands_in_its_own_article(written: Written) -> None:
    found = articles(written.original)
    assert list(found) == ["en", "zh-Hans"]
    assert CHINESE.search(words(found["zh-Hans"]))
    english = words(found["en"]).replace("协和医院", "")
    assert not CHINESE.search(english)
    for language in ALL_LANGUAGES:
        alone = parse(render(written.original, [language]))
        assert alone.attrib["lang"] == language
        (article,) = alone.iter("article")
        assert words(article) == words(found[language])
    quoted = [one for one in found["zh-Hans"].iter("span") if one.attrib.get("lang") == "en"]
    assert len(quoted) == len(written.original.report.integrity.steps)


@pytest.mark.parametrize("language", ALL_LANGUAGES)
def test_a_page_never_says_that_a_law_was_kept(written: Written, language: Language) -> None:
    assert not VERDICTS.search(render(written.original, [language]))


def test_the_page_asks_nobody_runs_nothing_and_forbids_it(written: Written) -> None:
    page = written.html
    assert not LOADS.search(page)
    (policy,) = [
        one.attrib["content"]
        for one in parse(page).iter("meta")
        if one.attrib.get("http-equiv") == "Content-Security-Policy"
    ]
    own = base64.b64encode(sha256(STYLE.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{own}';")
    assert f"<style>{STYLE}</style>" in page
    assert " style=" not in page


def test_hostile_names_stay_text_and_run_no_command() -> None:
    page = render(hostile(), ALL_LANGUAGES)
    root = parse(page)
    assert {one.tag for one in root.iter()}.isdisjoint({"script", "img"})
    assert "\x00" not in page
    assert "\u202e" not in page
    assert "document.title='owned'" in words(page)
    command = next(root.iter("pre"))
    lines = "".join(command.itertext()).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(("sha256sum '", "comity audit ")) for line in lines)
    assert not re.search(r"(?<!')\$\(", lines[0].split("'", 1)[0])


def test_texts_from_outside_keep_their_direction_and_length_to_themselves() -> None:
    arabic = "بنك " * 200
    ledger = Ledger(places={"bank": ("DE", arabic), "clinic": ("CN", "b"), "lab": ("BR", "c")})
    root = parse(render(ledger.begin().written().original))
    (title,) = root.iter("h1")
    (name,) = title.iter("bdi")
    assert len("".join(name.itertext())) == 120


def test_findings_come_first_and_an_unanchored_package_is_said_in_large_letters() -> None:
    ledger = Ledger().begin(selftest=False)
    ledger.release(1)
    root = parse(render(ledger.written(anchored=False).original))
    banners = [one for one in root.iter("div") if "banner" in one.attrib.get("class", "")]
    assert words(banners[0]).strip().startswith("1 finding")
    assert [one.attrib["class"] for one in banners] == ["banner bad", "banner warn"]
    assert "".join(banners[1].find("h2").itertext()) == "UNANCHORED"  # type: ignore[union-attr]
    everything = list(root.iter())
    assert everything.index(banners[0]) < everything.index(next(root.iter("table")))
    size = re.search(r"\.banner\.warn h2 {[^}]*font-size: (\d+)px", STYLE)
    assert size is not None
    assert int(size[1]) >= 38


def test_a_clean_report_of_vouched_keys_has_no_warning(page: str) -> None:
    assert "UNANCHORED" not in page
    assert 'class="banner bad"' not in page


def test_many_findings_are_counted_and_the_first_are_shown() -> None:
    ledger = Ledger().begin()
    for place in range(50):
        ledger.control(f"made-up-{place}")
    text = words(render(ledger.written().original))
    assert "50 findings" in text
    assert "30 more are in the JSON" in text


def test_an_infinite_epsilon_is_called_no_guarantee() -> None:
    ledger = Ledger(changed=promising_nothing).begin()
    ledger.release(1)
    page = render(ledger.written(recomputing=True).original, ALL_LANGUAGES)
    text = words(page)
    assert "∞" in text
    assert "there is no guarantee" in text
    assert "ε is infinite for good" in text
    assert "ε 永久为无穷大" in text
    assert "each vault adds the whole noise" not in text
    assert "masked update or score, in part or wholly without noise" in text
    assert "computed from rows, in part or wholly without noise" in text
    assert "with noise" not in text


def test_a_ledger_in_which_nothing_happened_yet_has_a_page() -> None:
    text = words(render(Ledger().begin(selftest=False).written().original))
    for part in ("There is no self-test on this ledger", "No round was joined", "ceiling 8"):
        assert part in text


def tile(root: ElementTree.Element, name: str) -> str:
    (found,) = [
        one
        for one in root.iter("div")
        if one.attrib.get("class") == "tile" and name in words(one[0])
    ]
    return words(found).strip()


def test_the_count_of_witnesses_is_of_the_other_institutions_that_the_quorum_counts() -> None:
    ledger = Ledger(beside=(OPERATOR, REGULATOR)).begin()
    original = ledger.written().original
    assert len(original.report.integrity.witnesses) == 4
    root = parse(render(original))
    assert tile(root, "cosigned") == (
        "cosigned by 2 other institutions, 2 needed; complete as of 2026-02-28 12:00:00 UTC "
        "Not counted: operator (operator), regulator (outside witness)."
    )
    (rows,) = [one for one in root.iter("table") if words(one[0]) == "Who cosigned it"]
    assert [[words(cell).strip() for cell in row] for row in rows.iter("tr")][1:] == [
        ["lab", "other institution", "2026-02-28 12:00:01", "yes"],
        ["clinic", "other institution", "2026-02-28 12:00:00", "yes"],
        ["operator", "operator", "2026-02-28 12:00:02", "no"],
        ["regulator", "outside witness", "2026-02-28 12:00:03", "no"],
    ]


def test_without_others_beside_the_quorum_none_is_named(page: str) -> None:
    assert "Not counted" not in words(page)


def test_what_was_not_compared_is_called_so() -> None:
    text = words(render(Ledger().begin().written().original))
    assert "the operator's ledger was not given" in text
    assert "Every message that left arrived, and no other. – not checked" in text


def test_nothing_is_drawn_outside_a_picture(written: Written) -> None:
    many = {chr(97 + k) * 3: (f"{chr(65 + k)}{chr(66 + k)}", "n" * 60) for k in range(8)}
    places = {"bank": ("DE", "x")} | many
    for original in (written.original, Ledger(places=places).begin().written().original):
        for svg in parse(render(original)).iter("svg"):
            _, _, width, height = (float(x) for x in svg.attrib["viewBox"].split())
            for shape in svg.iter("rect"):
                x, y = float(shape.attrib["x"]), float(shape.attrib["y"])
                assert x >= 0
                assert x + float(shape.attrib["width"]) <= width + 0.1
                assert y + float(shape.attrib["height"]) <= height + 0.1
            for label in svg.iter("text"):
                assert -0.1 <= float(label.attrib["x"]) <= width + 0.1
                assert float(label.attrib["y"]) <= height + 0.1


def test_the_labels_beside_a_budget_do_not_touch(page: str) -> None:
    styles = {"limittext", "edgetext", "curvetext"}
    heights = sorted(
        float(one.attrib["y"]) for one in parse(page).iter("text") if one.attrib["class"] in styles
    )
    assert len(heights) == 3
    assert all(b - a >= 14 for a, b in pairwise(heights))


@pytest.mark.parametrize("most", ["0.0001", "0.9", "8.64", "100", "1e9"])
def test_a_few_round_numbers_stand_beside_a_budget(most: str) -> None:
    found = ticks(Decimal(most))
    assert 4 <= len(found) <= 9
    assert found[0] == 0
    assert found[-1] <= Decimal(most)


def test_people_who_cannot_see_it_are_told_the_same(page: str) -> None:
    root = parse(page)
    assert root.attrib["lang"] == "en"
    assert len(list(root.iter("h1"))) == 1
    levels = [int(one.tag[1]) for one in root.iter() if re.fullmatch("h[1-6]", one.tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels) if before > 1)
    for table in root.iter("table"):
        caption = table.find("caption")
        assert caption is not None
        assert words(caption).strip()
        for row in table.iter("tr"):
            assert row[0].tag == "th"
            assert row[0].attrib["scope"] in {"row", "col"}
    pictures = list(root.iter("svg"))
    assert len(pictures) == 2
    for picture in pictures:
        assert picture.attrib["role"] == "img"
        assert picture.find("title") is not None
        assert picture.find("desc") is not None
    ids = [one.attrib["id"] for one in root.iter() if "id" in one.attrib]
    assert len(set(ids)) == len(ids)
    targets = {one.attrib["href"][1:] for one in root.iter("a")}
    assert targets <= set(ids)


def test_marks_are_told_by_a_word_and_never_by_colour_alone(page: str) -> None:
    for one in parse(page).iter("span"):
        if one.attrib.get("class", "").startswith("mark"):
            assert re.search(r"[a-z]{4}", "".join(one.itertext()))


@pytest.mark.parametrize("palette", [LIGHT, DARK, PRINT], ids=["light", "dark", "print"])
def test_text_stands_out_from_what_it_stands_on(palette: dict[str, str]) -> None:
    for ink in ("ink", "quiet", "accent", "bad", "warn"):
        for paper in ("paper", "card"):
            assert contrast(palette[ink], palette[paper]) >= 4.5, (ink, paper)
    for ink in ("ink", "bad"):
        assert contrast(palette[ink], palette["badpaper"]) >= 4.5
    for ink in ("ink", "warn"):
        assert contrast(palette[ink], palette["warnpaper"]) >= 4.5
    for line in ("edge", "accent"):
        assert contrast(palette[line], palette["paper"]) >= 3


def contrast(one: str, other: str) -> float:
    """Compute the contrast of two colours (WCAG 2.1, relative luminance)."""

    def luminance(colour: str) -> float:
        channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_no_private_thing_of_a_vault_is_on_the_page(page: str) -> None:
    assert digest_of("rows") not in page
    assert digest_of("policy") not in page
    assert full().agreement.nonce.hex() not in page
