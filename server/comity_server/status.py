"""The operator's own view of a run, for its terminal and its tools: ids, stages, bytes, no secret.

It uses the words of the machines: stages of a round, steps of a key epoch, states of an agreement.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comity_common.agreement import Agreement
from comity_common.ids import InstitutionId
from comity_common.secagg.round import Stage
from comity_server.agreements import Agreements, AgreementState
from comity_server.desk import Desk
from comity_server.epochs import EpochStep
from comity_server.history import History, RoundRecord
from comity_server.mailbox import Mailbox
from comity_server.registry import Registry
from comity_server.rounds import Round
from comity_server.scores import score_of
from comity_server.uploads import Uploads

IDLE: dict[str, Any] = {
    "agreement": None,
    "stage": "idle",
    "round": 0,
    "certified": 0,
    "of_rounds": 0,
    "scored": 0,
    "of_scores": 0,
    "attempts": 0,
    "finished": False,
    "failure": None,
    "extended_until": None,
    "institutions": [],
    "rounds": [],
}


class StatusReport:
    """Puts the status together."""

    def __init__(
        self,
        registry: Registry,
        agreements: Agreements,
        history: History,
        mailbox: Mailbox,
        uploads: Uploads,
        desk: Desk,
    ) -> None:
        self._registry = registry
        self._agreements = agreements
        self._history = history
        self._mailbox = mailbox
        self._uploads = uploads
        self._desk = desk

    def read(self) -> dict[str, Any]:
        """Return the state of the agreement that was started last, as JSON's types."""
        latest = self._agreements.latest()
        if latest is None:
            return IDLE
        agreement, state, reason = latest
        with self._desk.moved:
            records = self._history.rounds(agreement.digest)
            round = self._desk.round
            if round is not None and round.agreement.digest != agreement.digest:
                round = None
            return {
                "agreement": agreement.digest,
                "stage": self._stage(state, round),
                "round": len(records),
                **tally(agreement, records),
                "finished": state is AgreementState.FINISHED,
                "failure": reason if state is AgreementState.STOPPED else None,
                "extended_until": None if round is None else round.until or None,
                "institutions": self._institutions(agreement, round),
                "rounds": [
                    round_summary(
                        agreement, one, self._desk.total_path(agreement.digest, one.number)
                    )
                    for one in records
                    if one.certificate is not None
                ],
            }

    def _stage(self, state: AgreementState, round: Round | None) -> str:
        if state is not AgreementState.RUNNING:
            return state.value
        if round is not None and not round.published:
            return "endorsing" if round.stage is Stage.CERTIFIED else round.stage.value
        epoch = self._desk.epoch
        if epoch is not None and epoch.step not in (EpochStep.READY, EpochStep.FAILED):
            return f"epoch-{epoch.step}"
        return "gathering"

    def _institutions(self, agreement: Agreement, round: Round | None) -> list[dict[str, Any]]:
        connected, ready = self._mailbox.connected(), self._mailbox.ready(agreement.digest)
        nodes, online = self._registry.nodes(), self._desk.orders.online
        progress = {} if round is None else self._uploads.progress(round.digest)
        return [
            {
                "id": id,
                "connected": id in connected,
                "ready": id in ready,
                "online": nodes.get(id) in online,
                "phase": self._phase(round, id),
                "uploaded_bytes": progress.get(id, (0, 0))[0],
                "upload_bytes": progress.get(id, (0, 0))[1],
            }
            for id in agreement.roster
        ]

    def _phase(self, round: Round | None, id: InstitutionId) -> str:
        """Say where an institution is in the newest round; empty if it is not in it."""
        if round is None:
            return ""
        collector = round.collector
        if id in self._history.endorsers(round.agreement.digest, round.plan.round):
            return "endorsed"
        if id in collector.reveals:
            return "revealed"
        if id in collector.uploads:
            return "uploaded"
        if id in self._uploads.progress(round.digest):
            return "uploading"
        if id in collector.declined:
            return f"refused:{collector.declined[id]}"
        if id in round.accepted:
            return "accepted"
        return "ordered" if id in round.plan.participants else ""


def tally(agreement: Agreement, records: Sequence[RoundRecord]) -> dict[str, Any]:
    """Count rounds of training and scores: how many are certified, wanted, and may be begun."""
    scores = agreement.private_evaluation
    certified = sum(record.moved_the_model for record in records)
    return {
        "certified": certified,
        "of_rounds": agreement.schedule.rounds,
        "scored": sum(record.is_certified for record in records) - certified,
        "of_scores": len(scores.after) if scores else 0,
        "attempts": agreement.attempts,
    }


def round_summary(agreement: Agreement, record: RoundRecord, total: Path) -> dict[str, Any]:
    """Tell how a round ended, in JSON's types.

    Args:
        total: where its sum lies, if it has one.
    """
    assert record.certificate is not None
    score = score_of(agreement, record, total)
    return {
        "n": record.number,
        "kind": record.kind.value,
        "void": record.certificate.void,
        "reason": record.certificate.reason or None,
        "survivors": list(record.certificate.survivors),
        "seconds": round((record.ended or record.started) - record.started, 3),
        "model": record.model,
        "score": None if score is None else score.data,
    }
