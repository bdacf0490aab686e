"""From all that is shared nobody guesses how many rows there are, of which labels, or in a batch.

Institutions with unlike rows, over rounds in which some go away, are watched by an adversary that
makes numbers of everything it sees (`guessing`) and knows the truth about all of them but one.
What it is not shown is the clock: times are outside of what is claimed. Nor the unmasked sum: that
is the mechanism, and what it says of rows is what ε bounds.

The level is fixed here: an adversary that sees nothing is called better than chance once in 2500
runs of all four questions together.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comity.v1 import transfer_pb2 as pb
from comity_client import workbench
from comity_client.model.build import build_agreed
from comity_common.agreement import Agreement
from comity_common.ids import Digest, InstitutionId

from .eavesdropped import INSTITUTIONS, Sent, Shared, Truth, Watched
from .guessing import Guess, guess, numbers_of, place_of

LEVEL = 1e-4
DEALS = 20_000  # p is below the level if none of them does as well
SEED = 20_260_101
SIZES = (1, 2, 5, 12, 30, 70, 160, 400)
SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
QUESTIONS: dict[str, Callable[[Truth], float]] = {
    "how many rows": lambda truth: float(np.log(truth.rows)),
    "which share of them": lambda truth: truth.share,
    "how many were drawn": lambda truth: float(np.log1p(truth.drawn)),
    "how many more than expected": lambda truth: truth.surplus,
}

Told = list[tuple[Shared, Truth]]


def watch(path: Path, federations: int, seed: int) -> Told:
    """Watch institutions with rows that were dealt out, some of which go away at times."""
    chance = random.Random(seed)
    many = federations * INSTITUTIONS
    sizes = [SIZES[k % len(SIZES)] for k in range(many)]
    shares = [SHARES[k % len(SHARES)] for k in range(many)]
    chance.shuffle(sizes)
    chance.shuffle(shares)
    lots = list(zip(sizes, shares, strict=True))
    ids = [InstitutionId(f"inst-{k:02d}") for k in range(INSTITUTIONS)]
    told: Told = []
    for k in range(federations):
        mine = dict(zip(ids, lots[k * INSTITUTIONS : (k + 1) * INSTITUTIONS], strict=True))
        watched = Watched(path / str(k), path / "base", mine)
        watched.play(away=ids[k % INSTITUTIONS], mute=ids[k // 2 % INSTITUTIONS])
        told += watched.told()
    return told


def watched_with_one_model(path: Path, federations: int) -> Told:
    """Watch institutions whose trainers take turns with one model, which is built once."""

    @cache
    def once(base: Digest) -> Any:
        return build_agreed(agreements[base])

    agreements: dict[Digest, Agreement] = {}

    def built(agreement: Agreement) -> Any:
        agreements.setdefault(agreement.model.base, agreement)
        return once(agreement.model.base)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workbench, "build_agreed", built)
        return watch(path, federations, SEED)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return watched_with_one_model(tmp_path_factory.mktemp("w"), federations=7)


@pytest.fixture(scope="module")
def seen(told: Told) -> np.ndarray:
    return numbers_of([shared for shared, _ in told])


def asked(seen: np.ndarray, told: Told, question: str) -> Guess:
    return guess(seen, [QUESTIONS[question](truth) for _, truth in told], DEALS, SEED)


@pytest.mark.parametrize("question", QUESTIONS)
def test_nobody_guesses_better_than_chance(seen: np.ndarray, told: Told, question: str) -> None:
    found = asked(seen, told, question)
    assert found.p > LEVEL, found


def test_the_adversary_was_shown_much_about_institutions_that_differ(
    seen: np.ndarray, told: Told
) -> None:
    truths = [truth for _, truth in told]
    assert len(told) == 35
    assert seen.shape[1] > 3000
    assert {truth.rows for truth in truths} == set(SIZES)
    assert 0 in {truth.drawn for truth in truths}
    assert max(truth.drawn for truth in truths) > 100
    lengths = {len(shared.entries) for shared, _ in told}
    assert len(lengths) > 1  # some were away


def egress(shared: Shared, message: str, **changed: Any) -> Shared:
    """Return what would be seen if an egress entry said something else."""
    at = place_of(shared, message)
    body = replace(shared.entries[at].body, **changed)
    entry = replace(shared.entries[at], body=body)
    return replace(shared, entries=(*shared.entries[:at], entry, *shared.entries[at + 1 :]))


def longer(shared: Shared, truth: Truth) -> Shared:
    """Leak: the number of rows stands in an upload, in decimal."""
    at = place_of(shared, "upload")
    size = shared.entries[at].body.size_bytes
    return egress(shared, "upload", size_bytes=size + len(str(truth.rows)))


def shaded(shared: Shared, truth: Truth) -> Shared:
    """Leak: the first byte of a digest follows the share of a label."""
    at = place_of(shared, "fetch-plan")
    digest = shared.entries[at].body.digest
    return egress(shared, "fetch-plan", digest=Digest(f"{int(truth.share * 255):02x}{digest[2:]}"))


def chatty(shared: Shared, truth: Truth) -> Shared:
    """Leak: a request more whenever the number of rows that were drawn has doubled."""
    more = Sent(method="FetchPlan", raw=b"again", message=pb.FetchPlanRequest())
    return replace(shared, sent=(*shared.sent, *[more] * truth.drawn.bit_length()))


def tinted(shared: Shared, truth: Truth) -> Shared:
    """Leak: the masks are a little thin, and the more rows than expected, the larger the lanes."""
    push = max(-0.2, min(0.2, 0.05 * truth.surplus))

    def pushed(sent: Sent) -> Sent:
        if sent.method != "PutChunks":
            return sent
        lanes = np.frombuffer(sent.message.data, np.uint8).astype(np.float64)
        data = np.clip(lanes * (1 + push), 0, 255).astype(np.uint8).tobytes()
        chunk = pb.Chunk(header=sent.message.header, offset=sent.message.offset, data=data)
        return Sent(method=sent.method, raw=chunk.SerializeToString(), message=chunk)

    return replace(shared, sent=tuple(map(pushed, shared.sent)))


@pytest.mark.parametrize(
    ("leak", "question"), zip((longer, shaded, chatty, tinted), QUESTIONS, strict=True)
)
def test_the_same_adversary_finds_a_leak(
    told: Told, leak: Callable[[Shared, Truth], Shared], question: str
) -> None:
    leaking = [(leak(shared, truth), truth) for shared, truth in told]
    found = asked(numbers_of([shared for shared, _ in leaking]), leaking, question)
    assert found.p <= LEVEL, found


def test_chance_is_called_chance_and_a_small_share_of_the_truth_is_found() -> None:
    """Of numbers that say nothing, as many guesses are called good at a level as the level says."""
    chance = np.random.default_rng(SEED)
    p = []
    for k in range(200):
        noise = chance.standard_normal((30, 100))
        p.append(guess(noise, chance.standard_normal(30), deals=199, seed=k).p)
    assert np.mean(np.array(p) <= 0.1) <= 0.17  # 0.1 expected at most; three deviations
    truth = chance.standard_normal(40)
    noise = chance.standard_normal((40, 2000))
    assert guess(noise, truth, DEALS, SEED).p > LEVEL
    noise[:, 7] = truth + 0.5 * noise[:, 7]
    assert guess(noise, truth, DEALS, SEED).p <= LEVEL


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nobody_guesses_better_than_chance_about_four_hundred_institutions(
    tmp_path: Path,
) -> None:
    told = watched_with_one_model(tmp_path, federations=80)
    seen = numbers_of([shared for shared, _ in told])
    for question in QUESTIONS:
        found = asked(seen, told, question)
        print(f"{question}: {found}")
        assert found.p > LEVEL
