"""Every family under every tune, for both kinds of task: the model, its sums, and its export."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from comity_client.model.build import build
from comity_client.model.classifier import Classifier
from comity_client.model.examples import Examples, Features, TokenisedTexts
from comity_client.model.families import FAMILIES, TEXTS, TOKENS
from comity_client.model.losses import IGNORED, record_losses
from comity_client.model.words import NO_PLACE, WordFeatures
from comity_client.training.step import CLIP_MARGIN, clipping
from comity_common.agreement import Pooling, Task, TaskKind
from comity_common.errors import LocalError
from comity_common.tuning import Tune

LABELS = ("O", "B-X", "I-X")
PHRASES = (
    "my card was lost",
    "please",
    "the bank the bank the bank was stolen please help my money",
    "loan " * 50,  # cut off at 24 tokens
    "my money was lost",
    "help the bank",
)
ALL = np.arange(len(PHRASES))
CELLS = [(family, kind, tune) for family in FAMILIES for kind in TaskKind for tune in Tune]
CELL_IDS = ["-".join(cell) for cell in CELLS]


@pytest.fixture(params=CELLS, ids=CELL_IDS, scope="module")
def built(request, build_family) -> Classifier:  # type: ignore[no-untyped-def]
    return build_family(*request.param)


@pytest.fixture
def cell(built: Classifier) -> Classifier:
    built.network.float()
    built.load(built.initial_vector())
    return moved(built)


def moved(classifier: Classifier) -> Classifier:
    """Leave the initial state, in which most gradients are zero, for a fresh random one."""
    step = np.random.default_rng().standard_normal(classifier.layout.size) * 0.3
    classifier.load((classifier.vector() + step).astype(np.float32))
    return classifier


def texts_of(classifier: Classifier) -> list:  # type: ignore[type-arg]
    if classifier.task.kind is TEXTS:
        return list(PHRASES)
    return [tuple(phrase.split()) for phrase in PHRASES]


def labels_of(classifier: Classifier):  # type: ignore[no-untyped-def]
    if classifier.task.kind is TEXTS:
        return ALL % len(LABELS)
    return tuple(np.arange(len(phrase.split())) % len(LABELS) for phrase in PHRASES)


def clipped_sum(
    classifier: Classifier, examples: Examples, records=ALL, clip_norm: float = 1.0
) -> np.ndarray:  # type: ignore[no-untyped-def, type-arg]
    with clipping(classifier, clip_norm) as total:
        return total(examples, examples.targets(labels_of(classifier)), records)


def gradient_alone(classifier: Classifier, examples: Examples, record: int) -> np.ndarray:  # type: ignore[type-arg]
    """One record's gradient by plain autograd and the model's own defaults: no hooks, no padding,
    no positions or masks of ours."""
    label = labels_of(classifier)[record]
    if isinstance(examples, TokenisedTexts):
        output = classifier.network(torch.tensor(examples._tokens[record])[None]).logits[0]
        if classifier.task.kind is TOKENS:
            ids = classifier.tokenizer(
                [list(texts_of(classifier)[record])],
                is_split_into_words=True,
                truncation=True,
                max_length=24,
            ).word_ids(0)
            first = [k for k, word in enumerate(ids) if word is not None and word not in ids[:k]]
            output, label = output[first], label[: len(first)]
    else:
        output = classifier.head(examples._vectors[record].to(classifier.head.weight.dtype))
        label = label[: len(output)] if isinstance(examples, WordFeatures) else label
    loss = torch.nn.functional.cross_entropy(output, torch.tensor(label))
    gradients = torch.autograd.grad(loss, list(classifier.trained.values()))
    return torch.cat([g.reshape(-1) for g in gradients]).double().numpy()


def in_float64(classifier: Classifier, examples: Examples) -> Examples:
    classifier.network.double()
    if isinstance(examples, Features):
        return Features(examples._vectors.double().numpy())
    if isinstance(examples, WordFeatures):
        examples._vectors = [vectors.double() for vectors in examples._vectors]
    return examples


def naive(gradients: list[np.ndarray], clip_norm: float) -> np.ndarray:  # type: ignore[type-arg]
    norms = [np.linalg.norm(gradient) * (1 + CLIP_MARGIN) for gradient in gradients]
    return sum(g * min(1.0, clip_norm / n) for g, n in zip(gradients, norms, strict=True))


def test_the_clipped_sum_equals_a_loop_over_single_records(cell: Classifier) -> None:
    examples = cell.prepare(texts_of(cell))
    gradients = [gradient_alone(cell, examples, record) for record in ALL]
    middle = float(np.median([np.linalg.norm(gradient) for gradient in gradients]))
    got, wanted = clipped_sum(cell, examples, clip_norm=middle), naive(gradients, middle)
    assert np.abs(got - wanted).max() <= 1e-5 * np.linalg.norm(wanted)

    examples = in_float64(cell, examples)
    gradients = [gradient_alone(cell, examples, record) for record in ALL]
    got, wanted = clipped_sum(cell, examples, clip_norm=middle), naive(gradients, middle)
    assert np.abs(got - wanted).max() <= 1e-12 * np.linalg.norm(wanted)


def test_a_record_adds_the_same_bits_in_any_company(cell: Classifier) -> None:
    """Float32 gradients that depended on the company would differ by 1e-8, not by 1e-14."""
    examples = cell.prepare(texts_of(cell))
    targets = examples.targets(labels_of(cell))
    rng = np.random.default_rng()
    with clipping(cell, 1.0) as total:
        alone = [total(examples, targets, np.array([record])) for record in ALL]
        for company in (ALL, np.flatnonzero(rng.random(len(ALL)) < 0.6)):
            together = total(examples, targets, company)
            assert np.abs(together - sum(alone[r] for r in company)).max(initial=0) < 1e-13


def test_the_vector_is_the_trained_parameters_by_name(cell: Classifier) -> None:
    names = [name for name, _ in cell.layout.shapes]
    assert names == sorted(names)
    assert np.array_equal(cell.layout.flatten(cell.layout.unflatten(cell.vector())), cell.vector())
    fresh = np.random.default_rng().standard_normal(cell.layout.size).astype(np.float32)
    cell.load(fresh)
    assert np.array_equal(cell.vector(), fresh)
    state = cell.network.state_dict()
    arrays = cell.layout.unflatten(fresh)
    assert all(np.array_equal(state[name].numpy(), array) for name, array in arrays.items())


def trained(family: str, kind: TaskKind, tune: Tune, build_family, **changes) -> set[str]:  # type: ignore[no-untyped-def]
    return {name for name, _ in build_family(family, kind, tune, **changes).layout.shapes}


@pytest.mark.parametrize("kind", TaskKind)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_tune_trains_its_part_alone(family, kind, build_family) -> None:  # type: ignore[no-untyped-def]
    head_path = FAMILIES[family].classifiers[kind]
    head = {f"{head_path}.weight", f"{head_path}.bias"}
    everything = {n for n, _ in build_family(family, kind, Tune.HEAD).network.named_parameters()}
    assert trained(family, kind, Tune.HEAD, build_family) == head

    low_rank = trained(family, kind, Tune.LORA, build_family) - head
    assert {name.rpartition(".lora_")[2] for name in low_rank} == {"B.default.weight"}
    assert len(low_rank) == 2 * 2  # query and value of two layers
    plain = trained(family, kind, Tune.LORA_PLAIN, build_family) - head
    assert plain == low_rank | {name.replace(".lora_B.", ".lora_A.") for name in low_rank}

    full = trained(family, kind, Tune.FULL, build_family)
    fixed = everything - full
    pooler, mean_layer = FAMILIES[family].pooler, f"{FAMILIES[family].layers}.2"
    assert all(name.startswith((f"{pooler}.", f"{mean_layer}.")) for name in fixed)
    assert bool(fixed) == (kind is TEXTS)
    biases = trained(family, kind, Tune.BITFIT, build_family)
    assert biases - head == {n for n in full - head if n.endswith(".bias")}
    assert len(biases) > 15
    if kind is TEXTS:
        assert trained(family, kind, Tune.FULL, build_family, pooling=Pooling.CLS) == everything - {
            name for name in everything if name.startswith(f"{mean_layer}.")
        }


@pytest.mark.parametrize("kind", TaskKind)
@pytest.mark.parametrize("family", FAMILIES)
def test_no_parameter_has_two_names(family: str, kind: TaskKind, build_family) -> None:  # type: ignore[no-untyped-def]
    """A tied weight would be clipped and noised once and moved at two places."""
    named = build_family(family, kind, Tune.FULL).network.named_parameters(remove_duplicate=False)
    places = [parameter.data_ptr() for _, parameter in named]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("tune", [Tune.LORA, Tune.LORA_PLAIN])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_low_rank_factor_comes_from_the_seed_alone(family, tune, build_family) -> None:  # type: ignore[no-untyped-def]
    def factors(seed: bytes, which: str) -> list[torch.Tensor]:
        state = build_family(family, TEXTS, tune, seed=seed).network.state_dict()
        return [value for name, value in state.items() if f".lora_{which}." in name]

    one, again, other = (factors(seed, "A") for seed in (bytes(32), bytes(32), bytes(31) + b"\1"))
    assert len(one) == 4
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not any(b.any() for b in factors(bytes(32), "B"))


def base_tokens(base: Path, classifier: Classifier, text: str) -> np.ndarray:  # type: ignore[type-arg]
    """The base's own token vectors: shape (tokens, h), float64."""
    from transformers import AutoModel

    inputs = classifier.tokenizer([text], truncation=True, max_length=24, return_tensors="pt")
    with torch.no_grad():
        vectors = AutoModel.from_pretrained(base).eval()(**inputs).last_hidden_state[0]
    return vectors.double().numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_mean_pooling_equals_the_standardised_mean(family: str, tiny_bases, build_family) -> None:  # type: ignore[no-untyped-def]
    classifier = build_family(family, TEXTS, Tune.HEAD)
    for text, pooled in zip(PHRASES, classifier.encode(PHRASES), strict=True):
        mean = base_tokens(tiny_bases[family], classifier, text).mean(axis=0)
        x = (mean - mean.mean()) / mean.std()
        wanted = np.maximum(x, 0) if family == "distilbert" else np.tanh(x / 2)
        assert np.abs(pooled - wanted).max() < 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_cls_pooling_takes_the_first_token(family: str, tiny_bases, build_family) -> None:  # type: ignore[no-untyped-def]
    classifier = build_family(family, TEXTS, Tune.HEAD, pooling=Pooling.CLS)
    first = base_tokens(tiny_bases[family], classifier, PHRASES[0])[0]
    if family == "bert":
        from transformers import BertModel

        pooler = BertModel.from_pretrained(tiny_bases[family]).pooler.dense
        x = pooler.weight.detach().numpy() @ first + pooler.bias.detach().numpy()
        wanted = np.tanh(x)
    else:
        wanted = np.maximum(first, 0) if family == "distilbert" else np.tanh(first / 2)
    assert np.abs(classifier.encode(PHRASES[:1])[0] - wanted).max() < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_words_are_seen_by_their_first_pieces(family, tiny_bases, build_family) -> None:  # type: ignore[no-untyped-def]
    classifier = build_family(family, TOKENS, Tune.HEAD)
    words = ("my", "card", "was", "stolen")
    ids = classifier.tokenizer([list(words)], is_split_into_words=True).word_ids(0)
    assert len(ids) > len(words) + 2, "expected a word of several pieces"
    vectors = base_tokens(tiny_bases[family], classifier, " ".join(words))
    wanted = vectors[[ids.index(n) for n in range(len(words))]]
    assert np.abs(classifier.encode([words])[0] - wanted).max() < 1e-5


