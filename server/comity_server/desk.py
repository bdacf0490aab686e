"""The desk: where the gRPC threads hand in what came, and where the coordinator sees it.

One lock and one condition, `moved`, guard what is going on now: agreement, key epoch, round,
orders. Everything is checked against the sender whom TLS has identified, and stored, before it
counts. `on_phase` is told each boundary after it is on disk.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, Signed, SigningKeys
from comity_common.errors import PeerError, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.membership import Withdrawal
from comity_common.secagg.collector import Collector
from comity_common.secagg.messages import Decline, Header, Receipt, Reveal
from comity_common.secagg.participant import header_digest
from comity_common.secagg.round import Stage
from comity_server.aggregator import total_path
from comity_server.agreements import AgreementRecord, Agreements
from comity_server.arrivals import arrived_upload
from comity_server.epochs import EpochStep, KeyEpoch
from comity_server.errors import WrongTime
from comity_server.history import History
from comity_server.orders import Orders
from comity_server.registry import Registry
from comity_server.rounds import Round
from comity_server.uploads import Declared, Uploads

ASK_AGAIN_S = 2.0  # how long the ServerApp's question is held

OnPhase = Callable[[str, str, int], None]
"""Told the name of a boundary, the institution or "", and the round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What a ServerApp is to do: end, or carry a round's order to some nodes, or ask again."""

    over: bool = False
    round: Round | None = None
    nodes: tuple[int, ...] = ()


