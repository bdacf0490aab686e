"""The auditor's commands for ledgers, and the witness that stands alone, on a terminal."""

import json
import sys
from copy import deepcopy
from dataclasses import replace
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


def test_a_folder_and_a_pipe_end_with_four_and_a_missing_file_with_two(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    for name in (".", "pipe"):
        assert comity("audit", "epsilon", tmp_path / name).exit_code == 4
    missing = comity("audit", "epsilon", tmp_path / "nothing")
    assert (missing.exit_code, missing.error[:13]) == (2, "COM-AUDIT-024")


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
    assert comity("audit", "show", file, "--kind", "restore", "--json").data["entries"] == []
    assert "no such entry" in comity("audit", "show", file, "--kind", "restore").output
    for words_, code in (
        (("--entry", len(ledger.entries)), "COM-AUDIT-023"),
        (("--entry", -1), "COM-AUDIT-023"),
        (("--kind", "nosuch"), "COM-AUDIT-022"),
        (("--kind", ""), "COM-AUDIT-022"),
        (("--kind", "egress", "--kind", "genesis"), "COM-ANY-004"),
    ):
        refused = comity("audit", "show", file, *words_)
        assert (refused.exit_code, refused.error.split()[0]) == (2, code)


def test_a_single_fact_is_proved_and_verified(ledger: Ledger, file: Path, tmp_path: Path) -> None:
    proof, terms = proved(ledger, file)
    place = read_proof(proof.read_bytes()).index
    again = comity("audit", "prove", file, place, proof)
    assert (again.exit_code, again.error[:13]) == (2, "COM-AUDIT-012")
    beyond = comity("audit", "prove", file, len(ledger.entries), tmp_path / "no")
    assert (beyond.exit_code, beyond.error[:13]) == (2, "COM-AUDIT-023")
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


def proved(ledger: Ledger, file: Path) -> tuple[Path, Path]:
    """Prove the first charge of the budget, and lay the agreement beside it."""
    proof, terms = file.parent / "fact.tlog-proof", file.parent / "agreement.json"
    place = next(e.sequence for e in ledger.entries if e.kind.value == "budget.charge")
    assert comity("audit", "prove", file, place, proof).exit_code == 0
    terms.write_bytes(ledger.package().agreements[ledger.agreement.digest])
    return proof, terms


def test_a_fact_is_held_to_all_that_its_auditor_asks_for(
    ledger: Ledger, file: Path, witness: Path, tmp_path: Path
) -> None:
    anchor, home = ("--agreement", words(ledger)), ("--home", witness)
    proof, terms = proved(ledger, file)
    keys = comity("witness", "show", *home, "--json").data["keys"]
    given = [word for key in keys for word in ("--witness", key)]
    ask = ("audit", "verify", proof, "--terms", terms, *anchor)
    assert comity(*ask).exit_code == 0

    unseen = comity(*ask, *given)
    assert unseen.exit_code == 3
    assert "expected a head that regulator.example cosigned" in unseen.error
    note, later = tmp_path / "head.note", tmp_path / "later.note"
    assert comity("witness", "cosign", file, note, *anchor, *home).exit_code == 0
    assert comity(*ask, *given, "--head", note).exit_code == 0

    more = kept(grown(ledger, "more"), tmp_path / "more.zip")
    assert comity("witness", "cosign", more, later, *anchor, *home).exit_code == 0
    for words_, code in (
        (("--witness", "garbage"), "COM-AUDIT-020"),
        (("--head", tmp_path / "missing"), "COM-AUDIT-024"),
        (("--head", later), "COM-AUDIT-021"),
        (("--head", note, "--head", note), "COM-ANY-004"),
        (("--operator", tmp_path / "missing.zip"), "COM-AUDIT-021"),
        (("--terms", terms), "COM-ANY-004"),
        (anchor, "COM-AUDIT-021"),
    ):
        refused = comity(*ask, *words_)
        assert (refused.exit_code, refused.error.split()[0]) == (2, code), words_


def test_a_fact_of_a_ledger_that_was_forked_from_the_kept_one_is_a_finding(
    ledger: Ledger, witness: Path, tmp_path: Path
) -> None:
    anchor, home = ("--agreement", words(ledger)), ("--home", witness)
    one = kept(grown(ledger, "one"), tmp_path / "one.zip")
    other = kept(grown(ledger, "other"), tmp_path / "other.zip")
    note = tmp_path / "head.note"
    assert comity("witness", "cosign", one, note, *anchor, *home).exit_code == 0
    proof, terms = proved(ledger, other)
    found = comity("audit", "verify", proof, "--terms", terms, *anchor, "--head", note)
    assert found.exit_code == 3
    assert "there are two ledgers" in found.error


def test_terms_that_are_not_those_of_the_proof_are_a_finding(ledger: Ledger, file: Path) -> None:
    proof, terms = proved(ledger, file)
    other = Ledger(terms={"rounds": 3}).begin()
    terms.write_bytes(other.package().agreements[other.agreement.digest])
    found = comity("audit", "verify", proof, "--terms", terms, "--agreement", words(ledger))
    assert found.exit_code == 3
    assert "step 2, anchor, does not hold" in found.error
    terms.write_bytes(b"{}")
    found = comity("audit", "verify", proof, "--terms", terms, "--agreement", words(ledger))
    assert (found.exit_code, found.error[:13]) == (4, "COM-AUDIT-007")


def test_a_cut_proof_is_none(ledger: Ledger, file: Path) -> None:
    proof, terms = proved(ledger, file)
    lines = proof.read_bytes().splitlines(keepends=True)
    checkpoint = next(k for k, line in enumerate(lines) if line.startswith(b"ledger.comity/"))
    proof.write_bytes(b"".join(lines[:checkpoint] + lines[checkpoint + 1 :]))
    found = comity("audit", "verify", proof, "--terms", terms, "--agreement", words(ledger))
    assert (found.exit_code, found.error[:13]) == (4, "COM-AUDIT-007")


def test_a_misspelled_word_is_told_and_no_words_of_the_package_are(
    ledger: Ledger, file: Path
) -> None:
    its = words(ledger).split()
    found = comity("audit", "verify", file, "--agreement", " ".join([*its[:7], "guitl"]))
    assert (found.exit_code, found.error[:13]) == (2, "COM-AUDIT-019")
    assert "guitl" in found.error
    other = " ".join([*its[:7], "abandon" if its[7] != "abandon" else "ability"])
    found = comity("audit", "verify", file, "--agreement", other)
    assert found.exit_code == 3
    assert words(ledger) not in found.output + found.error


def test_an_option_is_checked_or_refused(ledger: Ledger, file: Path, tmp_path: Path) -> None:
    anchor = ("--agreement", words(ledger))
    other = kept(operators(ledger), tmp_path / "operator.zip")
    head, foreign = tmp_path / "bank.note", tmp_path / "operator.note"
    head.write_bytes(ledger.package().head)
    foreign.write_bytes(operators(ledger).package().head)
    for words_, code in (
        ((file, "--terms", head), "COM-AUDIT-021"),
        ((file, "--witness", "garbage"), "COM-AUDIT-020"),
        ((file, "--head", foreign), "COM-AUDIT-021"),
        ((file, "--head", head, "--head", head), "COM-ANY-004"),
        ((file, "--operator", other, "--operator", other), "COM-ANY-004"),
        ((file, "--operator", file), "COM-AUDIT-021"),
        ((other, "--operator", file), "COM-AUDIT-021"),
    ):
        refused = comity("audit", "verify", *words_, *anchor)
        assert (refused.exit_code, refused.error.split()[0]) == (2, code), words_
        assert refused.output == ""


def test_every_agreement_that_was_named_must_be_there(ledger: Ledger, file: Path) -> None:
    named = ("--agreement", words(ledger), "--agreement", "0" * 64)
    found = comity("audit", "verify", file, *named)
    assert found.exit_code == 3
    assert "0" * 64 in found.error


def test_a_package_of_the_operator_that_does_not_hold_is_told_as_the_operators(
    ledger: Ledger, file: Path, tmp_path: Path
) -> None:
    package = operators(ledger).package()
    spoiled = replace(package, entries=package.entries[:-1])
    (tmp_path / "operator.zip").write_bytes(spoiled.to_bytes())
    given = ("--operator", tmp_path / "operator.zip", "--agreement", words(ledger))
    found = comity("audit", "verify", file, *given)
    assert found.exit_code == 3
    assert len(found.output.splitlines()) == STEPS
    assert f"step {STEPS}, crossings" in found.error
    assert "the operator's own package does not hold, at its step 4, head" in found.error


def test_steps_for_the_other_kind_of_ledger_say_so(
    ledger: Ledger, file: Path, tmp_path: Path
) -> None:
    other = kept(operators(ledger), tmp_path / "operator.zip")
    for package, steps in ((file, [14, 15, 16]), (other, [10, 11, 12, 13])):
        given = ("--agreement", words(ledger), "--json")
        told = comity("audit", "verify", package, *given).data["steps"]
        assert [one["number"] for one in told if one["outcome"] == "inapplicable"] == steps


def test_epsilon_says_how_many_computed_it(
    ledger: Ledger, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    found = comity("audit", "epsilon", file, "--agreement", words(ledger))
    assert found.exit_code == 0
    assert "by one implementation" in found.output
    assert "Every ε agrees" not in found.output
    (space,) = comity("audit", "epsilon", file, "--agreement", words(ledger), "--json").data[
        "namespaces"
    ]
    assert {run["spent"]["agree"] for run in space["runs"]} == {None}


def test_epsilon_of_a_ledger_that_spent_nothing_says_so(ledger: Ledger, tmp_path: Path) -> None:
    other = kept(operators(ledger), tmp_path / "operator.zip")
    found = comity("audit", "epsilon", other, "--agreement", words(ledger))
    assert (found.exit_code, found.output) == (
        0,
        "Nothing was spent, so there is no ε to compute.\n",
    )


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

    assert "of which it had cosigned nothing before" in cosign(package).output
    again = cosign(package)  # the same head
    assert again.exit_code == 0
    assert "nothing before" not in again.output
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
    again = comity("witness", "init", "again.example", *home)
    assert (again.exit_code, again.error[:15]) == (2, "COM-WITNESS-001")
    for name in ("two words", "inst-00"):
        unfit = comity("witness", "init", name, "--home", tmp_path / "unfit")
        assert (unfit.exit_code, unfit.error[:15]) == (2, "COM-WITNESS-006")
    assert not (tmp_path / "unfit").exists()
    nobody = comity("witness", "show", "--owner", "nobody", *home)
    assert (nobody.exit_code, nobody.error[:15]) == (2, "COM-WITNESS-005")
    assert comity("witness", "cosign", file, tmp_path / "n.note", *home).exit_code == 3
    assert comity("witness", "cosign", file, tmp_path / "n.note", *anchor, *home).exit_code == 0
    (memory,) = (witness / "heads").glob("*.json")
    memory.write_bytes(memory.read_bytes()[:-10])
    spoiled = comity("witness", "cosign", file, tmp_path / "m.note", *anchor, *home)
    assert spoiled.error.startswith("COM-WITNESS-004")
    assert spoiled.exit_code == 4
    assert (witness / "witness.key").stat().st_mode & 0o777 == 0o600


def test_export_takes_the_ledger_of_this_machine_unless_there_are_two_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = tmp_path / "client", tmp_path / "server"
    monkeypatch.setenv("COMITY_CLIENT_HOME", str(client))
    monkeypatch.setenv("COMITY_SERVER_HOME", str(server))
    none = comity("audit", "export", tmp_path / "x.zip")
    assert (none.exit_code, none.error[:13]) == (2, "COM-AUDIT-011")
    assert f"{client} or {server}" in none.error
    for home, settings in ((client, "vault.toml"), (server, "server.toml")):
        home.mkdir()
        (home / settings).touch()
    both = comity("audit", "export", tmp_path / "x.zip")
    assert (both.exit_code, both.error[:13]) == (2, "COM-AUDIT-026")
    assert not (tmp_path / "x.zip").exists()
