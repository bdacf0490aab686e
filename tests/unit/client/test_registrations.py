"""One budget for the same rows, for life; and nothing of them on the ledger."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from tests.ledger_keys import LEDGER_KEYS
from tests.simulation.federation import make_agreement
from tests.unit.common.dp.book import reserve, spending

from comity_client.ledger import Ledger
from comity_client.registrations import FileState, Registrations
from comity_client.store import Store
from comity_common.agreement import TaskKind
from comity_common.canonical import encode
from comity_common.crypto.sign import SigningKeys
from comity_common.dp.terms import Guarantee, SampledGaussian
from comity_common.errors import LocalError, Problem, Refusal, RefusalCode
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import (
    BudgetGrant,
    DatasetId,
    DatasetRegister,
    Genesis,
)

CEILING = Guarantee(epsilon=Decimal(8), delta=Decimal("0.00001"))
ROWS = b"".join(b'{"text": "row %d", "label": "a"}\n' % k for k in range(417))


class Vault:
    """The parts of a vault that registering needs."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.store = Store(directory / "vault.db")
        self.ledger = Ledger(self.store, InstitutionId("inst-00"), LEDGER_KEYS)
        if not self.ledger.entries():
            with self.store.transaction() as tx:
                self.ledger.append(tx, Genesis(nonce=bytes(16), software="test"))
        self.data = Registrations(self.store, self.ledger)

    def register(
        self,
        file: Path,
        ceiling: Guarantee | None = CEILING,
        name: str = "intents",
        order: int = 8,
        **where: str,
    ) -> DatasetId:
        dataset = self.data.register(
            file, name=name, task=TaskKind.SEQUENCE_CLASSIFICATION, ceiling=ceiling, **where
        )
        self.data.grant(dataset, order)
        return dataset

    def bodies(self, kind: type) -> list:
        bodies = [entry.body for entry in self.ledger.entries()]
        return [body for body in bodies if isinstance(body, kind)]


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "home")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(ROWS)
    return file


def test_the_same_bytes_are_the_same_budget(vault: Vault, rows: Path, tmp_path: Path) -> None:
    first = vault.register(rows)
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(ROWS)
    assert vault.register(rows) == first
    assert vault.register(copy) == first
    assert Vault(tmp_path / "home").register(copy) == first
    assert len(vault.bodies(BudgetGrant)) == len(vault.bodies(DatasetRegister)) == 1


@pytest.mark.parametrize(
    "ceiling",
    [
        Guarantee(epsilon=Decimal(9), delta=CEILING.delta),
        Guarantee(epsilon=Decimal(1), delta=CEILING.delta),
        Guarantee(epsilon=CEILING.epsilon, delta=Decimal("0.0001")),
    ],
)
def test_another_ceiling_for_the_same_bytes_is_refused(
    vault: Vault, rows: Path, ceiling: Guarantee
) -> None:
    dataset = vault.register(rows)
    with pytest.raises(Problem, match=r"ε = 8 at δ = 0.00001, for life"):
        vault.register(rows, ceiling)
    (grant,) = vault.bodies(BudgetGrant)
    assert (grant.guarantee, grant.order) == (CEILING, 8)
    assert grant.namespace == vault.ledger.budget().namespace(dataset)


def test_the_order_of_the_first_agreement_stays(vault: Vault, rows: Path) -> None:
    dataset = vault.register(rows)
    vault.data.grant(dataset, 4)
    assert [one.order for one in vault.ledger.budget().grants(dataset)] == [8]


def test_nothing_can_be_reserved_before_the_grant(vault: Vault, rows: Path) -> None:
    dataset = vault.data.register(
        rows, name="intents", task=TaskKind.SEQUENCE_CLASSIFICATION, ceiling=CEILING
    )
    one = SampledGaussian(
        sampling_probability=Decimal("0.01"), noise_multiplier=Decimal(5), steps=1
    )
    with pytest.raises(Refusal, match="granted budget"):
        vault.ledger.budget().check(dataset, spending(event=one, order=8), one)
    vault.data.grant(dataset, 8)
    vault.ledger.budget().check(dataset, spending(event=one, order=8), one)


def test_the_grant_is_on_the_ledger_after_the_registration(vault: Vault, rows: Path) -> None:
    dataset = vault.register(rows)
    bodies = [entry.body for entry in vault.ledger.entries()]
    assert [type(body) for body in bodies] == [Genesis, DatasetRegister, BudgetGrant]
    assert [one.guarantee for one in vault.ledger.budget().grants(dataset)] == [CEILING]


