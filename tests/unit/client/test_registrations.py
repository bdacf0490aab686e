"""One budget for one file's bytes, for life; and nothing of the file on the ledger."""

from decimal import Decimal
from pathlib import Path

import pytest

from comity_client.ledger import Ledger
from comity_client.registrations import Registrations
from comity_client.store import Store
from comity_common.dp.terms import Guarantee
from comity_common.errors import LocalError
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import BudgetGrant, DatasetId, DatasetRegister, Genesis
from comity_common.ledger.entries import read

CEILING = Guarantee(epsilon=Decimal(8), delta=Decimal("0.00001"))
ROWS = b"".join(b'{"text": "row %d", "label": "a"}\n' % k for k in range(417))


class Vault:
    """The parts of a vault that registering needs."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.store = Store(directory / "vault.db")
        self.ledger = Ledger(self.store, InstitutionId("inst-00"))
        if not self.ledger.entries():
            with self.store.transaction() as tx:
                self.ledger.append(tx, Genesis(nonce=bytes(16), software="test"))
        self.data = Registrations(self.store, self.ledger)

    def bodies(self, kind: type) -> list:
        return [b for b in map(read, self.ledger.entries()) if isinstance(b, kind)]


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "home")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(ROWS)
    return file


def test_the_same_bytes_are_the_same_budget(vault: Vault, rows: Path, tmp_path: Path) -> None:
    first = vault.data.register(rows, ceiling=CEILING, order=8)
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(ROWS)
    assert vault.data.register(rows, ceiling=CEILING, order=8) == first
    assert vault.data.register(copy, ceiling=CEILING, order=8) == first
    assert Vault(tmp_path / "home").data.register(copy, ceiling=CEILING, order=8) == first
    assert len(vault.bodies(BudgetGrant)) == len(vault.bodies(DatasetRegister)) == 1


@pytest.mark.parametrize(
    ("ceiling", "order"),
    [
        (Guarantee(epsilon=Decimal(9), delta=CEILING.delta), 8),
        (Guarantee(epsilon=Decimal(1), delta=CEILING.delta), 8),
        (Guarantee(epsilon=CEILING.epsilon, delta=Decimal("0.0001")), 8),
        (CEILING, 9),
    ],
)
def test_another_ceiling_or_order_for_the_same_bytes_is_refused(
    vault: Vault, rows: Path, ceiling: Guarantee, order: int
) -> None:
    dataset = vault.data.register(rows, ceiling=CEILING, order=8)
    with pytest.raises(LocalError, match=r"ε = 8 at order 8 .* for life"):
        vault.data.register(rows, ceiling=ceiling, order=order)
    (grant,) = vault.bodies(BudgetGrant)
    assert (grant.dataset, grant.ceiling, grant.order) == (dataset, CEILING, 8)


def test_the_grant_is_on_the_ledger_after_the_registration(vault: Vault, rows: Path) -> None:
    dataset = vault.data.register(rows, ceiling=CEILING, order=8)
    bodies = [read(entry) for entry in vault.ledger.entries()]
    assert [type(body) for body in bodies] == [Genesis, DatasetRegister, BudgetGrant]
    assert vault.ledger.budget().grant(dataset).ceiling == CEILING


def test_a_grant_that_affords_nothing_leaves_no_trace(vault: Vault, rows: Path) -> None:
    tiny = Guarantee(epsilon=Decimal("0.0001"), delta=CEILING.delta)
    with pytest.raises(LocalError, match="afford"):
        vault.data.register(rows, ceiling=tiny, order=2)
    assert vault.bodies(DatasetRegister) == []
    dataset = vault.data.register(rows, ceiling=CEILING, order=8)  # the ledger is still good
    assert vault.ledger.budget().grant(dataset).order == 8


def test_the_ledger_has_neither_path_nor_content_nor_a_digest_that_can_be_guessed(
    vault: Vault, rows: Path, tmp_path: Path
) -> None:
    other = Vault(tmp_path / "other")
    for each in (vault, other):
        each.data.register(rows, ceiling=CEILING, order=8)
    written = b"".join(entry.body for entry in vault.ledger.entries())
    for trace in (b"rows", b"jsonl", str(tmp_path).encode(), b"417", str(len(ROWS)).encode()):
        assert trace not in written
    (one,), (two,) = vault.bodies(DatasetRegister), other.bodies(DatasetRegister)
    assert one.commitment != two.commitment
    assert one.dataset != two.dataset


def test_it_is_known_where_the_rows_lie(vault: Vault, rows: Path) -> None:
    dataset = vault.data.register(rows, ceiling=CEILING, order=8)
    assert vault.data.file(dataset) == rows.resolve()
    with pytest.raises(LocalError, match="registered data set"):
        vault.data.file(DatasetId("0" * 32))


def test_a_file_that_moved_is_found_where_it_was_registered_last(
    vault: Vault, rows: Path, tmp_path: Path
) -> None:
    dataset = vault.data.register(rows, ceiling=CEILING, order=8)
    moved = rows.rename(tmp_path / "moved.jsonl")
    assert vault.data.register(moved, ceiling=CEILING, order=8) == dataset
    assert vault.data.file(dataset) == moved.resolve()


def test_a_file_that_was_changed_is_not_trained_on_under_the_old_budget(
    vault: Vault, rows: Path
) -> None:
    dataset = vault.data.register(rows, ceiling=CEILING, order=8)
    rows.write_bytes(ROWS + b'{"text": "one more", "label": "a"}\n')
    with pytest.raises(LocalError):
        vault.data.file(dataset)


def test_a_missing_file_is_not_registered(vault: Vault, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        vault.data.register(tmp_path / "none.jsonl", ceiling=CEILING, order=8)
    assert vault.bodies(DatasetRegister) == []
