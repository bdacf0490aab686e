"""What a report says: frozen data, from which its JSON and its pages are made.

Rules it keeps:

* Every number is a decimal text, an integer or a digest, so that nothing is rounded on the way. An
  ε is a decimal that was rounded up, or `infinite`.
* A text that is not known is the empty string, which pages write as "not stated".
* Texts that came out of the package are cut to 500 visible characters.
* Times are `YYYY-MM-DDTHH:MM:SSZ`, in UTC.
* A sum of bytes ends at 2**53 − 1, which stands for that or more.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from comity_audit.epsilontext import INFINITE
from comity_audit.steps import Outcome
from comity_common.errors import LocalError
from comity_common.ids import Digest
from comity_common.words import printable

VERSION = "comity-audit-report/1"
MAX_TEXT = 500  # characters
MAX_LISTED = 1_000  # findings, rounds of an agreement and the like; all of them are counted
_EPSILON = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?|infinite")
_DECIMAL = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40})?")


def epsilon_value(text: str) -> Decimal | None:
    """Read an ε; None if it is infinite."""
    return None if text == INFINITE else Decimal(text)


def cut(text: str) -> str:
    """Write a stranger's text in one line of visible characters, at most 500."""
    shown = printable(text[: MAX_TEXT + 1])
    return shown if len(shown) <= MAX_TEXT else shown[: MAX_TEXT - 1] + "…"


