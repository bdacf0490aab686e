"""What a ledger entry can say: one frozen dataclass for each kind of entry.

Every field is a function of the agreement, of the institution's policy and of public events, or
a random id: never of rows. There are no sizes of data sets, batch sizes, losses or durations.
A body once written keeps its meaning: later versions add kinds and optional fields only.

Where a field may be empty it says so; an empty digest is the empty string, a missing nonce is
no bytes.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from comity_common.dp.terms import Gate, Guarantee, SampledGaussian, Unit, check_order
from comity_common.errors import LocalError, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.forms import NONCE_BYTES as NONCE_BYTES
from comity_common.ledger.forms import (
    check_counters,
    check_crossing,
    check_dataset,
    check_digest,
    check_namespace,
    check_nonce,
    check_payload,
    check_text,
)
from comity_common.ledger.operatorbodies import (
    AgreementEnd,
    AgreementStart,
    Head,
    MemberApprove,
    MemberRevoke,
    ModelRelease,
    RoundCertificate,
    RoundPlan,
)

NO_AGREEMENT = Digest("0" * 64)  # stands for any that a vault does not know, after a backup
MAX_TESTS = 100

DatasetId = NewType("DatasetId", str)
"""A registered data set: 32 lower-case hexadecimal digits, drawn at random."""

NamespaceId = NewType("NamespaceId", str)
"""What has one budget, all data sets of the same rows or persons: 32 such digits."""

TEST_PATTERN = re.compile(r"[a-z][a-z-]{0,39}")


class EntryKind(StrEnum):
    """Everything that is worth an entry: a closed list."""

    GENESIS = "genesis"
    KEY_ROTATE = "key.rotate"
    POLICY_SET = "policy.set"
    AGREEMENT_SIGN = "agreement.sign"
    DATASET_REGISTER = "dataset.register"
    BUDGET_GRANT = "budget.grant"
    BUDGET_RESERVE = "budget.reserve"
    BUDGET_CHARGE = "budget.charge"
    BUDGET_REFUND = "budget.refund"
    ROUND_JOIN = "round.join"
    ROUND_COMPLAINT = "round.complaint"
    ROUND_VOID = "round.void"
    EGRESS = "egress"
    INGRESS = "ingress"
    SELFTEST = "selftest"
    REFUSAL = "refusal"
    ERASURE = "erasure"
    RESTORE = "restore"
    NOTE = "note"
    MEMBER_APPROVE = "member.approve"
    MEMBER_REVOKE = "member.revoke"
    AGREEMENT_START = "agreement.start"
    AGREEMENT_END = "agreement.end"
    ROUND_PLAN = "round.plan"
    ROUND_CERTIFICATE = "round.certificate"
    MODEL_RELEASE = "model.release"
    HEAD = "head"


class Outcome(StrEnum):
    """How a reserve was charged. Either way it is spent."""

    RELEASED = "released"
    FORFEITED = "forfeited"


class Verdict(StrEnum):
    """How a self-test ended."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"


class RefundReason(StrEnum):
    """Why steps that were provably not begun are given back: a closed list of public events."""

    ROUND_VOID = "round-void"
    OVERTAKEN = "overtaken"
    WITHDRAWN = "withdrawn"


