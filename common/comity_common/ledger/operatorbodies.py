"""What the operator's ledger can say besides what institutions' ledgers do.

Who was let in, what ran, how rounds ended, which models went out, and the heads of the
institutions' ledgers.
"""

from dataclasses import dataclass
from enum import StrEnum

from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.forms import (
    check_counters,
    check_country,
    check_digest,
    check_nonce,
)


class Ending(StrEnum):
    """How a run of an agreement ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberApprove:
    """The operator let an institution in.

    Attributes:
        jurisdiction: ISO 3166-1 alpha-2.
        party: digest of its name, country and keys.
    """

    institution: InstitutionId
    jurisdiction: str
    party: Digest

    def __post_init__(self) -> None:
        check_digest(self.party)
        check_country(self.jurisdiction)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRevoke:
    """The operator turned an institution away."""

    institution: InstitutionId


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementStart:
    """The operator let a signed agreement run, or go on."""

    agreement: Digest

    def __post_init__(self) -> None:
        check_digest(self.agreement)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementEnd:
    """A run of an agreement ended; one that stopped may be started again."""

    agreement: Digest
    ending: Ending

    def __post_init__(self) -> None:
        check_digest(self.agreement)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlan:
    """The operator began a round."""

    agreement: Digest
    epoch: int
    round: int
    plan: Digest

    def __post_init__(self) -> None:
        check_digest(self.agreement)
        check_digest(self.plan)
        check_counters(self.epoch, self.round)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundCertificate:
    """The operator signed how a round ended.

    Attributes:
        certificate: digest of its body.
        is_void: whether it ended without a sum.
        model: digest of the model state from then on.
    """

    agreement: Digest
    epoch: int
    round: int
    plan: Digest
    certificate: Digest
    is_void: bool
    model: Digest

    def __post_init__(self) -> None:
        for one in (self.agreement, self.plan, self.certificate, self.model):
            check_digest(one)
        check_counters(self.epoch, self.round)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRelease:
    """A model went to all institutions of an agreement."""

    agreement: Digest
    round: int
    model: Digest

    def __post_init__(self) -> None:
        check_digest(self.agreement)
        check_digest(self.model)
        check_counters(self.round)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head of another party's ledger, as this one witnessed it.

    Attributes:
        generation: 16 bytes.
        size: number of its entries.
        root: digest of the tree over them.
    """

    institution: InstitutionId
    generation: bytes
    size: int
    root: Digest

    def __post_init__(self) -> None:
        check_nonce(self.generation)
        check_digest(self.root)
        check_counters(self.size)
