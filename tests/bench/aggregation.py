"""The operator's sum of stored uploads, two institutions lost, against its floor; and its memory.

The uploads are made as vaults make them, the seeds that unmask their sum come from real reveals,
and the operator's own `write_total` sums the files. The floor reads and adds as many bytes and
draws as many masks.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose
from comity_common.secagg.collector import Collector
from comity_common.secagg.messages import Plan
from comity_common.secagg.unmasking import Residue
from comity_server.aggregator import write_total
from tests.bench import client, floor
from tests.bench.figures import Figure, Say
from tests.bench.measuring import Growth, in_a_process_of_its_own, in_turns
from tests.simulation.federation import World

NAME = "aggregation"
LOST = 2
FEW, MANY = 5, 20  # uploads
TIMES = 3
NOTE = "stored.json"


def measure(full: bool, say: Say) -> list[Figure]:
    """Measure the row."""
    lanes = 22_700_000 if full else 300_000
    figures = []
    for uploads in (FEW, MANY) if full else (FEW,):
        with tempfile.TemporaryDirectory() as directory:
            say(f"making {uploads} uploads of {lanes:,} lanes")
            stored = Stored.make(Path(directory), uploads, lanes)
            say("summing them")
            figures.append(_memory(stored, full))
            if uploads == MANY or not full:
                figures += _against_the_floor(stored, full)
    return figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A round up to its sum.

    Attributes:
        residue: the seeds that are still on the sum.
        files: one for each survivor.
    """

    directory: Path
    plan: Plan
    residue: Residue
    files: list[Path]

    @property
    def words(self) -> str:
        """Say what it is."""
        return f"{len(self.files)} uploads of {self.plan.lanes / 1e6:g} M lanes, {LOST} lost"

    def sum(self) -> None:
        """Let the operator write the sum."""
        write_total(self.plan, self.files, self.residue, self.directory / "total")

    def floor(self) -> float:
        """Return the CPU seconds of the floor."""
        streams = len(self.files) * (1 + LOST)  # a self mask each, and its masks with the lost
        return floor.sums(self.files, streams)

    @classmethod
    def make(cls, directory: Path, uploads: int, lanes: int) -> Self:
        """Play a round."""
        world = World.of(uploads + LOST, lanes=lanes)
        plan = world.plan()
        collector = Collector(world.agreement, plan)
        delta = client.random_delta(lanes)
        survivors = plan.participants[:uploads]
        for who in survivors:
            keys = client.round_keys(world, plan, who)
            dealt = client.upload(plan, who, keys, delta, directory / who)
            world.dealt[who] = dealt
            world.signed[who] = (
                world.keys[who].sign(Purpose.HEADER, encode(dealt.header)),
                world.keys[who].sign(Purpose.UPLOAD, encode(dealt.upload)),
            )
            collector.upload(*world.signed[who], dealt.boxes)
        collector.expire()
        for who in survivors[: plan.threshold]:
            collector.reveal(world.reveal(plan, who, collector.survivors))
        if collector.residue is None:
            raise RuntimeError("expected enough reveals")
        files = [directory / who for who in survivors]
        return cls(directory=directory, plan=plan, residue=collector.residue, files=files)

    def save(self) -> None:
        """Leave a note of all this beside the uploads."""
        seeds = (
            self.residue.self_seeds,
            self.residue.added_pairs,
            self.residue.subtracted_pairs,
        )
        named = {
            "plan": encode(self.plan).decode(),
            "seeds": [[seed.hex() for seed in each] for each in seeds],
            "files": [str(file) for file in self.files],
        }
        (self.directory / NOTE).write_text(json.dumps(named))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the note."""
        named = json.loads((directory / NOTE).read_text())
        own, added, subtracted = (tuple(map(bytes.fromhex, each)) for each in named["seeds"])
        return cls(
            directory=directory,
            plan=decode(Plan, named["plan"].encode()),
            residue=Residue(self_seeds=own, added_pairs=added, subtracted_pairs=subtracted),
            files=[Path(file) for file in named["files"]],
        )


def memory_of_a_sum(directory: str) -> dict[str, Any]:
    """Sum a stored round in this process.

    Returns:
        the growth of memory, in bytes.
    """
    stored, growth = Stored.load(Path(directory)), Growth()
    stored.sum()
    return {"peak": growth.peak()}


def _memory(stored: Stored, full: bool) -> Figure:
    stored.save()
    cost = in_a_process_of_its_own(memory_of_a_sum, str(stored.directory))
    return Figure(
        row=NAME,
        measured=f"{stored.words}: growth of memory",
        value=cost["peak"] / 1e6,
        unit="MB",
        at_most=64 if full else None,
    )


def _against_the_floor(stored: Stored, full: bool) -> list[Figure]:
    both = in_turns(stored.sum, stored.floor, TIMES)
    bar = 1.5 if full else None
    return [
        Figure(row=NAME, measured=f"{stored.words}: CPU", value=both.a, unit="s"),
        Figure(
            row=NAME,
            measured=f"{stored.words}: sum / floor",
            value=1 / both.ratio,
            unit="×",
            at_most=bar,
        ),
    ]
