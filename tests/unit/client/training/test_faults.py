"""Twelve faults of DP training that are found elsewhere: each is a property here, checked on the
real parts, and each check is shown to see the fault once the guard against it is taken out.

A fault is two functions: `check_…`, which asserts the property, and `break_…`, which puts the fault
in. The first test runs the checks as the product is, the second with the fault in, and wants every
one of them to fail.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from tests.unit.client.training.test_step import ALL, TARGETS, TEXTS, clipped_sum, moved, naive
from tests.unit.common.dp import book

from comity_client import flower_app
from comity_client.model.examples import Features, TokenisedTexts
from comity_client.rows import Rows
from comity_client.training import bookkeeping, noise, step
from comity_client.training.adam import AdamMoments
from comity_client.training.noise import GaussianNoise
from comity_client.training.sampler import PoissonSampler
from comity_client.training.trainer import Trainer
from comity_common.agreement import TaskKind, Training
from comity_common.crypto.stream import Keystream
from comity_common.dp.accountant import epsilon_of
from comity_common.dp.budget import Budget
from comity_common.dp.terms import Guarantee, SampledGaussian
from comity_common.errors import LocalError, PeerError, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import (
    BudgetCharge,
    DatasetId,
    Genesis,
    Outcome,
)
from comity_common.ledger.entries import append
from comity_common.secagg import messages
from comity_common.tuning import Tune

TERMS = Training(
    learning_rate=Decimal("0.05"),
    local_steps=2,
    sampling_probability=Decimal("0.3"),
    clip_norm=Decimal("0.5"),
    noise_multiplier=Decimal(2),
    divisor=Decimal(8),
)
STD = float(TERMS.clip_norm * TERMS.noise_multiplier)
NOBODY = replace(TERMS, local_steps=1, sampling_probability=Decimal("1e-15"))
EACH_WAY = (Tune.LORA_PLAIN, Tune.LORA, Tune.FULL)  # hooks, and book-keeping twice
ROUNDED = 1e-9


@dataclass(frozen=True)
class World:
    """What builds models: `tiny(tune)` on a BERT, `family(name, kind, tune)` on any."""

    tiny: Callable[..., Any]
    family: Callable[..., Any]


Patch = pytest.MonkeyPatch


def released(made: Trainer, size: int) -> np.ndarray:
    """The noised sum of the only step, which Adam's first moment holds a tenth of."""
    _, moments = made.train(np.zeros(size, np.float32), None, lambda done, of: None)
    return moments.first.astype(np.float64) / 0.1 * float(TERMS.divisor)


def has_std(values: np.ndarray, std: float = STD) -> bool:
    return abs(values.std() / std - 1) < 6 / np.sqrt(2 * values.size)


def rows(count: int) -> Rows:
    texts = tuple(TEXTS[place % len(TEXTS)] for place in range(count))
    return Rows(texts=texts, labels=np.arange(count) % 3)


# 1. Gradients go into the sum unclipped, as with Opacus's ghost clipping under `out.loss`.


def check_every_record_is_clipped(world: World) -> None:
    for tune in EACH_WAY:
        classifier = moved(world.tiny(tune))
        examples = classifier.prepare(TEXTS)
        for record in ALL:
            total = clipped_sum(classifier, examples, np.array([record]), clip_norm=1e-3)
            assert 0 < np.linalg.norm(total) <= 1e-3


def break_clip_nothing(patch: Patch) -> None:
    patch.setattr(step, "clip_factors", lambda norms, clip_norm: torch.ones_like(norms))


def break_add_without_factors(patch: Patch) -> None:
    add = bookkeeping.BookKeeping.add

    def unclipped(self: Any, factors: Any, totals: Any) -> None:
        add(self, torch.ones_like(factors), totals)

    patch.setattr(bookkeeping.BookKeeping, "add", unclipped)


# 2. The loss is a mean over all tokens of the batch, which couples its records.


