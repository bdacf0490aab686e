"""A backup opens with its passphrase alone; what comes back spends nothing twice."""

import math
import os
import pty
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from tests.commands import comity
from tests.simulation.federation import make_agreement
from tests.unit.common.dp.book import spending

from comity.v1 import transfer_pb2 as pb
from comity_client.agreements import AgreementState
from comity_client.backup import Backup, Passphrase, open_backup, restore, write_backup
from comity_client.config import VaultConfig
from comity_client.flower.supernode import make_node_key
from comity_client.forfeits import NO_AGREEMENT
from comity_client.grants import grant_part
from comity_client.home import Home
from comity_client.institution import Institution
from comity_client.store import Store
from comity_common.agreement import Agreement, TaskKind
from comity_common.canonical import encode
from comity_common.crypto.sign import Purpose, SigningKeys
from comity_common.dp.accountant import allowance, calibrate, total_cost
from comity_common.dp.terms import Gate, Guarantee, SampledGaussian
from comity_common.errors import LocalError, Problem, Refusal
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import (
    BudgetCharge,
    BudgetGrant,
    BudgetReserve,
    DatasetId,
    Outcome,
    Restore,
)
from comity_common.ledger.entries import check_order
from comity_common.mechanisms import schedule_event, spending_of
from comity_common.membership import check_withdrawal

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
TEXT = "correct horse battery staple"
IDS = [InstitutionId(f"inst-0{k}") for k in range(3)]
DELTA = Decimal("0.00001")
SECRETS = {
    "chain": b"<the key of a chain>",
    "sealing": b"<a sealing key>",
    "halves": b"<halves in the clear>",
    "held": b"<held shares>" * 2000,  # more than a page
    "upload": b"<boxes of an upload>",
    "reveal": b"<a reveal>",
    "parcel": b"<a reveal on its way>",
}


@dataclass
class Lost:
    """A vault that will be lost, with what it has agreed to."""

    inst: Institution
    keys: dict[InstitutionId, SigningKeys]
    operator: SigningKeys

    @property
    def home(self) -> Path:
        return self.inst.home.path

    def register(self, name: str, ceiling: int | Decimal) -> DatasetId:
        file = self.home.parent / f"{name}.jsonl"
        file.write_text(f'{{"text": "rows of {name}", "label": "a"}}\n')
        return self.inst.data.register(
            file,
            name=name,
            task=TaskKind.SEQUENCE_CLASSIFICATION,
            ceiling=Guarantee(epsilon=Decimal(ceiling), delta=DELTA),
        )

    def write(self, name: str) -> Agreement:
        """Write an agreement over ε = 8."""
        draft = make_agreement(self.keys, self.operator)
        first, *others = draft.institutions
        noise, order = calibrate(
            draft.training.sampling_probability,
            draft.training.local_steps * draft.schedule.attempts,
            draft.privacy.epsilon,
            draft.privacy.delta,
        )
        return replace(
            draft,
            federation=name,
            institutions=(replace(first, identity=self.inst.keys.identity), *others),
            training=replace(draft.training, noise_multiplier=noise),
            privacy=replace(draft.privacy, order=order),
        )

    def sign(self, agreement: Agreement, dataset: DatasetId, *, all_sign: bool = True) -> None:
        inst, raw = self.inst, encode(agreement)
        inst.data.grant(dataset, agreement.privacy.order, gate=agreement.privacy.gate)
        inst.agreements.sign(raw, inst.keys, inst.me, inst.policy, dataset)
        signatures = {
            id: keys.sign(Purpose.AGREEMENT, raw).signature for id, keys in self.keys.items()
        }
        signatures[agreement.operator.id] = self.operator.sign(Purpose.AGREEMENT, raw).signature
        if all_sign:
            inst.agreements.activate(raw, signatures)

    def spend(self, agreement: Agreement, dataset: DatasetId, round: int, *, end: bool) -> None:
        """Reserve a round if the budget allows, as the vault does."""
        event = schedule_event(agreement, 1)
        reserve = self.inst.ledger.budget().reserve(
            dataset, spending_of(agreement), event, nonce=os.urandom(16), epoch=4, round=round
        )
        with self.inst.store.transaction() as tx:
            self.inst.ledger.append(tx, reserve)
            if end:
                self.inst.ledger.append(
                    tx,
                    BudgetCharge(
                        nonce=reserve.nonce, outcome=Outcome.RELEASED, released=Digest("d" * 64)
                    ),
                )

    def keep_secrets(self) -> None:
        """Put into every place that has secrets of a round some that can be found again."""
        with self.inst.store.transaction() as tx:
            tx.execute(
                "insert into epochs (agreement, epoch, opened, sealing, halves) "
                "values ('a', 1, x'00', ?, ?)",
                (SECRETS["sealing"], SECRETS["halves"]),
            )
            tx.execute("insert into chains values ('a', 1, 'b', ?, 3)", (SECRETS["chain"],))
            tx.execute(
                "insert into rounds (agreement, number, phase, plan_digest, upload, held, reveal) "
                "values ('a', 1, 'masked', 'p', ?, ?, ?)",
                (SECRETS["upload"], SECRETS["held"], SECRETS["reveal"]),
            )
            for kind, body in (
                (pb.PARCEL_KIND_REVEAL, SECRETS["parcel"]),
                (pb.PARCEL_KIND_WITHDRAWAL, b"<a withdrawal>"),
            ):
                tx.execute(
                    "insert into outbox (agreement, kind, body, signature) "
                    "values ('a', ?, ?, x'00')",
                    (kind, body),
                )


