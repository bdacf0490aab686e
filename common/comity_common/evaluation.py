"""The public evaluation set: what its digest in the agreement is taken over."""

from collections.abc import Sequence
from dataclasses import dataclass

from comity_common.canonical import encode
from comity_common.crypto.derive import digest
from comity_common.ids import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class _EvaluationSet:
    """The canonical form of a public set, in the order of its rows."""

    texts: tuple[str, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _WordEvaluationSet:
    """The canonical form of a public set whose words have labels, in the order of its rows."""

    texts: tuple[tuple[str, ...], ...]
    labels: tuple[tuple[int, ...], ...]


def evaluation_set_digest(texts: Sequence[str], labels: Sequence[int]) -> Digest:
    """Hash a public evaluation set: its texts and labels, in their order.

    Args:
        labels: of each text, the place of its label among the task's.
    """
    canonical = _EvaluationSet(texts=tuple(texts), labels=tuple(labels))
    return Digest(digest("evaluation-set", encode(canonical)).hex())


def word_evaluation_set_digest(
    texts: Sequence[Sequence[str]], labels: Sequence[Sequence[int]]
) -> Digest:
    """Hash a public evaluation set whose words have labels: both in their order.

    Args:
        texts: of each row its words.
        labels: of each word, the place of its label among the task's.
    """
    canonical = _WordEvaluationSet(texts=tuple(map(tuple, texts)), labels=tuple(map(tuple, labels)))
    return Digest(digest("word-evaluation-set", encode(canonical)).hex())
