"""How long it takes to ask a vault's ledger what may still be spent, told from disk."""

import tempfile
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from comity_client.ledger import Ledger
from comity_client.store import Store
from comity_common.dp.accountant import divergence
from comity_common.dp.spending import Spending
from comity_common.dp.tally import keeps
from comity_common.dp.terms import Gate
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import Genesis
from tests.bench.figures import Figure, Say
from tests.ledger_keys import LEDGER_KEYS
from tests.unit.common.dp.book import (
    ROWS,
    STEP,
    charge,
    claim,
    grant,
    nonce,
    register,
    spending,
)

ME = InstitutionId("bench")
CEILING = claim(100, "1e-3")
GATES = (Gate.RENYI, Gate.FIXED_SCHEDULE)


def measure(full: bool, say: Say) -> list[Figure]:
    """Measure a question over 20 segments, at each gate, and over a long ledger."""
    figures = []
    for gate in GATES:
        say(f"20 segments at {gate.value}")
        figures.append(
            Figure(
                row="budget",
                measured=f"budget, ε and forecast, 20 segments of other noise, {gate.value}",
                value=_asked(gate, segments=20, each=1),
                unit="s",
                at_most=1.0,
            )
        )
    rounds = 100 if full else 10
    say(f"{20 * rounds} rounds")
    figures.append(
        Figure(
            row="budget",
            measured=f"the same, 20 agreements of {rounds} rounds, renyi",
            value=_asked(Gate.RENYI, segments=20, each=rounds),
            unit="s",
        )
    )
    return figures


def _asked(gate: Gate, *, segments: int, each: int) -> float:
    """Write segments, then open the ledger anew and ask everything.

    Returns:
        seconds, with nothing remembered.
    """
    with tempfile.TemporaryDirectory() as directory:
        database = Path(directory) / "vault.db"
        store = Store(database)
        ledger = Ledger(store, ME, LEDGER_KEYS)
        number = 0
        with store.transaction() as tx:
            for body in (
                Genesis(nonce=bytes(16), software="bench"),
                register(ceiling=CEILING),
                grant(guarantee=CEILING, gate=gate, order=16),
            ):
                ledger.append(tx, body)
        for segment in range(segments):
            terms = _agreement(gate, segment, each)
            event = replace(terms.schedule[0], steps=1)
            for _ in range(each):
                number += 1
                with store.transaction() as tx:
                    budget = ledger.budget()
                    made = budget.reserve(
                        ROWS, terms, event, nonce=nonce(number), epoch=0, round=number
                    )
                    ledger.append(tx, made)
                    ledger.append(tx, charge(number))
                ledger.budget()
        divergence.cache_clear()
        keeps.cache_clear()
        began = time.perf_counter()
        budget = Ledger(Store(database), ME, LEDGER_KEYS).budget()
        charged, runs = budget.epsilon_charged(ROWS), budget.forecast(ROWS, terms)
        took = time.perf_counter() - began
    if not (0 < charged <= float(CEILING.epsilon) and runs >= 0):
        raise AssertionError("expected a budget that was spent from")
    return took


def _agreement(gate: Gate, number: int, rounds: int) -> Spending:
    noise = Decimal(number) / 100 + 20
    event = replace(
        STEP, sampling_probability=Decimal("0.01"), noise_multiplier=noise, steps=rounds
    )
    return spending(number, event, 1, gate=gate, order=16, guarantee=claim(4, "1e-5"))
