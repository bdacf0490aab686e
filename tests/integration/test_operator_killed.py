"""The operator's daemon is killed with -9 at each phase of a round, once, and the round goes on.

What must hold after each: what was uploaded is there, what was half written is sent again, every
receipt is true, all vaults saw one survivor list, and the sum is exact. A void round stays void.
"""

from pathlib import Path

import numpy as np
import pytest
from tests.killed_operator import Restarted, free_port
from tests.simulation.network import Federation, ServerApp, Vault, until

from comity_common.canonical import decode
from comity_common.crypto.sign import Purpose, verify
from comity_common.errors import LocalError
from comity_common.optimizer import state_digest
from comity_common.secagg.messages import Receipt
from comity_common.secagg.participant import header_digest
from comity_server.coordination import ask_status

LANES = 300_000  # two chunks

TELLING = ["half-chunk:1:4", "revealed:1:2", "sum-written:1"]
OTHERS = [
    "round-begun:1",
    "accepted:1",
    *(f"upload-begun:1:{k}" for k in (1, 5)),
    *(f"half-chunk:1:{k}" for k in (1, 10)),
    *(f"upload-finished:1:{k}" for k in (1, 4, 5)),
    "survivors-posted:1",
    *(f"revealed:1:{k}" for k in (1, 3, 4)),
    "certified:1",
    *(f"endorsed:1:{k}" for k in (1, 5)),
]


class Run:
    """One daemon that is killed once, and five vaults that know nothing of it."""

    def __init__(self, path: Path, boundary: str, spare_rounds: int = 0) -> None:
        self.boundary = boundary
        self.federation = Federation.make(
            path / "operator", 5, lanes=LANES, port=free_port(), rounds=1, spare_rounds=spare_rounds
        )
        self.agreement, self.home = self.federation.agreement, self.federation.home
        port = int(self.home.config.read_text().split("127.0.0.1:")[1].split('"')[0])
        self.daemon = Restarted(self.home.path, (boundary,))
        self.vaults = {id: Vault(self.federation, id, port) for id in self.agreement.roster}

    def to_the_end(self, rounds: int) -> dict:
        """Run until the schedule is done and return the operator's last status."""
        for vault in self.vaults.values():
            vault.start()
        app = ServerApp(self.home, self.vaults).start()
        try:
            until(app.finished.is_set, 60)
            until(lambda: all(len(vault.bodies) == rounds for vault in self.vaults.values()))
            until(lambda: self.daemon.deaths == 1)  # the last endorsements come after the end
            until(self._answers)
            status = ask_status(self.home.socket)
        finally:
            code = self.daemon.close()
            app.close()
            for vault in self.vaults.values():
                vault.close()
        assert code == 0
        assert self.daemon.died_at() == {self.boundary}
        assert self.daemon.deaths == 1
        assert {id: vault.faults for id, vault in self.vaults.items() if vault.faults} == {}
        return status

    def _answers(self) -> bool:
        try:
            return bool(ask_status(self.home.socket)["finished"])
        except LocalError:
            return False

    def check_receipts(self) -> None:
        """Every receipt is the operator's and of the one upload that was made for its plan."""
        operator = self.agreement.operator.identity
        for vault in self.vaults.values():
            made = {header_digest(dealt.header) for dealt in vault.dealt.values()}
            named = {
                decode(
                    Receipt, verify(operator.ed25519, operator.mldsa44, Purpose.RECEIPT, receipt)
                ).header
                for receipt in vault.receipts
            }
            assert named == made

    def check_sum(self, round: int) -> None:
        """All vaults computed the same model, from the sum of what they had before masking."""
        expected = np.sum([v.lanes[round] for v in self.vaults.values()], axis=0, dtype=np.uint32)
        for vault in self.vaults.values():
            assert np.array_equal(vault.totals[round], expected)
        assert len({state_digest(vault.state) for vault in self.vaults.values()}) == 1


@pytest.mark.e2e
@pytest.mark.parametrize(
    "boundary", [*TELLING, *(pytest.param(one, marks=pytest.mark.slow) for one in OTHERS)]
)
def test_a_round_ends_as_if_its_operator_had_not_been_killed(tmp_path: Path, boundary: str) -> None:
    run = Run(tmp_path, boundary)
    status = run.to_the_end(rounds=1)
    assert (status["finished"], status["certified"], status["failure"]) == (True, 1, None)
    (body,) = run.vaults[run.agreement.roster[0]].bodies
    assert body.survivors == run.agreement.roster  # nobody's upload was lost
    assert all(vault.bodies == [body] for vault in run.vaults.values())
    run.check_receipts()
    run.check_sum(1)


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("boundary", ["refused:1", "upload-finished:1:3", "void:1"])
def test_a_round_without_enough_uploads_is_void_once_whenever_its_operator_is_killed(
    tmp_path: Path, boundary: str
) -> None:
    run = Run(tmp_path, boundary, spare_rounds=1)
    for id in run.agreement.roster[:2]:
        run.vaults[id].behaviour = {1: "refuse"}
    status = run.to_the_end(rounds=2)
    assert (status["finished"], status["certified"]) == (True, 1)
    first, second = run.vaults[run.agreement.roster[0]].bodies
    assert first.reason == "3 of 5 uploads arrived, 4 are needed"
    assert second.survivors == run.agreement.roster
    assert all(vault.bodies == [first, second] for vault in run.vaults.values())
    run.check_receipts()
    run.check_sum(2)
