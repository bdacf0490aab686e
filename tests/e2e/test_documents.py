"""The documents' blocks, typed as they stand by an operator and five institutions.

Five are two more than a federation needs. Each party has a directory of its own, and where this
machine allows it a network namespace of its own.
"""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from subprocess import Popen

import pytest
from tests.e2e.blocks import Block, blocks
from tests.e2e.machines import Machine, machines

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FEDERATION = ROOT / "docs" / "first-federation.md"
COUNTRIES = {"berlin": "DE", "lyon": "FR", "nairobi": "KE", "osaka": "JP", "recife": "BR"}
HOST = "operator.example"
AT_ONCE = 3  # institutions that type side by side, on two cores
EXPORTED = re.compile(r"^  ((?:[a-z]+ ){7}[a-z]+)$", re.MULTILINE)
WORDS = re.compile(r"^    ((?:[a-z]+ ){7}[a-z]+)$", re.MULTILINE)


class Typists:
    """The people of all parties, and what they have seen."""

    def __init__(self, there: dict[str, Machine]) -> None:
        self.there = there
        self.seen: dict[str, list[str]] = {party: [] for party in there}
        self._invitations: dict[str, str] = {}
        self._begun: dict[str, tuple[Popen[bytes], Path]] = {}

    def do(self, block: Block) -> None:
        """Do what a block says."""
        parties = self._parties(block.who)
        script = block.text
        if block.language == "python":
            script = f"python - <<'END'\n{script}END\n"
        if block.act == "file":
            for party in parties:
                (self.there[party].home / block.how).write_text(block.text)
        elif block.how == "for each institution":
            for id, country in COUNTRIES.items():
                self._type("operator", script.replace("berlin", id).replace("DE", country))
        elif block.how == "in the background":
            for party in parties:
                self._begin(party, self._filled(party, script))
        else:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(lambda party: self._type(party, script), parties))
        if block.act == "run" and block.how != "in the background" and "approve" in script:
            self._await_begun()

    def _parties(self, who: str) -> list[str]:
        return list(COUNTRIES) if who == "institutions" else who.split()

    def _type(self, party: str, script: str) -> None:
        machine = self.there[party]
        if not machine.namespace:
            script = script.replace(HOST, "127.0.0.1")
        said = machine.run(self._filled(party, script))
        self.seen[party].append(said)
        if party == "operator" and "audit export" in script:  # it is sent to the auditor
            package = (machine.home / "operator.zip").read_bytes()
            (self.there["berlin"].home / "operator.zip").write_bytes(package)
        if invited := re.search(r"comity client join (https://\S+)", said):
            for_whom = re.search(r"^For ([a-z]+),", said, re.MULTILINE)
            assert for_whom is not None
            self._invitations[for_whom[1]] = invited[1]

    def _filled(self, party: str, script: str) -> str:
        script = script.replace("INVITATION", self._invitations.get(party, "INVITATION"))
        told = EXPORTED.findall("\n".join(self.seen[party]))
        return script.replace("WORDS", told[-1]) if told else script

    def _begin(self, party: str, script: str) -> None:
        machine = self.there[party]
        out = machine.home / ".joining"
        self._begun[party] = machine.start(script, out), out
        deadline = time.monotonic() + 60
        while "Waiting for the operator's approval" not in (said := out.read_text()):
            assert time.monotonic() < deadline, said
            assert self._begun[party][0].poll() is None, said
            time.sleep(0.1)

    def _await_begun(self) -> None:
        for party, (begun, out) in self._begun.items():
            assert begun.wait(60) == 0, out.read_text()
            self.seen[party].append(out.read_text())
        self._begun.clear()


@pytest.fixture(scope="module")
def typists(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Typists]:
    names = {"operator": HOST} | {id: f"{id}.example" for id in COUNTRIES}
    with machines(tmp_path_factory.mktemp("d"), names) as there:
        try:
            yield Typists(there)
        finally:
            for party, machine in there.items():
                part = "server" if party == "operator" else "client"
                with suppress(AssertionError):
                    machine.run(f"comity {part} stop", name="end")


def test_every_block_of_every_document_says_what_is_done_with_it() -> None:
    marks = {"run", "file", "not run"}
    unmarked = [
        f"{document.name}:{block.line}"
        for document in DOCUMENTS
        for block in blocks(document)
        if block.act not in marks
    ]
    assert unmarked == []


def test_the_first_federation_is_founded_run_and_left_as_its_page_says(typists: Typists) -> None:
    for block in blocks(FEDERATION):
        if block.act in ("run", "file"):
            typists.do(block)
    check_words(typists)
    check_continuation(typists)
    check_rounds(typists)
    check_models(typists)


@pytest.mark.parametrize("page", ["README.md", "docs/privacy.md"])
def test_what_other_pages_let_an_institution_type_works_after_that(
    typists: Typists, page: str
) -> None:
    for block in blocks(ROOT / page):
        if block.who in typists.there:
            typists.do(block)


def check_words(typists: Typists) -> None:
    """Both sides have seen the same words of each other."""
    by_operator = set(WORDS.findall("".join(typists.seen["operator"])))
    for id in COUNTRIES:
        theirs, own = WORDS.findall(typists.seen[id][0])[:2]
        assert {theirs, own} <= by_operator
        assert theirs != own


def check_rounds(typists: Typists) -> None:
    """Two rounds were certified, each with as many as the agreement wants."""
    said = "".join(typists.seen["operator"])
    assert "card-desk: finished, 2 of 2 rounds certified" in said
    certified = re.findall(r"^round +\d+ +[\d.]+ s  ([a-z]+, .*)$", said, re.MULTILINE)
    assert len(set(certified)) >= 1
    for survivors in certified:
        assert set(survivors.split(", ")) <= set(COUNTRIES)
        assert len(survivors.split(", ")) >= 4


def check_continuation(typists: Typists) -> None:
    """Four went on with the model of five."""
    said = "".join(typists.seen["operator"])
    assert "card-desk-next: finished, 1 of 1 rounds certified" in said
    shown = "".join(typists.seen["nairobi"])
    assert re.search(r"^  goes on +with the model of [0-9a-f]{16} after 2 certified", shown, re.M)


def check_models(typists: Typists) -> None:
    """All have the same model, and it answers."""
    digests = set()
    for id in COUNTRIES:
        weights = typists.there[id].home / "model" / "model.safetensors"
        digests.add(sha256(weights.read_bytes()).digest())
    assert len(digests) == 1
    said = "".join(typists.seen["berlin"])
    assert re.search(r"^(card|loan|fraud) \(\d+%\)$", said, re.MULTILINE)
