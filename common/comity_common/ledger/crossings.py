"""Size and digest of what crosses a border, the same on both sides: `egress` and `ingress`."""

from collections.abc import Sequence
from dataclasses import dataclass

from comity_common.agreement import Agreement
from comity_common.canonical import decode
from comity_common.chunks import CHUNK_BYTES
from comity_common.crypto.derive import DIGEST_BYTES, digest
from comity_common.ids import Digest
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.masking import vector_bytes
from comity_common.secagg.messages import Header
from comity_common.secagg.plan import lanes_of


@dataclass(frozen=True, slots=True)
class Crossing:
    """What a message is known by on both sides.

    Attributes:
        size_bytes: of its payload.
        digest: of its payload; of an upload, of all that its header does not cover itself.
    """

    size_bytes: int
    digest: Digest


def of_message(payload: bytes) -> Crossing:
    """Measure a message: the bytes of its request, as they are serialised."""
    return Crossing(len(payload), Digest(digest("egress", payload).hex()))


def of_upload(
    header: bytes, upload: bytes, boxes: Sequence[bytes], leaves: Sequence[bytes]
) -> Crossing:
    """Measure an upload: header, promise of boxes, boxes, chunk hashes, and the masked vector.

    The vector is in the digest by the root in its header.

    Raises:
        PeerError: the header is none.
    """
    parts = (header, upload, *boxes, *leaves)
    size = decode(Header, header).size + sum(map(len, parts))
    return Crossing(size, Digest(digest("egress-upload", *parts).hex()))


def upload_sizes(agreement: Agreement, kind: RoundKind) -> range:
    """Return how many bytes an upload may have: its masked vector, and what must go with it.

    That is a header and a promise with a digest for each participant, one box for each, which
    holds a share for each, and a hash for each chunk.
    """
    vector = vector_bytes(lanes_of(agreement, kind), agreement.aggregation.ring_width)
    n, chunks = len(agreement.institutions), -(-vector // CHUNK_BYTES)
    beside = (4 << 10) + 512 * n + 36 * n**2 + DIGEST_BYTES * chunks
    return range(vector, vector + beside + 1)