class Traffic(StrEnum):
    """Why a message may cross the border of the vault."""

    MECHANISM = "mechanism"
    CONTROL = "control"


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """The ledger begins.

    Attributes:
        nonce: 16 random bytes, so that two ledgers of one institution are two.
        software: name and version of what writes it.
    """

    nonce: bytes
    software: str

    def __post_init__(self) -> None:
        check_nonce(self.nonce)
        check_text(self.software)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySet:
    """The institution's own rules took effect; the rules stay at home."""

    policy: Digest

    def __post_init__(self) -> None:
        check_digest(self.policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementSign:
    """The institution signed an agreement."""

    agreement: Digest

    def __post_init__(self) -> None:
        check_digest(self.agreement)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRegister:
    """Rows may be trained on from now on, and count against the budget of a namespace.

    Attributes:
        namespace: what has the budget. Its first registration makes it.
        commitment: salted, to the rows; the salt stays at home.
        schema: digest of the kind of task and of the name of the key column, if there is one.
        unit: what the rows are, `person` where a key column names one for each.
        ceiling: of the namespace, for life. The first registration fixes it, each later one
            repeats it; it is what the institution claims about everything that ever left.
        parent: the data set of which these rows are a later version; empty for none.
    """

    dataset: DatasetId
    namespace: NamespaceId
    commitment: Digest
    schema: Digest
    unit: Unit
    ceiling: Guarantee
    parent: DatasetId

    def __post_init__(self) -> None:
        check_dataset(self.dataset)
        check_namespace(self.namespace)
        check_digest(self.commitment)
        check_digest(self.schema)
        if self.parent:
            check_dataset(self.parent)
        if self.parent == self.dataset:
            raise LocalError("expected a parent that is another data set")


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetGrant:
    """A part of a namespace's ceiling may be spent, at fixed terms.

    The same grant once more with a larger ε is a top-up; its other terms never change.

    Attributes:
        grant: 16 random bytes that name it.
        guarantee: the (ε, δ) that may be spent; None for a grant without privacy, which makes
            the namespace's ε infinite as soon as it is used.
        gate: the accountant; `none` without privacy.
        order: α of the Rényi filter, 2 to 256; 0 for other gates.
    """

    grant: bytes
    namespace: NamespaceId
    guarantee: Guarantee | None
    gate: Gate
    order: int

    def __post_init__(self) -> None:
        check_nonce(self.grant)
        check_namespace(self.namespace)
        if (self.guarantee is None) is not (self.gate is Gate.NONE):
            raise LocalError("expected a guarantee with every gate, and none without one")
        if self.gate is Gate.RENYI:
            check_order(self.order)
        elif self.order != 0:
            raise LocalError(f"expected order 0 without a Rényi filter, got {self.order}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetReserve:
    """A mechanism may now run once on a data set.

    Attributes:
        grant: what it counts against.
        nonce: 16 random bytes that name the reserve.
        epoch, round: of the plan it is for.
        unit: what the agreement protects; neighbours differ by one of it, added or removed.
        event: the mechanism in full.
        schedule: all mechanisms that the agreement may run, spare rounds included (T_max).
        guarantee: what the agreement claims for all of it; None where it claims nothing.
    """

    dataset: DatasetId
    grant: bytes
    nonce: bytes
    agreement: Digest
    epoch: int
    round: int
    unit: Unit
    event: SampledGaussian
    schedule: tuple[SampledGaussian, ...]
    guarantee: Guarantee | None

    def __post_init__(self) -> None:
        check_dataset(self.dataset)
        check_nonce(self.grant)
        check_nonce(self.nonce)
        check_digest(self.agreement)
        check_counters(self.epoch, self.round)
        if not self.schedule:
            raise LocalError("expected a schedule with at least one mechanism")


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetCharge:
    """A reserve is closed, and spent.

    Attributes:
        nonce: of the reserve.
        released: digest of what left; empty if forfeited.
    """

    nonce: bytes
    outcome: Outcome
    released: Digest

    def __post_init__(self) -> None:
        check_nonce(self.nonce)
        if self.outcome is Outcome.RELEASED:
            check_digest(self.released)
        elif self.released:
            raise LocalError("expected no digest with a forfeited reserve")


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRefund:
    """A reserve is closed, and given back: no noise was drawn, as a public event shows.

    Attributes:
        nonce: of the reserve.
        evidence: digest of the signed public event from which the reason follows.
    """

    nonce: bytes
    reason: RefundReason
    evidence: Digest

    def __post_init__(self) -> None:
        check_nonce(self.nonce)
        check_digest(self.evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundJoin:
    """A plan was accepted; every earlier round is closed for good."""

    agreement: Digest
    epoch: int
    round: int
    plan: Digest

    def __post_init__(self) -> None:
        check_digest(self.agreement)
        check_digest(self.plan)
        check_counters(self.epoch, self.round)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundComplaint:
    """This institution found a false share in the boxes of some dealers, and said so.

    Whether others could see it too is in the certificate's reason.

    Attributes:
        dealers: they, at least one, in order.
    """

    agreement: Digest
    epoch: int
    round: int
    plan: Digest
    dealers: tuple[InstitutionId, ...]

    def __post_init__(self) -> None:
        check_digest(self.agreement)
        check_digest(self.plan)
        check_counters(self.epoch, self.round)
        if not self.dealers or list(self.dealers) != sorted(set(self.dealers)):
            raise LocalError("expected dealers in order, each once")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundVoid:
    """A round ended without a sum.

    Attributes:
        reason: in the words of the operator's certificate, cut at 500 characters.
    """

    agreement: Digest
    epoch: int
    round: int
    plan: Digest
    reason: str

    def __post_init__(self) -> None:
        check_digest(self.agreement)
        check_digest(self.plan)
        check_counters(self.epoch, self.round)
        check_text(self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """A message is about to leave the vault; written before the socket is.

    Attributes:
        purpose: what for, in the agreement's words.
        receiver, jurisdiction: to whom and to which country (ISO 3166-1 alpha-2).
        traffic: `mechanism` if a reserve covers it; `control` if every value in it is a function
            of public inputs.
        message: the kind of message by name.
        size_bytes, digest: of the bytes that leave.
        round: absent outside a round.
        nonce: of the covering reserve; empty for `control`.
    """

    purpose: str
    receiver: InstitutionId
    jurisdiction: str
    traffic: Traffic
    message: str
    size_bytes: int
    digest: Digest
    round: int | None
    nonce: bytes

    def __post_init__(self) -> None:
        check_crossing(self.purpose, self.receiver, self.jurisdiction, self.message)
        check_payload(self.size_bytes, self.digest, self.round)
        if self.traffic is Traffic.MECHANISM:
            check_nonce(self.nonce)
        elif self.nonce:
            raise LocalError("expected no reserve with control traffic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingress:
    """A message arrived: the mirror of the sender's `Egress`.

    Attributes:
        sender, jurisdiction: from whom and from which country.
        nonce: of the sender's reserve if the message names it, else empty.
    """

    purpose: str
    sender: InstitutionId
    jurisdiction: str
    traffic: Traffic
    message: str
    size_bytes: int
    digest: Digest
    round: int | None
    nonce: bytes

    def __post_init__(self) -> None:
        check_crossing(self.purpose, self.sender, self.jurisdiction, self.message)
        check_payload(self.size_bytes, self.digest, self.round)
        if self.nonce:
            check_nonce(self.nonce)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The institution said no.

    Attributes:
        agreement: empty if unknown.
        round: absent outside a round.
    """

    code: RefusalCode
    agreement: Digest
    round: int | None

    def __post_init__(self) -> None:
        if self.agreement:
            check_digest(self.agreement)
        check_counters(self.round or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """The machinery of training was tried out on made-up rows alone.

    Attributes:
        verdict: `fail` if any test failed.
        tests: which were run, in order, each once.
        failed: which of them failed; none if the verdict is `pass`.
        attempt: 1, or 2 for the one repetition after an alarm.
        agreement: whose terms and model were tried; empty for standard terms.
    """

    verdict: Verdict
    tests: tuple[str, ...]
    failed: tuple[str, ...]
    attempt: int
    agreement: Digest

    def __post_init__(self) -> None:
        if not 1 <= len(self.tests) <= MAX_TESTS or len(set(self.tests)) != len(self.tests):
            raise LocalError(f"expected 1 to {MAX_TESTS} tests, each once")
        if not all(TEST_PATTERN.fullmatch(test) for test in self.tests):
            raise LocalError("expected tests named with lower-case letters and hyphens")
        if list(self.failed) != [test for test in self.tests if test in self.failed]:
            raise LocalError("expected as failed some of the tests, in their order")
        if (self.verdict is Verdict.FAIL) is not bool(self.failed):
            raise LocalError("expected a failed test where the verdict is fail, else none")
        if self.attempt not in (1, 2):
            raise LocalError(f"expected attempt 1 or 2, got {self.attempt}")
        if self.agreement:
            check_digest(self.agreement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """The vault found its own state older than what it had said before, or goes on from a backup.

    Attributes:
        epoch, round: of the message that gave it away.
        generation: 16 random bytes if a person declared that the ledger goes on from here, after
            all that may have been forgotten was counted as spent; else empty.
    """

    agreement: Digest
    epoch: int
    round: int
    generation: bytes = b""

    def __post_init__(self) -> None:
        check_digest(self.agreement)
        check_counters(self.epoch, self.round)
        if self.generation:
            check_nonce(self.generation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A person's remark; a correction is a note too, as nothing is edited.

    Attributes:
        about: sequence of the entry it corrects, if any.
    """

    text: str
    about: int | None

    def __post_init__(self) -> None:
        check_text(self.text)
        check_counters(self.about or 0)


Body = (
    Genesis
    | PolicySet
    | AgreementSign
    | DatasetRegister
    | BudgetGrant
    | BudgetReserve
    | BudgetCharge
    | BudgetRefund
    | RoundJoin
    | RoundComplaint
    | RoundVoid
    | Egress
    | Ingress
    | SelfTest
    | Refused
    | Restore
    | Note
    | MemberApprove
    | MemberRevoke
    | AgreementStart
    | AgreementEnd
    | RoundPlan
    | RoundCertificate
    | ModelRelease
    | Head
)


def agreement_of(body: Body) -> Digest:
    """Return under which agreement something happened; empty for none."""
    return getattr(body, "agreement", Digest(""))


BODIES: dict[EntryKind, type[Body]] = {
    EntryKind.GENESIS: Genesis,
    EntryKind.POLICY_SET: PolicySet,
    EntryKind.AGREEMENT_SIGN: AgreementSign,
    EntryKind.DATASET_REGISTER: DatasetRegister,
    EntryKind.BUDGET_GRANT: BudgetGrant,
    EntryKind.BUDGET_RESERVE: BudgetReserve,
    EntryKind.BUDGET_CHARGE: BudgetCharge,
    EntryKind.BUDGET_REFUND: BudgetRefund,
    EntryKind.ROUND_JOIN: RoundJoin,
    EntryKind.ROUND_COMPLAINT: RoundComplaint,
    EntryKind.ROUND_VOID: RoundVoid,
    EntryKind.EGRESS: Egress,
    EntryKind.INGRESS: Ingress,
    EntryKind.SELFTEST: SelfTest,
    EntryKind.REFUSAL: Refused,
    EntryKind.RESTORE: Restore,
    EntryKind.NOTE: Note,
    EntryKind.MEMBER_APPROVE: MemberApprove,
    EntryKind.MEMBER_REVOKE: MemberRevoke,
    EntryKind.AGREEMENT_START: AgreementStart,
    EntryKind.AGREEMENT_END: AgreementEnd,
    EntryKind.ROUND_PLAN: RoundPlan,
    EntryKind.ROUND_CERTIFICATE: RoundCertificate,
    EntryKind.MODEL_RELEASE: ModelRelease,
    EntryKind.HEAD: Head,
}
