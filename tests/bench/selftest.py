"""The self-test: how often it alarms without a reason, and whether it sees ten mistakes.

An attempt is what a vault does before a run, with a small BERT as the agreement's model. Every one
draws afresh from the operating system, under terms that differ in sampling and noise. 299 clean
attempts without an alarm would put the rate of alarms below 1 % at 95 % confidence; promised is
one in a thousand. Attempts run beside each other in as many processes as there are cores.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from decimal import Decimal
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure, Say

CLEAN, EACH = 299, 20
FEW_CLEAN, FEW_EACH = 2, 1
TERMS = (("0.2", "1.6579"), ("0.05", "0.9"), ("0.01", "0.7"))  # q and σ/C, in turns
WORDS = ("my", "card", "loan", "money", "was", "lost", "stolen", "please", "help", "the", "bank")


def measure(full: bool, say: Say) -> list[Figure]:
    """Count alarms of clean attempts and of attempts with a mistake inside."""
    from tests.injected import MISTAKES

    clean, each = (CLEAN, EACH) if full else (FEW_CLEAN, FEW_EACH)
    work = [("", k) for k in range(clean)]
    work += [(mistake, k) for mistake in MISTAKES for k in range(each)]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        found = []
        for done, one in enumerate(pool.map(attempt, *zip(*work, strict=True)), 1):
            found.append(one)
            if one[0] and not work[done - 1][0]:
                say(f"clean attempt {done} failed {', '.join(one[0])}")
            if done % 50 == 0:
                say(f"{done} of {len(work)} attempts")
    alarms = [failed for (mistake, _), (failed, _) in zip(work, found, strict=True) if not mistake]
    seconds = sorted(s for (mistake, _), (_, s) in zip(work, found, strict=True) if not mistake)
    false = Figure(
        row="selftest",
        measured=f"false alarms in {clean} clean attempts",
        value=float(sum(map(bool, alarms))),
        unit="alarms",
        at_most=0.0,
    )
    took = Figure(
        row="selftest",
        measured="CPU time of an attempt, the median",
        value=seconds[len(seconds) // 2],
        unit="s",
    )
    return [false, *(_caught(mistake, each, work, found, say) for mistake in MISTAKES), took]


def attempt(mistake: str, number: int) -> tuple[tuple[str, ...], float]:
    """Examine once, with a mistake or with none.

    Returns:
        the tests that failed, and the CPU seconds.
    """
    from contextlib import nullcontext

    from comity_client.selftest.examination import STANDARD, STANDARD_DELTA, examine
    from tests.injected import injected

    q, sigma = (Decimal(text) for text in TERMS[number % len(TERMS)])
    training = replace(STANDARD, sampling_probability=q, noise_multiplier=sigma)
    classifier = _small_model()
    began = time.process_time()
    with injected(mistake) if mistake else nullcontext():
        examined = examine(
            training,
            STANDARD_DELTA,
            reserved=lambda terms, rounds: terms.local_steps * rounds,
            classifier=classifier,
        )
    return examined.failed, time.process_time() - began


def _caught(
    mistake: str,
    each: int,
    work: Sequence[tuple[str, int]],
    found: Sequence[tuple[tuple[str, ...], float]],
    say: Say,
) -> Figure:
    failed = [tests for (name, _), (tests, _) in zip(work, found, strict=True) if name == mistake]
    seen_by = sorted(set.intersection(*map(set, failed)))
    say(f"{mistake}: every attempt failed {', '.join(seen_by) or 'no test in common'}")
    return Figure(
        row="selftest",
        measured=f"{mistake}: caught in {each} attempts",
        value=float(sum(map(bool, failed))),
        unit="alarms",
        at_least=float(each),
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
    with tempfile.TemporaryDirectory() as directory:
        base = save_tiny_bert(Path(directory), WORDS, hidden=16, positions=64, seed=5)
        return build(
            base, task, pooling=Pooling.MEAN, tune=Tune.LORA, lora_rank=2, lora_alpha=4,
            seed=bytes(32),
        )  # fmt: skip
