"""Readers of ledgers and audits: entries, signed heads, proofs of single entries."""

import io
import random
import zipfile
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

from comity_audit.ledgers.verification import Verification
from comity_audit.report.original import PAYLOAD_TYPE, original_of, read_original
from comity_audit.report.page import ALL_LANGUAGES, render
from comity_audit.steps import Outcome as Outcomes
from comity_audit.witness.desk import Desk
from comity_common.canonical import decode
from comity_common.dp.budget import Budget
from comity_common.errors import LocalError, PeerError, Problem
from comity_common.ledger.bodies import Outcome
from comity_common.ledger.checkpoints import Checkpoint, cosign, read_checkpoint, sign, verify
from comity_common.ledger.entries import check_order
from comity_common.ledger.envelopes import Envelope, seal
from comity_common.ledger.notes import SignedNote, read_note
from comity_common.ledger.package import read_package
from comity_common.ledger.proofs import Proof, read_proof
from comity_common.ledger.signed import write
from comity_common.ledger.tree import Tree, check_inclusion
from tests.ledger_keys import LEDGER_KEYS, read_own
from tests.unit.audit.reported import Ledger, full
from tests.unit.common.ledger.test_entries import EXAMPLES, chain

from .mutations import altered, damaged
from .target import MAX_WORDS, Harness, Target

AUDITEE = "who hands over a ledger"
ORIGIN = "ledger.comity/clinic/00"
PEER = (PeerError,)


@cache
def entries() -> tuple[bytes, ...]:
    """Return signed entries that hang together, of every kind."""
    closed = [body for body in EXAMPLES if getattr(body, "outcome", None) is not Outcome.FORFEITED]
    return tuple(write(entry, LEDGER_KEYS.entries) for entry in chain(closed))


@cache
def head() -> tuple[Checkpoint, bytes]:
    """Return the head of a tree over them, and as a note with every kind of signature."""
    tree = Tree(entries())
    checkpoint = Checkpoint(origin=ORIGIN, size=len(tree), root=tree.root())
    lines = (
        sign(checkpoint, ORIGIN, LEDGER_KEYS.head),
        cosign(checkpoint, "bank", LEDGER_KEYS.witness, 1_700_000_000),
        cosign(checkpoint, "bank", LEDGER_KEYS.lasting, 1_700_000_000),
    )
    return checkpoint, SignedNote(text=checkpoint.text, signatures=lines).to_bytes()


def _ledger(directory: Path) -> Harness:
    """Entries, one a line, as an institution hands them to an auditor."""
    seed = b"\n".join(entries())

    def read(raw: bytes) -> None:
        found = [read_own(line) for line in raw.split(b"\n")]
        check_order(found)
        Budget(found)

    def mutate(raw: bytes, chance: random.Random) -> bytes:
        lines = raw.split(b"\n")
        at = chance.randrange(len(lines))
        lines[at] = _changed(lines[at], chance)
        return b"\n".join(lines[: chance.choice([len(lines), at + 1])])

    return Harness(seeds=(seed, seed.split(b"\n")[0]), read=read, mutate=mutate)


def _entry(directory: Path) -> Harness:
    """One entry, which its owner signed or somebody changed."""

    def read(raw: bytes) -> None:
        entry = read_own(raw)
        assert write(entry, LEDGER_KEYS.entries) == raw  # Ed25519 is deterministic

    return Harness(seeds=entries(), read=read, mutate=_changed)


def _changed(raw: bytes, chance: random.Random) -> bytes:
    """Change the statement and sign it again, as a dishonest owner does; or the envelope."""
    try:
        payload = decode(Envelope, raw).payload
    except PeerError:
        return damaged(raw, chance)
    if chance.random() < 0.7:
        return seal(altered(payload, chance), LEDGER_KEYS.entries)
    return altered(raw, chance)


def _head(directory: Path) -> Harness:
    """A head with its signatures, as anybody may show it."""
    keys = (LEDGER_KEYS.public().log(ORIGIN), *LEDGER_KEYS.public().witnesses("bank"))
    known, note = head()

    def read(raw: bytes) -> None:
        found = read_note(raw)
        checkpoint = read_checkpoint(found.text)
        for line in found.signatures:
            for key in keys:
                if line.is_by(key):
                    verify(checkpoint, key, line)
                    assert checkpoint == known

    return Harness(seeds=(note,), read=read)


