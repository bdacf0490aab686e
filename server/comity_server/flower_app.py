"""The thin ServerApp: carries the coordinator's orders to the institutions and answers back.

Flower starts it in a process of its own, anything may kill it, and it remembers nothing that
matters: the truth is in the operator's daemon, which it asks over a unix socket what to do next.
The rules it keeps:

* A message is one record `order` {agreement, round, plan} out and one record `answer`
  {accepted, code} back, checked on both ways: no tensor, count or metric travels through Flower.
* Its questions are its heartbeat. It keeps one question open all the time, also while answers
  are outstanding, so the daemon notices within seconds when it is gone, and starts another.
* Whatever goes wrong on the way to a node is one code, `unreachable`.
* It rides out a daemon that is away for up to a minute, then ends. While the SuperLink is away,
  Flower's own calls wait for it.
* Flower delivers a message at most once: one that a SuperLink had handed out when it was killed
  is gone. So an order without an answer at half its time is sent once more, and a vault gives
  the same answer to the same order.
* A message of which a killed SuperLink had only a half keeps its node waiting for the other half
  as long as the run goes on. So the failed push ends the run; the daemon starts another.

One order, from the daemon and back: `NextOrder` → `push_messages` → `pull_messages` until each
node has answered or the order's time is over → `Acknowledge` once for each node.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import grpc
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from comity.v1 import coordination_pb2 as pb
from comity.v1.coordination_pb2_grpc import CoordinationStub
from comity_common.errors import LocalError, PeerError, RefusalCode

UNREACHABLE = "unreachable"
PULL_EVERY_S = 0.2
DAEMON_PATIENCE_S = 60.0
QUESTION_TIMEOUT_S = 15.0  # the daemon answers within a few seconds
_CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CODES = frozenset(code.value for code in RefusalCode)
_T = TypeVar("_T")


def order_content(order: pb.Order) -> RecordDict:
    """Build what one order's message holds.

    Raises:
        LocalError: agreement or plan is not a digest of 64 hexadecimal digits.
    """
    if not (_DIGEST.fullmatch(order.agreement) and _DIGEST.fullmatch(order.plan)):
        raise LocalError("expected an order's agreement and plan to be digests, they are not")
    fields = {"agreement": order.agreement, "round": order.round, "plan": order.plan}
    return RecordDict({"order": ConfigRecord(fields)})


def read_answer(content: Mapping[str, object]) -> tuple[bool, str]:
    """Return whether an institution takes part, and the refusal code if it does not.

    Args:
        content: what came back in a message, by record name.

    Raises:
        PeerError: anything but one record `answer` {accepted, code} with a known code.
    """
    answer = content.get("answer")
    if set(content) != {"answer"} or not isinstance(answer, ConfigRecord):
        raise PeerError("expected one record named answer, got something else")
    accepted, code = answer.get("accepted"), answer.get("code")
    if set(answer) != {"accepted", "code"}:
        raise PeerError("expected an answer's fields to be accepted and code, got others")
    if not isinstance(accepted, bool) or not isinstance(code, str):
        raise PeerError("expected an answer to be a truth value and a code, it is not")
    if (code != "") if accepted else (code not in _CODES):
        raise PeerError("expected an empty code with an acceptance and a known one otherwise")
    return accepted, code


class Daemon:
    """The coordinator behind its unix socket, which may be restarted under our hands."""

    def __init__(self, channel: grpc.Channel, flower_run: str) -> None:
        """Talk over this channel for this run of Flower."""
        self._stub = CoordinationStub(channel)
        self._run = flower_run
        self._heard_at = time.monotonic()

    def ask(self, online: list[int]) -> "grpc.Future[pb.NextOrderReply]":
        """Ask for the next order without waiting for the answer."""
        request = pb.NextOrderRequest(flower_run=self._run, online_nodes=online)
        return self._stub.NextOrder.future(request, timeout=QUESTION_TIMEOUT_S, wait_for_ready=True)

    def answer(self, question: "grpc.Future[pb.NextOrderReply]") -> pb.NextOrderReply:
        """Wait for the answer; an empty one if the daemon went away meanwhile.

        Raises:
            grpc.RpcError: the daemon has been away for longer than our patience.
        """
        return self._patiently(question.result) or pb.NextOrderReply()

    def acknowledge(self, acknowledgement: pb.Acknowledgement) -> None:
        """Hand over one node's answer.

        Raises:
            grpc.RpcError: the daemon has been away for longer than our patience.
        """

        def call() -> pb.AcknowledgeReply:
            return self._stub.Acknowledge(
                acknowledgement, timeout=QUESTION_TIMEOUT_S, wait_for_ready=True
            )

        while self._patiently(call) is None:
            pass

    def _patiently(self, call: Callable[[], _T]) -> _T | None:
        try:
            result = call()
        except grpc.RpcError:
            if time.monotonic() - self._heard_at > DAEMON_PATIENCE_S:
                raise
            time.sleep(PULL_EVERY_S)
            return None
        self._heard_at = time.monotonic()
        return result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Errand:
    """One order on its way to one node; half-way and deadline are on the monotonic clock."""

    node: int
    round: int
    plan: str
    content: RecordDict
    half_way: float
    deadline: float

    def message(self) -> Message:
        """Build what Flower carries; it is worth nothing after the deadline."""
        return Message(
            self.content,
            dst_node_id=self.node,
            message_type="query",
            ttl=self.deadline - time.monotonic(),
            group_id=str(self.round),
        )

    def outcome(self, accepted: bool, code: str) -> pb.Acknowledgement:
        """Return what the daemon is told."""
        return pb.Acknowledgement(
            node=self.node, round=self.round, plan=self.plan, accepted=accepted, code=code
        )


class Errands:
    """The orders that are on their way: sent, answered, given up."""

    def __init__(self, grid: Grid, daemon: Daemon) -> None:
        """Start with none."""
        self._grid = grid
        self._daemon = daemon
        self._under_way: dict[str, Errand] = {}  # by message, two if it was sent once more
        self._sent_again: set[Errand] = set()

    def __bool__(self) -> bool:
        """Tell whether an answer is outstanding."""
        return bool(self._under_way)

    def send(self, order: pb.Order) -> None:
        """Send an order to each of its nodes that does not have it under way already."""
        content = order_content(order)
        busy = {(errand.node, errand.plan) for errand in self._under_way.values()}
        now = time.monotonic()
        for node in order.nodes:
            if (node, order.plan) in busy:
                continue
            errand = Errand(
                node=node,
                round=order.round,
                plan=order.plan,
                content=content,
                half_way=now + order.acknowledge_within_s / 2,
                deadline=now + order.acknowledge_within_s,
            )
            if not self._push(errand):
                self._daemon.acknowledge(errand.outcome(False, UNREACHABLE))

    def collect(self) -> None:
        """Hand over the answers that have come, send again what waits long, give up the rest."""
        for reply in self._grid.pull_messages(list(self._under_way)):
            errand = self._under_way.get(reply.metadata.reply_to_message_id)
            if errand is not None:
                self._close(errand, *_answer_in(reply))
        now = time.monotonic()
        for errand in set(self._under_way.values()):
            if errand.deadline <= now:
                self._close(errand, False, UNREACHABLE)
            elif errand.half_way <= now and errand not in self._sent_again:
                self._sent_again.add(errand)
                self._push(errand)

    def _push(self, errand: Errand) -> bool:
        # One push for each: a node that sees its message before all of its parts have
        # arrived waits a second, and with one push for all, parts arrive last.
        (message_id,) = self._grid.push_messages([errand.message()]) or (None,)
        if not message_id:
            return False
        self._under_way[message_id] = errand
        return True

    def _close(self, errand: Errand, accepted: bool, code: str) -> None:
        self._daemon.acknowledge(errand.outcome(accepted, code))
        self._sent_again.discard(errand)
        self._under_way = {
            message: other for message, other in self._under_way.items() if other is not errand
        }


def _answer_in(reply: Message) -> tuple[bool, str]:
    if reply.has_error():
        return False, UNREACHABLE
    try:
        return read_answer(reply.content)
    except PeerError:
        return False, UNREACHABLE


def carry_orders(grid: Grid, context: Context) -> None:
    """Carry orders until the daemon says that this run is over."""
    socket = os.environ["COMITY_COORDINATOR"]
    with grpc.insecure_channel(f"unix:{socket}", options=_CHANNEL_OPTIONS) as channel:
        daemon = Daemon(channel, str(context.run_id))
        errands = Errands(grid, daemon)
        question = daemon.ask(list(grid.get_node_ids()))
        while True:
            if errands and not question.done():
                errands.collect()
                time.sleep(PULL_EVERY_S)
                continue
            answer = daemon.answer(question)
            if answer.finished:
                return
            if answer.HasField("order"):
                errands.send(answer.order)
            question = daemon.ask(list(grid.get_node_ids()))


app = ServerApp()
app.main()(carry_orders)
