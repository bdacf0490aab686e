"""The thin ClientApp: passes the operator's order to the vault and the vault's answer back.

It is not trusted. Whoever runs the SuperLink can make Flower run something else in this place, so
it holds nothing: no rows, no keys, no policy. The vault, another process and in production
another user, checks every order against the agreement that its institution has signed. The rules
it keeps:

* An order is one record `order` {agreement, round, plan}, an answer one record `answer`
  {accepted, code}: a closed list, checked when they come and before they go.
* The vault answers at once whether it takes part; nobody waits here for training.
* A vault that is away or talks nonsense is the refusal `unavailable`.
* Flower starts a process for each order, so nothing heavy is imported.

To the vault: one line of JSON {"agreement": hex, "round": int, "plan": hex};
from the vault: one line of JSON {"accepted": bool, "code": str}.
"""

import json
import re
import socket
import time
from collections.abc import Mapping
from typing import TypeAlias

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from comity_common.errors import PeerError, RefusalCode

ANSWER_TIMEOUT_S = 20.0
MAX_LINE_BYTES = 1024
CONNECT_TRIES = 5
CONNECT_AGAIN_S = 0.4
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CODES = frozenset(code.value for code in RefusalCode)

Order: TypeAlias = dict[str, str | int]


def read_order(content: Mapping[str, object]) -> Order:
    """Return the order's fields.

    Args:
        content: what came in a message, by record name.

    Raises:
        PeerError: anything but one record `order` {agreement, round, plan}.
    """
    order = content.get("order")
    if set(content) != {"order"} or not isinstance(order, ConfigRecord):
        raise PeerError("expected one record named order, got something else")
    if set(order) != {"agreement", "round", "plan"}:
        raise PeerError("expected an order's fields to be agreement, round and plan, got others")
    agreement, number, plan = order["agreement"], order["round"], order["plan"]
    if not all(isinstance(x, str) and _DIGEST.fullmatch(x) for x in (agreement, plan)):
        raise PeerError("expected an order's agreement and plan to be digests, they are not")
    if type(number) is not int or number < 0:
        raise PeerError("expected an order's round to be a count, it is not")
    return {"agreement": agreement, "round": number, "plan": plan}


def answer_content(accepted: bool, code: str) -> RecordDict:
    """Build what an answer's message holds.

    Raises:
        PeerError: a refusal without a known code, or an acceptance with one.
    """
    if (code != "") if accepted else (code not in _CODES):
        raise PeerError("expected an empty code with an acceptance and a known one otherwise")
    return RecordDict({"answer": ConfigRecord({"accepted": accepted, "code": code})})


def ask_vault(path: str, order: Order) -> tuple[bool, str]:
    """Ask the vault behind this unix socket whether it takes part.

    Raises:
        OSError: nobody listens, or nobody answered in time.
        PeerError: what came is not an answer.
    """
    with _connect(path) as vault:
        vault.settimeout(ANSWER_TIMEOUT_S)
        vault.sendall(json.dumps(order).encode() + b"\n")
        with vault.makefile("rb") as lines:
            line = lines.readline(MAX_LINE_BYTES)
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        raise PeerError("expected a line of json from the vault, got something else") from None
    if not isinstance(answer, dict) or set(answer) != {"accepted", "code"}:
        raise PeerError("expected the vault's answer to be accepted and code, got others")
    if not isinstance(answer["accepted"], bool) or not isinstance(answer["code"], str):
        raise PeerError("expected the vault's answer to be a truth value and a code, it is not")
    return answer["accepted"], answer["code"]


def _connect(path: str) -> socket.socket:
    for tries_left in reversed(range(CONNECT_TRIES)):
        vault = socket.socket(socket.AF_UNIX)
        try:
            vault.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            vault.close()
            if not tries_left:
                raise
            time.sleep(CONNECT_AGAIN_S)
        else:
            return vault
    raise AssertionError


def answer_order(message: Message, context: Context) -> Message:
    """Answer one order."""
    try:
        order = read_order(message.content)
    except PeerError:
        content = answer_content(False, RefusalCode.PLAN.value)
        return Message(content, reply_to=message)
    try:
        content = answer_content(*ask_vault(str(context.node_config["vault"]), order))
    except (OSError, PeerError):
        content = answer_content(False, RefusalCode.UNAVAILABLE.value)
    return Message(content, reply_to=message)


app = ClientApp()
app.query()(answer_order)
