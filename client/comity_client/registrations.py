"""Registering a data file for training, in a namespace with one budget for life.

The ledger gets a random id and a salted commitment: neither name nor content nor size. Where the
file lies, what it is called and the salt stay in the store.

* A vault has one namespace, `default`, into which everything falls. Another one is opened only by
  name, and only for rows and units of which none is in a namespace yet (`fingerprints`).
* Rows that are in a namespace already belong to it, however they are ordered or written, also a
  part of them and also with others besides. The same bytes are one data set.
* The ceiling of a namespace is fixed by its first data set, also when that was removed.
* There is no budget before the first agreement on it is signed, or a person grants one: only that
  says how the ceiling is counted, and what has no grant cannot be reserved.
"""

import os
import re
import sqlite3
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

from comity_client.agreements import Agreements, AgreementState
from comity_client.datasets import Source, read_records
from comity_client.fingerprints import fingerprints, namespaces_with, remember
from comity_client.ledger import Ledger
from comity_client.store import Store
from comity_common.agreement import TaskKind
from comity_common.canonical import encode
from comity_common.crypto.derive import digest, expand
from comity_common.dp.accountant import allowance
from comity_common.dp.spending import Spending
from comity_common.dp.terms import MAX_ORDER, Gate, Guarantee, Unit
from comity_common.errors import LocalError, Problem, Refusal, RefusalCode
from comity_common.ids import Digest
from comity_common.ledger.bodies import (
    NONCE_BYTES,
    BudgetGrant,
    DatasetId,
    DatasetRegister,
    NamespaceId,
)

DEFAULT = "default"
SALT_BYTES = 32
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
IN_USE = (AgreementState.SIGNED, AgreementState.IN_FORCE)


