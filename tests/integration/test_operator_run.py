"""A whole run over real gRPC whose daemon is killed with -9 at the worst moments."""

from pathlib import Path

import numpy as np
import pytest
from tests.commands import comity
from tests.killed_operator import Restarted, free_port
from tests.simulation.network import Federation, ServerApp, Vault, until

from comity_common.modelfile import read_state
from comity_common.optimizer import state_digest
from comity_server.coordination import ask_status
from comity_server.daemon import Daemon
from comity_server.models import Models

KILLS = (
    *("epoch-opened:0", "epoch-ready:0"),
    *("round-begun:1", "upload-begun:1", "upload-finished:1", "survivors-posted:1", "revealed:1"),
    *("sum-written:1", "certified:1", "endorsed:1", "published:1"),
    *("accepted:2", "void:2"),
    *("upload-finished:3", "sum-written:3", "endorsed:3"),
)


@pytest.mark.e2e
def test_five_institutions_finish_three_rounds_whatever_happens_to_the_operator(
    tmp_path: Path,
) -> None:
    federation = Federation.make(
        tmp_path / "operator",
        5,
        lanes=5000,
        port=free_port(),
        rounds=3,
        spare_rounds=2,
        ring_width=24,
    )
    agreement, home = federation.agreement, federation.home
    port = int(home.config.read_text().split("127.0.0.1:")[1].split('"')[0])
    daemon = Restarted(home.path, KILLS)
    vaults = {id: Vault(federation, id, port) for id in agreement.roster}
    vaults["inst-04"].behaviour = {1: "decline"}
    vaults["inst-02"].behaviour = {2: "false", 3: "refuse"}
    vaults["inst-00"].behaviour = {4: "mute"}
    for vault in vaults.values():
        vault.start()
    app = ServerApp(home, vaults).start()
    try:
        until(app.finished.is_set, 240)
        status = ask_status(home.socket)
        until(lambda: all(len(vault.bodies) == 4 for vault in vaults.values()))
    finally:
        code = daemon.close()
        app.close()
        for vault in vaults.values():
            vault.close()

    assert code == 0
    assert daemon.died_at() == set(KILLS)
    assert daemon.deaths == len(KILLS)
    assert {id: vault.faults for id, vault in vaults.items() if vault.faults} == {}
    assert (status["finished"], status["certified"], status["failure"]) == (True, 3, None)
    ends = [(end["n"], end["void"], len(end["survivors"])) for end in status["rounds"]]
    assert ends == [(1, False, 4), (2, True, 0), (3, False, 4), (4, False, 5)]
    assert status["rounds"][1]["reason"] == "expected every canary lane to count 5 survivors"

    first, *others = vaults.values()
    assert all(vault.bodies == first.bodies for vault in others)
    assert {state_digest(vault.state) for vault in vaults.values()} == {
        status["rounds"][3]["model"]
    }
    for body in first.bodies:
        if not body.void:
            lanes = [vaults[id].lanes[body.round] for id in body.survivors]
            expected = np.sum(lanes, axis=0, dtype=np.uint32)
            assert np.array_equal(first.totals[body.round], expected & np.uint32(0xFFFFFF))
    state = read_state(Models(home.models).path(agreement.digest, 3).read_bytes())
    assert state_digest(state) == status["rounds"][3]["model"]


def test_an_absent_institution_catches_up_and_joins_the_key_epoch_and_the_next_round(
    tmp_path: Path,
) -> None:
    federation = Federation.make(tmp_path / "operator", 4, rounds=2, minimum=3)
    settings = federation.home.config.read_text()
    for name in ("gather_s", "settle_s"):
        settings = settings.replace(f"{name} = 5.0", f"{name} = 1.0")
    federation.home.config.write_text(settings)
    daemon = Daemon(federation.home.path)
    daemon.start()
    roster = federation.agreement.roster
    vaults = {id: Vault(federation, id, daemon.port) for id in roster}
    app = ServerApp(federation.home, vaults).start()
    try:
        for id in roster[:3]:
            vaults[id].start()
        until(lambda: all(vaults[id].bodies for id in roster[:3]))
        vaults[roster[3]].start()
        until(app.finished.is_set, 60)
        until(lambda: all(len(vault.bodies) == 2 for vault in vaults.values()))
    finally:
        app.close()
        for vault in vaults.values():
            vault.close()
        daemon.close()
    late = vaults[roster[3]]
    assert late.bodies[0].survivors == roster[:3]
    assert len({state_digest(vault.state) for vault in vaults.values()}) == 1
    # Who survived the last round may still be endorsing it when this test hangs up.
    faults = [fault for vault in vaults.values() for fault in vault.faults]
    assert [fault for fault in faults if "Channel closed" not in fault] == []


