"""A vault tries its machinery out before it trains, and trains nothing with one that is wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.injected import injected
from tests.integration.loopback import Federation, until

import comity_client.daemon
from comity_client.selftest import gate, ghosts
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import SelfTest, Verdict
from comity_common.tuning import Tune

A, *OTHERS = (InstitutionId(f"inst-0{k}") for k in range(3))


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comity_client.daemon, "IDLE_S", 0.02)
        patch.setattr(ghosts, "STEPS", 60)
        made = Federation(tmp_path, {id: ["zebra quartz"] * 9 for id in (A, *OTHERS)}, Tune.LORA)
        try:
            yield made
        finally:
            made.close()


def doing(federation: Federation) -> str:
    return str(federation.ask(A, "control", {})["doing"])


def recorded(federation: Federation) -> list[tuple[Verdict, int]]:
    bodies = [entry.body for entry in federation.parts[A].ledger.entries()]
    return [(body.verdict, body.attempt) for body in bodies if isinstance(body, SelfTest)]


def test_a_vault_whose_self_test_passes_is_ready_and_says_so_on_its_ledger(
    federation: Federation,
) -> None:
    federation.start(A, self_test=True)
    federation.is_ready(federation.listeners[A])
    assert recorded(federation) == [(Verdict.PASS, 1)]


def test_a_vault_whose_self_test_fails_twice_trains_nothing_until_one_passes(
    federation: Federation,
) -> None:
    digest = federation.agreement.digest
    with injected("noise × 0.8"):
        federation.start(A, self_test=True)
        until("two failures", lambda: len(recorded(federation)) == 2)
        until("the vault says why", lambda: doing(federation) == gate.BARRED)
    assert recorded(federation) == [(Verdict.FAIL, 1), (Verdict.FAIL, 2)]
    order = {"agreement": digest, "round": 1, "plan": "0" * 64}
    assert federation.ask(A, "orders", order) == {"accepted": False, "code": "selftest"}

    class Mended:
        tests, failed = ("mended",), ()

    assert gate.passes(federation.parts[A], digest, Mended)  # as a person's command would
    federation.is_ready(federation.listeners[A])
    assert [verdict for verdict, _ in recorded(federation)[-2:]] == [Verdict.PASS] * 2