class FileState(StrEnum):
    """How a data set's file is now."""

    AS_REGISTERED = "as registered"
    CHANGED = "changed"
    UNREADABLE = "cannot be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A registered data set.

    Attributes:
        name: what the institution calls it.
        path: where its rows lie; None once it is removed.
        namespace, budget: what it counts in, and how people call that.
        unit_key: the column that names each row's person; empty where rows count.
        ceiling: the most that all agreements in the namespace may spend together, for life.
    """

    id: DatasetId
    name: str
    task: TaskKind
    path: Path | None
    namespace: NamespaceId
    budget: str
    unit_key: str
    ceiling: Guarantee
    removed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """What has one budget.

    Attributes:
        name: what the institution calls it, `default` for the first.
    """

    id: NamespaceId
    name: str
    ceiling: Guarantee


class Registrations:
    """The data sets of one vault."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._agreements = Agreements(store, ledger)

    def register(
        self,
        file: Path,
        *,
        name: str,
        task: TaskKind,
        ceiling: Guarantee | None = None,
        usual: Guarantee | None = None,
        unit_key: str = "",
        separate: str = "",
    ) -> DatasetId:
        """Register a file; the same bytes are the same data set, a removed one comes back.

        Args:
            ceiling: of its namespace; None for the one that this has already.
            usual: the ceiling of a namespace that is opened for it, where none was named.
            unit_key: the column that names the person of each row; empty where records count.
            separate: the namespace in which it is to count apart from all others; empty for the
                default one. Rows that are in a namespace already stay there.

        Raises:
            Problem: the file cannot be read, the name is taken or cannot be one, the rows are in
                another namespace than is wanted, this has another ceiling or counts persons, or
                no agreement could be within the ceiling.
            LocalError: a new namespace without a ceiling.
        """
        check_name(name)
        if separate:
            check_name(separate)
        if ceiling is not None:
            check_ceiling(ceiling)
        content, path = _content(file), str(file.resolve())
        self._check_may_be(content, name, ceiling)  # before the rows are looked at, and after
        found = fingerprints(read_records(file, unit_key), self._key())
        with self._store.transaction() as tx:
            known = self._check_may_be(content, name, ceiling)
            if known is not None:
                _check_same_unit(known, unit_key)
                tx.execute(
                    "update datasets set name = ?, task = ?, path = ?, removed = 0 where id = ?",
                    (name, task.value, path, known.id),
                )
                return known.id
            space = self._namespace_for(tx, file, found, separate, ceiling, usual)
            self._check_unit(space, file, unit_key)
            dataset, salt = DatasetId(os.urandom(16).hex()), os.urandom(SALT_BYTES)
            commitment = _commitment(salt, content)
            tx.execute(
                "insert into datasets values (?, ?, ?, ?, ?, ?, ?, ?, 0)",
                (dataset, name, task.value, path, salt, commitment, space.id, unit_key),
            )
            remember(tx, space.id, found)
            self._ledger.append(
                tx,
                DatasetRegister(
                    dataset=dataset,
                    namespace=space.id,
                    commitment=commitment,
                    schema=_schema(task, unit_key),
                    unit=Unit.PERSON if unit_key else Unit.RECORD,
                    ceiling=space.ceiling,
                    parent=DatasetId(""),
                ),
            )
        return dataset

    def check_may_be(self, file: Path, *, name: str, ceiling: Guarantee | None) -> None:
        """Ask what `register` asks before it looks at rows, and register nothing.

        Raises:
            Problem: as `register`.
        """
        check_name(name)
        if ceiling is not None:
            check_ceiling(ceiling)
        self._check_may_be(_content(file), name, ceiling)

    def namespaces(self) -> list[Namespace]:
        """List the namespaces in the order of their coming."""
        rows = self._store.reading().execute("select * from namespaces order by rowid")
        return [
            Namespace(id=NamespaceId(row["id"]), name=row["name"], ceiling=_ceiling(row))
            for row in rows
        ]

    def grant(
        self,
        dataset: DatasetId,
        order: int,
        *,
        gate: Gate = Gate.RENYI,
        wanted: Spending | None = None,
    ) -> None:
        """Grant what is left of the ceiling at a gate, unless something is granted at it already.

        Whether an agreement fits a grant that is there is then asked at the grant's order. Nothing
        is granted without privacy: that is another act.

        Args:
            order: α of the Rényi filter, 2 to 256; 0 for other gates.
            wanted: what it is granted for, if that is known.

        Raises:
            Refusal: BUDGET: nothing of the ceiling is left to grant, nothing can be afforded with
                it at this order, or not all that is wanted; nothing is granted then.
            LocalError: no such data set, or it is removed.
        """
        with self._store.transaction() as tx:
            known = self._get(dataset)
            if known.removed:
                raise Problem("COM-DATA-019", name=known.name)
            budget = self._ledger.budget()
            if gate is Gate.NONE or budget.grants(dataset, gate):
                return
            rest = budget.rest(dataset)
            if rest is None:
                raise Refusal(
                    RefusalCode.BUDGET,
                    f"expected a part of the ceiling that is not granted yet, for {gate.value}",
                )
            grant = BudgetGrant(
                grant=os.urandom(NONCE_BYTES),
                namespace=budget.namespace(dataset),
                guarantee=rest,
                gate=gate,
                order=order,
            )
            budget.check_grant(grant)  # one that affords nothing would spoil the ledger for good
            self._ledger.append(tx, grant)
            if wanted is not None:  # a refusal takes the grant back, whose order is for life
                self._ledger.budget().check_whole(dataset, wanted)

    def remove(self, name: str) -> None:
        """Forget where a data set lies; what it has spent is kept, and its file left alone.

        Raises:
            Problem: there is none of this name, or an agreement uses it.
        """
        with self._store.transaction() as tx:
            dataset = self.find(name)
            for known in self._agreements.known():
                if known.dataset == dataset and known.state in IN_USE:
                    federation = known.agreement.federation
                    raise Problem("COM-DATA-017", name=name, federation=federation)
            tx.execute("update datasets set removed = 1, path = '' where id = ?", (dataset,))

    def find(self, name: str) -> DatasetId:
        """Look up a data set by its name.

        Raises:
            Problem: there is none.
        """
        for dataset in self.all():
            if dataset.name == name and not dataset.removed:
                return dataset.id
        raise Problem("COM-DATA-016", name=name[:40])

    def all(self) -> list[Dataset]:
        """List every data set, those that are removed too, in the order of their coming."""
        rows = self._store.reading().execute(
            "select datasets.*, namespaces.name as budget, epsilon, delta from datasets "
            "join namespaces on namespaces.id = datasets.namespace order by datasets.rowid"
        )
        return [_dataset(row) for row in rows]

    def file(self, dataset: DatasetId) -> Path:
        """Return where the rows lie, once they are found to be those that were registered.

        Raises:
            LocalError: no such data set, or it is removed, or its file is missing or was changed.
        """
        known = self._get(dataset)
        if known.path is None:
            raise Problem("COM-DATA-019", name=known.name)
        if not self._has_content(dataset, _content(known.path)):
            raise Problem("COM-DATA-018", file=known.path.name, name=known.name)
        return known.path

    def source(self, dataset: DatasetId) -> Source:
        """Return what a workbench needs to read the rows, once they are found as registered.

        Raises:
            LocalError: as `file`.
        """
        return Source(
            path=self.file(dataset),
            unit_key=self._get(dataset).unit_key,
            cap_key=expand(self._key(), "rows-of-a-person"),
            holdout_key=expand(self._key(), "held-out-units"),
        )

    def file_state(self, dataset: DatasetId) -> FileState:
        """Look at the file of a data set that is not removed."""
        try:
            self.file(dataset)
        except Problem as problem:
            changed = problem.code == "COM-DATA-018"
            return FileState.CHANGED if changed else FileState.UNREADABLE
        return FileState.AS_REGISTERED

    def _key(self) -> bytes:
        row = self._store.reading().execute("select key from fingerprint_key").fetchone()
        return bytes(row["key"])

    def _namespace_for(
        self,
        tx: sqlite3.Connection,
        file: Path,
        found: set[bytes],
        separate: str,
        ceiling: Guarantee | None,
        usual: Guarantee | None,
    ) -> Namespace:
        """Find the namespace of rows, or open it; in the transaction that registers them."""
        there = set(namespaces_with(tx, found))
        holders = [space for space in self.namespaces() if space.id in there]
        if len(holders) > 1:
            names = ", ".join(space.name for space in holders)
            raise Problem("COM-BUDGET-001", file=file.name, names=names)
        if holders and separate not in ("", holders[0].name):
            raise Problem("COM-BUDGET-002", file=file.name, name=holders[0].name)
        wanted = separate or DEFAULT
        for space in holders or [one for one in self.namespaces() if one.name == wanted]:
            _check_same_ceiling(space.name, space.ceiling, ceiling)
            return space
        if (most := ceiling or usual) is None:
            raise LocalError("expected a ceiling for a new budget")
        check_ceiling(most)
        opened = Namespace(id=NamespaceId(os.urandom(16).hex()), name=wanted, ceiling=most)
        budget = f"{most.epsilon:f}", f"{most.delta:f}"
        tx.execute("insert into namespaces values (?, ?, ?, ?)", (opened.id, wanted, *budget))
        return opened

    def _check_unit(self, space: Namespace, file: Path, unit_key: str) -> None:
        budget = self._ledger.budget()
        if unit_key or space.id not in budget.namespaces():
            return
        if budget.statement(space.id).unit is Unit.PERSON:
            raise Problem("COM-BUDGET-003", file=file.name, name=space.name)

    def _get(self, dataset: DatasetId) -> Dataset:
        for known in self.all():
            if known.id == dataset:
                return known
        raise LocalError("expected a registered data set")

    def _with_content(self, content: bytes) -> Dataset | None:
        for known in self.all():
            if self._has_content(known.id, content):
                return known
        return None

    def _has_content(self, dataset: DatasetId, content: bytes) -> bool:
        select = "select salt, commitment from datasets where id = ?"
        row = self._store.reading().execute(select, (dataset,)).fetchone()
        return bool(_commitment(row["salt"], content) == row["commitment"])

    def _check_may_be(self, content: bytes, name: str, ceiling: Guarantee | None) -> Dataset | None:
        """Return the data set that these bytes are already, if they are one."""
        known = self._with_content(content)
        for other in self.all():
            if other.name == name and not other.removed and other != known:
                raise Problem("COM-DATA-014", name=name)
        if known is not None:
            _check_same(known, name, ceiling)
        return known