def check_no_record_weighs_anothers_tokens(world: World) -> None:
    classifier = moved(world.family("bert", TaskKind.TOKEN_CLASSIFICATION, Tune.FULL))
    texts = [("my", "card"), ("the", "bank") * 4, ("loan",)]
    examples = classifier.prepare(texts)
    targets = examples.targets([np.arange(len(text)) % 3 for text in texts])
    with step.clipping(classifier, 1e6) as total:  # nothing is clipped, so scales show
        together = total(examples, targets, np.arange(3))
        alone = [total(examples, targets, np.array([record])) for record in range(3)]
    assert np.linalg.norm(together - sum(alone)) < ROUNDED * np.linalg.norm(together)


def break_mean_over_the_batch(patch: Patch) -> None:
    def coupled(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        targets = targets[:, : logits.shape[1]]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    patch.setattr(step, "record_losses", coupled)


# 3. An empty Poisson batch crashes, or is passed over without noise.


def check_an_empty_batch_is_a_step_like_any_other(world: World) -> None:
    for tune in EACH_WAY:
        classifier = world.tiny(tune)
        made = Trainer(classifier, rows(8), NOBODY, threads=1)
        assert has_std(released(made, classifier.layout.size))
        assert made.noise_vectors_drawn == 1


def break_run_empty_batches(patch: Patch) -> None:
    batches = TokenisedTexts.batches

    def as_a_loader_does(self: TokenisedTexts, records: np.ndarray) -> Iterator[Any]:
        if records.size:
            yield from batches(self, records)
        else:
            yield self._batch(records, 0, 12)

    patch.setattr(TokenisedTexts, "batches", as_a_loader_does)


def break_skip_empty_batches(patch: Patch) -> None:
    add = GaussianNoise.add
    patch.setattr(
        GaussianNoise, "add", lambda self, total: add(self, total) if any(total) else None
    )


# 4. Default position ids, one row for the whole batch, break full fine-tuning.


def check_positions_have_a_gradient_for_each_record(world: World) -> None:
    """Or are refused: never a sum that looks like one."""
    classifier = moved(world.tiny(Tune.FULL))
    examples = classifier.prepare(TEXTS)
    wanted = naive(classifier, examples, ALL, 1.0)
    assert np.abs(clipped_sum(classifier, examples) - wanted).max() <= 1e-5
    with pytest.MonkeyPatch.context() as patch:
        break_share_positions(patch)
        with pytest.raises(LocalError, match="one gradient for each record"):
            clipped_sum(classifier, examples)


def break_share_positions(patch: Patch) -> None:
    whole = TokenisedTexts._batch

    def one_row(self: TokenisedTexts, *arguments: Any) -> Any:
        batch = whole(self, *arguments)
        *inputs, positions = batch.inputs
        return replace(batch, inputs=(*inputs, positions[:1]))

    patch.setattr(TokenisedTexts, "_batch", one_row)


def break_take_one_row_for_all(patch: Patch) -> None:
    patch.setattr(bookkeeping, "_check_rows", lambda rows, *arrays: None)


# 5. In evaluation mode hooks see nothing.


def check_evaluation_mode_stops_no_gradient(world: World) -> None:
    for tune in (Tune.HEAD, *EACH_WAY):
        classifier = moved(world.tiny(tune))
        examples = classifier.prepare(TEXTS)
        with step.clipping(classifier, 1.0) as total:
            for part in classifier.network.modules():
                part.eval()
            got = total(examples, TARGETS, ALL)
        assert np.abs(got - naive(classifier, examples, ALL, 1.0)).max() <= 1e-5


def break_leave_the_mode(patch: Patch) -> None:
    patch.setattr(GradSampleModule, "train", lambda self, mode=True: self)


# 6. A tied weight has two gradients, of which one is clipped.


class Tied(torch.nn.Module):
    """Classifies by the very matrix that embeds."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(5, 4)
        self.score = torch.nn.Linear(4, 5, bias=False)
        self.score.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.score(self.embed(ids).mean(dim=1))
        return output


class TiedByHand(Tied):
    """The same without a second module, which only the graph can tell."""

    def __init__(self) -> None:
        super().__init__()
        del self.score

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.embed(ids).mean(dim=1) @ self.embed.weight.T


def check_a_tied_weight_is_refused(_: World) -> None:
    ids, targets = torch.arange(6).reshape(2, 3) % 5, torch.tensor([0, 4])

    def loss(module: torch.nn.Module) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(module(ids), targets, reduction="sum")

    for network in (Tied(), TiedByHand()):
        try:
            kept = bookkeeping.BookKeeping(network, {"weight": network.embed.weight})
            kept.take(loss, rows=2, records=2)
        except LocalError:
            continue
        got = torch.zeros(20, dtype=torch.float64)
        kept.add(torch.ones(2, dtype=torch.float64), [got])
        (whole,) = torch.autograd.grad(loss(network), [network.embed.weight])
        assert torch.allclose(got, whole.flatten().double(), atol=1e-5)


def break_take_the_first_place(patch: Patch) -> None:
    patch.setattr(bookkeeping, "_owner", lambda module, name, _: (module.embed, name))
    patch.setattr(bookkeeping, "_check_uses", lambda *_: None)


def break_do_not_look_at_the_graph(patch: Patch) -> None:
    patch.setattr(bookkeeping, "_check_uses", lambda *_: None)


# 7. One round's ε is reported as the whole, or a restarted client trains without noise.

RECORDS, ORDER = DatasetId("0" * 31 + "1"), 4
MECHANISM = SampledGaussian(
    sampling_probability=TERMS.sampling_probability,
    noise_multiplier=TERMS.noise_multiplier,
    steps=TERMS.local_steps,
)


def check_all_rounds_count_over_restarts(world: World) -> None:
    ceiling = Guarantee(epsilon=Decimal(50), delta=Decimal("1e-5"))
    agreement = Digest("ab" * 32)
    bodies: list[Any] = [
        Genesis(nonce=bytes(16), software="test 1"),
        book.register(dataset=RECORDS, ceiling=ceiling),
        book.grant(order=ORDER, guarantee=ceiling),
    ]
    classifier = world.tiny(Tune.LORA)
    start, stored, drawn = np.zeros(classifier.layout.size, np.float32), None, 0
    for number in range(3):
        made = Trainer(classifier, rows(8), NOBODY, threads=1)  # as after a restart
        moments = None if stored is None else AdamMoments.from_bytes(stored, start.size)
        before = start if moments is None else moments.first
        _, after = made.train(start, moments, lambda done, of: None)
        gradient = (after.first - np.float32(0.9) * (before if moments else 0)) / np.float32(0.1)
        assert has_std(gradient * float(TERMS.divisor))
        stored, drawn = after.to_bytes(), drawn + made.noise_vectors_drawn
        nonce = number.to_bytes(16, "big")
        bodies += [
            book.reserve(number, MECHANISM, RECORDS, agreement),
            BudgetCharge(nonce=nonce, outcome=Outcome.RELEASED, released=agreement),
        ]
    assert drawn == 3
    entries: list[Any] = []
    for body in bodies:
        last = entries[-1] if entries else None
        entries.append(append(last, body, InstitutionId("clinic"), "2026-01-01T00:00:00Z"))
    whole = epsilon_of([replace(MECHANISM, steps=3 * TERMS.local_steps)], ORDER, ceiling.delta)
    assert Budget(entries).epsilon_charged(RECORDS) == pytest.approx(whole)


def break_forget_earlier_rounds(patch: Patch) -> None:
    reserve = Budget._reserve

    def only_the_last(self: Any, body: Any) -> None:
        self._accounts[self.namespace(body.dataset)].reserves.clear()
        reserve(self, body)

    patch.setattr(Budget, "_reserve", only_the_last)


def break_no_noise_after_a_restart(patch: Patch) -> None:
    from_bytes = AdamMoments.from_bytes

    def without(raw: bytes, size: int) -> Any:
        patch.setattr(GaussianNoise, "add", lambda self, total: None)
        return from_bytes(raw, size)

    patch.setattr(AdamMoments, "from_bytes", without)


# 8. Shuffled batches of one size are accounted as Poisson batches.


def check_batches_are_poisson(_: World) -> None:
    """By how often a record is drawn and by how sizes vary; six standard deviations each."""
    records, draws, q = 300, 400, 0.2
    sampler = PoissonSampler(records, Decimal(str(q)))
    included = np.zeros((draws, records))
    for draw in included:
        draw[sampler.draw()] = 1
    of_records = included.sum(axis=0).var(ddof=1) / (draws * q * (1 - q))
    of_sizes = included.sum(axis=1).var(ddof=1) / (records * q * (1 - q))
    assert abs(of_records - 1) < 6 * np.sqrt(2 / records)
    assert abs(of_sizes - 1) < 6 * np.sqrt(2 / draws)


def break_shuffle(patch: Patch) -> None:
    waiting: list[np.ndarray] = []

    def next_batch(self: PoissonSampler) -> np.ndarray:
        if not waiting:
            waiting.extend(np.split(np.random.default_rng().permutation(self._records), 5))
        return np.sort(waiting.pop())

    patch.setattr(PoissonSampler, "draw", next_batch)


def break_draw_one_size(patch: Patch) -> None:
    def one_size(self: PoissonSampler) -> np.ndarray:
        return np.random.default_rng().choice(self._records, self._records // 5, replace=False)

    patch.setattr(PoissonSampler, "draw", one_size)


# 9. Noise comes again: in each step, after a restart, in a forked process.


def check_noise_never_comes_twice(_: World) -> None:
    one, seen = GaussianNoise(STD), []
    for source in (one, one, GaussianNoise(STD)):
        np.random.seed(1)
        torch.manual_seed(1)
        seen.append(vector(source))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, vector(one))
        os._exit(0)
    seen.append(vector(one))
    os.waitpid(child, 0)
    seen.append(os.read(reader, 64))
    os.close(reader)
    os.close(writer)
    assert len(set(seen)) == 5


def vector(source: GaussianNoise) -> bytes:
    total = np.zeros(8)
    source.add(total)
    return total.tobytes()


def break_seed_each_vector(patch: Patch) -> None:
    patch.setattr(noise.Keystream, "fresh", lambda: Keystream(bytes(32)))


def break_seed_each_process(patch: Patch) -> None:
    key = os.urandom(24)
    count = iter(range(1000))
    patch.setattr(noise.Keystream, "fresh", lambda: Keystream(key + next(count).to_bytes(8, "big")))


def break_torchs_generator(patch: Patch) -> None:
    def normals(stream: Keystream, count: int) -> np.ndarray:
        return torch.randn(count, dtype=torch.float64).numpy()

    patch.setattr(noise, "_normals", normals)


# 10. One record without a finite gradient spoils the sum, or takes its batch with it.


def check_a_broken_record_is_left_out_alone(world: World) -> None:
    classifier = moved(world.tiny(Tune.HEAD))
    examples = classifier.prepare(TEXTS)
    assert isinstance(examples, Features)
    rest = np.delete(ALL, 3)
    wanted = clipped_sum(classifier, examples, rest)
    examples._vectors[3, 2] = float("nan")
    assert np.abs(clipped_sum(classifier, examples) - wanted).max() < ROUNDED
    classifier = moved(world.tiny(Tune.FULL))
    examples = classifier.prepare(TEXTS)
    stolen = classifier.tokenizer.convert_tokens_to_ids("stolen")  # in the third text alone
    wanted = clipped_sum(classifier, examples, rest)
    with torch.no_grad():
        classifier.network.bert.embeddings.word_embeddings.weight[stolen] = float("inf")
    assert np.abs(clipped_sum(classifier, examples) - wanted).max() < ROUNDED


def break_trust_norms(patch: Patch) -> None:
    def factors(norms: torch.Tensor, clip_norm: float) -> torch.Tensor:
        return (clip_norm / norms).clamp(max=1.0)

    patch.setattr(step, "clip_factors", factors)


def break_drop_the_batch(patch: Patch) -> None:
    real = step.clip_factors

    def factors(norms: torch.Tensor, clip_norm: float) -> torch.Tensor:
        return real(norms, clip_norm) * bool(torch.isfinite(norms).all())

    patch.setattr(step, "clip_factors", factors)


# 11. Counts, losses or metrics leave in the clear.

LEAVES = {
    "EpochKey": {"agreement", "epoch", "institution", "key"},
    "EpochHalves": {"agreement", "epoch", "institution", "sealed"},
    "EpochView": {"agreement", "epoch", "institution", "view"},
    "Header": {"plan", "institution", "size", "root", "commitments", "shares"},
    "Upload": {"header", "boxes", "keys"},
    "Complaint": {"dealer", "box_key"},
    "Reveal": {"survivors", "institution", "shares", "complaints"},
    "Endorsement": {"agreement", "epoch", "round", "institution", "certificate", "model"},
    "Decline": {"agreement", "round", "plan", "institution", "code"},
}
FROM_OPERATOR = {
    *("EpochOpen", "Plan", "Receipt", "Deadline", "Survivors", "CertificateBody"),
}


def check_nothing_leaves_beside_the_masked_sum(_: World) -> None:
    kinds = {
        name: {field.name for field in dataclasses.fields(kind)}
        for name, kind in vars(messages).items()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind)
    }
    assert set(kinds) == set(LEAVES) | FROM_OPERATOR
    assert {name: kinds[name] for name in LEAVES} == LEAVES
    for accepted, code in ((True, ""), (False, RefusalCode.UNAVAILABLE.value)):
        content = flower_app.answer_content(accepted, code)
        assert {name: dict(record) for name, record in content.items()} == {
            "answer": {"accepted": accepted, "code": code}
        }
    with pytest.raises(PeerError):
        flower_app.answer_content(False, "loss 0.31")


def break_count_examples(patch: Patch) -> None:
    wider = dataclasses.make_dataclass(
        "Header", [("num_examples", int)], bases=(messages.Header,), frozen=True, kw_only=True
    )
    patch.setattr(messages, "Header", wider)


def break_report_metrics(patch: Patch) -> None:
    real = flower_app.answer_content

    def with_loss(accepted: bool, code: str) -> Any:
        content = real(accepted, code)
        content["answer"]["loss"] = 0.31
        return content

    patch.setattr(flower_app, "answer_content", with_loss)


def break_free_text(patch: Patch) -> None:
    patch.setattr(flower_app, "_CODES", {*flower_app._CODES, "loss 0.31"})


# 12. The number of rows shows: in batch sizes, steps, δ, weights.


def check_ten_times_the_rows_look_the_same(world: World) -> None:
    """All that comes out of a round, but for what noise hides: its form, and the noise's scale."""
    assert what_shows(world, 8) == what_shows(world, 80)


def what_shows(world: World, count: int) -> tuple[Any, ...]:
    classifier = world.tiny(Tune.FULL)
    start, steps = classifier.initial_vector(), []
    delta, moments = Trainer(classifier, rows(count), TERMS, threads=1).train(
        start, None, lambda done, of: steps.append((done, of))
    )
    made = Trainer(classifier, rows(count), NOBODY, threads=1)
    assert has_std(released(made, start.size))
    return delta.shape, delta.dtype, len(moments.to_bytes()), steps


def break_divide_by_rows(patch: Patch) -> None:
    init = Trainer.__init__

    def by_rows(
        self: Trainer, classifier: Any, own: Rows, training: Training, **others: Any
    ) -> None:
        init(self, classifier, own, replace(training, divisor=Decimal(len(own))), **others)

    patch.setattr(Trainer, "__init__", by_rows)


def break_count_epochs(patch: Patch) -> None:
    init = Trainer.__init__

    def epochs(
        self: Trainer, classifier: Any, own: Rows, training: Training, **others: Any
    ) -> None:
        init(self, classifier, own, replace(training, local_steps=1 + len(own) // 8), **others)

    patch.setattr(Trainer, "__init__", epochs)


def break_weigh_by_rows(patch: Patch) -> None:
    train = Trainer.train

    def weighed(self: Trainer, *arguments: Any) -> Any:
        delta, moments = train(self, *arguments)
        weight = np.float32(len(self._examples))
        return delta * weight, replace(moments, first=moments.first * weight)

    patch.setattr(Trainer, "train", weighed)


FAULTS: list[tuple[Callable[[World], None], tuple[Callable[[Patch], None], ...]]] = [
    (check_every_record_is_clipped, (break_clip_nothing, break_add_without_factors)),
    (check_no_record_weighs_anothers_tokens, (break_mean_over_the_batch,)),
    (
        check_an_empty_batch_is_a_step_like_any_other,
        (break_run_empty_batches, break_skip_empty_batches),
    ),
    (
        check_positions_have_a_gradient_for_each_record,
        (break_share_positions, break_take_one_row_for_all),
    ),
    (check_evaluation_mode_stops_no_gradient, (break_leave_the_mode,)),
    (check_a_tied_weight_is_refused, (break_take_the_first_place, break_do_not_look_at_the_graph)),
    (
        check_all_rounds_count_over_restarts,
        (break_forget_earlier_rounds, break_no_noise_after_a_restart),
    ),
    (check_batches_are_poisson, (break_shuffle, break_draw_one_size)),
    (
        check_noise_never_comes_twice,
        (break_seed_each_vector, break_seed_each_process, break_torchs_generator),
    ),
    (check_a_broken_record_is_left_out_alone, (break_trust_norms, break_drop_the_batch)),
    (
        check_nothing_leaves_beside_the_masked_sum,
        (break_count_examples, break_report_metrics, break_free_text),
    ),
    (
        check_ten_times_the_rows_look_the_same,
        (break_divide_by_rows, break_count_epochs, break_weigh_by_rows),
    ),
]


def named(function: Callable[..., None]) -> str:
    return function.__name__.partition("_")[2]


MUTANTS = [(check, broken) for check, breaks in FAULTS for broken in breaks]
SEEN = (AssertionError, LocalError, RuntimeError, ValueError, pytest.fail.Exception)
"""What a check ends with under a fault: it saw it, the product refused, or a library crashed."""


@pytest.fixture
def world(build_tiny, build_family) -> World:  # type: ignore[no-untyped-def]
    return World(tiny=build_tiny, family=build_family)


@pytest.mark.parametrize("check", [check for check, _ in FAULTS], ids=named)
def test_the_fault_is_not_here(check: Callable[[World], None], world: World) -> None:
    check(world)


@pytest.mark.parametrize(("check", "broken"), MUTANTS, ids=named)
def test_the_check_sees_the_fault(
    check: Callable[[World], None],
    broken: Callable[[Patch], None],
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken(monkeypatch)
    with pytest.raises(SEEN):
        check(world)


def test_opacus_ghost_clipping_under_out_loss_is_unclipped_and_silent(build_tiny) -> None:  # type: ignore[no-untyped-def]
    """The first fault where it comes from, so that nobody takes it for a tale."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizerFastGradientClipping

    classifier = moved(build_tiny(Tune.LORA))
    (batch, *_) = classifier.prepare(TEXTS).batches(ALL)
    ids, visible, kinds, positions = batch.inputs
    network = GradSampleModuleFastGradientClipping(
        classifier.network.train(), max_grad_norm=1e-3, use_ghost_clipping=True
    )
    parameters = list(classifier.trained.values())
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(parameters, lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=1e-3,
        expected_batch_size=1,
        loss_reduction="mean",
    )
    labels = torch.zeros(len(ids), dtype=torch.int64)
    network(ids, visible, kinds, positions, labels=labels).loss.backward()
    optimizer.accumulate()
    norm = torch.cat([p.summed_grad.flatten() for p in parameters]).norm()  # type: ignore[attr-defined]
    network.cleanup()
    assert norm > len(ids) * 1e-3
