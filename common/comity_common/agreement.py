"""The agreement: the terms of a federation, whose exact bytes every institution has signed.

Nothing runs before all have signed. Every number that shapes a round (weights, divisors, noise,
thresholds, schedule) is a constant of this document, fixed from public knowledge, so that no
number of a round says anything about rows. Changing any byte makes another agreement.

Mechanism, trust model and guarantee are data here, not assumptions in code.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache

from comity_common.canonical import decode, encode
from comity_common.crypto.derive import digest
from comity_common.crypto.sign import SigningKeys
from comity_common.dp.terms import Gate as Gate
from comity_common.dp.terms import Noise as Noise
from comity_common.dp.terms import Unit as Unit
from comity_common.dp.terms import check_order
from comity_common.errors import LocalError, PeerError, Problem
from comity_common.fixedpoint import RING_WIDTHS, lane_bound, largest_range
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.keys import LedgerKeys, PublicLedgerKeys
from comity_common.privatescore import PrivateScore
from comity_common.secagg.thresholds import thresholds
from comity_common.tuning import Tune

VERSION = "comity-agreement/1"
MAX_INSTITUTIONS = 255  # one byte names a share's point in GF(2**8)

ID_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
DATE_PATTERN = re.compile(r"2[0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
DIGEST_PATTERN = re.compile(r"[0-9a-f]{64}")
MAX_ATTEMPTS = 1000  # as far as a fresh chain of pair keys may be turned
JURISDICTION_PATTERN = re.compile(r"[A-Z]{2}")


class TaskKind(StrEnum):
    """What the model learns to do."""

    SEQUENCE_CLASSIFICATION = "sequence-classification"
    TOKEN_CLASSIFICATION = "token-classification"  # noqa: S105


class Pooling(StrEnum):
    """How token vectors become one vector for a text."""

    MEAN = "mean"
    CLS = "cls"


class ModelOptimizer(StrEnum):
    """How the mean delta moves the global model."""

    FEDAVG = "fedavg"
    FEDAVGM = "fedavgm"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicIdentity:
    """What a party is known by.

    Attributes:
        ed25519: 32 bytes.
        mldsa44: 1312 bytes (FIPS 204).
        tls: SHA-256 of the SubjectPublicKeyInfo of its TLS key, 32 bytes.
        ledger: of its own ledger, and as a witness of others'.
    """

    ed25519: bytes
    mldsa44: bytes
    tls: bytes
    ledger: PublicLedgerKeys

    def __post_init__(self) -> None:
        if (len(self.ed25519), len(self.mldsa44), len(self.tls)) != (32, 1312, 32):
            raise LocalError("expected keys of 32 and 1312 bytes and a fingerprint of 32")

    @property
    def signing(self) -> tuple[bytes, ...]:
        """All keys by which its signatures are known."""
        ledger = self.ledger
        known = (ledger.entries, ledger.head, ledger.witness, ledger.lasting)
        return (self.ed25519, self.mldsa44, *known)

    @classmethod
    def of(cls, signing: SigningKeys, tls: bytes) -> "PublicIdentity":
        """Return what a party with these signing keys is known by."""
        ed25519, mldsa44 = signing.public()
        ledger = LedgerKeys.derive(signing.to_bytes()).public()
        return cls(ed25519=ed25519, mldsa44=mldsa44, tls=tls, ledger=ledger)


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """The operator or an institution.

    Attributes:
        jurisdiction: ISO 3166-1 alpha-2 code of the country.
    """

    id: InstitutionId
    name: str
    jurisdiction: str
    identity: PublicIdentity

    def __post_init__(self) -> None:
        if not ID_PATTERN.fullmatch(self.id):
            raise LocalError("expected an id of 1 to 40 lower-case letters, digits and hyphens")
        if not JURISDICTION_PATTERN.fullmatch(self.jurisdiction):
            raise LocalError("expected an ISO 3166-1 alpha-2 country code")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is learnt.

    Attributes:
        labels: at least two, in the order of the classes.
        max_tokens: longer texts are cut, 8 to 512.
    """

    kind: TaskKind
    labels: tuple[str, ...]
    max_tokens: int

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels) or len(self.labels) < 2:
            raise LocalError("expected at least two different labels")
        if not 8 <= self.max_tokens <= 512:
            raise LocalError("expected max_tokens between 8 and 512")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Where training starts, the same for all.

    Attributes:
        name: of the base model, for people.
        base: digest of the base model's weights and vocabulary.
        seed: 32 bytes from which new parameters are drawn.
        parameters: number of trained parameters, d.
        initial_state: digest of the first model state.
        lora_rank, lora_alpha: used by `lora` alone; the frozen A is drawn from `seed`.
    """

    name: str
    base: Digest
    pooling: Pooling
    tune: Tune
    lora_rank: int
    lora_alpha: int
    seed: bytes
    parameters: int
    initial_state: Digest

    def __post_init__(self) -> None:
        if len(self.seed) != 32 or self.parameters < 1:
            raise LocalError("expected a seed of 32 bytes and at least one parameter")
        if not (
            DIGEST_PATTERN.fullmatch(self.base) and DIGEST_PATTERN.fullmatch(self.initial_state)
        ):
            raise LocalError("expected digests of 64 hexadecimal digits")
        if min(self.lora_rank, self.lora_alpha) < 0:
            raise LocalError("expected no negative rank or alpha")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """DP-SGD in each vault, by constants only (Abadi et al. 2016, algorithm 1, with Adam).

    Attributes:
        learning_rate: of Adam in the vault, whose moments are kept between rounds.
        local_steps: noisy steps per round.
        sampling_probability: q of the Poisson sampler, above 0 and at most 1.
        clip_norm: C, the bound on one unit's gradient in the 2-norm.
        noise_multiplier: σ / C, no unit; 0 only where the agreement promises no privacy.
        divisor: what the noisy sum is divided by; a constant, never the number of rows.
    """

    learning_rate: Decimal
    local_steps: int
    sampling_probability: Decimal
    clip_norm: Decimal
    noise_multiplier: Decimal
    divisor: Decimal

    def __post_init__(self) -> None:
        if not 0 < self.sampling_probability <= 1:
            raise LocalError("expected a sampling probability above 0 and at most 1")
        if min(self.learning_rate, self.clip_norm, self.divisor) <= 0:
            raise LocalError("expected positive learning rate, clip norm and divisor")
        if self.noise_multiplier < 0:
            raise LocalError("expected no negative noise multiplier")
        if not 1 <= self.local_steps <= 10_000:
            raise LocalError("expected 1 to 10000 local steps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """The guarantee that each institution is given for all rounds and spare rounds.

    Attributes:
        unit: what is protected.
        rows_per_unit: at most so many rows of one person are used, chosen by keyed hash; 1 for
            records. A cap, and not where the guarantee comes from: a person's whole gradient is
            clipped.
        adjacency: `add-remove`.
        noise: `full-in-each-vault`: the claim does not rest on the masking. `none`: there is no
            claim at all, ε = ∞, for baselines.
        gate: the accountant: `renyi`, a Rényi filter at one fixed order, or `fixed-schedule`, the
            privacy loss distribution of the whole schedule.
        order: α of the Rényi filter, 2 to 256; 0 for other gates.
        epsilon, delta: the guarantee, both above 0; both 0 where there is none.
    """

    unit: Unit
    rows_per_unit: int
    adjacency: str
    noise: Noise
    gate: Gate
    order: int
    epsilon: Decimal
    delta: Decimal

    def __post_init__(self) -> None:
        if self.adjacency != "add-remove":
            raise LocalError(f"expected the adjacency add-remove, got {self.adjacency}")
        if self.unit is Unit.RECORD and self.rows_per_unit != 1:
            raise LocalError("expected one row for each unit that is a record")
        if self.rows_per_unit < 1:
            raise LocalError("expected at least one row for each unit")
        if (self.noise is Noise.NONE) is not (self.gate is Gate.NONE):
            raise LocalError("expected a gate where there is noise, and none where there is none")
        if self.noise is Noise.NONE:
            if self.order or self.epsilon or self.delta:
                raise LocalError("expected no guarantee without noise")
            return
        if self.epsilon <= 0 or not 0 < self.delta < 1:
            raise LocalError("expected positive epsilon, and delta above 0 and below 1")
        if self.gate is Gate.RENYI:
            check_order(self.order)
        elif self.order != 0:
            raise LocalError(f"expected order 0 without a Rényi filter, got {self.order}")

    @property
    def is_private(self) -> bool:
        """Whether there is a guarantee at all."""
        return self.noise is not Noise.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregation:
    """The masked sum and what is done with it.

    Attributes:
        collusion: c, how many institutions may stand with a malicious operator; at least 1.
        min_participants: a plan with fewer is refused; at least two thirds of the roster.
        ring_width: w, bits of a lane on the wire, 24 or 32.
        range: R, the largest size of one coordinate of a delta; larger ones saturate.
        optimizer: with its learning rate and momentum (momentum 0 for `fedavg`).
    """

    collusion: int
    min_participants: int
    ring_width: int
    range: Decimal
    optimizer: ModelOptimizer
    learning_rate: Decimal
    momentum: Decimal

    def __post_init__(self) -> None:
        if self.collusion < 1:
            raise LocalError("expected a collusion bound of at least 1")
        if self.ring_width not in RING_WIDTHS:
            raise LocalError(f"expected ring width 24 or 32, got {self.ring_width}")
        if self.range <= 0 or self.learning_rate <= 0 or not 0 <= self.momentum < 1:
            raise LocalError("expected positive range and learning rate, momentum below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long the agreement runs.

    Attributes:
        rounds: certified training rounds aimed at.
        spare_rounds: how many void ones are made up for.
        expires: the last day, `YYYY-MM-DD` in UTC.
    """

    rounds: int
    spare_rounds: int
    expires: str

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.spare_rounds < 0:
            raise LocalError("expected at least one round and no negative spare rounds")
        if self.attempts > MAX_ATTEMPTS:
            raise LocalError(f"expected at most {MAX_ATTEMPTS} rounds, spare ones in")
        if not DATE_PATTERN.fullmatch(self.expires):
            raise LocalError("expected the last day as YYYY-MM-DD")
        try:
            self.last_day  # noqa: B018 - checks that the calendar has it
        except ValueError:
            raise LocalError("expected the last day to be a day of the calendar") from None

    @property
    def last_day(self) -> date:
        """The last day on which anything may be trained, in UTC."""
        return date.fromisoformat(self.expires)

    @property
    def attempts(self) -> int:
        """The most training rounds, void ones included, that may ever be begun."""
        return self.rounds + self.spare_rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateEvaluation:
    """Noisy scores of the model on rows of every vault that it is never trained on.

    Attributes:
        share: of the units that each vault holds out, by a keyed hash of its own; above 0 and at
            most 1/2.
        after: the numbers of certified rounds after which the model is scored, ascending.
        spare: how many void scores are made up for.
        units: how many all vaults together may be expected to hold out, by what is publicly known;
            the expected error follows from it, and nothing else.
        noise_multiplier, loss_clip, grid: of the mechanism (see `privatescore`).
    """

    share: Decimal
    after: tuple[int, ...]
    spare: int
    units: int
    noise_multiplier: Decimal
    loss_clip: Decimal
    grid: int

    def __post_init__(self) -> None:
        if not 0 < self.share <= Decimal("0.5"):
            raise LocalError("expected a share to hold out above 0 and of at most a half")
        if not self.after or list(self.after) != sorted(set(self.after)) or self.after[0] < 1:
            raise LocalError("expected at least one round to score after, ascending, from 1")
        if self.spare < 0 or self.units < 1:
            raise LocalError("expected no negative spare scores, and at least one unit held out")
        self.score  # noqa: B018 - checks noise, clip and grid

    @property
    def score(self) -> PrivateScore:
        """The mechanism of each score."""
        return PrivateScore(
            noise_multiplier=self.noise_multiplier, loss_clip=self.loss_clip, grid=self.grid
        )

    @property
    def attempts(self) -> int:
        """The most scores, void ones included, that may ever be begun."""
        return len(self.after) + self.spare

    def is_due(self, certified: int, scored: int) -> bool:
        """Tell whether the model has to be scored before it is trained on.

        Args:
            certified, scored: how many rounds of either kind were certified.
        """
        return sum(round <= certified for round in self.after) > scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """Where an agreement goes on from: the end of an earlier one of the same operator.

    So a roster changes while a federation keeps its model: who remains and who joins sign the new
    agreement, and each vault's ledger simply goes on.

    Attributes:
        agreement: digest of the earlier agreement.
        certificate: digest of the body of its last certificate; the model state that followed is
            the new agreement's initial state, optimiser and all.
        certified: how many certified rounds, of all earlier agreements, had gone into that state;
            at least 1.
    """

    agreement: Digest
    certificate: Digest
    certified: int

    def __post_init__(self) -> None:
        digests = (self.agreement, self.certificate)
        if not all(DIGEST_PATTERN.fullmatch(digest) for digest in digests):
            raise LocalError("expected digests of 64 hexadecimal digits")
        if self.certified < 1:
            raise LocalError("expected an earlier agreement with at least one certified round")


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The terms of one federation.

    Attributes:
        continues: the earlier agreement whose model it goes on with; None for a new model.
        evaluation_set: digest of the public evaluation set.
        private_evaluation: scores on private rows; None for none.
        nonce: 16 bytes that make two federations with equal terms two agreements.
    """

    version: str
    federation: str
    purpose: str
    nonce: bytes
    continues: Continuation | None
    operator: Party
    institutions: tuple[Party, ...]
    task: Task
    model: Model
    evaluation_set: Digest
    private_evaluation: PrivateEvaluation | None
    training: Training
    privacy: Privacy
    aggregation: Aggregation
    schedule: Schedule

    def __post_init__(self) -> None:
        ids = [party.id for party in self.institutions]
        if self.version != VERSION:
            raise LocalError(f"expected {VERSION}, got {self.version}")
        if ids != sorted(set(ids)) or self.operator.id in ids:
            raise LocalError("expected institutions in order, each once, the operator apart")
        if not 3 <= len(ids) <= MAX_INSTITUTIONS:
            raise LocalError(f"expected 3 to {MAX_INSTITUTIONS} institutions, got {len(ids)}")
        if len(self.nonce) != 16 or not DIGEST_PATTERN.fullmatch(self.evaluation_set):
            raise LocalError("expected a nonce of 16 bytes and the digest of an evaluation set")
        identities = [party.identity for party in (self.operator, *self.institutions)]
        for keys in zip(*(one.signing for one in identities), strict=True):
            if len(set(keys)) != len(keys):
                raise LocalError("expected no key of two parties")
        thresholds(len(ids), self.aggregation.collusion)
        self._check_resolution()
        if (self.training.noise_multiplier > 0) is not self.privacy.is_private:
            raise LocalError("expected noise where privacy is promised, and none where it is not")
        if not 2 * len(ids) <= 3 * self.aggregation.min_participants <= 3 * len(ids):
            raise LocalError("expected at least two thirds of the roster as participants")
        self._check_evaluation()

    def _check_resolution(self) -> None:
        terms, n, step = self.aggregation, len(self.institutions), self.training.learning_rate
        most = largest_range(terms.ring_width, n, step)
        if terms.range > most:
            raise LocalError(
                f"expected a range of at most {most:f}, got {terms.range:f}: with "
                f"{terms.ring_width} bits for a sum of {n}, steps of {step:f} drown in rounding"
            )

    def _check_evaluation(self) -> None:
        terms, n = self.private_evaluation, len(self.institutions)
        if terms is None:
            return
        if not self.privacy.is_private:
            raise LocalError("expected no private evaluation where no privacy is promised")
        if terms.after[-1] > self.schedule.rounds:
            raise LocalError(f"expected scores after round {self.schedule.rounds} at the latest")
        if self.attempts > MAX_ATTEMPTS:
            raise LocalError(f"expected at most {MAX_ATTEMPTS} rounds, scores and spare ones in")
        most = (lane_bound(self.aggregation.ring_width, n) - 1) // terms.grid
        if terms.units > most:
            raise LocalError(
                f"expected at most {most} units to be held out at a grid of {terms.grid}, "
                f"got {terms.units}: their sum would not fit a lane"
            )

    @property
    def attempts(self) -> int:
        """The most rounds of either kind, void ones included, that may ever be begun."""
        scores = self.private_evaluation
        return self.schedule.attempts + (scores.attempts if scores else 0)

    def owes_score(self, certified: int, scored: int) -> bool:
        """Tell whether a score is due; never where none was agreed (`PrivateEvaluation.is_due`)."""
        terms = self.private_evaluation
        return terms is not None and terms.is_due(certified, scored)

    @property
    def digest(self) -> Digest:
        """T, the digest of the canonical bytes."""
        return _digest(self)

    @property
    def roster(self) -> tuple[InstitutionId, ...]:
        """The institutions' ids in order."""
        return tuple(party.id for party in self.institutions)

    @property
    def everybody(self) -> frozenset[InstitutionId]:
        """The ids of operator and institutions: who must sign, and may witness."""
        return frozenset({self.operator.id, *self.roster})

    def party(self, id: InstitutionId) -> Party:
        """Look up an institution.

        Raises:
            LocalError: it is not in the agreement.
        """
        for party in self.institutions:
            if party.id == id:
                return party
        raise LocalError(f"expected an institution of the agreement, got {id}")

    def any_party(self, id: InstitutionId) -> Party:
        """Look up an institution or the operator.

        Raises:
            LocalError: it is not in the agreement.
        """
        return self.operator if id == self.operator.id else self.party(id)


@lru_cache(maxsize=64)  # asked for at every message
def _digest(agreement: Agreement) -> Digest:
    return Digest(digest("agreement", encode(agreement)).hex())


def stored_agreement(raw: bytes, digest: Digest) -> Agreement:
    """Read an agreement back from a store, by the digest under which it was kept.

    Raises:
        Problem: it is not what was kept.
    """
    with suppress(PeerError):
        agreement = decode(Agreement, raw)
        if agreement.digest == digest:
            return agreement
    raise Problem("COM-AGREE-006", agreement=digest)
