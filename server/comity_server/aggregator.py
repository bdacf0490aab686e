"""The sum of the survivors' masked vectors on disk, less what still masks it.

Files in, one file out, window after window; what is summed and what is checked before anybody is
told a sum is in `comity_common.secagg.summing`.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from io import BufferedReader
from pathlib import Path

from comity_common.ids import Digest
from comity_common.secagg.messages import Plan
from comity_common.secagg.summing import RunningSum, Window, windows
from comity_common.secagg.unmasking import Residue
from comity_host.files import written_durably


def total_path(totals: Path, agreement: Digest, number: int) -> Path:
    """Return where the sum of a round lies.

    Args:
        totals: the directory of all sums.
    """
    return totals / f"{agreement[:16]}-{number:05d}.total"


def write_total(plan: Plan, vectors: Sequence[Path], residue: Residue, total: Path) -> bytes:
    """Add masked vectors, take the residue off and write the sum: q with its canaries, then z.

    Args:
        vectors: one file per survivor.
        total: where the sum is written, whole or not at all, laid out as each of the vectors.

    Returns:
        the root of the sum's chunks, 32 bytes.

    Raises:
        PeerError: a canary or a lane says that this is not the sum of so many vectors.
    """
    running = RunningSum(plan, len(vectors), residue)
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("rb")) for path in vectors]
        sources = [partial(_read, file) for file in files]
        out = stack.enter_context(written_durably(total))
        for window in windows(plan.lanes, plan.ring_width):
            out.write(running.add(window, sources))
        return running.finish()


def _read(file: BufferedReader, window: Window, into: memoryview) -> None:
    """Read the next window, into memory that is used again: pages fresh from the system are slow.

    Raises:
        OSError: the file is shorter.
    """
    count = file.readinto(into)
    if count != window.length:
        raise OSError(f"expected {window.length} bytes at {window.start}, got {count}")
