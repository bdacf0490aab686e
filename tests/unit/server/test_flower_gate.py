"""The gate before an in-memory SuperLink: what it holds back, forwards and translates."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from comity_server.flower import gate as gate_module
from comity_server.flower.gate import Gate

PULL = "/v1/fleet/pull-messages"
Answer = Callable[[httpx.Request], httpx.Response]


def ask(superlink: Answer, *calls: tuple[str, dict[str, str]]) -> list[httpx.Response]:
    """Send calls, one after the other, through a gate that stands before this SuperLink."""

    async def run() -> list[httpx.Response]:
        behind = httpx.AsyncClient(
            transport=httpx.MockTransport(superlink), base_url="https://behind"
        )
        before = httpx.ASGITransport(app=Gate(behind))
        async with behind, httpx.AsyncClient(transport=before, base_url="https://gate") as client:
            return [await client.post(path, headers=headers) for path, headers in calls]

    return asyncio.run(run())


def test_an_empty_answer_is_held_until_there_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(gate_module, "ASKS_PER_S", 1e6)
    bodies = [b"", b"", b"order"]
    (answer,) = ask(lambda request: httpx.Response(200, content=bodies.pop(0)), (PULL, {}))
    assert (answer.status_code, answer.content, bodies) == (200, b"order", [])


def test_an_empty_answer_is_given_back_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "HOLD_S", -1.0)
    (answer,) = ask(lambda request: httpx.Response(200), (PULL, {}))
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_refused_signature_is_not_held() -> None:
    (answer,) = ask(lambda request: httpx.Response(401), (PULL, {}))
    assert answer.status_code == 401


def test_an_order_arrives_also_when_the_superlink_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(gate_module, "ASKS_PER_S", 1e6)
    tries = [1, 2]

    def superlink(request: httpx.Request) -> httpx.Response:
        if tries:
            tries.pop()
            raise httpx.ConnectError("refused")
        return httpx.Response(200, content=b"order")

    assert [answer.content for answer in ask(superlink, (PULL, {}))] == [b"order"]


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_failing_superlink_is_503_so_that_the_supernode_tries_again(status: int) -> None:
    (answer,) = ask(
        lambda request: httpx.Response(status, content=b"a stack trace"),
        ("/v1/fleet/send-node-heartbeat", {}),
    )
    assert answer.status_code == 503
    assert b"trace" not in answer.content


def test_only_flowers_own_headers_pass_in_and_out() -> None:
    seen: list[httpx.Headers] = []

    def superlink(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(200, headers={"flwr-note": "yes", "server": "uvicorn"})

    sent = {"flwr-signature": "sig", "cookie": "c", "x-forwarded-for": "1.2.3.4"}
    (answer,) = ask(superlink, ("/v1/fleet/get-run", sent))
    assert seen[0]["flwr-signature"] == "sig"
    assert not {"cookie", "x-forwarded-for"} & set(seen[0])
    assert answer.headers["flwr-note"] == "yes"
    assert "server" not in answer.headers


def test_nothing_but_a_fleet_call_reaches_the_superlink() -> None:
    def superlink(request: httpx.Request) -> httpx.Response:
        raise AssertionError("it was reached")

    paths = ["/v1/control/start-run", "/v1/fleet/register-node", PULL + "/", PULL + "?a=1"]
    answers = ask(superlink, *((path, {}) for path in paths))
    assert [answer.status_code for answer in answers] == [404] * len(paths)
