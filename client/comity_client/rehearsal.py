"""A rehearsal: a few steps of a round on the real rows, to see what a round takes here.

All of it is real, also the noise and the masks for as many institutions as the agreement has. Only
the keys are not, which are drawn here in the others' place. Delta and upload are thrown away, so
nothing has left, no budget is spent and the ledger has nothing to say.
"""

import os
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from time import monotonic

from comity_client.agreements import OVER, Known
from comity_client.datasets import Source
from comity_client.institution import Institution
from comity_client.space import free_bytes, needed_bytes
from comity_common.agreement import Agreement
from comity_common.canonical import encode
from comity_common.crypto.stream import Keystream
from comity_common.errors import Problem
from comity_common.fixedpoint import quantised
from comity_common.ids import InstitutionId
from comity_common.ledger.crossings import of_upload
from comity_common.secagg.participant import deal
from comity_common.secagg.plan import make_plan
from comity_common.vectors import Vector

OnPhase = Callable[[str], None]
"""Told in words what is done next."""

KEY_BYTES = 32
STEPS = 3  # the first warms up; of the others the quickest was least disturbed


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What was measured.

    Attributes:
        parameters: d, the trained ones.
        institutions: for how many the masks were made.
        steps, attempts: of a round, and the most rounds of the agreement.
        load_seconds: for model and rows, once after each start.
        step_seconds, mask_seconds: for one step, and for all the masks of a round.
        upload_bytes: what leaves in a round, besides a few small signed messages.
        memory_bytes: the most that this process held.
        disk_needed_bytes, disk_free_bytes: for files of the rounds, in the institution's home.
    """

    parameters: int
    institutions: int
    steps: int
    attempts: int
    load_seconds: float
    step_seconds: float
    mask_seconds: float
    upload_bytes: int
    memory_bytes: int
    disk_needed_bytes: int
    disk_free_bytes: int

    @property
    def round_seconds(self) -> float:
        """How long a round takes here, without the network and the others."""
        return self.steps * self.step_seconds + self.mask_seconds

    @property
    def schedule_bytes(self) -> int:
        """The most that leaves in all rounds."""
        return self.attempts * self.upload_bytes


def choose_agreement(institution: Institution, name: str) -> Known:
    """Find the agreement to rehearse: the named one, else the newest that is not over.

    Raises:
        Problem: there is none.
    """
    if name:
        return institution.agreements.find(name)
    open_ = [known for known in institution.agreements.known() if known.state not in OVER]
    if not open_:
        raise Problem("COM-REHEARSE-001")
    return open_[-1]


def rehearse(
    institution: Institution, agreement: Agreement, data: Source, on_phase: OnPhase
) -> Rehearsal:
    """Take a few steps of a round and throw them away.

    Args:
        data: the rows.

    Raises:
        Problem: this machine has not what the agreement names, or too little disk.
        LocalError: a row is not as the agreement's task wants it.
    """
    needed, free = needed_bytes(agreement), free_bytes(institution.home.path)
    if free < needed:
        raise Problem("COM-REHEARSE-003", home=institution.home.path, needed=needed, free=free)

    on_phase("loading the model and the rows")
    began = monotonic()
    os.environ["HF_HUB_OFFLINE"] = "1"  # a rehearsal opens no connection
    from comity_client.model.base import check_base
    from comity_client.workbench import Workbench  # torch takes seconds to import

    check_base(agreement.model)
    short = replace(agreement, training=replace(agreement.training, local_steps=STEPS))
    workbench = Workbench(short, data, institution.config.compute)
    loaded = monotonic()

    ends = [loaded]

    def on_step(done: int, of: int) -> None:
        ends.append(monotonic())
        on_phase(f"trained step {done} of {of}")

    on_phase("training")
    delta, _ = workbench.train(workbench.first_state.parameters, None, on_step)
    trained = monotonic()

    on_phase("masking")
    upload_bytes = _mask(agreement, institution.me, delta)
    masked = monotonic()

    return Rehearsal(
        parameters=agreement.model.parameters,
        institutions=len(agreement.roster),
        steps=agreement.training.local_steps,
        attempts=agreement.attempts,
        load_seconds=loaded - began,
        step_seconds=min(end - start for start, end in pairwise(ends[1:])),
        mask_seconds=masked - trained,
        upload_bytes=upload_bytes,
        memory_bytes=_peak_memory_bytes(),
        disk_needed_bytes=needed,
        disk_free_bytes=free,
    )


def _mask(agreement: Agreement, me: InstitutionId, delta: Vector) -> int:
    """Mask a delta for a round with everyone; returns how many bytes would leave."""
    plan = make_plan(
        agreement,
        epoch=1,
        round=1,
        participants=agreement.roster,
        previous=agreement.digest,
        model=agreement.model.initial_state,
        nonce=os.urandom(16),
    )
    keys = {peer: os.urandom(KEY_BYTES) for peer in agreement.roster if peer != me}
    lanes = quantised(delta, plan.range, plan.lane_bound, Keystream.fresh())
    dealt = deal(plan, me, keys, lanes, write=lambda _piece: None)
    upload = of_upload(encode(dealt.header), encode(dealt.upload), dealt.boxes, dealt.leaves)
    return upload.size_bytes


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