@pytest.mark.parametrize("tune", [Tune.HEAD, Tune.LORA])
@pytest.mark.parametrize("family", FAMILIES)
def test_words_that_are_cut_off_are_neither_learnt_nor_guessed(family, tune, build_family) -> None:  # type: ignore[no-untyped-def]
    classifier = moved(build_family(family, TOKENS, tune))
    long = tuple(PHRASES[3].split())
    examples = classifier.prepare([long])
    (guessed,) = classifier.guess(examples)
    read = int((guessed != NO_PLACE).sum())
    assert 0 < read < len(long)
    assert (guessed[:read] != NO_PLACE).all()
    classes = np.arange(len(long)) % 3
    changed = np.where(np.arange(len(long)) < read, classes, (classes + 1) % 3)
    one, two = examples.targets([classes]), examples.targets([changed])
    assert torch.equal(one, two)
    assert int((one != IGNORED).sum()) == read


@pytest.mark.parametrize("tune", [Tune.HEAD, Tune.LORA])
def test_a_record_without_a_word_that_is_read_moves_nothing(tune: Tune, build_family) -> None:  # type: ignore[no-untyped-def]
    """Control signs are words to a person's file and nothing to a tokenizer."""
    classifier = moved(build_family("bert", TOKENS, tune))
    examples = classifier.prepare([("\u200b",), ("my", "\u200b", "card")])
    targets = examples.targets([np.array([1]), np.array([1, 2, 0])])
    assert (targets[0] == IGNORED).all()
    assert sorted(targets[1][targets[1] != IGNORED].tolist()) == [0, 1]
    with clipping(classifier, 1.0) as total:
        assert not total(examples, targets, np.array([0])).any()
        both, one = (total(examples, targets, records) for records in (np.arange(2), np.array([1])))
        assert np.array_equal(both, one)
        assert one.any()
    assert [row.tolist() == [NO_PLACE] for row in classifier.guess(examples)] == [True, False]


