"""A long file as chunks of 1 MiB, each with a hash, all under one root.

The root names the file; the list of leaves lets the receiver reject a corrupt chunk at once. Which
chunks a receiver has is said by a bitmap: chunk k is bit k % 8 of byte k // 8.
"""

from collections.abc import Collection, Sequence

from comity_common.crypto.derive import DIGEST_BYTES, Digesting, digest, number
from comity_common.errors import LocalError, PeerError

CHUNK_BYTES = 1 << 20  # 64 KiB costs twice the CPU, 4 MiB protobuf messages four times


def leaf(chunk: bytes | memoryview) -> bytes:
    """Hash one chunk: 32 bytes."""
    return digest("chunk", bytes(chunk))


def root(size: int, leaves: Sequence[bytes]) -> bytes:
    """Hash a file's size and its leaves: 32 bytes."""
    return digest("chunks", number(size), *leaves)


def count(size: int) -> int:
    """Count the chunks of a file of `size` bytes."""
    return -(-size // CHUNK_BYTES)


def check_leaves(size: int, leaves: Sequence[bytes], expected_root: bytes) -> None:
    """Check a list of leaves against the root.

    Raises:
        PeerError: number, length or root differ.
    """
    if size < 0 or len(leaves) != count(size) or any(len(item) != DIGEST_BYTES for item in leaves):
        raise PeerError(f"expected {count(size)} chunk hashes of 32 bytes")
    if root(size, leaves) != expected_root:
        raise PeerError("expected the chunk hashes under the signed root")


class RunningRoot:
    """The root of a file whose bytes pass by in order; of each chunk no more than its leaf is kept.

    Args:
        size: of the whole file in bytes.

    Attributes:
        leaves: of the chunks that have passed by, 32 bytes each.
    """

    __slots__ = ("_leaf", "_root", "_seen", "_size", "leaves")

    def __init__(self, size: int) -> None:
        self.leaves: list[bytes] = []
        self._size = size
        self._seen = 0
        self._root = Digesting("chunks")
        self._root.part(number(size))
        self._leaf = self._begun()

    def update(self, piece: bytes | memoryview) -> None:
        """Hash the next bytes, of whatever length.

        Raises:
            LocalError: there are more than the file has.
        """
        view = memoryview(piece).cast("B")
        if self._seen + len(view) > self._size:
            raise LocalError(f"expected a file of {self._size} bytes")
        while view:
            part = view[: CHUNK_BYTES - self._seen % CHUNK_BYTES]
            self._leaf.update(part)
            self._seen += len(part)
            view = view[len(part) :]
            if self._seen % CHUNK_BYTES == 0 or self._seen == self._size:
                self.leaves.append(self._leaf.finish())
                self._root.part(self.leaves[-1])
                self._leaf = self._begun()

    def finish(self) -> bytes:
        """Return the root: 32 bytes. Nothing can follow.

        Raises:
            LocalError: some of the file is missing.
        """
        if self._seen != self._size:
            raise LocalError(f"expected a file of {self._size} bytes, got {self._seen}")
        return self._root.finish()

    def _begun(self) -> Digesting:
        leaf = Digesting("chunk")
        leaf.begin(min(CHUNK_BYTES, self._size - self._seen))
        return leaf


def bitmap(places: int, missing: Collection[int]) -> bytes:
    """Say which of so many chunks are there: all but the missing ones."""
    bits = bytearray(-(-places // 8))
    for place in range(places):
        if place not in missing:
            bits[place // 8] |= 1 << place % 8
    return bytes(bits)


def missing(places: int, bits: bytes) -> list[int]:
    """Read which of so many chunks are not there, in order.

    Raises:
        PeerError: it is no bitmap of so many chunks.
    """
    if len(bits) != -(-places // 8):
        raise PeerError(f"expected a bitmap of {places} chunks, got {len(bits)} bytes")
    return [place for place in range(places) if not bits[place // 8] >> place % 8 & 1]
