"""Adds the stored vectors again: one pass over all files, whatever their number and length.

While a window passes by, the root of every vector, the sum less its residue, and the comparison
with the stored total are taken forward together, so what was hashed is what was summed.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from comity_audit.directory import StoredRound
from comity_common.chunks import RunningRoot
from comity_common.errors import PeerError
from comity_common.ids import InstitutionId
from comity_common.secagg.masking import Z_DTYPE
from comity_common.secagg.messages import Header, Plan
from comity_common.secagg.packing import lane_bytes
from comity_common.secagg.summing import RunningSum, Window, windows
from comity_common.secagg.unmasking import Residue
from comity_common.storedround import TOTAL_FILE, vector_of

OnBytes = Callable[[int, int], None]
"""Told how many bytes of how many are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summation:
    """What was seen while the vectors passed by.

    Attributes:
        false_vectors: whose bytes do not give the root that its header promises.
        root: of the sum's chunks, 32 bytes; empty if the sum cannot be true.
        why: why it cannot be; empty if it can.
        difference: the first lane in which the stored total is another; empty if there is none.
    """

    false_vectors: tuple[InstitutionId, ...]
    root: bytes
    why: str
    difference: str


def add_again(
    stored: StoredRound,
    plan: Plan,
    headers: Mapping[InstitutionId, Header],
    residue: Residue,
    on_bytes: OnBytes,
) -> Summation:
    """Sum the vectors of all survivors and take the residue off.

    Args:
        headers: of the survivors.

    Raises:
        PeerError: a vector or the total has another size than the plan gives it.
        Problem: a vector is missing.
    """
    roots = {party: RunningRoot(header.size) for party, header in headers.items()}
    running = RunningSum(plan, len(headers), residue)
    difference, done, size = "", 0, next(iter(headers.values())).size
    with ExitStack() as stack:
        sources = {
            party: _sized(stack, stored, vector_of(party), size) for party in sorted(headers)
        }
        is_certified = TOTAL_FILE in stored.names
        total = _sized(stack, stored, TOTAL_FILE, size) if is_certified else None
        passing = [partial(_pass, source, roots[party]) for party, source in sources.items()]
        for window in windows(plan.lanes, plan.ring_width):
            lanes = running.add(window, passing)
            if total is not None and not difference:
                difference = _difference(plan, window, lanes, _read(total, window))
            done += window.length
            on_bytes(done * len(headers), size * len(headers))
    root, why = b"", ""
    try:
        root = running.finish()
    except PeerError as error:
        why = str(error)
    return Summation(
        false_vectors=tuple(
            party for party, one in roots.items() if one.finish() != headers[party].root
        ),
        root=root,
        why=why,
        difference=difference,
    )


def _sized(stack: ExitStack, stored: StoredRound, name: str, size: int) -> BinaryIO:
    found = stored.size(name)
    if found != size:
        raise PeerError(f"{name}: expected {size} bytes, got {found}")
    return stack.enter_context(stored.opened(name))


def _pass(source: BinaryIO, root: RunningRoot, window: Window, into: memoryview) -> None:
    """Hand on the next window of a vector, and take its root forward."""
    into[:] = _read(source, window)
    root.update(into)


def _read(source: BinaryIO, window: Window) -> bytes:
    part = source.read(window.length)
    if len(part) != window.length:
        raise PeerError(f"expected {window.length} bytes at {window.start}, got {len(part)}")
    return part


def _difference(plan: Plan, window: Window, summed: memoryview, stored: bytes) -> str:
    """Name the first lane of a window in which the stored total is not the sum."""
    if summed == stored:
        return ""
    before, size = 0, Z_DTYPE.itemsize
    if window.section == "q":
        before, size = window.start // lane_bytes(plan.ring_width), lane_bytes(plan.ring_width)
    place = next(at for at, byte in enumerate(stored) if summed[at] != byte) // size
    values = [
        int.from_bytes(lanes[place * size : (place + 1) * size], "little", signed=True)
        for lanes in (summed, stored)
    ]
    return (
        f"lane {before + place} of {window.section} is {values[0]} by the vectors and "
        f"{values[1]} in it"
    )
