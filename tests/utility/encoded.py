"""Texts as vectors of the frozen encoder, each encoded once, and on request kept for another day.

What is kept are numbers made of the rows: the folder is the caller's choice, and there is none by
default.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comity_client.model.classifier import Classifier
from comity_client.model.examples import Features

ENCODED_AT_ONCE = 1000

Say = Callable[[str], None]
"""Told what is being done."""


class Encoded:
    """Vectors by the SHA-256 of their text.

    Args:
        kept: the file they are kept in, which belongs to one base and one length of texts.
    """

    def __init__(self, classifier: Classifier, kept: Path | None, say: Say) -> None:
        self._classifier = classifier
        self._kept = kept
        self._say = say
        self._vectors: dict[bytes, npt.NDArray[np.float32]] = {}
        if kept is not None and kept.is_file():
            with np.load(kept) as file:
                digests = map(bytes, file["digests"])
                self._vectors = dict(zip(digests, file["vectors"], strict=True))

    def features(self, texts: Sequence[str]) -> Features:
        """Return the texts' vectors, in their order."""
        named = {_name(text): text for text in texts}
        unseen = [name for name in named if name not in self._vectors]
        for start in range(0, len(unseen), ENCODED_AT_ONCE):
            self._say(f"encodes {len(unseen) - start} texts")
            names = unseen[start : start + ENCODED_AT_ONCE]
            vectors = self._classifier.encode([named[name] for name in names])
            self._vectors.update(zip(names, vectors, strict=True))
        if unseen:
            self._keep()
        return Features(np.array([self._vectors[_name(text)] for text in texts], np.float32))

    def _keep(self) -> None:
        if self._kept is None:
            return
        self._kept.parent.mkdir(parents=True, exist_ok=True)
        digests = np.array([list(name) for name in self._vectors], np.uint8)
        np.savez(self._kept, digests=digests, vectors=np.array(list(self._vectors.values())))


def _name(text: str) -> bytes:
    return sha256(text.encode()).digest()