def test_a_grant_that_affords_nothing_leaves_no_trace(vault: Vault, rows: Path) -> None:
    tiny = Guarantee(epsilon=Decimal("0.0001"), delta=CEILING.delta)
    with pytest.raises(LocalError, match="no noise keeps a ceiling"):
        vault.register(rows, tiny, order=2)
    assert vault.bodies(DatasetRegister) == []
    vault.ledger.budget()  # the ledger is still good


def test_an_order_at_which_the_ceiling_affords_nothing_leaves_no_trace(
    vault: Vault, rows: Path
) -> None:
    dataset = vault.data.register(
        rows,
        name="intents",
        task=TaskKind.SEQUENCE_CLASSIFICATION,
        ceiling=Guarantee(epsilon=Decimal(1), delta=CEILING.delta),
    )
    with pytest.raises(Refusal, match="an order that can afford something, got 2") as refusal:
        vault.data.grant(dataset, 2)
    assert refusal.value.code is RefusalCode.BUDGET
    assert vault.bodies(BudgetGrant) == []
    vault.data.grant(dataset, 64)  # the ledger is still good
    assert [one.order for one in vault.ledger.budget().grants(dataset)] == [64]


def test_a_ceiling_with_too_many_digits_for_the_ledger_is_not_registered(
    vault: Vault, rows: Path
) -> None:
    with pytest.raises(LocalError, match="40 digits"):
        vault.register(rows, Guarantee(epsilon=Decimal("1." + "1" * 40), delta=CEILING.delta))
    assert vault.data.all() == []


def test_a_ceiling_is_the_same_number_however_it_is_written(vault: Vault, rows: Path) -> None:
    dataset = vault.register(rows)
    same = Guarantee(epsilon=Decimal("8.0"), delta=Decimal("1e-5"))
    assert vault.register(rows, same) == dataset


def test_what_is_not_registered_or_was_removed_is_granted_nothing(vault: Vault, rows: Path) -> None:
    with pytest.raises(LocalError, match="registered data set"):
        vault.data.grant(DatasetId("0" * 32), 8)
    dataset = vault.data.register(
        rows, name="intents", task=TaskKind.SEQUENCE_CLASSIFICATION, ceiling=CEILING
    )
    vault.data.remove("intents")
    with pytest.raises(Problem, match="was removed"):
        vault.data.grant(dataset, 8)
    assert vault.bodies(BudgetGrant) == []


def test_the_ledger_has_neither_path_nor_content_nor_a_digest_that_can_be_guessed(
    vault: Vault, rows: Path, tmp_path: Path
) -> None:
    other = Vault(tmp_path / "other")
    for each in (vault, other):
        each.register(rows)
    written = b"".join(encode(entry.body) for entry in vault.ledger.entries())
    for trace in (b"rows", b"jsonl", str(tmp_path).encode()):
        assert trace not in written
    # As words of their own: random hex may hold any three digits in a row.
    assert not {b"417", str(len(ROWS)).encode()} & set(re.findall(rb"\w+", written))
    (one,), (two,) = vault.bodies(DatasetRegister), other.bodies(DatasetRegister)
    assert one.commitment != two.commitment
    assert one.dataset != two.dataset


def test_it_is_known_where_the_rows_lie(vault: Vault, rows: Path) -> None:
    dataset = vault.register(rows)
    assert vault.data.file(dataset) == rows.resolve()
    with pytest.raises(LocalError, match="registered data set"):
        vault.data.file(DatasetId("0" * 32))


def test_a_file_that_moved_is_found_where_it_was_registered_last(
    vault: Vault, rows: Path, tmp_path: Path
) -> None:
    dataset = vault.register(rows)
    moved = rows.rename(tmp_path / "moved.jsonl")
    assert vault.register(moved) == dataset
    assert vault.data.file(dataset) == moved.resolve()


def test_a_file_that_was_changed_is_not_trained_on_under_the_old_budget(
    vault: Vault, rows: Path
) -> None:
    dataset = vault.register(rows)
    rows.write_bytes(ROWS + b'{"text": "one more", "label": "a"}\n')
    with pytest.raises(LocalError):
        vault.data.file(dataset)


def test_a_missing_file_is_not_registered(vault: Vault, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"none\.jsonl: expected a readable file"):
        vault.register(tmp_path / "none.jsonl")
    assert vault.bodies(DatasetRegister) == []


def test_a_name_is_one_data_sets_and_well_formed(vault: Vault, rows: Path, tmp_path: Path) -> None:
    vault.register(rows)
    other = tmp_path / "other.jsonl"
    other.write_bytes(b"".join(ROWS.splitlines(keepends=True)[:3]))
    with pytest.raises(Problem, match="taken"):
        vault.register(other)
    for name in ("", "Intents", "a b", "x" * 41, "../x", "-x", "x\n", "ä"):
        with pytest.raises(Problem, match="expected a name"):
            vault.register(other, name=name)
    assert [one.name for one in vault.data.all()] == ["intents"]


