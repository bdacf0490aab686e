"""Every message of `comity-sum/1`, as the frozen dataclass whose canonical bytes are signed.

The closed list of what may cross the wire outside the masked sections: a field that is not here
does not exist. All values are functions of the agreement, of public events and of fresh
randomness; none depends on a row. Lists run over the round's participants (or the epoch's members)
in the order of their ids, so that index and institution are the same thing everywhere.
"""

from dataclasses import dataclass
from decimal import Decimal

from comity_common.errors import LocalError, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.kinds import RoundKind


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochOpen:
    """Operator → members: make fresh keys for this key epoch."""

    agreement: Digest
    epoch: int
    members: tuple[InstitutionId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochKey:
    """Member → all: the public key that halves are sealed to, 1216 bytes."""

    agreement: Digest
    epoch: int
    institution: InstitutionId
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochHalves:
    """Member → all: one sealed 32-byte half per member, empty for itself."""

    agreement: Digest
    epoch: int
    institution: InstitutionId
    sealed: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochView:
    """Member → all: the digest of all keys and halves that it saw."""

    agreement: Digest
    epoch: int
    institution: InstitutionId
    view: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Operator → participants: the signed terms of one round.

    All but `round`, `participants`, `previous`, `model` and `nonce` follows from the agreement and
    is recomputed by every institution. The deadline is outside, so that it can be extended.

    Attributes:
        previous: digest of the previous certificate's body, at first the agreement's.
        model: digest of the model state that training starts from, or that is scored.
        threshold, minimum: t and m.
        lanes: number of summed coordinates, without canaries.
        lane_bound: L, so that n · L does not wrap.
        range: R, the size of a coordinate that maps to L.
        sampling_probability, noise_multiplier, clip_norm, steps: of the mechanism that each
            participant runs; the clip of a score is that of its loss.
    """

    agreement: Digest
    epoch: int
    round: int
    participants: tuple[InstitutionId, ...]
    previous: Digest
    model: Digest
    nonce: bytes
    kind: RoundKind
    threshold: int
    minimum: int
    ring_width: int
    lanes: int
    lane_bound: int
    range: Decimal
    sampling_probability: Decimal
    noise_multiplier: Decimal
    clip_norm: Decimal
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Institution → operator → survivors: what an upload is, before any of its bytes.

    Attributes:
        size: bytes of the masked vector.
        root: of its chunks.
        commitments: per participant, to the pair seed; in its own slot to the self seed.
        shares: per participant, the digest of the share dealt to it.
    """

    plan: Digest
    institution: InstitutionId
    size: int
    root: bytes
    commitments: tuple[bytes, ...]
    shares: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Institution → operator: the boxes that go with a header.

    Attributes:
        boxes: per participant, the digest of its box; empty in the own slot.
        keys: per participant, the digest of the box's key, so that a complaint can be judged and
            nobody framed; empty in the own slot.
    """

    header: Digest
    boxes: tuple[bytes, ...]
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Operator → institution: the whole upload with this header is here."""

    header: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """Operator → participants: uploads of this plan are waited for until then at least.

    Attributes:
        until: seconds since 1970, by the operator's clock.
    """

    plan: Digest
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Survivors:
    """Operator → survivors: whose vectors are summed; never who was dropped.

    Attributes:
        headers: digest of each survivor's header, in the order of `survivors`.
        uploads: digest of each survivor's upload message, so that a complaint stands on boxes that
            the operator, too, has signed for.
    """

    plan: Digest
    survivors: tuple[InstitutionId, ...]
    headers: tuple[Digest, ...]
    uploads: tuple[Digest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """A share that did not match its digest: the box's key, so that anyone can look."""

    dealer: InstitutionId
    box_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reveal:
    """Survivor → operator: its shares of what still masks the sum, and no more.

    Attributes:
        shares: per survivor as dealer, in order: the slot of its self seed, then the slots of its
            pair seeds with every dropped institution, 32 bytes each; empty if complained about.
    """

    survivors: Digest
    institution: InstitutionId
    shares: tuple[bytes, ...]
    complaints: tuple[Complaint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateBody:
    """Operator → all: how a round ended; the chain of rounds runs over these bodies.

    Attributes:
        survivors: empty for a void round.
        total: root of the summed vector's chunks; empty for a void round.
        reason: empty, or why the round is void.
    """

    agreement: Digest
    epoch: int
    round: int
    plan: Digest
    survivors: tuple[InstitutionId, ...]
    total: bytes
    reason: str

    def __post_init__(self) -> None:
        expected = (32, False) if self.survivors else (0, True)
        if (len(self.total), bool(self.reason)) != expected:
            raise LocalError("expected survivors and a total, or else a reason")

    @property
    def void(self) -> bool:
        """Whether the round left the model unchanged."""
        return not self.survivors


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsement:
    """Institution → all: it computed this next model from this certificate itself."""

    agreement: Digest
    epoch: int
    round: int
    institution: InstitutionId
    certificate: Digest
    model: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """Institution → operator: it takes no further part in a round."""

    agreement: Digest
    round: int
    plan: Digest
    institution: InstitutionId
    code: RefusalCode
