"""Clauses and facts: what is present, missing or not applicable, and never a verdict."""

import re
import tomllib
from dataclasses import replace

import pytest
from tests.simulation.federation import promising_nothing
from tests.unit.audit.reported import Ledger

from comity_audit.report.evidence import DATA, REGIMES, SCOPES, limits
from comity_audit.report.facts import (
    ClauseStatus,
    FactId,
    RegimeEvidence,
    Report,
)
from comity_audit.report.page.phrases import FACTS, SUMMARY_LIMITS
from comity_audit.report.page.sections.clauses import SECTIONS
from comity_audit.report.writing import Written

VERDICTS = re.compile(r"complian|comply|complies|anonym|conform|合规|匿名|符合", re.IGNORECASE)
CHINESE = re.compile("[\u4e00-\u9fff]")
REQUIRED = {
    "gdpr": {
        "Art. 5(2)", "Art. 25", "Art. 30", "Art. 32", "Art. 35",
        *(f"Art. {n}" for n in range(44, 50)),
    },
    "pipl": {"Art. 38", "Art. 39", "Art. 40", "Art. 55", "Art. 56"},
    "cac": {"Art. 7", "Art. 8"},
    "hipaa": {"§ 164.312(b)", "§ 164.528(b)"},
    "aiact": {"Art. 12"},
    "lgpd": {"Art. 33", "Art. 34", "Art. 35", "Art. 36", "Art. 37", "Art. 46"},
}  # fmt: skip


def data(name: str) -> dict:  # type: ignore[type-arg]
    return tomllib.loads(DATA.joinpath(f"regimes/{name}.toml").read_text("utf-8"))


def regimes(report: Report) -> dict[str, RegimeEvidence]:
    return {one.id: one for one in report.evidence}


def reported(**more: object) -> Report:
    ledger = Ledger(**more).begin()  # type: ignore[arg-type]
    ledger.release(1)
    return ledger.written().original.report


@pytest.mark.parametrize("name", REGIMES)
def test_a_regime_has_the_clauses_that_it_must_each_once_and_whole(name: str) -> None:
    told = data(name)
    assert told["id"] == name
    ids = [clause["id"] for clause in told["clauses"]]
    assert len(set(ids)) == len(ids)
    assert set(ids) >= REQUIRED[name]
    assert all(re.fullmatch("[A-Z]{2}", code) for code in told["countries"])
    for clause in told["clauses"]:
        assert set(clause) == {"id", "scope", "title", "asks", "elsewhere", "facts"}
        assert clause["scope"] in SCOPES
        facts = [FactId(fact) for fact in clause["facts"]]
        assert len(set(facts)) == len(facts) >= 1


@pytest.mark.parametrize("name", REGIMES)
def test_a_regime_is_told_in_both_languages_without_a_verdict(name: str) -> None:
    told = data(name)
    texts = [told["title"], told["applies"]]
    texts += [clause[key] for clause in told["clauses"] for key in ("title", "asks", "elsewhere")]
    for text in texts:
        assert set(text) == {"en", "zh"}
        assert not CHINESE.search(text["en"])
        assert CHINESE.search(text["zh"])
        assert sorted(re.findall(r"\d+", text["en"])) == sorted(re.findall(r"\d+", text["zh"]))
        assert not VERDICTS.search(text["en"] + text["zh"])
        assert text["en"].isprintable()
    for clause in told["clauses"]:
        assert clause["asks"]["en"].endswith(".")
        assert clause["asks"]["en"].count(".") == 1, "expected one plain sentence"
        assert clause["asks"]["zh"].count("。") == 1


def test_every_fact_is_closed_named_and_has_its_section() -> None:
    used = {
        fact for name in REGIMES for clause in data(name)["clauses"] for fact in clause["facts"]
    }
    assert used <= {fact.value for fact in FactId}
    assert set(FACTS) == {fact.value for fact in FactId}
    assert set(SECTIONS) == set(FactId)
    assert set(SECTIONS.values()) <= set(range(1, 13))


