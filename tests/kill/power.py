"""What was said outside, and whether a vault still knows of it after its power went.

A victim works on a disk that is watched. Before it says anything over its line, what it says is
marked in the journal. Then the power goes, after any of its calls: the disk is rebuilt without what
was not synced, the vault is opened there, and must know of all that was marked before: the budget
of noise, the egress of an upload with the very bytes that wait for it, every head that was sent to
witnesses, every cosignature that it gave, and the survivor list that it answered.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np

from comity.v1 import transfer_pb2 as pb
from comity_client.institution import Institution
from comity_client.rounds import Round
from comity_client.store import Store
from comity_client.training.noise import GaussianNoise
from comity_client.vault import Vault
from comity_common.agreement import Agreement
from comity_common.canonical import decode
from comity_common.crypto.derive import digest
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import Egress, Traffic
from comity_common.ledger.entries import check_order
from comity_common.ledger.witness import Cosignature, HeadRequest, is_past_of
from comity_common.secagg.messages import Header, Reveal
from comity_common.secagg.participant import list_digest
from comity_common.secagg.round import Phase
from tests.kill.books import reserved_steps
from tests.kill.line import Call, Far


class Noisy:
    """A workbench without a model: each step is one vector of the real noise on zeros."""

    def __init__(self, agreement: Agreement) -> None:
        self._steps = agreement.training.local_steps
        self._lanes = agreement.model.parameters

    def train(
        self, start: np.ndarray, moments: bytes | None, on_step: Callable[[int, int], None]
    ) -> tuple[np.ndarray, bytes]:
        """Return noise."""
        total = np.zeros(self._lanes)
        for step in range(1, self._steps + 1):
            GaussianNoise(0.01).add(total)
            on_step(step, self._steps)
        return total.astype(np.float32), bytes(8)

    def look(self, parameters: np.ndarray) -> tuple[float, float]:
        """See nothing."""
        return 0.0, 0.0


def mark(journal: Path) -> Callable[[Call], None]:
    """Return what marks in a journal what is about to be said."""
    file = os.open(journal, os.O_WRONLY | os.O_APPEND)

    def note(call: Call) -> None:
        if (said := _said(call)) is not None:
            os.write(file, b"mark " + json.dumps(said).encode() + b"\n")

    return note


def _said(call: Call) -> list | None:
    match call.name, call.words:
        case "noise", (round,):
            return ["noise", round]
        case "upload", (_, stored, vector):
            header = decode(Header, stored.header)
            return ["upload", header.plan, digest("power", stored.header, vector).hex()]
        case "send", (_, pb.PARCEL_KIND_HEAD, message):
            return ["head", message.body.hex()]
        case "send", (_, pb.PARCEL_KIND_COSIGNATURE, message):
            head = decode(Cosignature, message.body).head
            return ["cosignature", head.institution, head.size]
        case "send", (_, pb.PARCEL_KIND_REVEAL, message):
            return ["reveal", decode(Reveal, message.body).survivors]
    return None


def forgotten(home: Path, agreement: Digest, said: list[list]) -> list[str]:
    """Open a vault after a crash, let it come back, and list what it does not know of any more."""
    try:
        inst = Institution(home)
    except Exception as error:  # whatever a damaged disk sets off
        return [f"how to open a vault: {error}"]
    try:
        vault = Vault(inst, inst.agreements.get(agreement), None, _Silent(), lambda *_: None)
        missing = [*_missing(inst, agreement, said)]
        vault.recover()
        return [*missing, *_missing(inst, agreement, said)]
    except Exception as error:
        return [f"how to come back: {error}"]
    finally:
        inst.store.reading().close()


class _Silent(Far):
    """A line on which nothing may be said."""

    def __init__(self) -> None:
        self.sent = self.received = 0

    def ask(self, name: str, *words: object) -> object:
        """Refuse."""
        raise AssertionError(f"expected a vault that comes back to say nothing, got {name}")


def _missing(inst: Institution, agreement: Digest, said: list[list]) -> Iterator[str]:
    entries = inst.ledger.entries()
    check_order(entries)
    steps = reserved_steps(inst.ledger.budget())
    noise = Counter(words[0] for what, *words in said if what == "noise")
    for round, drawn in noise.items():
        if steps[round] < drawn:
            yield f"{drawn} vectors of noise in round {round}, of which {steps[round]} are counted"
    bodies = [entry.body for entry in entries]
    left = {
        body.round
        for body in bodies
        if isinstance(body, Egress) and body.traffic is Traffic.MECHANISM
    }
    rounds = _rounds(inst, agreement)
    answered = {
        list_digest(round.survivors) for round in rounds.values() if round.survivors is not None
    }
    for what, *words in said:
        match what, words:
            case "head", (raw,):
                head = decode(HeadRequest, bytes.fromhex(raw)).head
                if not is_past_of(inst.ledger.tree(), inst.ledger.generations(), head):
                    yield f"a head of {head.size} entries"
            case "cosignature", (owner, size):
                if _cosigned(inst, InstitutionId(owner)) < size:
                    yield f"a cosignature under {size} entries of {owner}"
            case "reveal", (survivors,):
                if survivors not in answered:
                    yield "a survivor list that was answered"
            case "upload", (plan, sent):
                round = rounds.get(plan)
                if round is None or round.number not in left:
                    yield "an upload that began"
                elif round.phase is Phase.MASKED and sent != _waiting(inst, round):
                    yield "the bytes of an upload that began"


def _rounds(inst: Institution, agreement: Digest) -> dict[Digest, Round]:
    numbers = range(1, inst.rounds.newest(agreement) + 1)
    found = [inst.rounds.get(agreement, number) for number in numbers]
    return {round.plan_digest: round for round in found if round is not None}


def _waiting(inst: Institution, round: Round) -> str:
    file = inst.home.outbox / f"{round.agreement[:16]}-{round.number}.masked"
    if round.upload is None or not file.exists():
        return ""
    return digest("power", round.upload.header, file.read_bytes()).hex()


def _cosigned(inst: Institution, owner: InstitutionId) -> int:
    row = (
        inst.store.reading()
        .execute("select body from witnessed where institution = ?", (owner,))
        .fetchone()
    )
    return 0 if row is None else decode(HeadRequest, row["body"]).head.size


@contextmanager
def careless(how: str) -> Iterator[None]:
    """Let a vault not sync its database, or no other file, for a while; or be as it is."""
    reading = Store.reading

    def unsynced(self: Store):
        connection = reading(self)
        if not connection.in_transaction:
            connection.execute("pragma synchronous=off")
        return connection

    match how:
        case "database":
            with patch.object(Store, "reading", unsynced):
                yield
        case "files":
            with patch("comity_host.files.os.fsync", lambda descriptor: None):
                yield
        case _:
            yield
