"""bfloat16 and a GPU change what layers compute in, and nothing of what is promised."""

from decimal import Decimal

import numpy as np
import pytest
import torch
from tests.unit.client.training.test_step import ALL, TARGETS, TEXTS, moved

from comity_client.compute import Compute
from comity_client.rows import Rows
from comity_client.training import hardware
from comity_client.training.hardware import PLAIN, Hardware, find
from comity_client.training.step import clipping
from comity_client.training.trainer import Trainer
from comity_common.agreement import TaskKind, Training
from comity_common.errors import Problem
from comity_common.tuning import Tune

CPU = torch.device("cpu")
BFLOAT16 = Hardware(device=CPU, bfloat16=True)
CLIP_NORM = 0.5


def sum_of(classifier, examples, records=ALL, on=BFLOAT16, clip_norm=CLIP_NORM):  # type: ignore[no-untyped-def]
    with clipping(classifier, clip_norm, on) as total:
        return total(examples, TARGETS, records)


@pytest.fixture(params=[Tune.HEAD, Tune.LORA, Tune.BITFIT, Tune.FULL])
def classifier(request, build_tiny):  # type: ignore[no-untyped-def]
    return moved(build_tiny(request.param))


def test_in_bfloat16_a_record_adds_the_same_bits_in_any_company(classifier) -> None:  # type: ignore[no-untyped-def]
    """Gradients in bfloat16 that depended on the company would differ by 1e-3, not by 1e-13."""
    examples = classifier.prepare(TEXTS * 2)
    targets = TARGETS.repeat(2)
    rng = np.random.default_rng()
    with clipping(classifier, CLIP_NORM, BFLOAT16) as total:
        alone = [total(examples, targets, np.array([record])) for record in range(len(examples))]
        for share in (0.5, 1.0):
            company = np.flatnonzero(rng.random(len(examples)) < share)
            together = total(examples, targets, company)
            assert np.abs(together - sum(alone[r] for r in company)).max() < 1e-13
    assert max(np.linalg.norm(one) for one in alone) <= CLIP_NORM


@pytest.mark.parametrize("tune", [Tune.LORA, Tune.BITFIT, Tune.FULL])
def test_in_bfloat16_the_sum_is_near_that_in_float32(tune: Tune, build_tiny) -> None:  # type: ignore[no-untyped-def]
    classifier = moved(build_tiny(tune))
    examples = classifier.prepare(TEXTS)
    got, wanted = sum_of(classifier, examples), sum_of(classifier, examples, on=PLAIN)
    apart = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
    assert 1e-6 < apart < 0.1  # of eight bits, and not of another mask
    assert classifier.vector().dtype == np.float32


def test_in_bfloat16_words_are_learnt_too(build_family) -> None:  # type: ignore[no-untyped-def]
    classifier = moved(build_family("xlm-roberta", TaskKind.TOKEN_CLASSIFICATION, Tune.FULL))
    texts = [("my", "card"), ("the", "bank") * 3]
    examples = classifier.prepare(texts)
    targets = examples.targets([np.arange(len(text)) % 3 for text in texts])
    sums = []
    for on in (BFLOAT16, PLAIN):
        with clipping(classifier, CLIP_NORM, on) as total:
            sums.append(total(examples, targets, np.arange(2)))
    assert np.linalg.norm(sums[0] - sums[1]) < 0.1 * np.linalg.norm(sums[1])


def test_what_is_hidden_stays_hidden_where_attention_is_written_out(build_tiny) -> None:  # type: ignore[no-untyped-def]
    """A mask of truth values would be added as 0 and 1."""
    classifier = moved(build_tiny(Tune.FULL))
    (batch, *_) = classifier.prepare(["my card"]).batches(np.array([0]))
    ids, visible, kinds, positions = batch.inputs
    others = torch.where(visible[:, 0, 0], ids, torch.full_like(ids, 7))
    assert not torch.equal(others[0], ids[0])
    with torch.no_grad():
        one, two = (
            BFLOAT16.logits(classifier, classifier.network, (which, visible, kinds, positions))[0]
            for which in (ids, others)
        )
    assert torch.equal(one, two)
    assert one.dtype == torch.float32


def test_evaluating_between_two_steps_in_bfloat16_is_in_float32(build_tiny) -> None:  # type: ignore[no-untyped-def]
    classifier = moved(build_tiny(Tune.LORA))
    examples = classifier.prepare(TEXTS)
    wanted = classifier.probabilities(examples)
    with clipping(classifier, CLIP_NORM, BFLOAT16) as total:
        first = total(examples, TARGETS, ALL)
        assert np.array_equal(classifier.probabilities(examples), wanted)
        assert np.array_equal(total(examples, TARGETS, ALL), first)


