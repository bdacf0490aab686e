"""The door in the operator's network through which institutions reach Flower.

Behind it stands a SuperLink whose one port also answers the Control API, which starts runs for
whoever asks. So the gate is a closed list: it forwards the calls that a stock SuperNode with a
registered key makes, by POST, byte for byte the paths below, with a bounded body and no query,
and everything else is 404. It reads nothing of what it forwards: the SuperLink checks each
call's node signature itself.

Two things it does for the SuperNodes' sake:

* While the SuperLink is away or answers 5xx, the answer is 503, upon which a SuperNode tries
  again; upon another 5xx its heartbeat would end for good.
* A SuperNode that finds no message sleeps for three seconds, and for up to twenty when the
  SuperLink is away. So the gate asks for a while before it says that there is none, and an order
  arrives as soon as it is there. Asking again repeats the node's signed time stamp, which the
  SuperLink accepts for five minutes.

    python -m comity_server.flower.gate --host 0.0.0.0 --port 8443 --certificate gate.pem \
        --key gate.key --superlink 127.0.0.1:18443 --authority ca.pem
"""

import argparse
import asyncio
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

MAX_BODY_BYTES = 64 << 10  # the largest call is an answer's record, below 2 KiB
BODY_TIMEOUT_S = 10.0
MAX_CONNECTIONS = 512  # a SuperNode has two or three
FORWARD_TIMEOUT_S = 20.0  # a SuperNode waits 30 s
HOLD_S = 20.0  # how long an empty answer to pull-messages is held back
ASK_AGAIN_S = 0.25  # with few nodes waiting;
ASKS_PER_S = 10.0  # with more, all of them together ask this often, each call costs 5 ms of a core
SUPERNODE_SLEEP_S = 3.0  # with many, no less often than they would by themselves

_PULL_MESSAGES = b"/v1/fleet/pull-messages"
FLEET_CALLS = frozenset(
    {
        b"/v1/fleet/activate-node",
        b"/v1/fleet/deactivate-node",
        b"/v1/fleet/send-node-heartbeat",
        _PULL_MESSAGES,
        b"/v1/fleet/push-messages",
        b"/v1/fleet/get-run",
        b"/v1/fleet/get-fab",
        b"/v1/fleet/push-object",
        b"/v1/fleet/pull-object",
        b"/v1/fleet/confirm-message-received",
    }
)
_AWAY = PlainTextResponse("the superlink is away", status_code=503)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateTerms:
    """Where the gate listens and what it stands before; paths are PEM files."""

    host: str
    port: int
    certificate: Path
    key: Path
    superlink: str
    authority: Path

    def argv(self) -> tuple[str, ...]:
        """Return the command that runs this gate as its own process."""
        return (
            *(sys.executable, "-m", "comity_server.flower.gate"),
            *("--host", self.host, "--port", str(self.port)),
            *("--certificate", str(self.certificate), "--key", str(self.key)),
            *("--superlink", self.superlink, "--authority", str(self.authority)),
        )


class Gate:
    """The ASGI application: one call in, one call out."""

    def __init__(self, superlink: httpx.AsyncClient) -> None:
        """Stand before a client whose base URL is the SuperLink's."""
        self._superlink = superlink
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            raise RuntimeError(f"expected an http request, got {scope['type']}")
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = request.scope["raw_path"]
        if request.method != "POST" or path not in FLEET_CALLS or request.scope["query_string"]:
            return PlainTextResponse("not found", status_code=404)
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _bounded_body(request)
        except TimeoutError:
            return PlainTextResponse("body too slow", status_code=408)
        if body is None:
            return PlainTextResponse("body too large", status_code=413)
        if path == _PULL_MESSAGES:
            return await self._forward_until_there_is_something(request, body)
        return await self._forward(request, body)

    async def _forward_until_there_is_something(self, request: Request, body: bytes) -> Response:
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + HOLD_S
        self._waiting += 1
        try:
            while True:
                response = await self._forward(request, body)
                nothing = response is _AWAY or (response.status_code == 200 and not response.body)
                if not nothing or clock() > give_up_at or await request.is_disconnected():
                    return response
                await asyncio.sleep(self._pause())
        finally:
            self._waiting -= 1

    def _pause(self) -> float:
        return min(max(ASK_AGAIN_S, self._waiting / ASKS_PER_S), SUPERNODE_SLEEP_S)

    async def _forward(self, request: Request, body: bytes) -> Response:
        path = request.scope["raw_path"].decode()
        headers = [(k, v) for k, v in request.headers.raw if _is_forwarded(k.decode("latin-1"))]
        try:
            answer = await self._superlink.post(path, content=body, headers=headers)
        except httpx.TransportError:
            return _AWAY
        if answer.status_code >= 500:
            return _AWAY
        kept = {k: v for k, v in answer.headers.items() if _is_forwarded(k)}
        return Response(answer.content, status_code=answer.status_code, headers=kept)


def _is_forwarded(header: str) -> bool:
    return header in ("content-type", "accept") or header.startswith("flwr-")


async def _bounded_body(request: Request) -> bytes | None:
    """Read the body, or stop and return None when it passes the bound."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def serve(terms: GateTerms) -> None:
    """Run the gate until the process is told to end."""
    superlink = httpx.AsyncClient(
        base_url=f"https://{terms.superlink}",
        verify=ssl.create_default_context(cafile=str(terms.authority)),
        timeout=FORWARD_TIMEOUT_S,
        trust_env=False,
        follow_redirects=False,
    )
    uvicorn.run(
        Gate(superlink),
        host=terms.host,
        port=terms.port,
        ssl_certfile=str(terms.certificate),
        ssl_keyfile=str(terms.key),
        interface="asgi3",
        lifespan="off",
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=2,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the terms from the command line and serve."""
    parser = argparse.ArgumentParser(prog="comity_server.flower.gate", description=__doc__)
    for name in ("--host", "--superlink"):
        parser.add_argument(name, required=True)
    parser.add_argument("--port", type=int, required=True)
    for name in ("--certificate", "--key", "--authority"):
        parser.add_argument(name, type=Path, required=True)
    serve(GateTerms(**vars(parser.parse_args(arguments))))


if __name__ == "__main__":
    main()
