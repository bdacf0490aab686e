"""Entries as bytes: an in-toto Statement v1 in a signed envelope, in one spelling.

    envelope  payload, payloadType, signatures           (DSSE, `envelopes`)
    payload   _type, subject, predicateType, predicate   (in-toto Statement v1)
    predicate version, institution, generation, sequence, time, body

Tools that know in-toto find by `subject` what an entry is about: the digest of what crossed a
border, of a plan, of an agreement. `predicateType` names the kind of entry, and so the fields of
its body (`bodies`).
"""

import re
from dataclasses import dataclass, fields, make_dataclass
from functools import cache
from hashlib import sha256
from typing import Any, get_type_hints

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from comity_common.canonical import decode, encode
from comity_common.errors import LocalError, PeerError
from comity_common.ledger.bodies import BODIES, Body, EntryKind
from comity_common.ledger.entries import Entry
from comity_common.ledger.envelopes import open_envelope, seal

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:comity:ledger:1:"
MAX_ENTRY_BYTES = 1 << 20
_KIND = re.compile(rb'"predicateType":"urn:comity:ledger:1:([a-z.]{1,40})"')
_SUBJECTS = (
    *("digest", "released", "evidence", "certificate", "model", "root", "party"),
    *("plan", "commitment", "policy", "agreement"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sha256:
    """A digest in in-toto's words."""

    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a statement is about."""

    name: str
    digest: Sha256


def write(entry: Entry, key: Ed25519PrivateKey) -> bytes:
    """Sign an entry: the bytes of a leaf.

    Args:
        key: with which the ledger's owner signs entries, and nothing else.

    Raises:
        LocalError: an entry of more than 1 MiB.
    """
    raw = seal(encode(_statement(entry)), key)
    if len(raw) > MAX_ENTRY_BYTES:
        raise LocalError("expected an entry of at most 1 MiB")
    return raw


def read(raw: bytes, public: bytes) -> Entry:
    """Check the signature of an entry and read it.

    Args:
        public: 32 bytes, the owner's key for entries.

    Raises:
        PeerError: not signed with it, not the one spelling, or of no kind that is known here.
    """
    if len(raw) > MAX_ENTRY_BYTES:
        raise PeerError("expected an entry of at most 1 MiB")
    payload = open_envelope(raw, public)
    kinds = _KIND.findall(payload)
    if not kinds or kinds[-1].decode() not in BODIES:
        raise PeerError("expected an entry of a kind that this release knows")
    kind = EntryKind(kinds[-1].decode())
    statement = decode(_statement_type(kind), payload)
    predicate = statement.predicate
    try:
        entry = Entry(**{name.name: getattr(predicate, name.name) for name in fields(Entry)})
    except LocalError as error:
        raise PeerError(str(error)) from None
    about = (STATEMENT, (subject(entry.body),), PREDICATE + kind)
    if (statement._type, statement.subject, statement.predicateType) != about:
        raise PeerError("expected a statement about what its entry is about")
    return entry


def subject(body: Body) -> Subject:
    """Name what an entry is about: an artefact, else the agreement, else the entry's own body."""
    for name in _SUBJECTS:
        if digest := getattr(body, name, ""):
            return Subject(name=name, digest=Sha256(sha256=digest))
    return Subject(name="body", digest=Sha256(sha256=sha256(encode(body)).hexdigest()))


def _statement(entry: Entry) -> Any:
    kind = entry.kind
    return _statement_type(kind)(
        _type=STATEMENT,
        subject=(subject(entry.body),),
        predicateType=PREDICATE + kind,
        predicate=entry,
    )


@cache
def _statement_type(kind: EntryKind) -> Any:
    """Build the shape of a statement of one kind, whose body has that kind's own fields."""
    hints = get_type_hints(Entry) | {"body": BODIES[kind]}
    shape: dict[str, Any] = {"frozen": True, "kw_only": True}
    predicate = make_dataclass(
        "Entry", [(one.name, hints[one.name]) for one in fields(Entry)], **shape
    )
    statement: list[tuple[str, Any]] = [
        ("_type", str),
        ("subject", tuple[Subject, ...]),
        ("predicateType", str),
        ("predicate", predicate),
    ]
    return make_dataclass("Statement", statement, **shape)