@pytest.fixture
def lost(tmp_path: Path) -> Lost:
    settings = VaultConfig(id=IDS[0], name="A", jurisdiction="DE", server="127.0.0.1:1")
    inst = Institution.create(tmp_path / "lost", settings)
    keys = {id: SigningKeys.generate() for id in IDS} | {IDS[0]: inst.keys.signing}
    return Lost(inst, keys, SigningKeys.generate())


@pytest.fixture
def passphrase() -> Passphrase:
    return Passphrase(TEXT)


def backed_up(lost: Lost, tmp_path: Path) -> Backup:
    """Take a backup and read it."""
    file = tmp_path / f"backup-{os.urandom(4).hex()}"
    write_backup(Home(lost.home), file, Passphrase(TEXT), NOW)
    return open_backup(file, Passphrase(TEXT))


def entries_of(home: Path) -> list[object]:
    return [entry.body for entry in Institution(home).ledger.entries()]


def test_keys_settings_and_ledger_come_back(
    lost: Lost, passphrase: Passphrase, tmp_path: Path
) -> None:
    home = lost.home
    lost.inst.keys.install(b"certificate", b"authority")
    (home / "policy.toml").write_text("epsilon = 2\n")
    (home / "operator.card").write_bytes(b"card")
    make_node_key(home / "flower")
    lost.register("rows", 8)
    file = tmp_path / "backup"
    write_backup(Home(home), file, passphrase, NOW)
    opened = open_backup(file, passphrase)
    assert opened.time == "2026-03-04T05:06:07Z"
    restore(opened, tmp_path / "new", signed_since=False)

    new = Institution(tmp_path / "new")
    assert new.keys.identity == lost.inst.keys.identity
    assert new.me == lost.inst.me
    assert new.policy.epsilon == 2
    before = lost.inst.ledger.entries()
    assert new.ledger.entries()[: len(before)] == before
    check_order(new.ledger.entries())
    names = ["keys/tls.pem", "keys/authority.pem", "operator.card", "flower/node.pub"]
    for name in [*names, "flower/node", "keys/signing.key", "keys/tls.key"]:
        assert (tmp_path / "new" / name).read_bytes() == (home / name).read_bytes()


def test_what_comes_back_is_for_its_owner_alone(lost: Lost, tmp_path: Path) -> None:
    make_node_key(lost.home / "flower")
    restore(backed_up(lost, tmp_path), tmp_path / "new", signed_since=False)
    found = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    assert {path.name for path in found} >= {"keys", "vault.db", "node", "outbox", "models"}
    for path in found:
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_the_file_is_for_its_owner_alone_and_shows_nothing(
    lost: Lost, passphrase: Passphrase, tmp_path: Path
) -> None:
    file = tmp_path / "backup"
    write_backup(Home(lost.home), file, passphrase, NOW)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    raw = file.read_bytes()
    for trace in (b"inst-00", b"signing", b"vault", b"SQLite", b"127.0.0.1"):
        assert trace not in raw
    write_backup(Home(lost.home), tmp_path / "again", passphrase, NOW)
    assert (tmp_path / "again").read_bytes()[36:] != raw[36:]  # another salt and nonce


