"""An adversary that turns all it sees into numbers and guesses what it should not know.

Every value of every ledger entry and of every message becomes a number: a count, a length, the
first bytes of a digest as a fraction; so do sums over entries and messages of one kind, and
statistics of each masked vector. Then it guesses in two ways: by the one number that goes best with
the truth, and by the best of several guessers that learn from all other institutions and are asked
about the one that is left out (ridge regression, kernels, nearest neighbours).

Whether a guess is better than chance, a permutation test tells: the same adversary, given truths
dealt out anew, thousands of times. It needs no assumption but that who got which rows was drawn.
All guessers here are linear in the truths that they learn from, so all deals are one product of
matrices.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from comity.v1 import transfer_pb2 as pb
from comity_common.canonical import decode, encode
from comity_common.ledger.bodies import Egress
from comity_common.ledger.forms import DIGEST_PATTERN
from comity_common.ledger.witness import Cosignature, HeadRequest
from comity_common.secagg.messages import (
    Decline,
    Endorsement,
    EpochHalves,
    EpochKey,
    EpochView,
    Header,
    Reveal,
    Upload,
)

from .eavesdropped import Sent, Shared

SIGNED = {
    pb.PARCEL_KIND_EPOCH_KEYS: EpochKey,
    pb.PARCEL_KIND_EPOCH_HALVES: EpochHalves,
    pb.PARCEL_KIND_EPOCH_VIEWS: EpochView,
    pb.PARCEL_KIND_REVEAL: Reveal,
    pb.PARCEL_KIND_ENDORSEMENT: Endorsement,
    pb.PARCEL_KIND_DECLINE: Decline,
    pb.PARCEL_KIND_HEAD: HeadRequest,
    pb.PARCEL_KIND_COSIGNATURE: Cosignature,
}
ABSENT = -1.0
AT_ONCE = 1000  # deals of truths
ENOUGH = 50  # deals that did as well; then a guess is as good as chance, and no more are tried
RIDGES = (0.03, 0.3, 3.0, 30.0)
NEIGHBOURS = (1, 3, 7)

Numbers = np.ndarray
"""Shape (institutions, features), float32."""


# What is seen, as numbers


def numbers_of(seen: Sequence[Shared]) -> Numbers:
    """Turn what is seen of each institution into numbers, and their ranks.

    What is the same for all says nothing and is left out; the others have mean 0 and variance 1.
    """
    named = [dict(_numbers(shared)) for shared in seen]
    names = sorted(set().union(*named))
    raw = np.array([[one.get(name, ABSENT) for name in names] for one in named])
    raw = raw[:, raw.std(axis=0) > 0]
    both = np.concatenate([raw, _ranks(raw)], axis=1)
    both = (both - both.mean(axis=0)) / both.std(axis=0)
    return np.unique(both.astype(np.float32), axis=1)


def _numbers(shared: Shared) -> Iterator[tuple[str, float]]:
    """Name every number by what it is of: the third plan that was fetched, all heads together."""
    alike: dict[str, list[list[tuple[str, float]]]] = defaultdict(list)
    for place, entry in enumerate(shared.entries):
        told = [("place", float(place)), ("length", float(len(encode(entry))))]
        told += [(label, value) for label, value in _values(entry) if label != "time"]
        alike[f"entry {getattr(entry.body, 'message', entry.kind)}"].append(told)
    vectors: dict[str, bytearray] = defaultdict(bytearray)
    for place, sent in enumerate(shared.sent):
        told = [("place", float(place)), ("length", float(len(sent.raw))), *_carried(sent)]
        alike[f"message {sent.method} {getattr(sent.message, 'kind', '')}"].append(told)
        if sent.method == "PutChunks":
            vectors[sent.message.header] += sent.message.data
    alike["answer"] = [[("length", float(len(answer)))] for answer in shared.answers]
    alike["vector"] = [list(_statistics(bytes(vector))) for vector in vectors.values()]
    for name, those in alike.items():
        together: dict[str, list[float]] = defaultdict(list)
        for count, told in enumerate(those):
            for label, value in told:
                yield f"{name} {count} {label}", value
                together[label].append(value)
        for label, values in together.items():
            for of in (len, sum, min, max):
                yield f"{of.__name__} of {name} {label}", float(of(values))


def _values(tree: Any, label: str = "") -> Iterator[tuple[str, float]]:
    """Go through an entry or a message, and tell each value in it as numbers."""
    if is_dataclass(tree):
        for field in fields(tree):
            yield from _values(getattr(tree, field.name), field.name)
    elif isinstance(tree, tuple | list):
        yield f"{label} count", float(len(tree))
        for place, item in enumerate(tree):
            yield from _values(item, f"{label} {place}")
    elif isinstance(tree, bytes):
        yield from _bytes(tree, label)
    elif isinstance(tree, str) and DIGEST_PATTERN.fullmatch(tree):
        yield from _bytes(bytes.fromhex(tree), label)
    elif isinstance(tree, str):
        yield f"{label} length", float(len(tree))
        yield f"{label} letters", float(sum(map(ord, tree)))
    elif isinstance(tree, int | float | Decimal):
        yield label, float(tree)


def _bytes(raw: bytes, label: str) -> Iterator[tuple[str, float]]:
    yield f"{label} length", float(len(raw))
    if raw:
        yield f"{label} begins", int.from_bytes(raw[:4], "big") / 2 ** (8 * len(raw[:4]))
        yield f"{label} first", float(raw[0])
        yield f"{label} last", float(raw[-1])
        yield f"{label} mean", float(np.frombuffer(raw, np.uint8).mean())


def _carried(sent: Sent) -> Iterator[tuple[str, float]]:
    message = sent.message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            items = list(value) if descriptor.is_repeated else value
            yield from _values(items, descriptor.name)
    if sent.method == "Send" and message.kind in SIGNED:
        yield from _values(decode(SIGNED[message.kind], message.envelopes[0].body))
    if sent.method == "BeginUpload":
        yield from _values(decode(Header, message.header.body), "header")
        yield from _values(decode(Upload, message.upload.body), "upload")


def _statistics(vector: bytes) -> Iterator[tuple[str, float]]:
    """Look at a masked vector from all sides."""
    whole = np.frombuffer(vector, np.uint8)
    lanes = np.frombuffer(vector[: len(vector) // 4 * 4], "<u4").astype(np.float64) / 2**32
    yield "mean", float(whole.mean())
    yield "spread", float(whole.std())
    for low in range(0, 256, 16):
        yield f"bytes from {low}", float(((whole >= low) & (whole < low + 16)).mean())
    for byte in range(4):
        yield f"mean of byte {byte}", float(whole[byte::4].mean())
    yield "lanes", float(lanes.mean())
    yield "lanes' spread", float(lanes.std())
    yield "neighbours", float(((lanes[1:] - 0.5) * (lanes[:-1] - 0.5)).mean())
    for bit in range(8):
        yield f"bit {bit}", float(((whole >> bit) & 1).mean())


def _ranks(raw: Numbers) -> Numbers:
    return raw.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable").astype(np.float64)


# The guess, and what chance makes of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """How well an adversary guesses.

    Attributes:
        correlation: of the truth with the one number that goes best with it, 0 to 1.
        explained: share of the truth's variance that the best guesser explains for institutions
            that it has not learnt from; 0 or less is no better than naming the mean.
        p_correlation, p_explained: how often chance does as well, over deals of the truths.
    """

    correlation: float
    explained: float
    p_correlation: float
    p_explained: float

    @property
    def p(self) -> float:
        """The smaller of the two, for two tries: Bonferroni."""
        return min(1.0, 2 * min(self.p_correlation, self.p_explained))


def guess(seen: Numbers, truth: Sequence[float], deals: int, seed: int) -> Guess:
    """Guess a truth of each institution from the numbers, and from the others' truths.

    Args:
        seen: shape (n, features).
        truth: of n institutions.
        deals: how often the truths are dealt out anew, at most.
        seed: of these deals.
    """
    chance = np.random.default_rng(seed)
    held = np.asarray(truth, np.float32)
    held = (held - held.mean()) / held.std()
    guessers = list(_guessers(seen.astype(np.float64)))
    found = _skill(seen, guessers, held[:, None])
    better, tried = np.zeros(2), 0
    while tried < deals and better.min() < ENOUGH:
        many = min(AT_ONCE, deals - tried)
        dealt = np.stack([chance.permutation(held) for _ in range(many)], axis=1)
        better += (_skill(seen, guessers, dealt) >= found - 1e-6).sum(axis=1)
        tried += many
    correlation, explained = found[:, 0]
    p = (better + 1) / (tried + 1)
    return Guess(
        correlation=float(correlation),
        explained=float(explained),
        p_correlation=float(p[0]),
        p_explained=float(p[1]),
    )


def _skill(seen: Numbers, guessers: list[np.ndarray], truths: np.ndarray) -> np.ndarray:
    """Return the best correlation and the best share explained, shape (2, deals)."""
    correlation = np.abs(seen.T @ truths).max(axis=0) / len(seen)
    missed = [((truths - guesser @ truths) ** 2).mean(axis=0) for guesser in guessers]
    return np.stack([correlation, 1 - np.min(missed, axis=0)])


def _guessers(seen: Numbers) -> Iterator[np.ndarray]:
    """Return matrices that take truths to guesses, none of which looks at its own truth."""
    n = len(seen)
    apart = ((seen[:, None, :] - seen[None, :, :]) ** 2).mean(axis=2)
    centre = np.eye(n) - 1 / n
    for kernel in (seen @ seen.T / seen.shape[1], np.exp(-apart / np.median(apart[apart > 0]))):
        kernel = centre @ kernel @ centre
        scale = np.trace(kernel) / n
        for ridge in RIDGES:
            yield _left_out(1 / n + kernel @ np.linalg.inv(kernel + ridge * scale * np.eye(n)))
    np.fill_diagonal(apart, np.inf)
    nearest = apart.argsort(axis=1)
    for neighbours in NEIGHBOURS:
        guesser = np.zeros((n, n))
        np.put_along_axis(guesser, nearest[:, :neighbours], 1 / neighbours, axis=1)
        yield guesser


def _left_out(smoother: np.ndarray) -> np.ndarray:
    """Turn a smoother into what it guesses of each truth without having seen it.

    Of smoothers by penalised least squares, the mean among them, the guess without the own truth is
    (Hy − hy) / (1 − h).
    """
    own = np.diag(smoother)
    guesser = smoother / (1 - own)[:, None]
    np.fill_diagonal(guesser, 0.0)
    return guesser


# Leaks, to see whether they would be found


def place_of(shared: Shared, message: str) -> int:
    """Find the first egress entry of a message."""
    for place, entry in enumerate(shared.entries):
        if isinstance(entry.body, Egress) and entry.body.message == message:
            return place
    raise ValueError(message)
