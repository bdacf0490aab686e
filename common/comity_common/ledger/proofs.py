"""Proofs of a single entry: `.tlog-proof` files (C2SP tlog-proof).

One fact can be shown without the ledger around it: the entry, its place, the hashes on its way to
the root, and the signed head with its cosignatures.

>>> from comity_common.ledger.tree import Tree
>>> tree = Tree([b"first", b"second", b"third"])
>>> proof = Proof(extra=b"second", index=1, path=tree.inclusion(1), note=b"...")
>>> read_proof(proof.to_bytes()) == proof
True
"""

import base64
import binascii
import re
from dataclasses import dataclass

from comity_common.errors import LocalError, PeerError
from comity_common.ledger.notes import MAX_NOTE_BYTES
from comity_common.ledger.tree import HASH_BYTES, MAX_PATH

MAGIC = "c2sp.org/tlog-proof@v1"
MAX_EXTRA_BYTES = 1 << 20
MAX_PROOF_BYTES = MAX_NOTE_BYTES + 2 * MAX_EXTRA_BYTES
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """That an entry is in a log; nothing is checked yet.

    Attributes:
        extra: the entry's own bytes, at most 1 MiB; none where the reader has them.
        index: of the entry, from 0.
        path: hashes of 32 bytes, the leaf's sibling first.
        note: bytes of the signed head.
    """

    extra: bytes
    index: int
    path: tuple[bytes, ...]
    note: bytes

    def __post_init__(self) -> None:
        if len(self.extra) > MAX_EXTRA_BYTES or not 0 <= self.index < 2**63:
            raise LocalError("expected an entry of at most 1 MiB and an index from 0")
        if len(self.path) > MAX_PATH or any(len(node) != HASH_BYTES for node in self.path):
            raise LocalError(f"expected at most {MAX_PATH} hashes of 32 bytes")

    def to_bytes(self) -> bytes:
        """Write it."""
        lines = [MAGIC]
        if self.extra:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines.extend(base64.b64encode(node).decode() for node in self.path)
        return "\n".join([*lines, "", ""]).encode() + self.note


def read_proof(raw: bytes) -> Proof:
    """Take a proof apart; nothing is checked yet.

    Raises:
        PeerError: it is none, or too large.
    """
    wrong = PeerError("expected a proof of an entry (c2sp.org/tlog-proof@v1)")
    head, separator, note = raw.partition(b"\n\n")
    if len(raw) > MAX_PROOF_BYTES or not separator:
        raise wrong
    try:
        magic, *lines = head.decode("ascii").split("\n")
        extra = b""
        if lines and lines[0].startswith("extra "):
            extra = base64.b64decode(lines.pop(0).removeprefix("extra "), validate=True)
        index = _INDEX.fullmatch(lines.pop(0)) if lines else None
        if magic != MAGIC or index is None:
            raise wrong
        path = tuple(base64.b64decode(line, validate=True) for line in lines)
        proof = Proof(extra=extra, index=int(index[1]), path=path, note=note)
    except (binascii.Error, LocalError, ValueError):
        raise wrong from None
    if proof.to_bytes() != raw:
        raise wrong
    return proof
