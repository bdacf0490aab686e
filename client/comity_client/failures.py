"""What a call that failed means to the vault: try again, or give up for good."""

import grpc

from comity_common.errors import PeerError

FINAL = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.NOT_FOUND,
    }
)


class Unreachable(Exception):
    """The operator cannot be reached now; the same call may go through later."""


def understood(error: grpc.RpcError) -> Unreachable | PeerError:
    """Turn the failure of a call into what the vault does about it.

    Returns:
        PeerError where the operator refuses for good; everything else may pass.
    """
    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    details = (error.details() if isinstance(error, grpc.Call) else "") or ""
    if code in FINAL:
        return PeerError(f"the operator refuses: {details[:200]}")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Unreachable(f"the operator speaks another protocol: {details[:200]}")
    return Unreachable(f"{code.name.lower()}: {details[:200]}")