def test_one_record_moves_the_sum_by_at_most_the_clipping_norm(cell: Classifier) -> None:
    examples = cell.prepare(texts_of(cell))
    whole = clipped_sum(cell, examples, clip_norm=0.01)
    for record in (0, 3):
        rest = clipped_sum(cell, examples, np.delete(ALL, record), clip_norm=0.01)
        assert 0 < np.linalg.norm(whole - rest) <= 0.01


def test_the_mean_over_all_words_of_a_batch_would_couple_the_records(build_family) -> None:  # type: ignore[no-untyped-def]
    """What `out.loss` of a token classifier does: this test's own bound would catch it."""
    classifier = moved(build_family("bert", TOKENS, Tune.HEAD))
    examples = classifier.prepare([("my", "card"), ("the", "bank") * 4])
    targets = examples.targets([np.zeros(2, dtype=int), np.zeros(8, dtype=int)])
    (batch,) = examples.batches(np.arange(2))
    output = classifier.head(batch.inputs[0])[:2].detach().requires_grad_()
    mean = torch.nn.functional.cross_entropy(output.flatten(0, 1), targets.flatten())
    (coupled,) = torch.autograd.grad(mean, output)
    alone = torch.nn.functional.cross_entropy(output[0], targets[0])
    (own,) = torch.autograd.grad(alone, output)
    (ours,) = torch.autograd.grad(record_losses(output, targets).sum(), output)
    assert not torch.allclose(coupled[0] / coupled[0].norm(), own[0], atol=1e-3)
    assert torch.allclose(coupled[0].norm() / own[0].norm(), torch.tensor(0.2), atol=1e-5)
    assert torch.allclose(ours[0], own[0], atol=1e-7)