def test_scores_stand_between_rounds_of_training_and_a_void_one_is_made_up_for(
    tmp_path: Path,
) -> None:
    federation = Federation.make(
        tmp_path / "operator", 4, lanes=500, rounds=2, ring_width=24, scored_after=(1, 2)
    )
    agreement, home = federation.agreement, federation.home
    daemon = Daemon(home.path)
    daemon.start()
    vaults = {id: Vault(federation, id, daemon.port) for id in agreement.roster}
    vaults["inst-02"].behaviour = {4: "false"}
    for vault in vaults.values():
        vault.start()
    app = ServerApp(home, vaults).start()
    try:
        until(app.finished.is_set, 120)
        status = ask_status(home.socket)
        until(lambda: all(len(vault.bodies) == 5 for vault in vaults.values()))
        shown = comity("server", "run", "show", "simulated", "--home", home.path)
        words = comity("server", "status", "--home", home.path)
    finally:
        app.close()
        for vault in vaults.values():
            vault.close()
        daemon.close()

    assert (status["finished"], status["failure"]) == (True, None)
    assert (status["certified"], status["scored"], status["of_scores"]) == (2, 2, 2)
    assert [(end["n"], end["kind"], end["void"]) for end in status["rounds"]] == [
        (1, "train", False),
        (2, "evaluate", False),
        (3, "train", False),
        (4, "evaluate", True),
        (5, "evaluate", False),
    ]
    models = [end["model"] for end in status["rounds"]]
    assert models[0] == models[1] != models[2] == models[3] == models[4]
    assert {state_digest(vault.state) for vault in vaults.values()} == {models[-1]}
    state = read_state(Models(home.models).path(agreement.digest, 2).read_bytes())
    assert state_digest(state) == models[-1]

    for number in (2, 5):
        counted = sum(vault.lanes[number].view(np.int32) for vault in vaults.values()).tolist()
        score = status["rounds"][number - 1]["score"]
        assert score["counts"] == counted
        assert score["estimate"]["right"] == counted[0] / (counted[0] + counted[1])
        assert score["words"] in shown.output
        assert score["words"] in words.output
    assert status["rounds"][3]["score"] is None
    assert "2 of 2 rounds certified, 2 of 2 scores" in shown.output.splitlines()[0]
    assert "2 of 2 certified · 2 of 2 scores" in words.output.splitlines()[0]


def test_a_score_that_cannot_be_had_does_not_hold_up_training(tmp_path: Path) -> None:
    federation = Federation.make(
        tmp_path / "operator", 3, rounds=2, scored_after=(1,), spare_scores=0
    )
    daemon = Daemon(federation.home.path)
    daemon.start()
    roster = federation.agreement.roster
    vaults = {id: Vault(federation, id, daemon.port) for id in roster}
    vaults["inst-01"].behaviour = {2: "decline"}
    for vault in vaults.values():
        vault.start()
    app = ServerApp(federation.home, vaults).start()
    try:
        until(app.finished.is_set, 120)
        status = ask_status(federation.home.socket)
        until(lambda: all(len(vault.bodies) == 3 for vault in vaults.values()))
    finally:
        app.close()
        for vault in vaults.values():
            vault.close()
        daemon.close()
    assert (status["finished"], status["certified"], status["scored"]) == (True, 2, 0)
    kinds = [(end["kind"], end["void"]) for end in status["rounds"]]
    assert kinds == [("train", False), ("evaluate", True), ("train", False)]
    assert {state_digest(vault.state) for vault in vaults.values()} == {
        status["rounds"][2]["model"]
    }
