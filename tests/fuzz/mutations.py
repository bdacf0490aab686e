"""Hostile bytes: made from a message's type, or from a valid sample with some of it changed.

Hypothesis draws a seed alone and all follows from it: drawing every leaf costs a hundred times as
much. A failure names its seed.
"""

import json
import random
import types
import typing
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

import rfc8785
from hypothesis import strategies as st

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
    return damaged(raw, chance) if chance.random() < 0.5 else raw


def damaged(raw: bytes, chance: random.Random) -> bytes:
    """Change, cut or lengthen bytes at one to three places."""
    for _ in range(chance.choice([1, 1, 2, 3])):
        at = chance.randrange(len(raw) + 1)
        to = at + chance.choice([0, 1, 1, 2, 8, len(raw)])
        new = chance.choice(PIECES) if chance.random() < 0.5 else chance.randbytes(to - at & 7)
        raw = raw[:at] + new + raw[to:]
    return raw


def altered(raw: bytes, chance: random.Random) -> bytes:
    """Change one to three fields of a JSON text and write it canonically again, so that it decodes.

    What is no JSON, and now and then what is, is damaged instead.
    """
    try:
        tree = json.loads(raw)
    except (ValueError, RecursionError):
        return damaged(raw, chance)
    if chance.random() < 0.1:
        return damaged(raw, chance)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        tree = _altered(tree, chance)
    try:
        return rfc8785.dumps(tree)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        return json.dumps(tree).encode()


def _altered(tree: Any, chance: random.Random) -> Any:
    """Change one node: one below, or this one."""
    if isinstance(tree, dict) and tree and chance.random() < 0.95:
        key = chance.choice(list(tree))
        if chance.random() < 0.03:
            return {name: value for name, value in tree.items() if name != key}
        return tree | {key: _altered(tree[key], chance)}
    if isinstance(tree, list) and tree and chance.random() < 0.8:
        at = chance.randrange(len(tree))
        return [*tree[:at], _altered(tree[at], chance), *tree[at + 1 :]]
    return _other(tree, chance)


def _other(value: Any, chance: random.Random) -> Any:
    """Choose another value, mostly of the same type."""
    if chance.random() < 0.05:
        return chance.choice(JUNK)
    match value:
        case bool():
            return not value
        case int():
            return chance.choice([*INTEGERS, value + 1, value - 1])
        case str():
            return chance.choice([*TEXTS, *DECIMALS, *BASE64, _near(value, chance)])
        case list():
            return _relisted(value, chance)
        case None:
            return chance.choice([0, "", {}, []])
        case _:
            return chance.choice(JUNK)


def _relisted(items: list[Any], chance: random.Random) -> list[Any]:
    """Drop, double, move or multiply what a list holds."""
    if not items:
        return [chance.choice(JUNK)]
    at = chance.randrange(len(items))
    return chance.choice(
        [
            [],
            items[:at] + items[at + 1 :],
            [*items, items[at]],
            [items[at], *items[:at], *items[at + 1 :]],
            items[::-1],
            items * 20,
        ]
    )


def _near(text: str, chance: random.Random) -> str:
    """Change one sign of a text, or its length."""
    if not text:
        return "a"
    at = chance.randrange(len(text))
    sign = chance.choice("0aAf9z+/=-.\x1b")
    return chance.choice([text[:at] + sign + text[at + 1 :], text[:at] + text[at + 1 :], text * 2])


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
