"""Who calls is known, and the call is counted, before its request is waited for.

A thread is held from the beginning of a call. gRPC reads the request of a unary method before it
asks the method anything, so calls that never send one would hold threads that nobody has counted.
Here every method is registered as one whose requests are a stream: the same on the wire, but the
first thing that happens in the thread is `admitted`, which may refuse, and the second is to wait.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import grpc

from comity_common.errors import PeerError

Admitted = Callable[[str, grpc.ServicerContext], AbstractContextManager[object]]
"""Entered with a method's name and the call, left when the call is over."""


class Doorkeeper(grpc.ServerInterceptor):
    """Stands before every method of a server.

    Args:
        admitted: raises for a call that may not go on, and turns what goes wrong into a status.
    """

    def __init__(self, admitted: Admitted) -> None:
        self._admitted = admitted

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Return a method's handler with the door before it; None for an unknown method."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        name = handler_call_details.method.rsplit("/", 1)[-1]
        method = next(
            found
            for found in (
                handler.unary_unary, handler.unary_stream, handler.stream_unary,
                handler.stream_stream,
            )
            if found is not None
        )  # fmt: skip
        asked = _same if handler.request_streaming else _only

        def one(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            with self._admitted(name, context):
                return method(asked(requests), context)

        def many(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with self._admitted(name, context):
                yield from method(asked(requests), context)

        make, behaviour = (
            (grpc.stream_stream_rpc_method_handler, many)
            if handler.response_streaming
            else (grpc.stream_unary_rpc_method_handler, one)
        )
        return make(behaviour, handler.request_deserializer, handler.response_serializer)


def _same(requests: Iterator[Any]) -> Iterator[Any]:
    return requests


def _only(requests: Iterator[Any]) -> Any:
    request = next(requests, None)
    if request is None:
        raise PeerError("expected a request")
    return request
