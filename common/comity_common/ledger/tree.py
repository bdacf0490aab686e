"""A Merkle tree over the entries of a ledger, as RFC 6962 §2.1 has it.

The root of a tree of n entries stands for all of them in their order. A *consistency proof* shows
that a larger tree begins with a smaller one, without showing an entry: a few dozen hashes let
another institution see that nothing was taken back.

>>> tree = Tree([b"first", b"second", b"third"])
>>> proof = tree.consistency(2)
>>> check_consistency(2, tree.root(2), 3, tree.root(), proof)
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

from comity_common.errors import LocalError, PeerError

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
MAX_PATH = 128  # hashes of a proof; 2^64 entries need fewer


class Tree:
    """A tree that grows at its right edge.

    Args:
        entries: the bytes of each leaf, in order.
    """

    __slots__ = ("_levels",)

    def __init__(self, entries: Iterable[bytes] = ()) -> None:
        # _levels[k][i] is the hash over the complete subtree of the leaves i·2^k … (i+1)·2^k − 1.
        self._levels: list[list[bytes]] = [[]]
        for entry in entries:
            self.append(entry)

    def __len__(self) -> int:
        return len(self._levels[0])

    def append(self, entry: bytes) -> None:
        """Add a leaf."""
        node = leaf_hash(entry)
        for level in self._levels:
            level.append(node)
            if len(level) % 2:
                return
            node = node_hash(level[-2], node)
        self._levels.append([node])

    def root(self, size: int | None = None) -> bytes:
        """Return the root over the first entries, 32 bytes.

        Args:
            size: how many; None for all.

        Raises:
            LocalError: there are not so many.
        """
        size = len(self) if size is None else size
        self._check(size)
        return self._hash(0, size) if size else EMPTY_ROOT

    def consistency(self, old: int, size: int | None = None) -> tuple[bytes, ...]:
        """Prove that the tree of `size` entries begins with that of `old` (RFC 6962 §2.1.2).

        Returns:
            hashes of 32 bytes; none where there is nothing to prove: old is 0 or the size itself.

        Raises:
            LocalError: expected 0 ≤ old ≤ size ≤ entries.
        """
        size = len(self) if size is None else size
        self._check(size)
        if not 0 <= old <= size:
            raise LocalError(f"expected an older size of at most {size}, got {old}")
        return tuple(self._proof(old, 0, size, True)) if 0 < old < size else ()

    def inclusion(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """Prove that a leaf is in the tree of `size` entries (RFC 6962 §2.1.1).

        Raises:
            LocalError: there is no such leaf.
        """
        size = len(self) if size is None else size
        self._check(size)
        if not 0 <= index < size:
            raise LocalError(f"expected a leaf below {size}, got {index}")
        path, low, high = [], 0, size
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append(self._hash(middle, high))
                high = middle
            else:
                path.append(self._hash(low, middle))
                low = middle
        return tuple(reversed(path))

    def _check(self, size: int) -> None:
        if not 0 <= size <= len(self):
            raise LocalError(f"expected at most {len(self)} entries, got {size}")

    def _hash(self, low: int, high: int) -> bytes:
        """Hash the leaves from low to before high; low is a multiple of the subtree's width."""
        width = high - low
        if width & (width - 1) == 0:
            level = width.bit_length() - 1
            return self._levels[level][low >> level]
        middle = low + _split(width)
        return node_hash(self._hash(low, middle), self._hash(middle, high))

    def _proof(self, old: int, low: int, high: int, is_known: bool) -> list[bytes]:
        """SUBPROOF(old, D[low:high], is_known) of the RFC."""
        width = high - low
        if old == width:
            return [] if is_known else [self._hash(low, high)]
        half = _split(width)
        middle = low + half
        if old <= half:
            return [*self._proof(old, low, middle, is_known), self._hash(middle, high)]
        return [*self._proof(old - half, middle, high, False), self._hash(low, middle)]


def leaf_hash(entry: bytes) -> bytes:
    """Hash a leaf: SHA-256(0x00 ‖ entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two children: SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right).digest()


def check_consistency(
    old: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]
) -> None:
    """Check that a tree begins with an older one (RFC 9162 §2.1.4.2).

    Raises:
        PeerError: it is not shown.
    """
    wrong = PeerError(f"expected a proof that {size} entries begin with the {old} of before")
    if not 0 <= old <= size or len(path) > MAX_PATH:
        raise wrong
    if old in (0, size):
        known = EMPTY_ROOT if old == 0 else root
        if path or old_root != known:
            raise wrong
        return
    hashes = list(path)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    if not hashes:
        raise wrong
    place, last = old - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = hashes[0]
    for node in hashes[1:]:
        if last == 0:
            raise wrong
        if place & 1 or place == last:
            before, after = node_hash(node, before), node_hash(node, after)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, node)
        place, last = place >> 1, last >> 1
    if last or (before, after) != (old_root, root):
        raise wrong


def check_inclusion(
    entry: bytes, index: int, size: int, root: bytes, path: Sequence[bytes]
) -> None:
    """Check that a leaf is in a tree (RFC 9162 §2.1.3.2).

    Raises:
        PeerError: it is not shown.
    """
    wrong = PeerError(f"expected a proof that entry {index} is among {size}")
    if not 0 <= index < size or len(path) > MAX_PATH:
        raise wrong
    place, last, reached = index, size - 1, leaf_hash(entry)
    for node in path:
        if last == 0:
            raise wrong
        if place & 1 or place == last:
            reached = node_hash(node, reached)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            reached = node_hash(reached, node)
        place, last = place >> 1, last >> 1
    if last or reached != root:
        raise wrong


def _split(width: int) -> int:
    """Return the largest power of two below a width of at least 2."""
    return 1 << (width - 1).bit_length() - 1
