"""The catalogue and the places that use it agree, code by code and fact by fact."""

import ast
import string
from pathlib import Path

import pytest

from comity_common.catalogue import CATALOGUES, ENGLISH
from comity_common.errors import LocalError, Problem

ROOT = Path(__file__).parents[3]
PACKAGES = ("common", "client", "server", "deployments/local", "deployments/verifier")


def facts(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


def raised() -> list[tuple[str, set[str], str]]:
    """Find every `Problem("COM-…", fact=…)` in the sources."""
    found = []
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Problem":
                    assert isinstance(node.args[0], ast.Constant), file
                    names = {str(keyword.arg) for keyword in node.keywords}
                    found.append((str(node.args[0].value), names, f"{file.name}:{node.lineno}"))
    return found


@pytest.mark.parametrize(
    ("code", "given", "where"), raised(), ids=[f"{code}-{where}" for code, _, where in raised()]
)
def test_a_problem_has_an_entry_and_gives_just_its_facts(
    code: str, given: set[str], where: str
) -> None:
    assert code in ENGLISH, where
    assert facts(ENGLISH[code].cause) | facts(ENGLISH[code].fix) == given, where


def test_no_entry_is_without_use() -> None:
    assert set(ENGLISH) == {code for code, _, _ in raised()}


@pytest.mark.parametrize("language", CATALOGUES)
def test_a_translation_has_the_same_codes_facts_and_exit_codes(language: str) -> None:
    table = CATALOGUES[language]
    assert table.keys() == ENGLISH.keys()
    for code, entry in table.items():
        assert facts(entry.cause) == facts(ENGLISH[code].cause)
        assert facts(entry.fix) == facts(ENGLISH[code].fix)
        assert entry.exit_code == ENGLISH[code].exit_code


@pytest.mark.parametrize("code", ENGLISH)
def test_an_entry_is_one_line_of_two_sentences(code: str) -> None:
    entry = ENGLISH[code]
    for sentence in (entry.cause, entry.fix):
        assert sentence == sentence.strip()
        assert "\n" not in sentence
        assert not sentence.endswith(".")
    assert entry.exit_code in (1, 2, 3, 4, 75, 130)


def test_a_problem_is_a_local_error_in_words() -> None:
    problem = Problem("COM-CONF-002", file="vault.toml", key="id", why="expected text")
    assert isinstance(problem, LocalError)
    assert str(problem) == "vault.toml: id: expected text"