class Desk:
    """What is going on now.

    Attributes:
        moved: the lock of everything here; notified at each change.
        agreement: the one that runs.
        epoch, round: the newest of that agreement, also when they are over.
        heard: how many messages of key epochs came from each institution since the start.
        orders: the road through Flower.
    """

    def __init__(
        self,
        *,
        keys: SigningKeys,
        registry: Registry,
        agreements: Agreements,
        history: History,
        uploads: Uploads,
        totals: Path,
        orders: Orders,
        on_phase: OnPhase,
    ) -> None:
        self._keys = keys
        self._registry = registry
        self._agreements = agreements
        self._history = history
        self._uploads = uploads
        self._totals = totals
        self.on_phase = on_phase
        self.moved = threading.Condition(threading.RLock())
        self.orders = orders
        self.agreement: Agreement | None = agreements.running()
        self.epoch: KeyEpoch | None = None
        self.round: Round | None = None
        self.heard: Counter[InstitutionId] = Counter()

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        with self.moved:
            self.moved.notify_all()

    def take_epoch_message(
        self, sender: InstitutionId, agreement: Digest, step: EpochStep, signed: Signed
    ) -> None:
        """Take a member's message of a key epoch."""
        self._agreements.get_for(sender, agreement)
        with self.moved:
            self.heard[sender] += 1
            epoch = self.epoch
            if epoch is None or self.agreement is None or self.agreement.digest != agreement:
                raise WrongTime("expected an open key epoch")
            epoch.take(step, sender, signed)
            self.moved.notify_all()

    def take_reveal(self, sender: InstitutionId, agreement: Digest, signed: Signed) -> None:
        """Take a survivor's shares."""
        self._agreements.get_for(sender, agreement)
        if decode(Reveal, signed.body).institution != sender:
            raise PeerError("expected a reveal of the sender")
        with self.moved:
            round = self._current(agreement)
            if round.collector.survivors is None:
                raise WrongTime("expected no reveal before the survivor list")
            round.reveal(sender, signed)
            self.moved.notify_all()
        self.on_phase("revealed", sender, round.plan.round)

    def take_decline(self, sender: InstitutionId, agreement: Digest, signed: Signed) -> None:
        """Take an institution's word that it takes no further part in a round."""
        self._agreements.get_for(sender, agreement)
        message = decode(Decline, signed.body)
        if message.institution != sender:
            raise PeerError("expected the sender's own word")
        with self.moved:
            round = self._current(agreement)
            if round.digest != message.plan:
                raise WrongTime("expected the plan of the round that is going on")
            round.decline(sender, signed)
            self.moved.notify_all()

    def take_endorsement(self, sender: InstitutionId, agreement: Digest, signed: Signed) -> None:
        """Take an institution's signature under the model that it computed."""
        terms = self._agreements.get_for(sender, agreement)
        number = self._history.endorse(terms, sender, signed)
        self.notify()
        self.on_phase("endorsed", sender, number)

    def take_signature(self, sender: InstitutionId, agreement: Digest, signed: Signed) -> None:
        """Take an institution's signature under the exact bytes of an agreement."""
        terms = self._agreements.get_for(sender, agreement)
        if signed.body != encode(terms):
            raise PeerError("expected the bytes of the agreement that was proposed")
        self._agreements.sign(agreement, sender, signed.signature)

    def take_withdrawal(self, sender: InstitutionId, agreement: Digest, signed: Signed) -> None:
        """Take an institution's word that it is out of an agreement."""
        self._agreements.get_for(sender, agreement)
        if decode(Withdrawal, signed.body).institution != sender:
            raise PeerError("expected the sender's own withdrawal")
        self._agreements.leave(agreement, signed)
        self.notify()

    def agreements_of(self, sender: InstitutionId) -> list[AgreementRecord]:
        """List the agreements that name an institution."""
        return [one for one in self._agreements.records() if sender in one.agreement.roster]

    def remaining(self, agreement: Agreement) -> frozenset[InstitutionId]:
        """Return who is still in an agreement."""
        gone = self._agreements.withdrawals(agreement.digest)
        return frozenset(agreement.roster) - gone.keys()

    def plan(self, sender: InstitutionId, agreement: Digest, plan: Digest) -> Signed:
        """Return the plan that an order names."""
        self._agreements.get_for(sender, agreement)
        found = self._history.find(plan)
        if found is None or found.agreement != agreement:
            raise PeerError("expected the digest of a plan of this agreement")
        return found.signed_plan

    def total(self, sender: InstitutionId, agreement: Digest, number: int) -> Path:
        """Return where the sum of a certified round lies."""
        self._agreements.get_for(sender, agreement)
        record = self._history.get(agreement, number)
        if record is None or not record.is_certified:
            raise WrongTime(f"expected a certified round, got {number}")
        return self.total_path(agreement, number)

    def first_model(self, sender: InstitutionId, agreement: Digest) -> Path:
        """Return where the state lies with which a continued agreement goes on."""
        if self._agreements.get_for(sender, agreement).continues is None:
            raise WrongTime("expected an agreement that goes on with the model of another")
        return self._agreements.first_model(agreement)

    def total_path(self, agreement: Digest, number: int) -> Path:
        """Return where the sum of a round is written."""
        return total_path(self._totals, agreement, number)

    def begin_upload(self, sender: InstitutionId, agreement: Digest, declared: Declared) -> Digest:
        """Take the declaration of an upload, or find it again; return its name."""
        terms = self._agreements.get_for(sender, agreement)
        header = decode(Header, declared.header)
        if header.institution != sender:
            raise PeerError("expected a header of the sender")
        name = header_digest(header)
        with self.moved:
            if self._uploads.find(header.plan, sender) == name and self._uploads.is_finished(name):
                return name
            round = self._current(agreement)
            if round.digest != header.plan:
                raise WrongTime("expected a header for the plan of the round that is going on")
            # A collector of its own checks all that the round's will check at the end.
            Collector(terms, round.plan).upload(
                declared.signed_header, declared.signed_upload, declared.boxes
            )
            _check_collecting(round)
            self._uploads.begin(declared)
            self.moved.notify_all()
        self.on_phase("upload-begun", sender, round.plan.round)
        return name

    def held(self, sender: InstitutionId, name: Digest) -> bytes:
        """Say which chunks of an upload are here, as a bitmap."""
        return self._uploads.held(name, sender)

    def put(self, sender: InstitutionId, name: Digest, pieces: Iterable[tuple[int, bytes]]) -> None:
        """Take chunks of an upload while its round collects."""
        plan = self._uploads.plan(name)
        self._collecting(plan)
        self._uploads.put(name, sender, self._while_collecting(plan, pieces))

    def finish_upload(self, sender: InstitutionId, name: Digest) -> Signed:
        """Close a complete upload and sign its receipt."""
        declared = self._uploads.declared(name)
        header = decode(Header, declared.header)
        if header.institution != sender:
            raise PeerError("expected an upload of the sender")
        self._uploads.sync(name, sender)  # takes as long as the disk does, so before the lock
        number = 0
        with self.moved:
            if not self._uploads.is_finished(name):
                going_on = self._collecting(header.plan)
                arrived = arrived_upload(going_on.agreement, going_on.plan, sender, declared)
                self._uploads.finish(name, sender, arrived)
            round = self.round
            if round is not None and round.digest == header.plan:
                number = round.plan.round
                round.upload(sender, name)
                self.moved.notify_all()
        self.on_phase("upload-finished", sender, number)
        return self._keys.sign(Purpose.RECEIPT, encode(Receipt(header=name)))

    def next_errand(self, run: str, online: Iterable[int]) -> Errand:
        """Answer a ServerApp, after at most two seconds."""
        with self.moved:
            if self.agreement is None or not self.orders.heard(run, frozenset(online)):
                return Errand(over=True)
            self.moved.notify_all()
            self.moved.wait_for(lambda: self.agreement is None or self._undelivered(), ASK_AGAIN_S)
            if self.agreement is None:
                return Errand(over=True)
            nodes = self._undelivered()
            if self.round is None or not nodes or not self.orders.heard(run, self.orders.online):
                return Errand()
            self.orders.give(self.round.digest, nodes)
            return Errand(round=self.round, nodes=tuple(nodes))

    def acknowledge(self, node: int, plan: Digest, code: RefusalCode | None) -> None:
        """Take the first answer to an order; any other changes nothing.

        Args:
            code: why the institution does not take part; None: it does.
        """
        known = {node: institution for institution, node in self._registry.nodes().items()}
        sender = known.get(node)
        with self.moved:
            round = self.round
            if sender is None or round is None or round.digest != plan:
                return
            if sender not in self.unanswered():
                return
            if code is None:
                round.accept(sender)
            else:
                round.excuse(sender, code)
            self.moved.notify_all()
        self.on_phase("accepted" if code is None else "refused", sender, round.plan.round)

    def unanswered(self) -> frozenset[InstitutionId]:
        """Return the participants of whom nothing was heard since the plan."""
        round = self.round
        if round is None or round.stage is not Stage.COLLECTING:
            return frozenset()
        begun = self._uploads.progress(round.digest).keys()
        heard = round.accepted | round.collector.declined.keys() | begun
        return frozenset(round.plan.participants) - heard

    def _undelivered(self) -> list[int]:
        waiting = self.unanswered()
        if self.round is None or not waiting:
            return []
        nodes = self._registry.nodes()
        known = [nodes[institution] for institution in sorted(waiting) if institution in nodes]
        return self.orders.not_yet_given(self.round.digest, known)

    def _current(self, agreement: Digest) -> Round:
        if self.round is None or self.round.agreement.digest != agreement:
            raise WrongTime("expected a round of this agreement to be going on")
        return self.round

    def _collecting(self, plan: Digest) -> Round:
        with self.moved:
            if self.round is None or self.round.digest != plan:
                raise WrongTime("expected an upload for the round that is going on")
            _check_collecting(self.round)
            return self.round

    def _while_collecting(
        self, plan: Digest, pieces: Iterable[tuple[int, bytes]]
    ) -> Iterator[tuple[int, bytes]]:
        for piece in pieces:
            self._collecting(plan)
            yield piece


def _check_collecting(round: Round) -> None:
    if round.stage is not Stage.COLLECTING:
        raise WrongTime(f"expected no upload of a round that is {round.stage}")
