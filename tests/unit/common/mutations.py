"""Hostile bytes with the structure of true messages, for every kind that a peer may send.

Hypothesis draws a seed alone and the tree follows from it: drawing every leaf costs a hundred times
as much. A failure names its seed.
"""

import random
import types
import typing
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

import rfc8785
from hypothesis import strategies as st

from comity_common.agreement import Agreement
from comity_common.membership import EnrolmentRequest, OperatorCard, Withdrawal
from comity_common.secagg import messages

KINDS: list[type] = [
    *(one for one in vars(messages).values() if isinstance(one, type) and is_dataclass(one)),
    Agreement,
    EnrolmentRequest,
    OperatorCard,
    Withdrawal,
]

INTEGERS = (0, 1, 2, 3, -1, 32, 300, 2**31, 2**53 - 1, 2**53, -(2**53))
TEXTS = ("", "inst-00", "0" * 64, "ab" * 32, "train", "../x", "\x00", "\ud800", "é", "DE")
DECIMALS = ("0", "1", "-1", "1.5", "1E+9", "NaN", "Infinity", "0.10", "9" * 60, "")
BASE64 = ("", "AA==", "A" * 43 + "=", "AB==", "A", "====", "-_==", "A" * 2000)
JUNK = (None, True, 0, -1, 2**70, "", "x", [], [[]], {}, {"a": 1}, {"": None}, [None, {}])
PIECES = (
    b"",
    b"[" * 5000,
    b"9" * 5000,
    b'{"a":' * 3000,
    b"\xff",
    b"1e9",
    b"NaN",
    b"\0",
    b" ",
    b'"',
)
ODDS = 0.04  # that a place holds junk

SEEDS = st.integers(0, 2**32)


def message_bytes(kind: type, seed: int) -> bytes:
    """Write what is nearly a message of a kind; half of the time then damage it."""
    chance = random.Random(seed)
    tree = _tree(kind, chance, ODDS if chance.random() < 0.7 else 0)
    try:
        raw = rfc8785.dumps(tree)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        raw = repr(tree).encode("utf-8", "surrogatepass")
    return damaged(raw, seed) if chance.random() < 0.5 else raw


def damaged(raw: bytes, seed: int) -> bytes:
    """Change, cut or lengthen bytes at one to three places."""
    chance = random.Random(seed)
    for _ in range(chance.choice([1, 1, 2, 3])):
        at = chance.randrange(len(raw) + 1)
        to = at + chance.choice([0, 1, 1, 2, 8, len(raw)])
        new = chance.choice(PIECES) if chance.random() < 0.5 else chance.randbytes(to - at & 7)
        raw = raw[:at] + new + raw[to:]
    return raw


def _tree(kind: Any, chance: random.Random, odds: float) -> Any:
    if chance.random() < odds:
        return chance.choice(JUNK)
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        inner = next(arg for arg in typing.get_args(kind) if arg is not type(None))
        return None if chance.random() < 0.3 else _tree(inner, chance, odds)
    if origin is tuple:
        item = typing.get_args(kind)[0]
        return [_tree(item, chance, odds) for _ in range(chance.randrange(4))]
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        tree = {f.name: _tree(hints[f.name], chance, odds) for f in fields(kind)}
        if chance.random() < odds:
            tree.pop(chance.choice(list(tree)))
        return tree
    plain = getattr(kind, "__supertype__", kind)
    if isinstance(plain, type) and issubclass(plain, StrEnum):
        return chance.choice([one.value for one in plain])
    pool = {bool: (False, True), int: INTEGERS, str: TEXTS, bytes: BASE64, Decimal: DECIMALS}[plain]
    return chance.choice(pool[: 3 if odds == 0 else len(pool)])
