"""A true round is told from false ones: every file and field tampered with, operators that lie."""

import base64
import json
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rfc8785
from sqlalchemy import update
from tests.simulation.storedrounds import (
    Played,
    commits_to_another_seed,
    deals_a_false_share,
)

from comity_audit.directory import StoredRound
from comity_audit.recompute import Recomputation
from comity_audit.steps import Outcome, Step, Verdict, verdict
from comity_common import chunks
from comity_common.agreement import ModelOptimizer
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose
from comity_common.errors import Problem, RefusalCode
from comity_common.fixedpoint import RING_WIDTHS
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.messages import CertificateBody, Complaint, Decline, Reveal
from comity_common.secagg.participant import certificate_digest
from comity_common.words import agreement_words
from comity_server.tables import rounds


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Play a certified round that lost one, and four that are void for one reason each."""
    played = Played(tmp_path_factory.mktemp("played") / "operator")
    assert played.round(dropped={"inst-02"}).survivors
    assert played.round(mischief=deals_a_false_share("inst-01", "inst-03")).void
    assert played.round(dropped={"inst-00", "inst-04"}).void
    assert played.round(silent={"inst-00", "inst-04"}).void
    assert played.round(mischief=commits_to_another_seed("inst-00", "inst-03")).void
    return played


@pytest.fixture(scope="module")
def exported(played: Played, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    there = tmp_path_factory.mktemp("rounds")
    return {n: played.export(n, there / str(n)) for n in range(1, 6)}


@pytest.fixture
def stored(exported: dict[int, Path], tmp_path: Path) -> Path:
    """Copy the certified round, to be tampered with."""
    return Path(shutil.copytree(exported[1], tmp_path / "round"))


def recomputed(path: Path, anchor: str = "", previous: Path | None = None) -> list[Step]:
    neighbour = None if previous is None else StoredRound(previous)
    return list(Recomputation(StoredRound(path), anchor=anchor, previous=neighbour).steps())


def finding(path: Path, **given: Any) -> str:
    """Return what is found to be wrong, in words; empty if nothing is."""
    try:
        steps = recomputed(path, **given)
    except Problem as problem:
        return f"{problem.code} {problem}"
    return "".join(step.detail for step in steps if step.outcome is Outcome.FAILS)


def sign(played: Played, stem: Path, purpose: Purpose, raw: bytes, who: str = "") -> None:
    """Sign a message anew, by whom it is from."""
    keys = played.signing[who] if who else played.keys
    stem.with_name(stem.name + ".json").write_bytes(raw)
    stem.with_name(stem.name + ".sig").write_bytes(keys.sign(purpose, raw).signature)


# What is true


def test_a_certified_round_that_lost_an_institution_is_true(
    played: Played, exported: dict[int, Path]
) -> None:
    steps = recomputed(exported[1], anchor=played.agreement.digest)
    assert verdict(steps) is Verdict.TRUE
    assert {step.outcome for step in steps} == {Outcome.HOLDS}
    assert [step.number for step in steps] == list(range(1, 17))


def test_words_anchor_as_digests_do(played: Played, exported: dict[int, Path]) -> None:
    words = agreement_words(played.agreement.digest)
    assert verdict(recomputed(exported[1], anchor=words)) is Verdict.TRUE


def test_without_an_anchor_nothing_is_called_true(exported: dict[int, Path]) -> None:
    steps = recomputed(exported[1])
    assert verdict(steps) is Verdict.UNANCHORED
    assert [step.name for step in steps if step.outcome is Outcome.UNANCHORED] == ["anchor"]


def test_another_agreement_than_the_one_from_outside_is_false(exported: dict[int, Path]) -> None:
    assert "expected the agreement" in finding(exported[1], anchor="0" * 64)


@pytest.mark.parametrize(("optimizer", "ring_width"), zip(ModelOptimizer, RING_WIDTHS, strict=True))
def test_rounds_follow_each_other_to_the_next_model(
    tmp_path: Path, optimizer: ModelOptimizer, ring_width: int
) -> None:
    played = Played(tmp_path / "operator", 3, optimizer=optimizer, ring_width=ring_width)
    for _ in range(2):
        assert played.round().survivors
    first, second = (played.export(n, tmp_path / str(n)) for n in (1, 2))
    anchor = played.agreement.digest
    steps = recomputed(second, anchor=anchor, previous=first)
    assert verdict(steps) is Verdict.TRUE
    assert {step.outcome for step in steps} == {Outcome.HOLDS}
    absent = [step.name for step in recomputed(second) if step.outcome is Outcome.ABSENT]
    assert absent == ["chain"]
    assert "expected round 1, got 2" in finding(second, previous=second)


SILENT = {"inst-00", "inst-04"}


def test_a_score_is_true_where_it_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    played = Played(tmp_path / "operator", rounds=2, ring_width=24, scored_after=(1, 2))
    assert played.round().survivors
    body = played.round(dropped={"inst-02"}, kind=RoundKind.EVALUATE)
    counted = sum(played.world.clear[who] for who in body.survivors).tolist()
    assert played.round(silent=SILENT, kind=RoundKind.EVALUATE).void
    assert played.round().survivors
    stored = {n: played.export(n, tmp_path / str(n)) for n in range(1, 5)}

    scores = {}
    for number, path in stored.items():
        previous = StoredRound(stored[number - 1]) if number > 1 else None
        anchor = played.agreement.digest
        recomputation = Recomputation(StoredRound(path), anchor=anchor, previous=previous)
        told = {step.name: step for step in recomputation.steps()}
        assert {step.outcome for step in told.values()} <= {Outcome.HOLDS, Outcome.WORD}
        assert ("a score" in told["plan"].detail) is (number in (2, 3))
        assert ("leaves the model" in told["model"].detail) is (number in (2, 3))
        assert (recomputation.model == recomputation.plan.model) is (number in (2, 3))
        scores[number] = recomputation.score
    assert [scores[1], scores[3], scores[4]] == [None, None, None]
    assert list(scores[2].counts) == counted
    assert scores[2].estimate is not None
    assert scores[2].estimate == played.agreement.private_evaluation.score.read(scores[2].counts, 4)


def test_a_score_after_which_the_model_is_another_is_false(tmp_path: Path) -> None:
    played = Played(tmp_path / "operator", scored_after=(1,))
    assert played.round().survivors
    assert played.round(kind=RoundKind.EVALUATE).survivors
    first, score = (played.export(n, tmp_path / str(n)) for n in (1, 2))
    shutil.copyfile(score / "model/before.state", score / "model/after.state")
    assert finding(score, previous=first) == ""
    shutil.copyfile(first / "model/before.state", score / "model/after.state")
    assert "model/after.state: expected the model" in finding(score, previous=first)
    shutil.copyfile(first / "model/before.state", score / "model/before.state")
    assert "model/before.state: expected the model that the plan" in finding(score, previous=first)

    with played.store.write() as tx:
        tx.execute(update(rounds).where(rounds.c.number == 2).values(model="5" * 64))
    assert played.round(silent=SILENT).void
    third = played.export(3, tmp_path / "3")
    assert "expected the same model after a void round and after a score" in finding(
        third, previous=score
    )


def test_models_and_endorsements_may_be_left_out_and_are_then_not_checked(stored: Path) -> None:
    shutil.rmtree(stored / "model")
    shutil.rmtree(stored / "endorsements")
    steps = recomputed(stored)
    absent = [step.name for step in steps if step.outcome is Outcome.ABSENT]
    assert absent == ["model", "endorsements"]
    assert verdict(steps) is Verdict.UNANCHORED


def test_who_declined_is_told_with_the_reason_that_it_signed(tmp_path: Path) -> None:
    played = Played(tmp_path / "operator", 5)
    assert played.round(declining={"inst-02": RefusalCode.BUDGET}).survivors
    few = {"inst-00": RefusalCode.POLICY, "inst-03": RefusalCode.INTERRUPTED}
    assert played.round(declining=few).reason == "3 of 5 uploads arrived, 4 are needed"
    for number, words in ((1, "inst-02 (budget)"), (2, "inst-00 (policy), inst-03 (interrupted)")):
        steps = recomputed(played.export(number, tmp_path / str(number)))
        assert {step.outcome for step in steps} <= {
            Outcome.HOLDS, Outcome.UNANCHORED, Outcome.ABSENT, Outcome.WORD,
        }  # fmt: skip
        assert [step.detail.endswith(f"; declined: {words}") for step in steps].count(True) == 1


@pytest.mark.parametrize("forge", ["another's", "unsigned", "of another round", "who uploaded"])
def test_a_decline_that_its_institution_did_not_sign_for_this_round_is_false(
    tmp_path: Path, forge: str
) -> None:
    played = Played(tmp_path / "operator", 5)
    assert played.round(declining={"inst-02": RefusalCode.BUDGET}).survivors
    stored = played.export(1, tmp_path / "round")
    stem = stored / "declines/inst-02"
    message = decode(Decline, stem.with_suffix(".json").read_bytes())
    if forge == "another's":
        sign(played, stem, Purpose.DECLINE, encode(message), "inst-01")
    elif forge == "unsigned":
        stem.with_suffix(".sig").write_bytes(bytes(64))
    elif forge == "of another round":
        sign(played, stem, Purpose.DECLINE, encode(replace(message, round=2)), "inst-02")
    else:
        stem = stored / "declines/inst-01"
        forged = replace(message, institution="inst-01")
        sign(played, stem, Purpose.DECLINE, encode(forged), "inst-01")
    assert f"declines/{stem.name}" in finding(stored)


# What was tampered with


def files(exported: Path) -> list[str]:
    return sorted(str(one.relative_to(exported)) for one in exported.rglob("*") if one.is_file())


OPTIONAL = ("model/", "endorsements/")


def test_every_file_that_is_taken_away_is_missed(exported: dict[int, Path], tmp_path: Path) -> None:
    for name in files(exported[1]):
        copy = Path(shutil.copytree(exported[1], tmp_path / "copy"))
        (copy / name).unlink()
        found = finding(copy)
        stem = name.rsplit(".", 1)[0]
        if name.startswith("reveals/") or not name.startswith(OPTIONAL):
            assert found, name
        elif name.endswith((".sig", "before.state")):
            assert stem in found or "model/" in found
        shutil.rmtree(copy)


@pytest.mark.parametrize("place", [0, -1], ids=["first byte", "last byte"])
def test_every_file_in_which_a_byte_was_changed_is_named(
    exported: dict[int, Path], tmp_path: Path, place: int
) -> None:
    copy = Path(shutil.copytree(exported[1], tmp_path / "copy"))
    for name in files(copy):
        raw = (copy / name).read_bytes()
        changed = bytearray(raw)
        changed[place] ^= 1
        (copy / name).write_bytes(changed)
        assert name.rsplit(".", 1)[0] in finding(copy), name
        (copy / name).write_bytes(raw)
    assert finding(copy) == ""


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the place of every value in a message."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    elif isinstance(tree, list) and tree:
        for place, value in enumerate(tree):
            yield from leaves(value, (*path, place))
    else:
        yield path


def altered(raw: bytes, path: tuple[Any, ...]) -> bytes:
    """Change one value of a message to another of its kind."""
    tree = json.loads(raw)
    inner = tree
    for step in path[:-1]:
        inner = inner[step]
    value = inner[path[-1]]
    if isinstance(value, str):
        other = "1" if value[:1] != "1" else "2"
        inner[path[-1]] = other + value[1:] if value else "QUJD"
    elif isinstance(value, list):
        inner[path[-1]] = ["QUJD"]
    else:
        inner[path[-1]] = 1 if value is None else value + 1
    return rfc8785.dumps(tree)


MESSAGES = [
    *("agreement", "plan", "certificate", "survivors", "uploads/inst-01.header"),
    *("uploads/inst-01.upload", "reveals/inst-01", "endorsements/inst-01"),
]


@pytest.mark.parametrize("stem", MESSAGES)
def test_every_field_that_was_changed_under_its_signature_is_named(stored: Path, stem: str) -> None:
    file = stored / f"{stem}.json"
    raw = file.read_bytes()
    for path in leaves(json.loads(raw)):
        file.write_bytes(altered(raw, path))
        assert f"{stem}.json" in finding(stored) or (
            stem == "agreement" and "signatures/" in finding(stored)
        ), path


SIGNERS = {
    "plan": (Purpose.PLAN, ""),
    "certificate": (Purpose.CERTIFICATE, ""),
    "survivors": (Purpose.SURVIVORS, ""),
    "uploads/inst-01.header": (Purpose.HEADER, "inst-01"),
    "reveals/inst-01": (Purpose.REVEAL, "inst-01"),
    "endorsements/inst-01": (Purpose.ENDORSEMENT, "inst-01"),
}


@pytest.mark.parametrize("stem", SIGNERS)
def test_every_field_that_its_own_signer_changed_is_found(
    played: Played, stored: Path, stem: str
) -> None:
    purpose, who = SIGNERS[stem]
    raw = (stored / f"{stem}.json").read_bytes()
    for path in leaves(json.loads(raw)):
        sign(played, stored / stem, purpose, altered(raw, path), who)
        assert finding(stored), path


def swap(a: str, b: str) -> Callable[[Path], None]:
    def tamper(path: Path) -> None:
        first, second = (path / a).read_bytes(), (path / b).read_bytes()
        (path / a).write_bytes(second)
        (path / b).write_bytes(first)

    return tamper


def swap_signed(a: str, b: str) -> Callable[[Path], None]:
    def tamper(path: Path) -> None:
        for ending in (".json", ".sig"):
            swap(a + ending, b + ending)(path)

    return tamper


def write(name: str, raw: bytes) -> Callable[[Path], None]:
    return lambda path: (path / name).parent.mkdir(exist_ok=True) or (path / name).write_bytes(raw)


def cut(name: str) -> Callable[[Path], None]:
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:-1])


def link(name: str) -> Callable[[Path], None]:
    def tamper(path: Path) -> None:
        (path / name).rename(path.parent / "elsewhere")
        (path / name).symlink_to(path.parent / "elsewhere")

    return tamper


def link_folder(name: str) -> Callable[[Path], None]:
    return link(name)


def pipe(name: str) -> Callable[[Path], None]:
    def tamper(path: Path) -> None:
        import os

        (path / name).unlink()
        os.mkfifo(path / name)

    return tamper


TAMPERINGS: dict[str, tuple[Callable[[Path], None], str]] = {
    "two vectors swapped": (
        swap("uploads/inst-00.vector", "uploads/inst-01.vector"),
        "uploads/inst-00.vector, uploads/inst-01.vector: expected the bytes",
    ),
    "two headers swapped": (
        swap_signed("uploads/inst-00.header", "uploads/inst-01.header"),
        "uploads/inst-00.header.json: expected the header of inst-00",
    ),
    "two reveals swapped": (
        swap_signed("reveals/inst-00", "reveals/inst-01"),
        "reveals/inst-00.json: expected the reveal of inst-00",
    ),
    "two endorsements swapped": (
        swap_signed("endorsements/inst-00", "endorsements/inst-01"),
        "endorsements/inst-00.json",
    ),
    "two signatures swapped": (
        swap("signatures/inst-00.sig", "signatures/inst-01.sig"),
        "signatures/inst-00.sig: expected a valid signature",
    ),
    "a vector too short": (cut("uploads/inst-01.vector"), "expected 224 bytes, got 223"),
    "a total too short": (cut("total.vector"), "total.vector: expected 224 bytes, got 223"),
    "a state too short": (cut("model/before.state"), "model/before.state: expected 440 bytes"),
    "a vector of nobody": (write("uploads/inst-02.vector", b"x"), "uploads/inst-02.vector"),
    "a box that nobody complained about": (
        write("boxes/inst-00.inst-01.box", b"x"),
        "boxes/inst-00.inst-01.box: expected no file",
    ),
    "a stranger's signature": (write("signatures/bank.sig", b"x"), "signatures/bank.sig"),
    "a file of another name": (write("notes.txt", b"x"), "'notes.txt' does not belong there"),
    "a name that moves the cursor": (write("\x1b[2J.json", b"x"), "'\\x1b[2J.json' does not"),
    "a link": (link("plan.json"), "plan.json is no regular file"),
    "a folder that is a link": (link_folder("uploads"), "uploads is no directory"),
    "a pipe": (pipe("plan.sig"), "plan.sig is no regular file"),
    "a message without end": (write("plan.json", b" " * (17 << 20)), "plan.json is larger than"),
    "a signature without end": (write("plan.sig", b" " * 5000), "plan.sig is larger than"),
    "another format": (write("format.json", b'{"format":"x"}'), "expected the format"),
    "no format": (write("format.json", b"x"), "format.json does not say"),
    "a message nested without end": (write("survivors.json", b"[" * 100_000), "survivors.json"),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_what_was_tampered_with_is_found_and_named(stored: Path, what: str) -> None:
    tamper, named = TAMPERINGS[what]
    tamper(stored)
    assert named in finding(stored)


# What an operator may lie about


def test_a_total_off_by_one_in_one_lane_is_found_under_a_certificate_signed_anew(
    played: Played, stored: Path
) -> None:
    shutil.rmtree(stored / "endorsements")
    shutil.rmtree(stored / "model")
    total = bytearray((stored / "total.vector").read_bytes())
    lanes = np.frombuffer(total, "<u4")
    lanes[17] += np.uint32(1)
    (stored / "total.vector").write_bytes(total)
    body = decode(CertificateBody, (stored / "certificate.json").read_bytes())
    false = replace(body, total=chunks.root(len(total), [chunks.leaf(bytes(total))]))
    sign(played, stored / "certificate", Purpose.CERTIFICATE, encode(false))
    assert "total.vector: lane 17 of q is" in finding(stored)
    lanes[17] -= np.uint32(1)
    (stored / "total.vector").write_bytes(total)
    assert "certificate.json: expected the root of the sum" in finding(stored)


def test_a_model_that_t_endorse_and_that_does_not_follow_is_found(
    played: Played, stored: Path
) -> None:
    state = bytearray((stored / "model/after.state").read_bytes())
    state[40] ^= 1
    (stored / "model/after.state").write_bytes(state)
    assert "model/after.state: expected the model" in finding(stored)
    (stored / "model/after.state").unlink()
    assert finding(stored) == ""


def test_a_certificate_that_leaves_out_a_survivor_is_found(played: Played, stored: Path) -> None:
    body = decode(CertificateBody, (stored / "certificate.json").read_bytes())
    fewer = replace(body, survivors=body.survivors[1:])
    sign(played, stored / "certificate", Purpose.CERTIFICATE, encode(fewer))
    assert "certificate.json: expected the survivors of survivors.json" in finding(stored)


# Void rounds


@pytest.mark.parametrize(
    ("number", "outcome", "reason"),
    [
        (2, Outcome.HOLDS, "inst-01 dealt a false share to inst-03"),
        (3, Outcome.WORD, "3 of 5 uploads arrived, 4 are needed"),
        (4, Outcome.WORD, "3 of 4 reveals arrived"),
        (5, Outcome.HOLDS, "the seeds of inst-00 and inst-03 differ"),
    ],
)
def test_why_a_round_is_void_can_be_seen_or_rests_on_the_operators_word(
    played: Played,
    exported: dict[int, Path],
    number: int,
    outcome: Outcome,
    reason: str,
) -> None:
    anchor, before = played.agreement.digest, exported[number - 1]
    steps = recomputed(exported[number], anchor=anchor, previous=before)
    (judged,) = [step for step in steps if step.name == "reason"]
    assert judged.outcome is outcome
    assert reason in judged.detail
    assert verdict(steps) is Verdict.TRUE
    assert {step.outcome for step in steps} <= {Outcome.HOLDS, Outcome.WORD}


def test_a_vector_that_voids_a_round_by_its_canary_is_seen(tmp_path: Path) -> None:
    from tests.simulation.network import with_false_canary

    from comity_common.crypto.sign import Purpose
    from comity_common.secagg.plan import plan_digest

    def mischief(world: Any, plan: Any) -> None:
        named, who = bytes.fromhex(plan_digest(plan)), "inst-01"
        keys = {
            peer: chain.turn_to(plan.round).round_key(named)
            for peer, chain in world.chains[who].items()
        }
        dealt = with_false_canary(plan, who, keys, world.dealt[who])
        world.dealt[who] = dealt
        world.signed[who] = (
            world.keys[who].sign(Purpose.HEADER, encode(dealt.header)),
            world.keys[who].sign(Purpose.UPLOAD, encode(dealt.upload)),
        )

    played = Played(tmp_path / "operator", 3)
    assert played.round(mischief=mischief).void
    stored = played.export(1, tmp_path / "round")
    (judged,) = [step for step in recomputed(stored) if step.name == "reason"]
    assert judged.outcome is Outcome.HOLDS
    assert "every canary lane to count 3 survivors" in judged.detail


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_round_that_is_declared_void_for_another_reason_than_what_is_here_is_false(
    played: Played, exported: dict[int, Path], tmp_path: Path, number: int
) -> None:
    stored = Path(shutil.copytree(exported[number], tmp_path / "round"))
    body = decode(CertificateBody, (stored / "certificate.json").read_bytes())
    framed = replace(body, survivors=(), total=b"", reason="inst-04 dealt a false share to inst-00")
    sign(played, stored / "certificate", Purpose.CERTIFICATE, encode(framed))
    assert "it says that inst-04 dealt a false share" in finding(stored)


def test_a_complaint_with_a_key_that_the_dealer_did_not_sign_for_is_not_believed(
    played: Played, exported: dict[int, Path], tmp_path: Path
) -> None:
    stored = Path(shutil.copytree(exported[2], tmp_path / "round"))
    stem = stored / "reveals/inst-03"
    reveal = decode(Reveal, (stored / "reveals/inst-03.json").read_bytes())
    framed = replace(reveal, complaints=(Complaint(dealer="inst-01", box_key=bytes(32)),))
    sign(played, stem, Purpose.REVEAL, encode(framed), "inst-03")
    found = finding(stored)
    assert "it says that inst-01 dealt a false share to inst-03" in found
    assert "what is here shows" in found


def test_a_round_void_by_complaints_without_proof_is_recomputed_with_their_words(
    tmp_path: Path,
) -> None:
    played = Played(tmp_path / "operator", 4)
    mischief = deals_a_false_share("inst-01", "inst-03", key_digest=bytes(32))
    body = played.round(mischief=mischief)
    assert body.reason == (
        "the reveals do not fit the commitments of inst-01; "
        "complaints without proof: inst-03 about inst-01"
    )
    stored = played.export(1, tmp_path / "round")
    assert finding(stored) == ""
    silent = replace(body, reason="the reveals do not fit the commitments of inst-02")
    sign(played, stored / "certificate", Purpose.CERTIFICATE, encode(silent))
    assert "commitments of inst-01; complaints without proof" in finding(stored)


def test_a_box_that_the_dealer_did_not_sign_for_blames_nobody(
    exported: dict[int, Path], tmp_path: Path
) -> None:
    stored = Path(shutil.copytree(exported[2], tmp_path / "round"))
    (stored / "boxes/inst-01.inst-03.box").write_bytes(b"another")
    assert "boxes/inst-01.inst-03.box: expected the box that inst-01 signed for" in finding(stored)


# How much it takes


def test_memory_does_not_grow_with_the_number_of_institutions(tmp_path: Path) -> None:
    lanes = (1 << 18) + 1000  # a chunk and a bit, a state in two parts

    def peak(n: int) -> int:
        played = Played(tmp_path / f"{n}", n, lanes=lanes)
        assert played.round().survivors
        stored = played.export(1, tmp_path / f"round-{n}")
        tracemalloc.start()
        assert finding(stored) == ""
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    small, large = peak(3), peak(7)
    assert small < 24 << 20
    assert large < small + (1 << 20)


def test_the_certificate_of_the_neighbour_is_the_one_that_the_plan_names(
    exported: dict[int, Path],
) -> None:
    body = decode(CertificateBody, (exported[1] / "certificate.json").read_bytes())
    plan = json.loads((exported[2] / "plan.json").read_bytes())
    assert plan["previous"] == certificate_digest(body)
    assert "expected round 2, got 1" in finding(exported[3], previous=exported[1])
    assert base64.b64decode(plan["nonce"])