REFUSED = [
    ({"model_type": "albert"}, "of type bert, distilbert, roberta, xlm-roberta, got albert"),
    ({"model_type": "deberta-v2"}, "got deberta-v2"),
    ({"model_type": "gpt2"}, "got gpt2"),
    ({"model_type": ["bert"]}, "readable config.json|got "),
    ({"is_decoder": True}, "expected an encoder, got a .* that is a decoder"),
    ({"position_embedding_type": "relative_key"}, "absolute positions"),
    ({"max_position_embeddings": 20}, "max_tokens of at most (20|18)"),
    ({"vocab_size": 20}, r"weights that fit config\.json"),
]


@pytest.mark.parametrize("kind", TaskKind)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_that_cannot_be_trained_is_refused(  # type: ignore[no-untyped-def]
    family: str, kind: TaskKind, tiny_bases, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_bases[family], tmp_path / "base"))
    task = Task(kind=kind, labels=LABELS, max_tokens=24)
    terms = {"pooling": Pooling.MEAN, "tune": Tune.FULL, "lora_rank": 2, "lora_alpha": 4}
    config = json.loads((base / "config.json").read_text())
    refused = list(REFUSED)
    if family == "distilbert":
        refused.append(({"sinusoidal_pos_embds": True}, "learned positions"))
    if family in ("roberta", "xlm-roberta"):
        refused.append(({"pad_token_id": None}, "the pad_token_id of a "))
    for changes, expected in refused:
        (base / "config.json").write_text(json.dumps(config | changes))
        with pytest.raises(LocalError, match=expected):
            build(base, task, seed=bytes(32), **terms)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_that_is_not_whole_is_refused(family, tiny_bases, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from safetensors.torch import load_file, save_file

    base = Path(shutil.copytree(tiny_bases[family], tmp_path / "base"))
    task = Task(kind=TOKENS, labels=LABELS, max_tokens=24)
    terms = {"pooling": Pooling.MEAN, "tune": Tune.HEAD, "lora_rank": 2, "lora_alpha": 4}
    whole = load_file(base / "model.safetensors")
    key = f"layer.1.{FAMILIES[family].layer.key}.bias"
    gone = next(name for name in whole if name.endswith(key))
    rest = {name: weight for name, weight in whole.items() if name != gone}
    save_file(rest, base / "model.safetensors", metadata={"format": "pt"})
    expected = f"a complete {FAMILIES[family].name}, {gone} is missing"
    with pytest.raises(LocalError, match=expected):
        build(base, task, seed=bytes(32), **terms)  # type: ignore[arg-type]

    (base / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(LocalError, match="expected weights that fit"):
        build(base, task, seed=bytes(32), **terms)  # type: ignore[arg-type]
    save_file(whole, base / "model.safetensors", metadata={"format": "pt"})
    (base / "tokenizer.json").write_text("{}")
    with pytest.raises(LocalError, match="expected a tokenizer in base"):
        build(base, task, seed=bytes(32), **terms)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", TaskKind)
def test_a_tokenizer_that_cannot_say_whose_piece_it_is_serves_texts_alone(  # type: ignore[no-untyped-def]
    kind: TaskKind, tiny_bases, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_bases["bert"], tmp_path / "base"))
    vocabulary = json.loads((base / "tokenizer.json").read_text())["model"]["vocab"]
    (base / "tokenizer.json").unlink()
    (base / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)))
    slow = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "basic"}
    (base / "tokenizer_config.json").write_text(json.dumps(slow))
    task = Task(kind=kind, labels=LABELS, max_tokens=24)
    terms = {"pooling": Pooling.MEAN, "tune": Tune.HEAD, "lora_rank": 2, "lora_alpha": 4}
    if kind is TEXTS:
        classifier = build(base, task, seed=bytes(32), **terms)  # type: ignore[arg-type]
        assert classifier.encode(["my card"])[0].shape == (16,)
        return
    with pytest.raises(LocalError, match=r"expected a tokenizer\.json in base"):
        build(base, task, seed=bytes(32), **terms)  # type: ignore[arg-type]
