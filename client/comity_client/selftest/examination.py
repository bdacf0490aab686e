"""All tests of a self-test, as one family: a clean vault fails one in a thousand examinations.

Each test that is a question of chance gets an equal part of that thousandth (Bonferroni); the
others have no chance in them. Every number here is about made-up rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from comity_client.model.classifier import Classifier
from comity_client.selftest import exact, ghosts, lowerbound, statistics
from comity_client.selftest.ghosts import Seen
from comity_client.training.sampler import PoissonSampler
from comity_common.agreement import Agreement, Training
from comity_common.mechanisms import schedule_event

FALSE_ALARMS = 1e-3  # of a whole examination
GUESSES = 100  # r of the lower bound, fixed beforehand
SAMPLED = 1_000_000  # records for the agreement's own sampling probability
ROWS_EACH = 3  # of a canary where persons are protected and may have as many
COUNTED = 50  # steps of a round of the agreement's own length, at most
BLOCK_TOLERANCE = 1e-5  # float32

STANDARD = Training(
    learning_rate=Decimal("0.01"),
    local_steps=20,
    sampling_probability=Decimal("0.2"),
    clip_norm=Decimal(1),
    noise_multiplier=Decimal("1.6579"),  # of 120 such steps at ε = 8
    divisor=Decimal(50),
)
STANDARD_DELTA = Decimal("0.00001")

OnPhase = Callable[[str], None]
"""Told in words what is done next."""

Reserved = Callable[[Training, int], int]
"""How many steps the budget books for so many rounds under such terms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one test.

    Attributes:
        test: its id, as on the ledger.
        question: what it asks.
        found: what was seen, in words.
        p: the chance of something as strange when nothing is wrong; None where there is no chance.
        passed: whether nothing is wrong.
    """

    test: str
    question: str
    found: str
    p: float | None
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """One attempt at a self-test.

    Attributes:
        outcomes: of every test, in order.
        epsilon_bound: the lower bound on ε of the extended run, at 95 % confidence.
        epsilon_claimed: what that run claims, at the same δ.
        seen: what the canaries' run showed.
    """

    outcomes: tuple[Outcome, ...]
    epsilon_bound: float
    epsilon_claimed: float
    seen: Seen

    @property
    def tests(self) -> tuple[str, ...]:
        """The ids of all tests."""
        return tuple(outcome.test for outcome in self.outcomes)

    @property
    def failed(self) -> tuple[str, ...]:
        """The ids of the tests that failed."""
        return tuple(outcome.test for outcome in self.outcomes if not outcome.passed)

    @property
    def passed(self) -> bool:
        """Whether all passed."""
        return not self.failed


@dataclass(frozen=True, slots=True)
class _Chance:
    test: str
    question: str
    found: str
    p: float


def examine(
    training: Training,
    delta: Decimal,
    *,
    reserved: Reserved,
    classifier: Classifier | None = None,
    rows_each: int = 1,
    threads: int = 1,
    on_phase: OnPhase = lambda phase: None,
) -> Examination:
    """Run every test once.

    Args:
        training, delta: the agreement's.
        reserved: what the budget would book.
        classifier: the agreement's model; without one no step is compared with a loop.
        rows_each: how many rows a unit of the tests has.
    """
    on_phase(f"training {ghosts.STEPS} steps on canaries")
    seen = ghosts.run(training, threads, rows_each)
    on_phase("asking for chance")
    right = lowerbound.right_guesses(seen.signal.sum(axis=0), seen.is_in, GUESSES)
    claimed = lowerbound.claimed(seen.probability, training.noise_multiplier, ghosts.STEPS, delta)
    chances = [*_noise(seen), *_clipping(seen), *_sampling(seen, training)]
    p = lowerbound.p_value(right, GUESSES, seen.is_in.size, claimed, float(delta))
    bound = lowerbound.lower_bound(right, GUESSES, seen.is_in.size, float(delta))
    words = f"{right} of {GUESSES} guesses right: ε ≥ {bound:.2f}, claimed {claimed:.2f}"
    chances.append(_Chance("lower-bound", "does an attack refute what the run claims?", words, p))
    limit = FALSE_ALARMS / len(chances)
    outcomes = [
        Outcome(test=c.test, question=c.question, found=c.found, p=c.p, passed=c.p >= limit)
        for c in chances
    ]
    outcomes += _counters(seen, training, reserved, threads)
    outcomes += _blocks(seen, training, threads)
    if classifier is not None:
        on_phase("comparing a step of the model with a loop")
        outcomes.append(_step(classifier, training, threads, rows_each))
    return Examination(
        outcomes=tuple(outcomes), epsilon_bound=bound, epsilon_claimed=claimed, seen=seen
    )


def examine_agreement(
    agreement: Agreement,
    classifier: Classifier,
    threads: int,
    on_phase: OnPhase = lambda phase: None,
) -> Examination:
    """Run every test once under an agreement, with its own model."""

    def reserved(training: Training, rounds: int) -> int:
        return schedule_event(replace(agreement, training=training), rounds).steps

    return examine(
        agreement.training,
        agreement.privacy.delta,
        reserved=reserved,
        classifier=classifier,
        rows_each=min(agreement.privacy.rows_per_unit, ROWS_EACH),
        threads=threads,
        on_phase=on_phase,
    )


def examine_standard(
    threads: int,
    on_phase: OnPhase = lambda phase: None,
    training: Training = STANDARD,
    rows_each: int = 1,
) -> Examination:
    """Run every test that needs no model, under terms of the usual size."""
    return examine(
        training,
        STANDARD_DELTA,
        reserved=lambda terms, rounds: terms.local_steps * rounds,
        rows_each=rows_each,
        threads=threads,
        on_phase=on_phase,
    )


def _noise(seen: Seen) -> Iterator[_Chance]:
    z = seen.without_signal
    spread = f"{np.sqrt(np.mean(z**2)):.4f} of what is promised"
    yield _Chance("noise-scale", "is the noise as large as promised?", spread, statistics.scale(z))
    yield _Chance("noise-shape", "is it Gaussian?", f"{z.size} values", statistics.shape(z))
    steps = f"{ghosts.STEPS * (ghosts.STEPS - 1) // 2} pairs of steps"
    yield _Chance("noise-repeats", "does none come twice?", steps, statistics.repeats(seen.hollow))
    beside = statistics.neighbours(seen.hollow)
    yield _Chance(
        "noise-neighbours", "is it new in each step?", f"{ghosts.STEPS // 2} pairs", beside
    )
    whole = statistics.added(seen.hollow)
    yield _Chance(
        "noise-sum", "does it add up as independent noise?", f"{ghosts.STEPS} steps", whole
    )


def _clipping(seen: Seen) -> Iterator[_Chance]:
    of_members = seen.signal[:, seen.is_in]
    weight = max(1, int(np.sum(seen.included**2)))
    found = float(np.sum(seen.included * of_members)) / weight / seen.norm
    p = statistics.slope(seen.included, of_members, seen.norm)
    words = f"{found:.3f} clipping norms each"
    yield _Chance("clipping", "does a canary move the sum by the clipping norm?", words, p)


def _sampling(seen: Seen, training: Training) -> Iterator[_Chance]:
    q, included = float(seen.probability), seen.included
    steps, members = included.shape
    agreed = training.sampling_probability
    drawn = PoissonSampler(SAMPLED, agreed).draw().size
    p = statistics.rate(drawn, SAMPLED, float(agreed))
    words = f"{drawn / SAMPLED:.5f} of a million records, agreed {float(agreed):.5g}"
    yield _Chance("sampling-rate", "are records drawn as often as agreed?", words, p)
    hits = int(included.sum())
    p, words = (
        statistics.rate(hits, included.size, q),
        f"{hits / included.size:.4f}, wanted {q:.4g}",
    )
    yield _Chance("sampling-run", "are canaries drawn as often as agreed?", words, p)
    for test, what, counts, trials in (
        ("sampling-canaries", "does each canary's count vary as it should?", 0, steps),
        ("sampling-steps", "do the sizes of batches vary as they should?", 1, members),
    ):
        sums = included.sum(axis=counts)
        variance = trials * q * (1 - q)
        ratio = float(np.mean((sums - trials * q) ** 2)) / variance if variance else 1.0
        words = f"{ratio:.2f} of a binomial's variance"
        yield _Chance(test, what, words, statistics.spread(sums, trials, q))


def _counters(
    seen: Seen, training: Training, reserved: Reserved, threads: int
) -> Iterator[Outcome]:
    counted = replace(training, local_steps=min(training.local_steps, COUNTED))
    vectors, taken, told = ghosts.counted_round(counted, threads)
    counts = {
        "reserved": reserved(counted, 1) + reserved(ghosts.one_step(training), ghosts.STEPS),
        "taken": seen.taken + taken,
        "vectors of noise": seen.noise_vectors + vectors,
        "told": ghosts.STEPS + told,
    }
    yield Outcome(
        test="steps",
        question="is every step reserved, and none without noise?",
        found=", ".join(f"{count} {what}" for what, count in counts.items()),
        p=None,
        passed=len(set(counts.values())) == 1,
    )
    ids = seen.keystreams
    least = ghosts.STEPS * (1 if seen.probability == 1 else 2)  # for the noise, and to sample
    yield Outcome(
        test="keystreams",
        question="does every draw have a key of its own?",
        found=f"{len(set(ids))} keys for {len(ids)} streams, at least {least} wanted",
        p=None,
        passed=len(set(ids)) == len(ids) >= least,
    )
    twice = int((seen.included > 1).sum())
    yield Outcome(
        test="once",
        question="is nothing twice in one batch, or in part?",
        found=f"{twice} times twice, {seen.torn} times in part",
        p=None,
        passed=not twice and not seen.torn,
    )


def _blocks(seen: Seen, training: Training, threads: int) -> Iterator[Outcome]:
    for test, question, found, most in (
        (
            "blocks-gradients",
            "do rows and canaries leave each other's block alone?",
            ghosts.leaks_between_blocks(training),
            0.0,
        ),
        (
            "blocks-divisor",
            "do canaries leave divisor and statistics alone?",
            ghosts.weight_of_canaries(training, threads),
            BLOCK_TOLERANCE,
        ),
        (
            "blocks-after",
            "does each coordinate go its own way after the noise?",
            seen.stray,
            BLOCK_TOLERANCE,
        ),
    ):
        words = f"off by {found:.1e}, at most {most:g}"
        yield Outcome(test=test, question=question, found=words, p=None, passed=found <= most)


def _step(classifier: Classifier, training: Training, threads: int, rows_each: int) -> Outcome:
    found = exact.difference(classifier, training, threads, rows_each)
    return Outcome(
        test="step",
        question="is a step of the model what a loop over rows says?",
        found=f"off by {found:.1e}, at most {exact.TOLERANCE:g}",
        p=None,
        passed=found <= exact.TOLERANCE,
    )