def test_other_bytes_never_take_a_name_from_the_data_set_that_has_it(
    vault: Vault, rows: Path, tmp_path: Path
) -> None:
    vault.register(rows)
    other = tmp_path / "other.jsonl"
    other.write_bytes(b"".join(ROWS.splitlines(keepends=True)[:3]))
    vault.register(other, name="others")
    vault.data.remove("others")
    with pytest.raises(Problem, match="the name intents is taken"):
        vault.register(other)
    with pytest.raises(Problem, match="registered as intents already"):
        vault.register(rows, name="others")  # free again, but these rows have a name
    states = {one.name: one.removed for one in vault.data.all()}
    assert states == {"intents": False, "others": True}


def test_a_removed_data_set_is_not_trained_on_and_its_place_is_forgotten(
    vault: Vault, rows: Path
) -> None:
    dataset = vault.register(rows)
    vault.data.remove("intents")
    with pytest.raises(LocalError, match="was removed"):
        vault.data.file(dataset)
    for ask in (vault.data.find, vault.data.remove):
        with pytest.raises(Problem, match="no data set intents"):
            ask("intents")
    (row,) = vault.store.reading().execute("select * from datasets").fetchall()
    assert (row["id"], row["path"], row["removed"]) == (dataset, "", 1)
    assert rows.read_bytes() == ROWS


def test_a_removed_data_set_comes_back_with_what_it_has_spent(vault: Vault, rows: Path) -> None:
    dataset = vault.register(rows)
    one = SampledGaussian(
        sampling_probability=Decimal("0.01"), noise_multiplier=Decimal(1), steps=9
    )
    (grant,) = vault.ledger.budget().grants(dataset)
    with vault.store.transaction() as tx:
        vault.ledger.append(tx, replace(reserve(1, one, dataset), grant=grant.grant))
    vault.data.remove("intents")
    with pytest.raises(Problem, match=r"ε = 8 at δ = 0.00001, for life"):
        vault.register(rows, Guarantee(epsilon=Decimal(80), delta=CEILING.delta), name="again")
    assert vault.register(rows, name="again") == dataset
    assert vault.data.find("again") == dataset
    assert vault.data.file(dataset) == rows.resolve()
    assert vault.ledger.budget().reserved(dataset) == (one,)
    assert len(vault.bodies(DatasetRegister)) == len(vault.bodies(BudgetGrant)) == 1


def test_it_is_told_how_the_file_is_now(vault: Vault, rows: Path) -> None:
    dataset = vault.register(rows)
    assert vault.data.file_state(dataset) is FileState.AS_REGISTERED
    rows.write_bytes(ROWS[:-1])
    assert vault.data.file_state(dataset) is FileState.CHANGED
    rows.unlink()
    assert vault.data.file_state(dataset) is FileState.UNREADABLE


@pytest.mark.parametrize("state", ["signed", "in-force"])
def test_a_data_set_that_an_agreement_holds_on_to_is_not_removed(
    vault: Vault, rows: Path, state: str
) -> None:
    dataset = vault.register(rows)
    keys = {InstitutionId(f"inst-{k}"): SigningKeys.generate() for k in range(3)}
    agreement = make_agreement(keys, SigningKeys.generate())
    row = (agreement.digest, encode(agreement), state, dataset)
    with vault.store.transaction() as tx:
        tx.execute("insert into agreements values (?, ?, ?, ?)", row)
    with pytest.raises(Problem, match="trains on intents"):
        vault.data.remove("intents")
    assert vault.data.find("intents") == dataset


@pytest.mark.parametrize("state", ["refused", "retired"])
def test_a_data_set_whose_agreements_are_over_can_be_removed(
    vault: Vault, rows: Path, state: str
) -> None:
    dataset = vault.register(rows)
    keys = {InstitutionId(f"inst-{k}"): SigningKeys.generate() for k in range(3)}
    agreement = make_agreement(keys, SigningKeys.generate())
    row = (agreement.digest, encode(agreement), state, dataset)
    with vault.store.transaction() as tx:
        tx.execute("insert into agreements values (?, ?, ?, ?)", row)
    vault.data.remove("intents")
    (one,) = vault.data.all()
    assert one.removed


def test_two_at_once_do_not_make_two_budgets_of_one_file(vault: Vault, rows: Path) -> None:
    home = rows.parent / "home"
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: Vault(home).register(rows), range(4)))
    assert len(set(found)) == 1
    assert len(vault.bodies(DatasetRegister)) == len(vault.bodies(BudgetGrant)) == 1
