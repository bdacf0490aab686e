"""Starts the processes of a federation, watches until its agreement is over, and strikes faults.

It decides nothing about rounds: the operator's daemon and the vaults do. It sees what a person
beside all of them would see, shows it, and scores every new model on the public evaluation set.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comity_common.errors import LocalError
from comity_common.modelfile import read_state
from comity_host.ports import HeldPorts
from comity_host.supervisor import Supervisor
from comity_local import processes
from comity_local.asking import Operator, vault_status
from comity_local.founding import Founded, Ports
from comity_local.layout import Workdir
from comity_local.options import FLOWER_FAULTS, STOPS, Fault
from comity_local.progress import InstitutionView, Progress, Snapshot
from comity_local.results import TRAIN, RoundResult, Score
from comity_local.yardstick import Yardstick
from comity_server.home import Home as OperatorHome
from comity_server.models import Models
from comity_server.registry import Registry

LOOK_EVERY_S = 0.5
START_WITHIN_S = 180.0
WIND_DOWN_S = 60.0
REGISTER_WITHIN_S = 120.0


class Conductor:
    """One run of a founded federation.

    Attributes:
        rounds: how every round ended, with the score of the model after it.
        final: path of the last model state.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        workdir: Workdir,
        founded: Founded,
        faults: Sequence[Fault],
        sockets: Path,
        yardstick: Yardstick,
        progress: Progress,
        baseline: Score,
    ) -> None:
        self._supervisor = supervisor
        self._workdir = workdir
        self._founded = founded
        self._faults = tuple(faults)
        self._sockets = sockets
        self._yardstick = yardstick
        self._progress = progress
        self._home = OperatorHome(workdir.operator)
        self._models = Models(self._home.models)
        self._operator = Operator(self._home.socket)
        self._began = time.monotonic()
        self._round_began: float | None = None
        self._log: list[str] = []
        self._scores: dict[int, Score] = {0: baseline}
        self.rounds: list[RoundResult] = []
        self.final = self._models.path(founded.agreement.digest, 0)

    def start(self, ports: HeldPorts, numbers: Ports, runtime_ports: Sequence[int]) -> None:
        """Start all processes, the SuperNodes as soon as the operator has registered their keys.

        Raises:
            LocalError: Flower did not come up.
        """
        for port in (numbers.superlink, numbers.gate, numbers.transfer):
            ports.release(port)
        for process in processes.operator(self._workdir, self._faults):
            self._supervisor.start(process)
        for region in self._founded.regions:
            self._supervisor.start(processes.vault(self._workdir, region.id, self._faults))
        waiting = dict(zip((r.id for r in self._founded.regions), runtime_ports, strict=True))
        store = self._home.open_store()
        registry = Registry(store)
        deadline = time.monotonic() + REGISTER_WITHIN_S
        try:
            while waiting:
                for id in [id for id in registry.nodes() if id in waiting]:
                    port = ports.release(waiting.pop(id))
                    self._supervisor.start(processes.supernode(self._workdir, id, port))
                if time.monotonic() > deadline:
                    raise LocalError(
                        f"expected Flower to come up within {REGISTER_WITHIN_S:g} s; "
                        f"see {self._workdir.logs / 'superlink.log'}"
                    )
                self._show(self._operator.status())
                time.sleep(LOOK_EVERY_S)
        finally:
            store.close()

    def watch(self) -> None:
        """Watch until the agreement is over.

        Raises:
            LocalError: the operator gave up, with its reason.
        """
        while True:
            status = self._operator.status()
            if status is not None:
                self._take_in(status)
            self._strike()
            self._wake()
            self._show(status)
            if status is not None and (status["finished"] or status["failure"]):
                break
            time.sleep(LOOK_EVERY_S)
        self._say("waiting for every vault to hold the last model")
        self._wind_down()
        for fault in self._faults:
            if not self._struck(fault):
                self._say(f"the fault {fault.name} never came about")
        if not status["finished"]:
            raise LocalError(f"the run ended early: {status['failure']}")

    def close(self) -> None:
        """Let go of the operator's socket."""
        self._operator.close()

    def _wind_down(self) -> None:
        """Give every vault time to take in the last certificate."""
        deadline = time.monotonic() + WIND_DOWN_S
        while time.monotonic() < deadline:
            self._wake()
            views = self._views(None)
            if all(view.phase in {"done", "away"} for view in views):
                return
            time.sleep(LOOK_EVERY_S)

    def _take_in(self, status: dict[str, Any]) -> None:
        for record in status["rounds"][len(self.rounds) :]:
            certified = self._certified() + (not record["void"] and record["kind"] == TRAIN)
            self.final = self._models.path(self._founded.agreement.digest, certified)
            if certified not in self._scores:
                state = read_state(self.final.read_bytes())
                self._scores[certified] = self._yardstick.score(state.parameters)
            score = self._scores[certified]
            self.rounds.append(
                RoundResult(
                    n=record["n"],
                    kind=record["kind"],
                    score=record["score"],
                    void=record["void"],
                    survivors=tuple(record["survivors"]),
                    seconds=record["seconds"],
                    accuracy=score.accuracy,
                    macro_f1=score.macro_f1,
                    reason=record["reason"] or None,
                    faults=tuple(
                        fault.name
                        for fault in self._faults
                        if fault.round == record["n"] and self._struck(fault)
                    ),
                )
            )
            if record["void"]:
                self._say(f"round {record['n']} is void: {record['reason']}")
            elif record["score"]:
                self._say(f"round {record['n']} is a score: {record['score']['words']}")
            else:
                self._say(
                    f"round {record['n']}: {len(record['survivors'])} survivors, "
                    f"accuracy {score.accuracy:.3f}, macro F1 {score.macro_f1:.3f}"
                )

    def _certified(self) -> int:
        """Count the rounds that moved the model."""
        return sum(result.moved for result in self.rounds)

    def _wake(self) -> None:
        """Let stopped vaults go on whose round is over, at every look: a vault may stop late."""
        ended = {result.n for result in self.rounds}
        for fault in self._faults:
            if fault.kind in STOPS and fault.round in ended and self._struck(fault):
                self._supervisor.resume(f"vault-{fault.institution}")
                self._say_once(f"{fault.institution} goes on after round {fault.round}")

    def _strike(self) -> None:
        """Tell each fault once, and kill Flower's processes when the server waits for it."""
        for fault in self._faults:
            if not self._struck(fault):
                continue
            self._say_once(f"fault: {fault.name}")
            marker = self._workdir.faults / fault.name
            if fault.kind in FLOWER_FAULTS and marker.stat().st_size == 0:
                self._supervisor.kill(processes.flower_process(fault))
                marker.write_text("killed\n")

    def _show(self, status: dict[str, Any] | None) -> None:
        agreement = self._founded.agreement
        scores = agreement.private_evaluation
        elapsed = time.monotonic() - self._began
        done = self._certified()
        current = int(status["round"]) if status else len(self.rounds)
        estimate = None
        if done and self._round_began is not None:
            per_round = (time.monotonic() - self._round_began) / max(len(self.rounds), 1)
            estimate = max(0.0, per_round * (agreement.schedule.rounds - done))
        elif current and self._round_began is None:
            self._round_began = time.monotonic()
        self._progress.show(
            Snapshot(
                round=min(current, agreement.attempts),
                of_rounds=agreement.schedule.rounds
                + (len(scores.after) if scores else 0)
                + sum(result.void for result in self.rounds),
                phase=str(status["stage"]) if status else "starting",
                institutions=self._views(status),
                elapsed_s=elapsed,
                estimate_s=estimate,
                log=tuple(self._log),
                last_accuracy=self._scores[max(self._scores)].accuracy,
            )
        )

    def _views(self, status: dict[str, Any] | None) -> tuple[InstitutionView, ...]:
        views = []
        for number, region in enumerate(self._founded.regions, start=1):
            own = vault_status(self._sockets / str(number) / "control.sock")
            views.append(
                InstitutionView(
                    id=region.id,
                    jurisdiction=region.jurisdiction,
                    phase=own.doing if own else "away",
                    fraction=own.fraction if own else None,
                )
            )
        return tuple(views)

    def _struck(self, fault: Fault) -> bool:
        return (self._workdir.faults / fault.name).exists()

    def _say(self, text: str) -> None:
        self._log.append(text)

    def _say_once(self, text: str) -> None:
        if text not in self._log:
            self._say(text)
