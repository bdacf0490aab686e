"""A long ledger in the home of a real vault, and how long an auditor's work on it takes.

The vault's own parts write it: keys, rows, agreement, budget, entries and cosignatures are as
always. Only what it trains and sends is missing.
"""

import gc
import json
import random
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import TypeVar

from comity_audit.ledgers.epsilons import NamespaceEpsilon, has_second, recompute
from comity_audit.ledgers.verification import Verification
from comity_audit.report.facts import PackageFacts
from comity_audit.report.writing import Written, write_report
from comity_audit.steps import Step, Verdict, verdict
from comity_client.config import VaultConfig
from comity_client.institution import Institution
from comity_client.ledgerexport import package
from comity_client.witnesses import Witnesses
from comity_common.agreement import Agreement, TaskKind
from comity_common.canonical import encode
from comity_common.crypto.sign import Purpose, SigningKeys
from comity_common.dp.terms import Guarantee
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import Body, DatasetId
from comity_common.ledger.package import read_package
from comity_common.ledger.witness import cosign, request_head
from tests.audit.federation import Drawn, Federation
from tests.audit.history import History
from tests.bench.figures import Figure, Say

Found = TypeVar("Found")

ME = InstitutionId("bank")
MOST_ROUNDS = 600  # certified ones aimed at, and 300 spare: hardly more can be agreed
BAR_S = 60.0  # export, verification, every ε and report


def measure(entries: int, say: Say) -> list[Figure]:
    """Write a ledger, export it, verify it, compute its ε again and report; seconds each."""
    with tempfile.TemporaryDirectory() as directory:
        say(f"writing {entries:,} entries")
        home = Path(directory) / "home"
        agreement = write_home(home, entries)
        gc.collect()
        say("exporting")
        export_s, raw = _timed(lambda: package(home).to_bytes())
        say("verifying")
        verify_s, (verification, steps) = _timed(lambda: _verified(raw, agreement))
        epsilon_s, spaces = _timed(lambda: recompute(verification.ledger))
        say("reporting")
        report_s, written = _timed(lambda: _reported(raw, verification, steps, spaces))
    assert verdict(steps) is Verdict.TRUE, verification.findings
    assert written.original.report.summary.findings_count == 0
    assert len(verification.ledger.entries) >= entries
    sizes = f"{len(verification.ledger.entries):,} entries"
    twice = "two implementations" if has_second() else "one implementation"
    return [
        _figure(f"{sizes}: the package", len(raw) / 1e6, "MB"),
        _figure(f"{sizes}: export", export_s),
        _figure(f"{sizes}: verify", verify_s),
        _figure(f"{sizes}: ε again, by {twice}", epsilon_s),
        _figure(f"{sizes}: the report and its page in both languages", report_s),
        replace(
            _figure(f"{sizes}: all of it", export_s + verify_s + epsilon_s + report_s),
            at_most=BAR_S,
        ),
    ]


def write_home(home: Path, entries: int) -> Agreement:
    """Let a vault live for many rounds, until its ledger has so many entries at least."""
    settings = VaultConfig(
        id=ME, name="Bank", jurisdiction="DE", server="127.0.0.1:1", sockets=home / "s"
    )
    inst = Institution.create(home, settings)
    own = Drawn(inst.me, inst.keys.signing, inst.keys.identity)
    federation = Federation(rounds=min(MOST_ROUNDS, 4 + entries // 15), drawn=(own,))
    dataset = _sign(inst, federation)
    with inst.store.transaction() as tx:
        book = _VaultsBook(inst, tx)
        history = History(book, federation, random.Random(0), dataset)
        history.begin(federation.first)
        while book.size < entries:
            history.upload(federation.first)
    _be_cosigned(inst, federation)
    inst.store.reading().close()
    return federation.first


class _VaultsBook:
    """The vault's own ledger, written in one transaction."""

    def __init__(self, inst: Institution, tx: sqlite3.Connection) -> None:
        self._inst, self._tx = inst, tx
        self.budget = inst.ledger.budget().copy()
        self.size = 0

    def write(self, body: Body) -> None:
        """Write the next entry."""
        entry = self._inst.ledger.append(self._tx, body)
        self.budget.apply(entry)
        self.size = entry.sequence + 1


def _sign(inst: Institution, federation: Federation) -> DatasetId:
    """Register rows, grant what they may spend, and put the agreement in force."""
    agreement = federation.first
    raw, privacy = encode(agreement), agreement.privacy
    rows = inst.home.path / "rows.jsonl"
    rows.write_text(json.dumps({"text": "a row", "label": "a"}) + "\n")
    ceiling = Guarantee(epsilon=privacy.epsilon, delta=privacy.delta)
    dataset = inst.data.register(
        rows, name="rows", task=TaskKind.SEQUENCE_CLASSIFICATION, ceiling=ceiling
    )
    inst.data.grant(dataset, privacy.order)
    inst.agreements.sign(raw, inst.keys, inst.me, inst.policy, dataset)
    inst.agreements.activate(raw, federation.signed_by_all(agreement).by_party)
    return dataset


def _be_cosigned(inst: Institution, federation: Federation) -> None:
    """Let all other institutions cosign the head, and the vault take what they say."""
    agreement = federation.first
    witnesses = Witnesses(inst, agreement, lambda *_: None)
    request = request_head(
        agreement.digest,
        inst.me,
        inst.ledger.generations()[-1],
        inst.ledger.tree(),
        (),
        inst.keys.ledger.head,
    )
    for id in federation.others(inst.me):
        keys: SigningKeys = federation.keys[id]
        body = encode(cosign(request, id, federation.ledger_keys(id), 1_800_000_000))
        witnesses.take_cosignature((keys.sign(Purpose.COSIGNATURE, body),))


def _verified(raw: bytes, agreement: Agreement) -> tuple[Verification, list[Step]]:
    verification = Verification(read_package(raw), anchors=[agreement.digest])
    return verification, list(verification.steps())


def _reported(
    raw: bytes,
    verification: Verification,
    steps: Sequence[Step],
    spaces: Sequence[NamespaceEpsilon],
) -> Written:
    package = PackageFacts(name="audit.zip", sha256=sha256(raw).hexdigest(), bytes=len(raw))
    return write_report(verification, steps, spaces, package=package)


def _timed(work: Callable[[], Found]) -> tuple[float, Found]:
    began = monotonic()
    found = work()
    return monotonic() - began, found


def _figure(measured: str, value: float, unit: str = "s") -> Figure:
    return Figure(row="auditor", measured=measured, value=value, unit=unit)
