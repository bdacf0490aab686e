"""Asks the running daemons how they are, as their own people would."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from comity.v1 import coordination_pb2 as pb
from comity.v1.coordination_pb2_grpc import CoordinationStub
from comity_client.control import ask
from comity_common.errors import Problem

STATUS_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultStatus:
    """What a vault says that it does.

    Attributes:
        fraction: how much of it is done; None when nobody can know.
    """

    doing: str
    fraction: float | None


class Operator:
    """The operator's daemon, asked over its unix socket."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.insecure_channel(
            f"unix:{socket}", options=[("grpc.max_reconnect_backoff_ms", 500)]
        )
        self._stub = CoordinationStub(self._channel)

    def status(self) -> dict[str, Any] | None:
        """Return the daemon's status, None while it is away."""
        try:
            reply = self._stub.Status(pb.StatusRequest(), timeout=STATUS_TIMEOUT_S)
        except grpc.RpcError:
            return None
        status: dict[str, Any] = json.loads(reply.json)
        return status

    def close(self) -> None:
        """End the connection."""
        self._channel.close()


def vault_status(control: Path) -> VaultStatus | None:
    """Return a vault's status, None while it is away."""
    try:
        answer = ask(control)
    except Problem:
        return None
    fraction = answer.get("fraction")
    return VaultStatus(
        doing=str(answer.get("doing")),
        fraction=float(fraction) if isinstance(fraction, int | float) else None,
    )
