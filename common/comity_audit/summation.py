"""Adds the stored vectors again: one pass over all files, whatever their number and length.

While a window passes by, the root of every vector, the sum less its residue, and the comparison
with the stored total are taken forward together, so what was hashed is what was summed.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from comity_audit.directory import StoredRound
from comity_common.chunks import RunningRoot
from comity_common.errors import PeerError
from comity_common.ids import InstitutionId
from comity_common.secagg.masking import Q_DTYPE, Z_DTYPE, q_bytes
from comity_common.secagg.messages import Header, Plan
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
        for window in windows(plan.lanes):
            lanes = running.add(window, _passing(sources, roots, window))
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


def _passing(
    sources: Mapping[InstitutionId, BinaryIO],
    roots: Mapping[InstitutionId, RunningRoot],
    window: Window,
) -> Iterator[bytes]:
    for party, source in sources.items():
        part = _read(source, window)
        roots[party].update(part)
        yield part


def _read(source: BinaryIO, window: Window) -> bytes:
    part = source.read(window.length)
    if len(part) != window.length:
        raise PeerError(f"expected {window.length} bytes at {window.start}, got {len(part)}")
    return part


def _difference(plan: Plan, window: Window, summed: memoryview, stored: bytes) -> str:
    """Name the first lane of a window in which the stored total is not the sum."""
    dtype = Q_DTYPE if window.section == "q" else Z_DTYPE
    mine, theirs = np.frombuffer(summed, dtype), np.frombuffer(stored, dtype)
    unlike = np.flatnonzero(mine != theirs)
    if not unlike.size:
        return ""
    place = int(unlike[0])
    start = 0 if window.section == "q" else q_bytes(plan.lanes)
    lane = (window.start - start) // dtype.itemsize + place
    signed = "<i4" if window.section == "q" else "<i8"
    values = mine.view(signed)[place], theirs.view(signed)[place]
    return f"lane {lane} of {window.section} is {values[0]} by the vectors and {values[1]} in it"
