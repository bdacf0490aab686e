"""Size and digest of what crosses a border, the same on both sides: `egress` and `ingress`."""

from collections.abc import Sequence
from dataclasses import dataclass

from comity_common.canonical import decode
from comity_common.crypto.derive import digest
from comity_common.ids import Digest
from comity_common.secagg.messages import Header


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
