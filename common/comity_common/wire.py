"""The only place that turns protobuf messages into typed values and back.

A protobuf message is a carrier: what is inside its envelopes is verified and decoded by the code
that knows the sender's keys.
"""

from collections.abc import Sequence
from typing import TypeAlias

from comity.v1 import transfer_pb2 as pb
from comity_common.crypto.sign import Signed
from comity_common.errors import PeerError
from comity_common.ids import Digest

MAX_MESSAGE_BYTES = 32 << 20  # 100 headers of 100 participants with their boxes, and a margin

ParcelKind: TypeAlias = pb.ParcelKind.ValueType


def envelope(signed: Signed) -> pb.Envelope:
    """Pack a signed message."""
    return pb.Envelope(body=signed.body, signature=signed.signature)


def signed(envelope: pb.Envelope) -> Signed:
    """Unpack a signed message; nothing is checked yet."""
    return Signed(body=envelope.body, signature=envelope.signature)


def parcel(
    agreement: Digest,
    kind: ParcelKind,
    messages: Sequence[Signed],
    boxes: Sequence[bytes] = (),
    sequence: int = 0,
) -> pb.Parcel:
    """Pack signed messages of one kind."""
    return pb.Parcel(
        sequence=sequence,
        agreement=agreement,
        kind=kind,
        envelopes=[envelope(message) for message in messages],
        boxes=boxes,
    )


def only(parcel: pb.Parcel) -> Signed:
    """Take the single message of a parcel.

    Raises:
        PeerError: it holds none, or several, or boxes.
    """
    if len(parcel.envelopes) != 1 or parcel.boxes:
        raise PeerError(f"expected one message, got {len(parcel.envelopes)}")
    return signed(parcel.envelopes[0])


def digest_of(text: str) -> Digest:
    """Read a digest from the wire.

    Raises:
        PeerError: it is not 64 lower-case hexadecimal digits.
    """
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise PeerError("expected a digest of 64 hexadecimal digits")
    return Digest(text)