def check_name(name: str) -> None:
    """Check what a data set is to be called.

    Raises:
        Problem: it cannot be a name.
    """
    if not NAME.fullmatch(name):
        raise Problem("COM-DATA-013")


def check_ceiling(ceiling: Guarantee) -> None:
    """Check that a ceiling can be written down and some agreement can be within it.

    Raises:
        LocalError: it has too many digits.
        Problem: it affords nothing, not even at the highest order.
    """
    encode(ceiling)
    if allowance(ceiling, MAX_ORDER) <= 0:  # where an ε near zero affords most
        epsilon, delta = _plain(ceiling)
        raise Problem("COM-DATA-020", epsilon=epsilon, delta=delta)


def _content(file: Path) -> bytes:
    try:
        if (
            file.exists() and not file.is_file()
        ):  # a pipe would be waited for, and is never the same
            raise Problem("COM-DATA-001", file=file.name, why="it is no ordinary file")
        return file.read_bytes()
    except OSError as error:
        raise Problem("COM-DATA-001", file=file.name, why=error.strerror) from None


def _check_same(known: Dataset, name: str, ceiling: Guarantee | None) -> None:
    """Refuse another ceiling for the same bytes, and another name before they are removed."""
    _check_same_ceiling(known.name, known.ceiling, ceiling)
    if known.name != name and not known.removed:
        raise Problem("COM-DATA-021", name=known.name)


def _check_same_ceiling(name: str, ceiling: Guarantee, wanted: Guarantee | None) -> None:
    if wanted not in (None, ceiling):
        epsilon, delta = _plain(ceiling)
        raise Problem("COM-DATA-015", name=name, epsilon=epsilon, delta=delta)


def _check_same_unit(known: Dataset, unit_key: str) -> None:
    if known.unit_key != unit_key:
        column = known.unit_key or "none"
        raise Problem("COM-BUDGET-005", name=known.name, column=column)


def _dataset(row: sqlite3.Row) -> Dataset:
    return Dataset(
        id=DatasetId(row["id"]),
        name=row["name"],
        task=TaskKind(row["task"]),
        path=Path(row["path"]) if row["path"] else None,
        namespace=NamespaceId(row["namespace"]),
        budget=row["budget"],
        unit_key=row["unit_key"],
        ceiling=_ceiling(row),
        removed=bool(row["removed"]),
    )


def _ceiling(row: sqlite3.Row) -> Guarantee:
    return Guarantee(epsilon=Decimal(row["epsilon"]), delta=Decimal(row["delta"]))


def _schema(task: TaskKind, unit_key: str) -> Digest:
    return Digest(digest("dataset-schema", task.value.encode(), unit_key.encode()).hex())


def _commitment(salt: bytes, content: bytes) -> Digest:
    return Digest(digest("dataset", salt, content).hex())


def _plain(ceiling: Guarantee) -> tuple[str, str]:
    return f"{ceiling.epsilon.normalize():f}", f"{ceiling.delta.normalize():f}"