def _proof(directory: Path) -> Harness:
    """A proof of one entry."""
    tree, (checkpoint, note) = Tree(entries()), head()
    seeds = tuple(
        Proof(extra=entry, index=index, path=tree.inclusion(index), note=note).to_bytes()
        for index, entry in enumerate(entries())
    )

    def read(raw: bytes) -> None:
        proof = read_proof(raw)
        check_inclusion(proof.extra, proof.index, checkpoint.size, checkpoint.root, proof.path)
        assert proof.extra in entries()

    return Harness(seeds=seeds, read=read)


def _report(directory: Path) -> Harness:
    """A report as an auditor hands it on, of which the page is written again."""
    report = full().written(recomputing=True).original.report
    bare, signed = original_of(report).raw, original_of(report, LEDGER_KEYS.entries).raw

    def read(raw: bytes) -> None:
        is_signed = raw.startswith(b'{"payload":')
        found = read_original(raw, LEDGER_KEYS.public().entries if is_signed else None)
        ElementTree.fromstring(render(found, ALL_LANGUAGES).removeprefix("<!DOCTYPE html>\n"))

    def mutate(raw: bytes, chance: random.Random) -> bytes:
        changed = altered(bare, chance)
        return seal(changed, LEDGER_KEYS.entries, PAYLOAD_TYPE) if raw is signed else changed

    return Harness(seeds=(bare, signed), read=read, mutate=mutate)


def _package(directory: Path) -> Harness:
    """A whole package, taken apart and verified; it says what it said or something is found."""
    ledger = Ledger().begin()
    ledger.release(1)
    package, anchor = ledger.package(), ledger.agreement.digest
    true = (package.entries, package.head, package.agreements)

    def read(raw: bytes) -> None:
        found = read_package(raw)
        steps = list(Verification(found, anchors=[anchor]).steps())
        if any(step.outcome is Outcomes.FAILS for step in steps):
            raise PeerError(steps[-1].detail[:MAX_WORDS])
        assert (found.entries, found.head, found.agreements) == true

    def mutate(raw: bytes, chance: random.Random) -> bytes:
        if chance.random() < 0.3:
            return damaged(raw, chance)
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = {one.filename: archive.read(one) for one in archive.infolist()}
        name = chance.choice(sorted(members))
        members[name] = damaged(members[name], chance)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", chance.choice([0, zipfile.ZIP_DEFLATED])) as archive:
            for one, content in members.items():
                archive.writestr(one, content)
        return packed.getvalue()

    return Harness(seeds=(package.to_bytes(),), read=read, mutate=mutate)


def _memory(directory: Path) -> Harness:
    """What a witness remembers, after somebody wrote to its disk."""
    ledger = Ledger().begin()
    verification = ledger.verified()[0]
    desk = Desk.create(directory / "witness", "regulator.example", bytes(range(64)))
    desk.cosign(verification, 1_700_000_000)
    (file,) = (directory / "witness" / "heads").iterdir()

    def read(raw: bytes) -> None:
        file.write_bytes(raw)
        list(desk.kept())
        try:
            desk.cosign(verification, 1_700_000_000)
        except Problem:
            assert file.read_bytes() == raw
            raise

    return Harness(seeds=(file.read_bytes(),), read=read)


TARGETS: list[Target] = [
    Target(name=name, reader=reader, sender=AUDITEE, errors=errors, make=make, covers=covers)
    for name, reader, errors, make, covers in (
        ("ledger", "comity_common.ledger.entries.check_order", (PeerError, LocalError), _ledger,
         ()),
        ("ledger-entry", "comity_common.ledger.signed.read", PEER, _entry,
         ("common/comity_common/ledger/envelopes.py:from_public_bytes",)),
        ("ledger-head", "comity_common.ledger.checkpoints.verify", PEER, _head,
         ("common/comity_common/ledger/notes.py:b64decode",
          "common/comity_common/ledger/checkpoints.py:b64decode",
          "common/comity_common/ledger/checkpoints.py:from_public_bytes")),
        ("entry-proof", "comity_common.ledger.proofs.read_proof", PEER, _proof,
         ("common/comity_common/ledger/proofs.py:b64decode",)),
        ("audit-package", "comity_common.ledger.package.read_package", PEER, _package,
         ("common/comity_common/ledger/package.py:ZipFile", "Signatures")),
        ("witness-memory", "comity_audit.witness.desk.Desk.kept", (Problem,), _memory, ("Kept",)),
        ("audit-report", "comity_audit.report.original.read_original", PEER, _report,
         ("Report",)),
    )
]  # fmt: skip