def test_what_no_report_holds_is_missing_and_what_it_holds_is_present(written: Written) -> None:
    found = regimes(written.original.report)
    clauses = {one.id: one for one in found["gdpr"].clauses}
    assert clauses["Art. 25"].status is ClauseStatus.PRESENT
    assert clauses["Art. 44"].status is ClauseStatus.PRESENT
    assert clauses["Art. 30"].status is ClauseStatus.MISSING
    assert clauses["Art. 30"].missing == (FactId.DATA_DESCRIPTION,)
    assert clauses["Art. 46"].missing == (FactId.LEGAL_BASIS,)
    assert found["gdpr"].countries == ("DE",)
    assert found["pipl"].countries == found["cac"].countries == ("CN",)
    assert found["lgpd"].countries == ("BR",)
    for regime in found.values():
        for clause in regime.clauses:
            wanted = {*clause.present, *clause.missing}
            assert (clause.status is ClauseStatus.NOT_APPLICABLE) is not bool(wanted)
            assert (clause.status is ClauseStatus.MISSING) is bool(clause.missing)


def test_a_law_of_a_country_where_nobody_is_is_not_applicable(written: Written) -> None:
    hipaa = regimes(written.original.report)["hipaa"]
    assert hipaa.countries == ()
    assert {one.status for one in hipaa.clauses} == {ClauseStatus.NOT_APPLICABLE}


def test_clauses_on_transfers_need_a_border() -> None:
    inside = {"bank": ("DE", "A"), "clinic": ("FR", "B"), "lab": ("NO", "C")}
    found = regimes(reported(places=inside, operator=("IE", "O")))
    statuses = {one.id: one.status for one in found["gdpr"].clauses}
    assert statuses["Art. 44"] is statuses["Art. 49"] is ClauseStatus.NOT_APPLICABLE
    assert statuses["Art. 32"] is not ClauseStatus.NOT_APPLICABLE
    assert found["aiact"].countries == ("DE", "FR", "IE")  # Norway is not in the Union
    abroad = regimes(reported(places=inside, operator=("US", "O")))
    statuses = {one.id: one.status for one in abroad["gdpr"].clauses}
    assert statuses["Art. 44"] is not ClauseStatus.NOT_APPLICABLE
    assert abroad["hipaa"].countries == ("US",)


def test_facts_fall_away_with_what_they_rest_on() -> None:
    def missing(report: Report) -> set[FactId]:
        return {
            fact for regime in report.evidence for one in regime.clauses for fact in one.missing
        }

    always = {FactId.LEGAL_BASIS, FactId.DATA_DESCRIPTION, FactId.MATCHED, FactId.RECOMPUTED}
    assert missing(reported()) == always
    bare = reported(changed=promising_nothing)
    assert missing(bare) == always | {FactId.PRIVACY_CLAIM, FactId.BUDGET_KEPT}
    purposeless = reported(changed=lambda agreement: replace(agreement, purpose=""))
    assert missing(purposeless) == always | {FactId.PURPOSE}
    ledger = Ledger().begin(selftest=False)
    ledger.release(1)
    ledger.control("made-up")
    report = ledger.written(anchored=False).original.report
    unproven = {FactId.SELF_TESTS, FactId.COVERED, FactId.VOUCHED}
    assert missing(report) == always | unproven


def test_what_cannot_be_concluded_is_the_whole_list_in_both_languages() -> None:
    told = {one.id: one.text for one in limits()}
    assert set(told) >= {
        "rows", "sampling", "noise", "timing", "lower-bound", "completeness", "second-vault",
        "delta", "fabrication",
    }  # fmt: skip
    assert set(SUMMARY_LIMITS) <= set(told)
    for text in told.values():
        assert CHINESE.search(text.zh)
        assert not CHINESE.search(text.en)
        assert not VERDICTS.search(text.en + text.zh)
