"""What the operator puts into mailboxes: the closed list of what an institution is ever sent.

An invitation to a key epoch, the members' messages of each of its steps, a survivor list with the
receiver's own boxes, how long uploads are waited for, how a round ended, and what witnesses say to
each other. Who was dropped is never sent.
"""

from collections.abc import Sequence

from comity.v1 import transfer_pb2 as pb
from comity_common.crypto.sign import Signed
from comity_common.ids import Digest
from comity_common.wire import ParcelKind, parcel


def epoch_open(agreement: Digest, opened: Signed) -> pb.Parcel:
    """Invite to a key epoch."""
    return parcel(agreement, pb.PARCEL_KIND_EPOCH_OPEN, [opened])


def epoch_keys(agreement: Digest, messages: Sequence[Signed]) -> pb.Parcel:
    """Relay every member's key."""
    return parcel(agreement, pb.PARCEL_KIND_EPOCH_KEYS, messages)


def epoch_halves(agreement: Digest, messages: Sequence[Signed]) -> pb.Parcel:
    """Relay every member's sealed halves."""
    return parcel(agreement, pb.PARCEL_KIND_EPOCH_HALVES, messages)


def epoch_views(agreement: Digest, messages: Sequence[Signed]) -> pb.Parcel:
    """Relay every member's view: the epoch is ready."""
    return parcel(agreement, pb.PARCEL_KIND_EPOCH_VIEWS, messages)


def survivors(
    agreement: Digest,
    listed: Signed,
    headers: Sequence[Signed],
    uploads: Sequence[Signed],
    boxes: Sequence[bytes],
) -> pb.Parcel:
    """Ask a survivor for its shares.

    Args:
        headers, uploads: of all survivors, in order.
        boxes: per survivor, the one for the receiver; empty in its own slot.
    """
    return parcel(agreement, pb.PARCEL_KIND_SURVIVORS, [listed, *headers, *uploads], boxes)


def deadline(agreement: Digest, until: Signed) -> pb.Parcel:
    """Say how long uploads are waited for."""
    return parcel(agreement, pb.PARCEL_KIND_DEADLINE, [until])


def certificate(
    agreement: Digest, body: Signed, plan: Signed, endorsements: Sequence[Signed] = ()
) -> pb.Parcel:
    """Tell how a round ended; with endorsements to those who were not among the survivors."""
    return parcel(agreement, pb.PARCEL_KIND_CERTIFICATE, [body, plan, *endorsements])


def agreement_moved(agreement: Digest) -> pb.Parcel:
    """Say that something about an agreement moved, and no more."""
    return parcel(agreement, pb.PARCEL_KIND_AGREEMENT_MOVED, [])


def from_witness(agreement: Digest, kind: ParcelKind, message: Signed) -> pb.Parcel:
    """Relay a head to cosign, a cosignature, or an objection."""
    return parcel(agreement, kind, [message])
