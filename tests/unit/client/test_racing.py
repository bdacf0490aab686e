"""A hundred reserves race for the last of a budget, and none is over."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.ledger_keys import LEDGER_KEYS
from tests.unit.common.dp.book import ROWS, STEP, grant, nonce, register, spending

from comity_client.ledger import Ledger
from comity_client.store import Store
from comity_common.dp.terms import Gate
from comity_common.errors import Refusal
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import Genesis

ME = InstitutionId("inst-00")
RACERS, PROCESSES = 100, 5
WINNERS = {Gate.RENYI: 4, Gate.FIXED_SCHEDULE: 1}  # a step is a quarter of it, and a claim all
RACE = """
import sys
from pathlib import Path
from tests.unit.client.test_racing import race
from comity_common.dp.terms import Gate
sys.stdin.readline()  # all have loaded what they need
print(sum(race(Path(sys.argv[1]), Gate(sys.argv[2]), range(int(sys.argv[3]), int(sys.argv[4])))))
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "vault.db"


def found(database: Path, gate: Gate) -> Ledger:
    """Make a ledger with a budget for `WINNERS`."""
    store = Store(database)
    ledger = Ledger(store, ME, LEDGER_KEYS)
    with store.transaction() as tx:
        for body in (Genesis(nonce=bytes(16), software="test"), register(), grant(gate=gate)):
            ledger.append(tx, body)
    return ledger


def race(database: Path, gate: Gate, numbers: range) -> list[bool]:
    """Let a thread for each number, with a connection of its own, try to reserve at once."""
    store = Store(database)
    ledger = Ledger(store, ME, LEDGER_KEYS)
    start = threading.Barrier(len(numbers))

    def reserve(number: int) -> bool:
        start.wait()
        try:
            with store.transaction() as tx:
                terms = spending(number, rounds=1, gate=gate)
                budget = ledger.budget()
                ledger.append(
                    tx,
                    budget.reserve(ROWS, terms, STEP, nonce=nonce(number), epoch=0, round=1),
                )
        except Refusal:
            return False
        return True

    with ThreadPoolExecutor(len(numbers)) as pool:
        return list(pool.map(reserve, numbers))


def check(ledger: Ledger, gate: Gate, won: int) -> None:
    budget = ledger.budget()
    assert won == len(budget.open_reserves()) == WINNERS[gate]
    assert budget.share(ROWS) <= 1
    assert budget.epsilon_reserved(ROWS) <= 8


@pytest.mark.parametrize("gate", WINNERS)
def test_of_a_hundred_threads_as_many_reserve_as_there_is_budget_for(
    database: Path, gate: Gate
) -> None:
    ledger = found(database, gate)
    check(ledger, gate, sum(race(database, gate, range(1, RACERS + 1))))


@pytest.mark.parametrize(
    "gate", [Gate.RENYI, pytest.param(Gate.FIXED_SCHEDULE, marks=pytest.mark.slow)]
)
def test_threads_of_several_processes_do_not_overspend_either(database: Path, gate: Gate) -> None:
    ledger = found(database, gate)
    each = RACERS // PROCESSES
    children = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(database), gate, str(first), str(first + each)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in range(1, RACERS + 1, each)
    ]
    try:
        won = [int(child.communicate(timeout=60)[0]) for child in _all_told(children)]
    finally:
        for child in children:
            child.kill()
            child.wait()
    check(ledger, gate, sum(won))


def _all_told(children: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    """Let all begin before the first is waited for."""
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    return children


def test_it_is_the_transaction_that_keeps_them_apart(database: Path) -> None:
    """Asked before it is begun, as many as ask at once pass; so the races above can be lost."""
    ledger = found(database, Gate.RENYI)
    store = Store(database)
    budget = ledger.budget()
    made = [
        budget.reserve(ROWS, spending(n, rounds=1), STEP, nonce=nonce(n), epoch=0, round=1)
        for n in range(1, 6)
    ]
    with store.transaction() as tx:
        for one in made:
            ledger.append(tx, one)
    assert ledger.budget().share(ROWS) > 1
    with pytest.raises(Refusal):
        ledger.budget().check(ROWS, spending(9, rounds=1), STEP)