def test_no_secret_that_must_not_live_twice_is_in_it(lost: Lost, tmp_path: Path) -> None:
    lost.keep_secrets()
    database = backed_up(lost, tmp_path).files["vault.db"]
    for name, secret in SECRETS.items():
        assert secret not in database, name
    assert b"<a withdrawal>" in database  # is final, and must reach the operator
    (tmp_path / "copy.db").write_bytes(database)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("select phase, outcome from rounds").fetchall() == [
            ("closed", "restored")
        ]
        assert copy.execute("pragma freelist_count").fetchone() == (0,)
        for table in ("epochs", "chains"):
            assert copy.execute(f"select count(*) from {table}").fetchone() == (0,)


def test_of_every_table_it_was_decided_whether_it_may_live_twice(lost: Lost) -> None:
    kept = {"agreements", "datasets", "entries", "mailbox", "models", "private_metrics", "scores"}
    kept |= {"fingerprint_key", "fingerprints", "namespaces", "traffic", "withdrawals"}
    kept |= {"cosignatures", "generations", "signatures", "witnessed"}
    cleared = {"chains", "epochs", "outbox", "rounds"}
    rows = lost.inst.store.reading().execute("select name from sqlite_master where type = 'table'")
    assert {row[0] for row in rows} - {"sqlite_sequence"} == kept | cleared


def test_a_backup_beside_a_running_vault_has_what_was_committed(lost: Lost, tmp_path: Path) -> None:
    lost.register("rows", 8)
    before = raw_entries(lost.inst.store)
    with lost.inst.store.transaction() as tx:
        tx.execute("delete from entries")
        opened = backed_up(lost, tmp_path)
        tx.execute("insert into entries values (0, x'00')")
        for sequence, raw in enumerate(before[1:], 1):
            tx.execute("insert into entries values (?, ?)", (sequence, raw))
    (tmp_path / "copy.db").write_bytes(opened.files["vault.db"])
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        raws = [raw for (raw,) in copy.execute("select raw from entries order by sequence")]
    assert raws == before


def raw_entries(store: Store) -> list[bytes]:
    rows = store.reading().execute("select raw from entries order by sequence")
    return [row["raw"] for row in rows]


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw + b"\0",
        lambda raw: raw[:20] + bytes([raw[20] ^ 1]) + raw[21:],  # the time, which is only signed
        lambda raw: raw[:40] + bytes([raw[40] ^ 1]) + raw[41:],  # the salt
        lambda raw: raw[:60] + bytes([raw[60] ^ 1]) + raw[61:],  # the nonce
        lambda raw: raw[:-40] + bytes([raw[-40] ^ 1]) + raw[-39:],
    ],
    ids=["cut", "longer", "time", "salt", "nonce", "content"],
)
def test_a_damaged_file_does_not_open(lost: Lost, tmp_path: Path, damage: object) -> None:
    file = tmp_path / "backup"
    write_backup(Home(lost.home), file, Passphrase(TEXT), NOW)
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    with pytest.raises(Problem) as problem:
        open_backup(file, Passphrase(TEXT))
    assert problem.value.code == "COM-KEYS-004"


@pytest.mark.parametrize("raw", [b"", b"comity-backup/2\n" + bytes(100), b"comity-backup/1\n"])
def test_another_file_is_told_apart(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "file").write_bytes(raw)
    with pytest.raises(Problem) as problem:
        open_backup(tmp_path / "file", Passphrase(TEXT))
    assert problem.value.code == "COM-KEYS-003"


def test_a_passphrase_is_the_same_however_its_letters_are_composed(
    lost: Lost, tmp_path: Path
) -> None:
    write_backup(Home(lost.home), tmp_path / "backup", Passphrase("f\u00fcnf Schl\u00f6sser"), NOW)
    open_backup(tmp_path / "backup", Passphrase("fu\u0308nf Schlo\u0308sser"))


def test_a_passphrase_does_not_show(passphrase: Passphrase) -> None:
    assert TEXT not in repr(passphrase) + str(passphrase) + f"{[passphrase]}"


