"""The auditor's commands for ledgers, and the witness that stands alone, on a terminal."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
from tests.commands import comity
from tests.unit.audit.reported import Ledger, full, operators

from comity_common.ledger.bodies import Note
from comity_common.ledger.proofs import read_proof
from comity_common.words import agreement_words

STEPS = 17


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return full()


@pytest.fixture
def file(ledger: Ledger, tmp_path: Path) -> Path:
    return kept(ledger, tmp_path / "bank.zip")


def kept(ledger: Ledger, file: Path) -> Path:
    file.write_bytes(ledger.package().to_bytes())
    return file


def words(ledger: Ledger) -> str:
    return agreement_words(ledger.agreement.digest)


def grown(ledger: Ledger, *texts: str) -> Ledger:
    """Return the same ledger with more entries."""
    more = deepcopy(ledger)
    for text in texts:
        more.add(Note(text=text, about=None))
    return more


def test_a_true_ledger_ends_with_zero_and_a_line_for_each_step(ledger: Ledger, file: Path) -> None:
    found = comity("audit", "verify", file, "--agreement", words(ledger))
    assert found.exit_code == 0, found.output
    lines = found.output.splitlines()
    assert len(lines) == STEPS + 1
    assert not any(line.startswith("✗") for line in lines)
    assert "complete as of 2026-02-28 12:00:0" in lines[-1]


def test_without_an_agreement_from_outside_it_is_unanchored(file: Path) -> None:
    found = comity("audit", "verify", file)
    assert found.exit_code == 3
    assert found.error.startswith("COM-AUDIT-009")
    assert "is whole" not in found.output
    told = comity("audit", "verify", file, "--json")
    assert (told.exit_code, told.envelope["data"]["verdict"]) == (3, "unanchored")


def test_another_agreement_than_the_named_one_is_a_finding(file: Path) -> None:
    found = comity("audit", "verify", file, "--agreement", "0" * 64)
    assert found.exit_code == 3
    assert "COM-AUDIT-008 step 2, anchor, does not hold" in found.error


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", bytes(1000), b"\xff" * 4096])
def test_what_is_no_package_ends_with_four_and_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    for command in ("verify", "epsilon", "show"):
        found = comity("audit", command, tmp_path / "x.zip")
        assert found.exit_code == 4
        assert found.error.startswith("COM-AUDIT-007")
        assert found.error.count("\n") == 1


def test_a_package_that_is_not_there_a_folder_and_a_pipe_end_with_four(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    for name in ("nothing", ".", "pipe"):
        assert comity("audit", "epsilon", tmp_path / name).exit_code == 4


def test_both_sides_are_compared(ledger: Ledger, file: Path, tmp_path: Path) -> None:
    other = kept(operators(ledger), tmp_path / "operator.zip")
    found = comity(
        "audit", "verify", file, "--operator", other, "--agreement", words(ledger), "--json"
    )
    assert found.data["crossings"]["only_arrived"] == []
    assert found.data["crossings"]["uploads"] == 4
    alone = comity("audit", "verify", other, "--agreement", words(ledger))
    assert alone.exit_code == 0, alone.output


def test_epsilon_is_computed_twice_and_agrees(ledger: Ledger, file: Path) -> None:
    pytest.importorskip("dp_accounting")
    found = comity("audit", "epsilon", file, "--agreement", words(ledger), "--json")
    assert found.data["second_implementation"] is True
    (space,) = found.data["namespaces"]
    for run in space["runs"]:
        assert run["spent"]["agree"]
        assert 0 < run["spent"]["ours"] <= run["schedule"]["ours"] <= float(run["claim"])
    told = comity("audit", "epsilon", file, "--agreement", words(ledger))
    assert told.exit_code == 0
    assert told.output.count("✗") == 0


def test_entries_are_shown_by_kind_and_one_by_one(ledger: Ledger, file: Path) -> None:
    found = comity("audit", "show", file, "--kind", "egress", "--json")
    kinds = {entry["kind"] for entry in found.data["entries"]}
    assert kinds == {"egress"}
    one = comity("audit", "show", file, "--entry", 0)
    assert json.loads(one.output)["kind"] == "genesis"
    assert comity("audit", "show", file, "--entry", 10_000).exit_code == 1


def test_a_single_fact_is_proved_and_verified(ledger: Ledger, file: Path, tmp_path: Path) -> None:
    proof, terms = tmp_path / "fact.tlog-proof", tmp_path / "agreement.json"
    place = next(e.sequence for e in ledger.entries if e.kind.value == "budget.charge")
    assert comity("audit", "prove", file, place, proof).exit_code == 0
    assert comity("audit", "prove", file, place, proof).error.startswith("COM-AUDIT-012")
    terms.write_bytes(ledger.package().agreements[ledger.agreement.digest])
    anchor = ("--agreement", words(ledger))

    found = comity("audit", "verify", proof, "--terms", terms, *anchor, "--json")
    assert found.data["entry"]["kind"] == "budget.charge"
    assert comity("audit", "verify", proof, *anchor).exit_code == 2
    assert comity("audit", "verify", proof, "--terms", terms).exit_code == 3

    raw = proof.read_bytes()
    moved = read_proof(raw)
    for wrong in (
        raw.replace(f"index {place}".encode(), f"index {place + 1}".encode()),
        raw.replace(moved.note[-60:-50], b"AAAAAAAAAA"),
        raw[: raw.index(b"\n\n")] + b"\n\n",
    ):
        proof.write_bytes(wrong)
        assert comity("audit", "verify", proof, "--terms", terms, *anchor).exit_code in (3, 4)


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    home = tmp_path / "witness"
    assert len(
        comity("witness", "init", "regulator.example", "--home", home, "--json").data["keys"]
    )
    return home


def test_a_witness_cosigns_what_goes_on_and_refuses_what_does_not(
    ledger: Ledger, witness: Path, tmp_path: Path
) -> None:
    anchor, home = ("--agreement", words(ledger)), ("--home", witness)
    start = grown(ledger, "one")
    later = grown(start, "two", "three")
    forked = grown(ledger, "another", "and", "more", "of", "it")
    package, number = kept(start, tmp_path / "start.zip"), iter(range(100))

    def cosign(of: Path) -> object:
        return comity("witness", "cosign", of, tmp_path / f"{next(number)}.note", *anchor, *home)

    assert cosign(package).exit_code == 0
    assert cosign(package).exit_code == 0  # the same head again
    assert cosign(kept(later, tmp_path / "later.zip")).exit_code == 0
    for name, wrong in (("rollback", start), ("truncation", ledger), ("fork", forked)):
        refused = cosign(kept(wrong, tmp_path / f"{name}.zip"))
        assert refused.exit_code == 3, name
        assert refused.error.startswith("COM-WITNESS-003")
        assert not (tmp_path / f"{next(number) - 1}.note").exists()
    (kept_head,) = comity("witness", "show", *home, "--json").data["heads"]
    assert kept_head["size"] == len(later.entries)
    assert kept_head["note"].startswith("ledger.comity/bank/")


def test_an_auditor_who_knows_the_witness_needs_its_word(
    ledger: Ledger, witness: Path, tmp_path: Path
) -> None:
    anchor, home = ("--agreement", words(ledger)), ("--home", witness)
    keys = comity("witness", "show", *home, "--json").data["keys"]
    given = [word for key in keys for word in ("--witness", key)]
    before = kept(ledger, tmp_path / "before.zip")
    note = tmp_path / "head.note"
    assert comity("audit", "verify", before, *anchor, *given).exit_code == 3
    assert comity("witness", "cosign", before, note, *anchor, *home).exit_code == 0

    after = kept(grown(ledger, "later"), tmp_path / "after.zip")
    seen = comity("audit", "verify", after, *anchor, *given, "--head", note)
    assert seen.exit_code == 0, seen.output
    assert "regulator.example saw on" in seen.output
    forked = Ledger(terms=ledger.terms).begin()
    lost = comity(
        "audit", "verify", kept(forked, tmp_path / "f.zip"), "--agreement", words(forked),
        "--head", note,
    )  # fmt: skip
    assert lost.exit_code == 3


def test_a_witness_without_memory_or_with_a_spoiled_one_signs_nothing(
    ledger: Ledger, witness: Path, file: Path, tmp_path: Path
) -> None:
    anchor, home = ("--agreement", words(ledger)), ("--home", witness)
    nowhere = comity(
        "witness", "cosign", file, tmp_path / "n.note", *anchor, "--home", tmp_path / "no"
    )
    assert nowhere.error.startswith("COM-WITNESS-002")
    assert comity("witness", "init", "again", *home).error.startswith("COM-WITNESS-001")
    assert comity("witness", "cosign", file, tmp_path / "n.note", *home).exit_code == 3
    assert comity("witness", "cosign", file, tmp_path / "n.note", *anchor, *home).exit_code == 0
    (memory,) = (witness / "heads").glob("*.json")
    memory.write_bytes(memory.read_bytes()[:-10])
    spoiled = comity("witness", "cosign", file, tmp_path / "m.note", *anchor, *home)
    assert spoiled.error.startswith("COM-WITNESS-004")
    assert spoiled.exit_code == 4
    assert (witness / "witness.key").stat().st_mode & 0o777 == 0o600
