"""A long file as chunks of 1 MiB, each with a hash, all under one root.

The root names the file; the list of leaves lets the receiver reject a corrupt chunk at once. Which
chunks a receiver has is said by a bitmap: chunk k is bit k % 8 of byte k // 8.
"""

from collections.abc import Collection, Sequence

from comity_common.crypto.derive import DIGEST_BYTES, digest
from comity_common.errors import PeerError

CHUNK_BYTES = 1 << 20  # 64 KiB costs twice the CPU, 4 MiB protobuf messages four times


def leaf(chunk: bytes | memoryview) -> bytes:
    """Hash one chunk: 32 bytes."""
    return digest("chunk", bytes(chunk))


def root(size: int, leaves: Sequence[bytes]) -> bytes:
    """Hash a file's size and its leaves: 32 bytes."""
    return digest("chunks", size.to_bytes(8, "big"), *leaves)


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