# What counts as spent


def test_the_rest_of_a_schedule_counts_as_spent_and_the_agreement_is_refused(
    lost: Lost, tmp_path: Path
) -> None:
    agreement = lost.write("running")
    rows = lost.register("rows", 20)
    lost.sign(agreement, rows)
    for round in (1, 2):
        lost.spend(agreement, rows, round, end=True)
    forfeits = restore(backed_up(lost, tmp_path), tmp_path / "new", signed_since=False)

    new = Institution(tmp_path / "new")
    steps = agreement.training.local_steps
    budget = new.ledger.budget()
    assert [event.steps for event in budget.spent(rows)] == [steps, steps, 3 * steps]
    assert budget.epsilon_charged(rows) == pytest.approx(8, abs=0.01)  # as was agreed
    assert budget.open_reserves() == ()
    (one,) = forfeits
    assert (one.dataset, one.ceiling) == (rows, Decimal(20))
    assert one.epsilon == budget.epsilon_charged(rows) > one.epsilon_before > 0
    assert new.agreements.active() == []
    (known,) = new.agreements.known()
    assert known.state is AgreementState.REFUSED
    assert Restore(agreement=agreement.digest, epoch=4, round=2) in entries_of(tmp_path / "new")


def test_each_agreement_is_reckoned_by_its_own_rounds(lost: Lost, tmp_path: Path) -> None:
    one, two = lost.write("one"), replace(lost.write("two"), nonce=bytes(range(16)))
    rows = lost.register("rows", 40)
    lost.sign(one, rows)
    lost.sign(two, rows)
    lost.spend(one, rows, 1, end=True)
    restore(backed_up(lost, tmp_path), tmp_path / "new", signed_since=False)
    bodies = [body for body in entries_of(tmp_path / "new") if isinstance(body, BudgetReserve)]
    taken = [(body.agreement, body.event.steps // one.training.local_steps) for body in bodies]
    assert taken == [(one.digest, 1), (one.digest, 4), (two.digest, 5)]


def test_what_is_left_below_the_ceiling_can_be_agreed_on_again(lost: Lost, tmp_path: Path) -> None:
    agreement = lost.write("first")
    rows = lost.register("rows", 20)
    lost.sign(agreement, rows)
    restore(backed_up(lost, tmp_path), tmp_path / "new", signed_since=False)
    new = Institution(tmp_path / "new")
    after = replace(lost.write("second"), nonce=bytes(range(16)))
    new.agreements.sign(encode(after), new.keys, new.me, new.policy, rows)
    with pytest.raises(LocalError):
        new.agreements.sign(encode(agreement), new.keys, new.me, new.policy, rows)


def test_an_agreement_that_others_had_not_signed_yet_counts_too(lost: Lost, tmp_path: Path) -> None:
    agreement = lost.write("signed")
    rows = lost.register("rows", 8)
    lost.sign(agreement, rows, all_sign=False)
    restore(backed_up(lost, tmp_path), tmp_path / "new", signed_since=False)
    new = Institution(tmp_path / "new")
    assert new.agreements.known()[0].state is AgreementState.REFUSED
    with pytest.raises(Refusal):
        new.ledger.budget().check(rows, spending_of(agreement), schedule_event(agreement, 1))


def test_a_round_at_work_when_the_backup_was_made_is_spent(lost: Lost, tmp_path: Path) -> None:
    agreement = lost.write("running")
    rows = lost.register("rows", 8)
    lost.sign(agreement, rows)
    lost.spend(agreement, rows, 1, end=False)
    restore(backed_up(lost, tmp_path), tmp_path / "new", signed_since=False)
    budget = Institution(tmp_path / "new").ledger.budget()
    assert budget.open_reserves() == ()
    steps = agreement.training.local_steps
    assert [event.steps for event in budget.spent(rows)] == [steps, 4 * steps]


def test_an_agreement_that_was_over_costs_nothing_more(lost: Lost, tmp_path: Path) -> None:
    agreement = lost.write("over")
    rows = lost.register("rows", 8)
    lost.sign(agreement, rows)
    lost.spend(agreement, rows, 1, end=True)
    with lost.inst.store.transaction() as tx:
        lost.inst.agreements.retire(tx, agreement.digest)
    assert restore(backed_up(lost, tmp_path), tmp_path / "new", signed_since=False) == ()
    new = Institution(tmp_path / "new")
    assert new.ledger.budget().spent(rows) == (schedule_event(agreement, 1),)
    (restore_,) = [one for one in entries_of(tmp_path / "new") if isinstance(one, Restore)]
    assert (restore_.agreement, len(restore_.generation)) == (NO_AGREEMENT, 16)
    assert new.ledger.generations()[-1] == restore_.generation


@pytest.mark.parametrize("first_rounds", [0, 2, 4])
def test_no_lost_past_spent_more_than_the_budget_shows(
    lost: Lost, tmp_path: Path, first_rounds: int
) -> None:
    """Two agreements for ε = 8 each on rows with ε = 10: whichever came first."""
    one, two = lost.write("one"), replace(lost.write("two"), nonce=bytes(range(16)))
    order = one.privacy.order
    rows = lost.register("rows", 10)
    lost.sign(one, rows)
    lost.sign(two, rows)
    lost.spend(one, rows, 1, end=True)
    opened = backed_up(lost, tmp_path)
    restore(opened, tmp_path / "new", signed_since=False)
    shown = total_cost(Institution(tmp_path / "new").ledger.budget().spent(rows), order)

    rounds = [(one, round) for round in range(2, one.schedule.attempts + 1)]
    rounds[first_rounds:first_rounds] = [
        (two, round) for round in range(1, two.schedule.attempts + 1)
    ]
    done = 0
    with suppress(Refusal):  # what was done after the backup, until the budget was gone
        for agreement, round in rounds:
            lost.spend(agreement, rows, round, end=True)
            done += 1
    assert 0 < done < len(rounds)
    ceiling = Guarantee(epsilon=Decimal(10), delta=DELTA)
    assert total_cost(lost.inst.ledger.budget().spent(rows), order) <= shown
    assert 1 - 1e-10 < shown / allowance(ceiling, order) <= 1


def test_where_agreements_may_have_been_signed_since_no_budget_is_left(
    lost: Lost, tmp_path: Path
) -> None:
    agreement, offered = lost.write("running"), replace(lost.write("new"), nonce=bytes(range(16)))
    rows = lost.register("rows", 20)
    others = lost.register("others", 20)
    lost.sign(agreement, rows)
    raw = encode(offered)
    signature = lost.operator.sign(Purpose.AGREEMENT, raw).signature
    lost.inst.agreements.offer(raw, signature, offered.operator)
    forfeits = restore(backed_up(lost, tmp_path), tmp_path / "new", signed_since=True)

    new = Institution(tmp_path / "new")
    assert {known.state for known in new.agreements.known()} == {AgreementState.REFUSED}
    little = SampledGaussian(
        sampling_probability=Decimal("0.001"), noise_multiplier=Decimal(10), steps=1
    )
    for dataset in (rows, others):
        assert new.ledger.budget().share(dataset) == pytest.approx(1, rel=1e-10)
        assert new.ledger.budget().share(dataset) <= 1
        with pytest.raises(Refusal):
            new.ledger.budget().check(dataset, spending(event=little, rounds=1), little)
    named = [(one.dataset, one.agreement and one.agreement.agreement.digest) for one in forfeits]
    assert named == [(rows, agreement.digest), (rows, None)]
    assert [one.name for one in forfeits] == ["rows", "rows, others"]  # they share a budget


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("signed_since", [False, True])
def test_what_was_claimed_for_a_fixed_schedule_counts_as_spent(
    lost: Lost, tmp_path: Path, begun: bool, signed_since: bool
) -> None:
    draft = lost.write("running")
    fixed = replace(draft.privacy, gate=Gate.FIXED_SCHEDULE, order=0)
    agreement = replace(draft, privacy=fixed)
    rows = lost.register("rows", 20)
    claim = Guarantee(epsilon=Decimal(9), delta=DELTA)
    grant_part(lost.inst, rows, claim, Gate.FIXED_SCHEDULE, 0)
    lost.sign(agreement, rows)
    if begun:
        lost.spend(agreement, rows, 1, end=True)
    restore(backed_up(lost, tmp_path), tmp_path / "new", signed_since=signed_since)

    new = Institution(tmp_path / "new")
    budget = new.ledger.budget()
    assert budget.epsilon_charged(rows) == 8  # and all of δ, so that nothing more can be claimed
    assert sum(event.steps for event in budget.spent(rows)) == 25
    again = replace(spending_of(agreement), agreement=NO_AGREEMENT)
    with pytest.raises(Refusal):
        budget.check_whole(rows, again)
    granted = [one.guarantee and one.guarantee.epsilon for one in budget.grants(rows)]
    assert granted == [20 if signed_since else 9]
    assert budget.rest(rows) is None


@pytest.mark.parametrize("in_one_grant", [False, True])
@pytest.mark.parametrize("ceiling", ["20", "8.02"])
def test_beside_a_claim_for_a_fixed_schedule_all_else_may_have_been_spent(
    lost: Lost, tmp_path: Path, ceiling: str, in_one_grant: bool
) -> None:
    claim = Guarantee(epsilon=Decimal(8), delta=Decimal("0.000009"))
    draft = lost.write("running")
    fixed = replace(draft.privacy, gate=Gate.FIXED_SCHEDULE, order=0, delta=claim.delta)
    agreement = replace(draft, privacy=fixed)
    rows = lost.register("rows", Decimal(ceiling))
    if not in_one_grant:  # all of whose δ is claimed
        grant_part(lost.inst, rows, claim, Gate.FIXED_SCHEDULE, 0)
    lost.sign(agreement, rows)
    for round in range(1, agreement.schedule.attempts + 1):
        lost.spend(agreement, rows, round, end=True)
    restore(backed_up(lost, tmp_path), tmp_path / "new", signed_since=True)

    budget = Institution(tmp_path / "new").ledger.budget()
    assert budget.epsilon_charged(rows) == pytest.approx(float(ceiling), rel=1e-9)
    assert budget.rest(rows) is None
    little = SampledGaussian(
        sampling_probability=Decimal("0.001"), noise_multiplier=Decimal(1000), steps=1
    )
    claimed = Guarantee(epsilon=Decimal("0.01"), delta=Decimal("1e-7"))
    asked = replace(spending(event=little, rounds=1, order=256), guarantee=claimed)
    for again in (asked, replace(asked, gate=Gate.FIXED_SCHEDULE, order=0)):
        with pytest.raises(Refusal):
            budget.check_whole(rows, again)


def test_a_grant_without_privacy_may_have_been_used(lost: Lost, tmp_path: Path) -> None:
    rows = lost.register("rows", 20)
    with lost.inst.store.transaction() as tx:
        lost.inst.ledger.append(
            tx,
            BudgetGrant(
                grant=bytes(16),
                namespace=lost.inst.ledger.budget().namespace(rows),
                guarantee=None,
                gate=Gate.NONE,
                order=0,
            ),
        )
    opened = backed_up(lost, tmp_path)
    for signed_since in (False, True):
        home = tmp_path / f"new-{signed_since}"
        restore(opened, home, signed_since=signed_since)
        shown = Institution(home).ledger.budget().epsilon_charged(rows)
        assert math.isinf(shown) is signed_since


def test_where_none_was_signed_since_what_is_offered_may_still_be_signed(
    lost: Lost, tmp_path: Path
) -> None:
    offered = lost.write("new")
    raw = encode(offered)
    rows = lost.register("rows", 8)
    signature = lost.operator.sign(Purpose.AGREEMENT, raw).signature
    lost.inst.agreements.offer(raw, signature, offered.operator)
    restore(backed_up(lost, tmp_path), tmp_path / "new", signed_since=False)
    new = Institution(tmp_path / "new")
    new.data.grant(rows, offered.privacy.order)
    new.agreements.sign(raw, new.keys, new.me, new.policy, rows)


# What the operator is told


def test_each_refused_agreement_leaves_a_withdrawal_that_the_operator_will_accept(
    lost: Lost, tmp_path: Path
) -> None:
    running, signed, over = (
        replace(lost.write(name), nonce=bytes([place]) * 16)
        for place, name in enumerate(("running", "signed", "over"))
    )
    rows = lost.register("rows", 40)
    lost.sign(running, rows)
    lost.sign(signed, rows, all_sign=False)
    lost.sign(over, rows)
    with lost.inst.store.transaction() as tx:
        lost.inst.agreements.retire(tx, over.digest)
    restore(backed_up(lost, tmp_path), tmp_path / "new", signed_since=False)

    waiting = {one.agreement: one for one in Institution(tmp_path / "new").outbox.waiting()}
    assert waiting.keys() == {running.digest, signed.digest}
    for agreement in (running, signed):
        letter = waiting[agreement.digest]
        assert letter.kind == pb.PARCEL_KIND_WITHDRAWAL
        withdrawal = check_withdrawal(agreement, letter.message)
        assert (withdrawal.institution, withdrawal.by) == (IDS[0], IDS[0])


@pytest.mark.parametrize("signed_since", [False, True])
def test_an_offer_is_turned_down_too_where_it_may_have_been_signed_since(
    lost: Lost, tmp_path: Path, signed_since: bool
) -> None:
    offered = lost.write("new")
    raw = encode(offered)
    signature = lost.operator.sign(Purpose.AGREEMENT, raw).signature
    lost.inst.agreements.offer(raw, signature, offered.operator)
    restore(backed_up(lost, tmp_path), tmp_path / "new", signed_since=signed_since)
    letters = list(Institution(tmp_path / "new").outbox.waiting())
    assert len(letters) == signed_since
    for letter in letters:
        assert check_withdrawal(offered, letter.message).institution == IDS[0]


# All or nothing


def test_nothing_is_left_of_a_restore_that_fails(lost: Lost, tmp_path: Path) -> None:
    opened = backed_up(lost, tmp_path)
    before = sorted(tmp_path.iterdir())
    broken = dict(opened.files) | {"vault.db": opened.files["vault.db"][:4096]}
    stray = dict(opened.files) | {"../stray": b""}
    for files in (broken, stray, {"vault.toml": opened.files["vault.toml"]}):
        with pytest.raises((LocalError, sqlite3.Error)):
            restore(Backup(time=opened.time, files=files), tmp_path / "new", signed_since=False)
        assert sorted(tmp_path.iterdir()) == before


def test_only_an_empty_home_is_filled(lost: Lost, tmp_path: Path) -> None:
    opened = backed_up(lost, tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    for home in (tmp_path / "file", tmp_path / "full", lost.home):
        with pytest.raises(Problem) as problem:
            restore(opened, home, signed_since=False)
        assert problem.value.code == "COM-KEYS-006"
    assert (tmp_path / "full" / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir(mode=0o755)
    restore(opened, tmp_path / "empty", signed_since=False)
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o700
    restore(opened, tmp_path / "deep" / "below", signed_since=False)


def test_what_a_killed_restore_left_is_cleared(lost: Lost, tmp_path: Path) -> None:
    opened = backed_up(lost, tmp_path)
    left = tmp_path / ".new.restoring"
    left.mkdir()
    (left / "vault.toml").write_text("half")
    restore(opened, tmp_path / "new", signed_since=False)
    assert not left.exists()


# The commands


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "passphrase").write_text(TEXT + "\nnot this line\n")
    return tmp_path / "passphrase"


def test_backup_and_restore_by_command(lost: Lost, tmp_path: Path, secret: Path) -> None:
    agreement = lost.write("northern-banks")
    rows = lost.register("rows", 20)
    lost.sign(agreement, rows)
    file, words = tmp_path / "backup", ("--passphrase-file", secret, "--json")
    data = comity("client", "keys", "backup", file, *words, "--home", lost.home).data
    assert data == {"file": str(file), "size_bytes": file.stat().st_size}
    where = ("--home", tmp_path / "new", "--not-signed-since")
    data = comity("client", "keys", "restore", file, *words, *where).data
    (spent,) = data["counts_as_spent"]
    assert (spent["dataset"], spent["name"]) == (rows, "rows")
    assert spent["agreement"] == agreement.digest
    assert (spent["epsilon_before"], spent["ceiling"]) == (0.0, "20")
    assert data["signed_since"] is False
    where = ("--home", tmp_path / "other", "--not-signed-since")
    told = comity("client", "keys", "restore", file, *words[:2], *where).output
    assert "the rest of the budget reserved for northern-banks counts as spent" in told
    assert "takes part again from the next key epoch" in told


def test_without_a_terminal_and_a_word_the_worst_is_assumed(
    lost: Lost, tmp_path: Path, secret: Path
) -> None:
    rows = lost.register("rows", 20)
    words = ("--passphrase-file", secret)
    comity("client", "keys", "backup", tmp_path / "backup", *words, "--home", lost.home)
    where = ("--home", tmp_path / "new")
    told = comity("client", "keys", "restore", tmp_path / "backup", *words, *where).output
    assert "data set rows: all that was left of the budget counts as spent" in told
    assert "restore again with --not-signed-since" in told
    assert Institution(tmp_path / "new").ledger.budget().share(rows) == pytest.approx(1)


def test_a_wrong_passphrase_is_told_in_one_line_and_leaves_nothing(
    lost: Lost, tmp_path: Path, secret: Path
) -> None:
    file = tmp_path / "backup"
    words = ("--passphrase-file", secret, "--json")
    comity("client", "keys", "backup", file, *words, "--home", lost.home)
    secret.write_text("another passphrase")
    before = sorted(tmp_path.iterdir())
    outcome = comity("client", "keys", "restore", file, *words, "--home", tmp_path / "new" / "x")
    assert (outcome.exit_code, outcome.envelope["error"]["code"]) == (4, "COM-KEYS-004")
    assert "another passphrase" not in outcome.output + outcome.error
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("eleven char", "COM-KEYS-002"),
        ("", "COM-KEYS-001"),
        ("\nsecond line\n", "COM-KEYS-001"),
        (b"\xff\xfe", "COM-KEYS-001"),
    ],
)
def test_a_passphrase_that_is_none_is_refused(
    lost: Lost, tmp_path: Path, secret: Path, written: str | bytes, code: str
) -> None:
    secret.write_bytes(written if isinstance(written, bytes) else written.encode())
    words = ("--passphrase-file", secret, "--home", lost.home, "--json")
    outcome = comity("client", "keys", "backup", tmp_path / "backup", *words)
    assert (outcome.exit_code, outcome.envelope["error"]["code"]) == (2, code)
    assert not (tmp_path / "backup").exists()


def test_nothing_is_overwritten(lost: Lost, tmp_path: Path, secret: Path) -> None:
    (tmp_path / "backup").write_text("mine")
    words = ("--passphrase-file", secret, "--home", lost.home, "--json")
    outcome = comity("client", "keys", "backup", tmp_path / "backup", *words)
    assert outcome.envelope["error"]["code"] == "COM-KEYS-005"
    assert (tmp_path / "backup").read_text() == "mine"


def test_without_a_terminal_a_file_must_hold_the_passphrase(lost: Lost, tmp_path: Path) -> None:
    words = ("--home", lost.home, "--json")
    outcome = comity("client", "keys", "backup", tmp_path / "backup", *words)
    assert outcome.envelope["error"]["code"] == "COM-KEYS-007"


def test_a_passphrase_is_no_option() -> None:
    for command in ("backup", "restore"):
        assert comity("client", "keys", command, "--passphrase", TEXT, "x").exit_code == 2


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    mine, its = pty.openpty()
    yield mine, its
    for end in (mine, its):
        os.close(end)


@pytest.mark.timeout(60)
def test_a_terminal_is_asked_twice_and_does_not_show_the_passphrase(
    lost: Lost, tmp_path: Path, terminal: tuple[int, int]
) -> None:
    mine, its = terminal
    words = ("client", "keys", "backup", tmp_path / "backup", "--home", lost.home)
    child = subprocess.Popen(
        [sys.executable, "-m", "comity_host.cli", *map(str, words)],
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    shown = b""
    for question in (b"Passphrase: ", b"Repeat for confirmation: "):
        while not shown.endswith(question):
            shown += os.read(mine, 1024)
        os.write(mine, TEXT.encode() + b"\n")
    assert child.wait(30) == 0
    shown += os.read(mine, 4096)
    assert TEXT.encode() not in shown
    assert open_backup(tmp_path / "backup", Passphrase(TEXT)).files


def test_guessing_is_made_slow(passphrase: Passphrase) -> None:
    began = time.process_time()
    passphrase.cipher(bytes(16))
    assert time.process_time() - began > 0.05
