"""Canonical bytes of a message: a frozen dataclass as RFC 8785 JSON, and back, strictly.

What is signed, hashed or stored is always the bytes; a type is only trusted when it came out of
`decode`, which accepts exactly the bytes that `encode` would have written. So there are no two
spellings of one message: unknown, missing or doubled keys, other white space, another number
format or base64 alphabet, all raise `PeerError`.

Field types: `str`, `int` (below 2**53 in size), `bool`, `bytes` (base64), `Decimal` (a string, so
that nobody rounds it), `StrEnum`, another dataclass, `tuple[T, ...]` and `T | None`.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True, slots=True, kw_only=True)
... class Ping:
...     round: int
...     nonce: bytes
>>> encode(Ping(round=7, nonce=b"ab"))
b'{"nonce":"YWI=","round":7}'
>>> decode(Ping, b'{"nonce":"YWI=","round":7}')
Ping(round=7, nonce=b'ab')
"""

import base64
import binascii
import json
import types
import typing
from dataclasses import fields, is_dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import cache
from typing import Any, NoReturn, TypeVar

import rfc8785

from comity_common.errors import LocalError, PeerError

MAX_INTEGER = 2**53 - 1  # RFC 8785 §3.2.2.3: IEEE doubles are exact up to here
MAX_DECIMAL_DIGITS = 40
MAX_REASON = 200  # characters

T = TypeVar("T")


def encode(message: object) -> bytes:
    """Write a dataclass as canonical JSON (RFC 8785).

    Raises:
        LocalError: a field has a type or a value that has no canonical form.
    """
    try:
        return rfc8785.dumps(_plain(message))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise LocalError(f"no canonical form of {type(message).__name__}: {error}") from None


def decode(kind: type[T], raw: bytes) -> T:
    """Read exactly what `encode` writes for `kind`.

    Raises:
        PeerError: `raw` is anything else.
    """
    try:
        tree = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_no_doubled_keys,
            parse_float=_no_fraction,
            parse_constant=_no_fraction,
        )
    except PeerError:
        raise
    except (ValueError, RecursionError):
        raise PeerError(f"expected canonical JSON of {kind.__name__}") from None
    message: T = _typed(kind, tree, kind.__name__)
    try:
        same = encode(message) == raw
    except LocalError:
        same = False
    if not same:
        raise PeerError(f"expected the canonical bytes of {kind.__name__}")
    return message


def _plain(value: object) -> Any:
    match value:
        case bool() | None:
            return value
        case StrEnum():
            return value.value
        case str():
            return value
        case int():
            if abs(value) > MAX_INTEGER:
                raise LocalError("expected an integer below 2**53 in size")
            return value
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case Decimal():
            return _decimal_text(value)
        case tuple():
            return [_plain(item) for item in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            raise LocalError(f"expected a canonical type, got {type(value).__name__}")


def _decimal_text(value: Decimal) -> str:
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or exponent < -MAX_DECIMAL_DIGITS:
        raise LocalError("expected a finite decimal with at most 40 places")
    if len(digits) + max(exponent, 0) > MAX_DECIMAL_DIGITS:
        raise LocalError("expected a decimal of at most 40 digits")
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def _typed(kind: Any, tree: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        inner = next(arg for arg in typing.get_args(kind) if arg is not type(None))
        return None if tree is None else _typed(inner, tree, where)
    if origin is tuple:
        if not isinstance(tree, list):
            _wrong(where, "a list")
        item = typing.get_args(kind)[0]
        return tuple(_typed(item, element, where) for element in tree)
    if is_dataclass(kind):
        return _typed_dataclass(kind, tree, where)
    # NewType ids carry their plain type.
    return _typed_scalar(getattr(kind, "__supertype__", kind), tree, where)


def _typed_dataclass(kind: Any, tree: Any, where: str) -> Any:
    hints = _hints(kind)
    if not isinstance(tree, dict) or tree.keys() != hints.keys():
        _wrong(where, "exactly the fields of " + kind.__name__)
    values = {name: _typed(hint, tree[name], f"{where}.{name}") for name, hint in hints.items()}
    try:
        return kind(**values)
    except LocalError as error:  # a __post_init__ that checks its own values
        raise PeerError(f"{where}: {_shown(error)}") from None


def _typed_scalar(kind: Any, tree: Any, where: str) -> Any:
    if kind is bool or kind is int:
        if type(tree) is not kind:
            _wrong(where, kind.__name__)
        return tree
    if not isinstance(tree, str):
        _wrong(where, "a string")
    try:
        if kind is str:
            return tree
        if kind is bytes:
            return base64.b64decode(tree, validate=True)
        if kind is Decimal:
            return _decimal(tree)
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return kind(tree)
    except (ValueError, binascii.Error, InvalidOperation):
        _wrong(where, f"a {kind.__name__}")
    raise LocalError(f"{where} has a type without a canonical form")


def _decimal(text: str) -> Decimal:
    """Read a decimal in its one spelling; before it is, nobody reckons with it.

    Raises:
        ValueError, InvalidOperation: it is none.
    """
    value = Decimal(text)
    try:
        is_canonical = _decimal_text(value) == text
    except LocalError:
        is_canonical = False
    if not is_canonical:
        raise ValueError
    return value


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _shown(error: LocalError) -> str:
    """Word a value's error so that what a peer wrote fills no screen and moves no cursor."""
    signs = str(error)[:MAX_REASON]
    return "".join(sign if sign.isprintable() else "?" for sign in signs)


def _no_doubled_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise PeerError("expected every key once")
    return tree


def _no_fraction(text: str) -> NoReturn:
    raise PeerError("expected no floating-point number")


def _wrong(where: str, expected: str) -> NoReturn:
    raise PeerError(f"{where}: expected {expected}")
