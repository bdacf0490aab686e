"""The operator's unix socket: Flower's ServerApp asks for orders here, own tools for the status.

It lies in the operator's directory, which only its own user can enter.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from comity.v1 import coordination_pb2 as pb
from comity.v1.coordination_pb2_grpc import (
    CoordinationServicer,
    CoordinationStub,
    add_CoordinationServicer_to_server,
)
from comity_common.errors import LocalError, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_server.desk import Desk
from comity_server.errors import WrongTime
from comity_server.extending import Extending, Extension

THREADS = 16
STATUS_TIMEOUT_S = 10.0


class CoordinationService(CoordinationServicer):
    """Answers on the unix socket.

    Args:
        acknowledge_s: how long a ServerApp waits for answers to an order.
        status: the daemon's state, as JSON's types.
        extending: waits longer for uploads.
    """

    def __init__(
        self,
        desk: Desk,
        acknowledge_s: float,
        status: Callable[[], dict[str, Any]],
        extending: Extending,
    ) -> None:
        self._desk = desk
        self._acknowledge_s = acknowledge_s
        self._status = status
        self._extending = extending

    def NextOrder(
        self, request: pb.NextOrderRequest, context: grpc.ServicerContext
    ) -> pb.NextOrderReply:
        """Wait a little for something to order."""
        errand = self._desk.next_errand(request.flower_run, request.online_nodes)
        if errand.over or errand.round is None:
            return pb.NextOrderReply(finished=errand.over)
        plan = errand.round.plan
        order = pb.Order(
            agreement=plan.agreement,
            round=plan.round,
            plan=errand.round.digest,
            nodes=errand.nodes,
            acknowledge_within_s=self._acknowledge_s,
        )
        return pb.NextOrderReply(order=order)

    def Acknowledge(
        self, request: pb.Acknowledgement, context: grpc.ServicerContext
    ) -> pb.AcknowledgeReply:
        """Take an institution's answer to an order."""
        code = None if request.accepted else _refusal_code(request.code)
        self._desk.acknowledge(request.node, Digest(request.plan), code)
        return pb.AcknowledgeReply()

    def Status(self, request: pb.StatusRequest, context: grpc.ServicerContext) -> pb.StatusReply:
        """Tell the state of the daemon."""
        return pb.StatusReply(json=json.dumps(self._status()).encode())

    def Extend(self, request: pb.ExtendRequest, context: grpc.ServicerContext) -> pb.ExtendReply:
        """Wait longer for uploads."""
        try:
            done = self._extending.extend(Digest(request.agreement), request.seconds)
        except WrongTime as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return pb.ExtendReply(round=done.round, until=done.until, told=done.told)


def coordination_server(service: CoordinationService, socket: Path) -> grpc.Server:
    """Bind the unix socket, in place of a stale one."""
    socket.unlink(missing_ok=True)
    server = grpc.server(ThreadPoolExecutor(THREADS, thread_name_prefix="coordination"))
    add_CoordinationServicer_to_server(service, server)
    server.add_insecure_port(f"unix:{socket}")
    return server


def ask_status(socket: Path) -> dict[str, Any]:
    """Ask a running daemon for its state.

    Raises:
        LocalError: none answers.
    """
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        try:
            reply = CoordinationStub(channel).Status(pb.StatusRequest(), timeout=STATUS_TIMEOUT_S)
        except grpc.RpcError:
            raise LocalError("expected the operator's daemon to run, it does not answer") from None
    state: dict[str, Any] = json.loads(reply.json)
    return state


def ask_extension(socket: Path, agreement: Digest, seconds: int) -> Extension:
    """Ask a running daemon to wait longer for uploads.

    Raises:
        LocalError: none answers.
        WrongTime: no round of this agreement waits for uploads.
    """
    request = pb.ExtendRequest(agreement=agreement, seconds=seconds)
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        try:
            reply = CoordinationStub(channel).Extend(request, timeout=STATUS_TIMEOUT_S)
        except grpc.RpcError as error:
            if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise WrongTime(error.details() or "") from None
            raise LocalError("expected the operator's daemon to run, it does not answer") from None
    told = tuple(InstitutionId(id) for id in reply.told)
    return Extension(round=reply.round, until=reply.until, told=told)


def _refusal_code(text: str) -> RefusalCode:
    """Read a code; what no vault can say, as `unreachable`, is unavailable."""
    try:
        return RefusalCode(text)
    except ValueError:
        return RefusalCode.UNAVAILABLE
