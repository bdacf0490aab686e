"""The self-test: how often it alarms without a reason, and whether it sees ten mistakes.

A self-test is what a vault does before a run, with a small BERT as the agreement's model: a first
attempt, and after an alarm a second, both on the ledger of an institution; two alarms bar all
training. Every attempt draws afresh from the operating system, under terms that differ in sampling
and noise. Promised is one alarm in a thousand clean attempts: of 299 more than two alarm with a
chance of 0.4 %. A *false alarm* is a clean self-test that bars training, retry in; 299 without one
put its rate below 1 % at 95 % confidence. Self-tests run beside each other in as many processes as
there are cores.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from comity_common.ids import Digest, InstitutionId
from tests.bench.figures import Figure, Say

CLEAN, EACH = 299, 20
MOST_FIRST = 2.0  # alarms of 299 first attempts
FEW_CLEAN, FEW_EACH = 2, 1
TERMS = (("0.2", "1.6579"), ("0.05", "0.9"), ("0.01", "0.7"))  # q and σ/C, in turns
WORDS = ("my", "card", "loan", "money", "was", "lost", "stolen", "please", "help", "the", "bank")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A self-test.

    Attributes:
        mistake: what was wrong; empty for nothing.
        failed: the tests that failed, for every attempt.
        seconds: CPU time of an attempt.
    """

    mistake: str
    failed: tuple[tuple[str, ...], ...]
    seconds: float

    @property
    def barred(self) -> bool:
        """Whether all attempts failed."""
        return all(self.failed)


def measure(full: bool, say: Say) -> list[Figure]:
    """Count alarms of clean self-tests and of self-tests with a mistake inside."""
    from tests.injected import MISTAKES

    clean, each = (CLEAN, EACH) if full else (FEW_CLEAN, FEW_EACH)
    work = [("", k) for k in range(clean)]
    work += [(mistake, k) for mistake in MISTAKES for k in range(each)]
    found = []
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for done, one in enumerate(pool.map(self_test, *zip(*work, strict=True)), 1):
            found.append(one)
            if one.failed[0] and not one.mistake:
                attempts = "; then ".join(", ".join(tests) or "nothing" for tests in one.failed)
                say(f"clean self-test {done} failed {attempts}")
            if done % 50 == 0:
                say(f"{done} of {len(work)} self-tests")
    of_none = [one for one in found if not one.mistake]
    seconds = sorted(one.seconds for one in of_none)
    first = Figure(
        row="selftest",
        measured=f"alarms at the first attempt of {clean} clean self-tests",
        value=float(sum(bool(one.failed[0]) for one in of_none)),
        unit="alarms",
        at_most=MOST_FIRST,
    )
    false = Figure(
        row="selftest",
        measured=f"false alarms of {clean} clean self-tests, retry in",
        value=float(sum(one.barred for one in of_none)),
        unit="alarms",
        at_most=0.0,
    )
    took = Figure(
        row="selftest",
        measured="CPU time of an attempt, the median",
        value=seconds[len(seconds) // 2],
        unit="s",
    )
    caught = [
        _caught([one for one in found if one.mistake == mistake], say) for mistake in MISTAKES
    ]
    return [first, false, *caught, took]


def self_test(mistake: str, number: int) -> Tried:
    """Do what a vault does before a run, with a mistake or with none."""
    from comity_client.config import VaultConfig
    from comity_client.institution import Institution
    from comity_client.selftest.examination import (
        STANDARD,
        STANDARD_DELTA,
        Examination,
        examine,
    )
    from comity_client.selftest.gate import UNFINISHED, attempts
    from tests.injected import injected

    q, sigma = (Decimal(text) for text in TERMS[number % len(TERMS)])
    training = replace(STANDARD, sampling_probability=q, noise_multiplier=sigma)
    classifier = _small_model()

    def examined() -> Examination:
        return examine(
            training,
            STANDARD_DELTA,
            reserved=lambda terms, rounds: terms.local_steps * rounds,
            classifier=classifier,
        )

    config = VaultConfig(id=InstitutionId("a"), name="A", jurisdiction="DE", server="127.0.0.1:1")
    with TemporaryDirectory() as place:
        inst = Institution.create(Path(place) / "home", config)
        began = time.process_time()
        with injected(mistake) if mistake else nullcontext():
            found = list(attempts(inst, Digest(""), examined))
        seconds = (time.process_time() - began) / len(found)
    failed = tuple((UNFINISHED,) if one is None else one.failed for one in found)
    return Tried(mistake=mistake, failed=failed, seconds=seconds)


def _caught(found: Sequence[Tried], say: Say) -> Figure:
    mistake = found[0].mistake
    attempts = [set(tests) for one in found for tests in one.failed]
    seen_by = sorted(set.intersection(*attempts))
    say(f"{mistake}: every attempt failed {', '.join(seen_by) or 'no test in common'}")
    return Figure(
        row="selftest",
        measured=f"{mistake}: caught in {len(found)} self-tests",
        value=float(sum(one.barred for one in found)),
        unit="alarms",
        at_least=float(len(found)),
    )


@cache
def _small_model() -> Any:
    import torch

    from comity_client.model.build import build
    from comity_common.agreement import Pooling, Task, TaskKind
    from comity_common.tuning import Tune
    from tests.tiny_bert import save_tiny_bert

    torch.set_num_threads(1)
    kind = TaskKind.SEQUENCE_CLASSIFICATION
    task = Task(kind=kind, labels=("card", "loan", "fraud"), max_tokens=48)
    with TemporaryDirectory() as directory:
        base = save_tiny_bert(Path(directory), WORDS, hidden=16, positions=64, seed=5)
        return build(
            base, task, pooling=Pooling.MEAN, tune=Tune.LORA, lora_rank=2, lora_alpha=4,
            seed=bytes(32),
        )  # fmt: skip