def _check(epsilons: Iterable[str], decimals: Iterable[str] = ()) -> None:
    """Check texts that pages compute with.

    Raises:
        LocalError: one is no number.
    """
    if not all(_EPSILON.fullmatch(one) for one in epsilons):
        raise LocalError("expected a decimal ε, or infinite")
    if not all(_DECIMAL.fullmatch(one) for one in decimals):
        raise LocalError("expected a decimal number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bilingual:
    """The same text in both languages of a report."""

    en: str
    zh: str


# 1. Summary


class Conclusion(StrEnum):
    """What became of something that the report says was checked."""

    HOLDS = "holds"
    FAILS = "fails"
    PARTLY = "partly"  # as far as somebody's word goes
    OPEN = "open"  # not checked, for want of something


class ClaimId(StrEnum):
    """What a report can conclude: a closed list, in the order in which it is told."""

    WHOLE = "whole"
    WITNESSED = "witnessed"
    VOUCHED = "vouched"
    CONTINUES = "continues"
    OVERSEEN = "overseen"
    NEVER_RESTORED = "never-restored"
    COVERED = "covered"
    BUDGET = "budget"
    EPSILON = "epsilon"
    EPSILON_ONCE = "epsilon-once"  # instead of it, where only one implementation was there
    TESTED = "tested"
    OPERATED = "operated"
    MATCHED = "matched"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedClaim:
    """One sentence of the summary and what became of it."""

    id: ClaimId
    conclusion: Conclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What it is about, and what was found.

    Attributes:
        made: when the report was made, by the auditor's clock; empty if nobody said.
        software: name and version of what made it.
        owner, name, country: whose ledger it is.
        is_operator: whether that is the operator, and not an institution.
        first, last: times of the first and of the last entry, as the owner wrote them.
        entries: how many.
        is_anchored: whether somebody outside vouched for the keys.
        complete: the witnesses' time as of which nothing is missing; empty if there is none.
        findings: in sentences, in the verifier's English; the first of them.
        findings_count: how many there are.
        claims: those that are about such a ledger, in order; none that rests on inapplicable
            steps alone.
    """

    made: str
    software: str
    owner: str
    name: str
    country: str
    is_operator: bool
    first: str
    last: str
    entries: int
    is_anchored: bool
    complete: str
    findings: tuple[str, ...]
    findings_count: int
    claims: tuple[CheckedClaim, ...]


# 2. Parties


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementFacts:
    """An agreement that entries name.

    Attributes:
        words: its eight words.
        expires: its last day.
        is_signed: whether the owner's signature under it is in the package, and true.
        is_vouched: whether somebody outside vouched for it.
        operator, institutions: ids.
    """

    digest: Digest
    words: str
    federation: str
    purpose: str
    expires: str
    is_signed: bool
    is_vouched: bool
    operator: str
    institutions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyFacts:
    """Somebody whom an agreement names."""

    id: str
    name: str
    country: str
    is_operator: bool
    is_owner: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CountryFacts:
    """A country and who of the parties is there.

    Attributes:
        legal_basis: on which its parties rely; empty, as no agreement has a field for it.
    """

    code: str
    parties: tuple[str, ...]
    legal_basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """Who takes part, what for, and where."""

    agreements: tuple[AgreementFacts, ...]
    parties: tuple[PartyFacts, ...]
    countries: tuple[CountryFacts, ...]


# 3. Claim cards


@dataclass(frozen=True, slots=True, kw_only=True)
class MechanismFacts:
    """What touched rows, in terms from which its cost follows.

    Attributes:
        name: in the ledger's words.
        sampling_probability: q.
        noise_multiplier: σ over the sensitivity.
        steps: T.
    """

    name: str
    sampling_probability: str
    noise_multiplier: str
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimCard:
    """What is claimed for one agreement, in the form of NIST SP 800-226.

    Attributes:
        is_private: whether anything is claimed at all.
        epsilon, delta: of everything that it may ever run; `infinite` and empty without a claim.
        unit: `record` or `person`.
        rows_per_unit: most rows of a person that are used; a cap, not the source of the guarantee.
        adjacency: of neighbouring data sets.
        noise: who adds it.
        gate, order: the accountant; 0 where it has no order.
        clip_norm: C.
        schedule: every mechanism that it may run, spare rounds in.
        rounds, spare_rounds: how often training may be begun.
        scores: after which rounds a noisy score was agreed.
    """

    agreement: Digest
    is_private: bool
    epsilon: str
    delta: str
    unit: str
    rows_per_unit: int
    adjacency: str
    noise: str
    gate: str
    order: int
    clip_norm: str
    schedule: tuple[MechanismFacts, ...]
    rounds: int
    spare_rounds: int
    scores: tuple[int, ...]

    def __post_init__(self) -> None:
        _check([self.epsilon], filter(None, [self.delta]))


# 4. Budget over time


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetPoint:
    """A budget after one entry."""

    sequence: int
    time: str
    charged: str
    reserved: str

    def __post_init__(self) -> None:
        _check([self.charged, self.reserved])


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantFacts:
    """A part of a ceiling that may be spent.

    Attributes:
        grant: its id in hexadecimal.
        epsilon, delta: what was granted; `infinite` and empty for a grant without privacy.
        charged, reserved: ε of what is charged, and of what is charged or open.
    """

    grant: str
    gate: str
    order: int
    epsilon: str
    delta: str
    charged: str
    reserved: str

    def __post_init__(self) -> None:
        _check([self.epsilon, self.charged, self.reserved], filter(None, [self.delta]))


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetHistory:
    """All that one namespace has spent, over time.

    Attributes:
        unit: what it counts.
        epsilon, delta: the ceiling, for life.
        datasets: how often rows were registered in it.
        charged, reserved: now.
        points: in order; where there are very many, some of them, the last among them.
    """

    namespace: str
    unit: str
    epsilon: str
    delta: str
    datasets: int
    charged: str
    reserved: str
    grants: tuple[GrantFacts, ...]
    points: tuple[BudgetPoint, ...]

    def __post_init__(self) -> None:
        _check([self.epsilon, self.charged, self.reserved], [self.delta])


# 5. Runs


class RoundOutcome(StrEnum):
    """How a round ended for this institution's budget."""

    RELEASED = "released"
    FORFEITED = "forfeited"
    REFUNDED = "refunded"
    OPEN = "open"
    NOTHING = "nothing"  # it was joined, and nothing was reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundFacts:
    """A round that was joined.

    Attributes:
        is_score: whether it was a score and not training.
        time: when it was joined.
        is_void: whether it ended without a sum.
        bytes: what was uploaded; 0 for nothing.
        digest: of the upload; empty for none.
    """

    epoch: int
    round: int
    is_score: bool
    time: str
    outcome: RoundOutcome
    is_void: bool
    bytes: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All rounds under one agreement.

    Attributes:
        joined, released, forfeited, refunded, open, void: how many.
        rounds: the last ones where there are very many.
    """

    agreement: Digest
    joined: int
    released: int
    forfeited: int
    refunded: int
    open: int
    void: int
    rounds: tuple[RoundFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatedRun:
    """All rounds that an operator ran under one agreement.

    Attributes:
        planned, certified, void, released: rounds that were begun, that ended with a sum and
            without one, and models that went out.
    """

    agreement: Digest
    planned: int
    certified: int
    void: int
    released: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What only an operator's ledger tells.

    Attributes:
        approved, revoked: institutions that were let in, and turned away.
        heads: of other ledgers that were witnessed.
    """

    approved: int
    revoked: int
    heads: int
    runs: tuple[OperatedRun, ...]


# 6. Recomputation


class Amount(StrEnum):
    """Which ε was computed again."""

    GRANT = "grant"  # all that was spent under a grant, at its order
    SPENT = "spent"  # what an agreement has spent
    SCHEDULE = "schedule"  # all that an agreement may run


@dataclass(frozen=True, slots=True, kw_only=True)
class EpsilonFacts:
    """One ε, computed twice.

    Attributes:
        subject: id of the grant, or digest of the agreement.
        mechanisms: that it is of.
        order: of the Rényi divergence; 0 where the loss distribution was composed.
        ours, theirs: theirs is empty where the second implementation was not there.
        difference: ours less theirs; empty without theirs.
        is_bound: whether ours is only an upper bound, as for scores.
        agree: whether they are within the tolerance; theirs within the bound, where it is one;
            None without theirs, as only one implementation computed it.
        claim: that it must stay within; empty where nothing is claimed.
        is_kept: whether it does.
    """

    namespace: str
    amount: Amount
    subject: str
    delta: str
    order: int
    mechanisms: tuple[MechanismFacts, ...]
    ours: str
    theirs: str
    difference: str
    is_bound: bool
    agree: bool | None
    claim: str
    is_kept: bool

    def __post_init__(self) -> None:
        size = self.difference.removeprefix("-")
        told = filter(None, (self.theirs, self.claim, size))
        _check([self.ours, *told], filter(None, [self.delta]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputation:
    """Every ε, computed again.

    Attributes:
        is_possible: whether the ledger's entries fit each other, so that it could be done.
        has_second: whether the second implementation was there.
        relative, absolute: within which two ε agree.
    """

    is_possible: bool
    has_second: bool
    relative: str
    absolute: str
    amounts: tuple[EpsilonFacts, ...]

    def __post_init__(self) -> None:
        _check([], [self.relative, self.absolute])


# 7. Self-tests


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestFacts:
    """One self-test of the machinery.

    Attributes:
        agreement: whose terms were tried; empty for standard terms.
        tests, failed: ids.
    """

    sequence: int
    time: str
    agreement: str
    passed: bool
    attempt: int
    tests: tuple[str, ...]
    failed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTests:
    """All self-tests.

    Attributes:
        passed, failed: how many.
        lower_bound: on ε, as an attack found it; empty, as no entry has a field for it.
        tests: the last ones where there are very many.
    """

    passed: int
    failed: int
    lower_bound: str
    tests: tuple[SelfTestFacts, ...]


# 8. Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficFacts:
    """Messages of one kind, added up.

    Attributes:
        is_egress: whether they left; else they arrived.
        country, peer: where they went or came from.
        is_mechanism: whether the budget covers them; else they are control messages.
    """

    is_egress: bool
    country: str
    peer: str
    purpose: str
    message: str
    is_mechanism: bool
    messages: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossingFacts:
    """What left by this ledger, held against what arrived by the operator's.

    Attributes:
        matched, matched_bytes: messages that stand in both with the same digest and size.
        only_left: how many left and did not arrive.
        only_arrived: how many arrived and did not leave.
        newer: how many arrived after this ledger's package ends.
    """

    matched: int
    matched_bytes: int
    only_left: int
    only_arrived: int
    newer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What crossed the border of the vault.

    Attributes:
        kinds: in order of country, peer, purpose, message.
        crossings: None if it was not held against the operator's ledger.
    """

    kinds: tuple[TrafficFacts, ...]
    crossings: CrossingFacts | None


# 9. Incidents


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalFacts:
    """Refusals with one code."""

    code: str
    count: int
    first: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentFacts:
    """One thing that did not go as it should, or that a person remarked.

    Attributes:
        kind: of the entry.
        told: what it says, in the words of who wrote it; empty if its kind says all.
    """

    sequence: int
    time: str
    kind: str
    round: int | None
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incidents:
    """Everything that was not ordinary.

    Attributes:
        voids, complaints, restores, declared, notes, forfeited, refunded: how many; `declared` are
            restores that a person declared.
        policies: how often the institution set its own rules.
        key_epochs: how often it sent a fresh public key for masks.
        key_rotations: of its lasting keys.
        incidents: the last ones where there are very many.
    """

    refusals: tuple[RefusalFacts, ...]
    voids: int
    complaints: int
    restores: int
    declared: int
    notes: int
    forfeited: int
    refunded: int
    policies: int
    key_epochs: int
    key_rotations: int
    incidents: tuple[IncidentFacts, ...]


# 10. Integrity


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessFacts:
    """Who cosigned the head, and when.

    Attributes:
        counts: whether it is an institution that counts for the quorum.
    """

    name: str
    time: str
    counts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFacts:
    """One step of the verification, in the verifier's English.

    Attributes:
        outcome: `inapplicable` for a step that is not about such a ledger: neither held nor left
            out.
    """

    number: int
    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFacts:
    """The file that was verified.

    Attributes:
        name: of the file, without its directory; empty if it has none.
        sha256, bytes: of its content.
    """

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrity:
    """That the log is whole, and how to see it for oneself.

    Attributes:
        origin, size, root: of the head.
        generations: how many the ledger has.
        needed: how many other institutions must have cosigned.
    """

    package: PackageFacts
    origin: str
    size: int
    root: str
    generations: int
    needed: int
    witnesses: tuple[WitnessFacts, ...]
    steps: tuple[StepFacts, ...]


# 11. Evidence


class FactId(StrEnum):
    """What in a report can be evidence for a clause: a closed list."""

    PURPOSE = "purpose"
    PARTIES = "parties"
    SIGNED_TERMS = "signed-terms"
    EGRESS_LOG = "egress-log"
    COVERED = "covered"
    MATCHED = "matched"
    PRIVACY_CLAIM = "privacy-claim"
    BUDGET_KEPT = "budget-kept"
    RECOMPUTED = "recomputed"
    SELF_TESTS = "self-tests"
    INTEGRITY = "integrity"
    WITNESSES = "witnesses"
    VOUCHED = "vouched"
    INCIDENT_LOG = "incident-log"
    LIMITS = "limits"
    LEGAL_BASIS = "legal-basis"
    DATA_DESCRIPTION = "data-description"


class ClauseStatus(StrEnum):
    """Whether the evidence for a clause is in the report. It is never a verdict."""

    PRESENT = "present"
    MISSING = "missing"
    NOT_APPLICABLE = "not-applicable"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClauseEvidence:
    """What of the report is evidence for a clause.

    Attributes:
        id: of the clause, as the law counts.
        title, asks: what it is called and asks for, in our own words.
        elsewhere: what no report of this kind can hold, and has to be asked for.
        present, missing: facts; both empty if the clause is not applicable.
    """

    id: str
    title: Bilingual
    asks: Bilingual
    elsewhere: Bilingual
    status: ClauseStatus
    present: tuple[FactId, ...]
    missing: tuple[FactId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegimeEvidence:
    """A law.

    Attributes:
        applies: to whom, in our own words.
        countries: of parties, that make it applicable; none if it is not.
    """

    id: str
    title: Bilingual
    applies: Bilingual
    countries: tuple[str, ...]
    clauses: tuple[ClauseEvidence, ...]


# 12. Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Something that cannot be concluded."""

    id: str
    text: Bilingual


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything, in the order in which it is told."""

    version: str
    summary: Summary
    parties: Parties
    claims: tuple[ClaimCard, ...]
    budgets: tuple[BudgetHistory, ...]
    runs: tuple[Run, ...]
    operation: Operation
    recomputation: Recomputation
    self_tests: SelfTests
    traffic: Traffic
    incidents: Incidents
    integrity: Integrity
    evidence: tuple[RegimeEvidence, ...]
    limits: tuple[Limit, ...]

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise LocalError(f"expected {VERSION}, got {self.version}")