def test_a_record_that_is_not_finite_in_bfloat16_is_left_out(build_tiny) -> None:  # type: ignore[no-untyped-def]
    classifier = moved(build_tiny(Tune.FULL))
    examples = classifier.prepare(TEXTS)
    wanted = sum_of(classifier, examples, np.delete(ALL, 3))
    stolen = classifier.tokenizer.convert_tokens_to_ids("stolen")  # in the third text alone
    with torch.no_grad():
        classifier.network.bert.embeddings.word_embeddings.weight[stolen] = float("nan")
    assert np.abs(sum_of(classifier, examples) - wanted).max() < 1e-13


def test_auto_is_float32_where_bfloat16_is_missing_or_does_not_pay(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    measured = []

    def gain(device: torch.device) -> float:
        measured.append(device)
        return gains.pop()

    monkeypatch.setattr(hardware, "_gain", gain)
    auto = Compute(precision="auto", device="cpu")
    monkeypatch.setattr(hardware, "has_bfloat16", lambda device: False)
    gains = [9.0]
    assert not find(auto).bfloat16
    assert measured == []
    monkeypatch.setattr(hardware, "has_bfloat16", lambda device: True)
    gains = [hardware.PAYS, hardware.PAYS - 0.01]
    assert [find(auto).bfloat16 for _ in range(2)] == [False, True]
    assert measured == [CPU, CPU]


@pytest.mark.parametrize(("precision", "bfloat16"), [("float32", False), ("bfloat16", True)])
def test_a_setting_has_the_last_word(precision, bfloat16, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(hardware, "has_bfloat16", lambda device: not bfloat16)
    assert find(Compute(precision=precision, device="cpu")) == Hardware(
        device=CPU, bfloat16=bfloat16
    )


def test_the_measurement_measures() -> None:
    assert 0.001 < hardware._gain(CPU) < 1000


@pytest.mark.parametrize(
    ("cpuinfo", "has"),
    [
        ("processor: 0\nflags\t\t: fpu avx512f amx_bf16 amx_tile\n", True),
        ("flags : fpu avx512_bf16", True),
        ("flags : fpu avx2 avx512f", False),
        ("Features : asimd bf16", False),
        ("", False),
    ],
)
def test_a_processor_has_bfloat16_by_its_flags(cpuinfo, has, monkeypatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(hardware, "Path", lambda _: tmp_path / "cpuinfo")
    assert hardware.has_bfloat16(CPU) is has


def test_a_gpu_that_is_not_there_is_a_problem(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find(Compute(precision="float32", device="auto")) == PLAIN
    with pytest.raises(Problem) as error:
        find(Compute(device="cuda"))
    assert error.value.code == "COM-DEVICE-001"


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU here")


@needs_gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("tune", [Tune.HEAD, Tune.LORA, Tune.BITFIT, Tune.FULL])
def test_on_a_gpu_the_sum_is_the_same_and_records_stay_apart(tune, precision, build_tiny) -> None:  # type: ignore[no-untyped-def]
    classifier = moved(build_tiny(tune))
    examples = classifier.prepare(TEXTS)
    wanted = sum_of(classifier, examples, on=PLAIN)
    there = find(Compute(precision=precision, device="cuda"))
    there.move(classifier)
    got = sum_of(classifier, examples, on=there)
    alone = [sum_of(classifier, examples, np.array([record]), on=there) for record in ALL]
    near = 1e-4 if precision == "float32" or tune is Tune.HEAD else 0.1
    assert np.linalg.norm(got - wanted) < near * np.linalg.norm(wanted)
    assert np.abs(got - sum(alone)).max() < 1e-13


@needs_gpu
def test_on_a_gpu_a_round_is_trained_and_evaluated(build_tiny) -> None:  # type: ignore[no-untyped-def]
    classifier = build_tiny(Tune.FULL)
    terms = Training(
        learning_rate=Decimal("0.05"),
        local_steps=2,
        sampling_probability=Decimal("0.5"),
        clip_norm=Decimal("0.5"),
        noise_multiplier=Decimal(1),
        divisor=Decimal(8),
    )
    there = find(Compute(device="cuda"))
    rows = Rows(texts=TEXTS, labels=TARGETS.numpy())
    trainer = Trainer(classifier, rows, terms, threads=1, hardware=there)
    delta, _ = trainer.train(classifier.initial_vector(), None, lambda done, of: None)
    assert np.isfinite(delta).all()
    assert delta.any()
    assert len(classifier.predict(TEXTS)) == len(TEXTS)
