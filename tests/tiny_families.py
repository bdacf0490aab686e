"""One tiny model of every family, with random weights and a tokenizer trained on a few words.

The tokenizers are of the kind that the family has on the hub: word pieces, byte-level BPE, or
unigrams; each cuts some of the words into several pieces.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

HIDDEN, LAYERS, HEADS, POSITIONS = 16, 2, 2, 64
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def save_tiny(model_type: str, directory: Path, words: Sequence[str], *, seed: int = 5) -> Path:
    """Save a model of a family and its tokenizer, as its pretraining leaves it."""
    import torch

    directory.mkdir(exist_ok=True)
    tokenizer = {
        "bert": _word_pieces,
        "distilbert": _word_pieces,
        "roberta": _byte_pairs,
        "xlm-roberta": _unigrams,
    }[model_type](words)
    torch.manual_seed(seed)
    model = _pretrained(model_type, len(tokenizer))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name.lower() or name.endswith(".bias"):  # whose first values are trivial
                parameter += 0.1 * torch.randn(parameter.shape)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def _pretrained(model_type: str, vocabulary: int) -> Any:
    """Make a random model with the head of its pretraining, which a base on the hub has too."""
    from transformers import (
        BertConfig,
        BertForPreTraining,
        DistilBertConfig,
        DistilBertForMaskedLM,
        RobertaConfig,
        RobertaForMaskedLM,
        XLMRobertaConfig,
        XLMRobertaForMaskedLM,
    )

    if model_type == "distilbert":
        return DistilBertForMaskedLM(
            DistilBertConfig(
                vocab_size=vocabulary,
                dim=HIDDEN,
                n_layers=LAYERS,
                n_heads=HEADS,
                hidden_dim=3 * HIDDEN // 2,
                max_position_embeddings=POSITIONS,
                initializer_range=0.3,
            )
        )
    config, model, special = {
        "bert": (BertConfig, BertForPreTraining, {"pad_token_id": 0}),
        "roberta": (RobertaConfig, RobertaForMaskedLM, {"pad_token_id": 1, "type_vocab_size": 1}),
        "xlm-roberta": (
            XLMRobertaConfig,
            XLMRobertaForMaskedLM,
            {"pad_token_id": 1, "type_vocab_size": 1},
        ),
    }[model_type]
    return model(
        config(
            vocab_size=vocabulary,
            hidden_size=HIDDEN,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=3 * HIDDEN // 2,
            max_position_embeddings=POSITIONS + 2 * (model_type != "bert"),
            initializer_range=0.3,
            **special,
        )
    )


def _word_pieces(words: Sequence[str]) -> Any:
    from transformers import BertTokenizer

    letters = sorted(set("".join(words)))
    pieces = [*words[::2], *letters, *(f"##{letter}" for letter in letters)]
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(pieces)]
    return BertTokenizer(vocab={piece: number for number, piece in enumerate(known)})


def _byte_pairs(words: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import RobertaTokenizer

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(vocab_size=30, special_tokens=SPECIAL, show_progress=False)
    raw.train_from_iterator([" ".join(words)] * 20, trainer)
    import json

    model = json.loads(raw.to_str())["model"]
    return RobertaTokenizer(
        vocab=model["vocab"], merges=[tuple(merge) for merge in model["merges"]]
    )


def _unigrams(words: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import XLMRobertaTokenizer

    raw = Tokenizer(models.Unigram())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=40, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    raw.train_from_iterator([" ".join(words)] * 20, trainer)
    import json

    model = json.loads(raw.to_str())["model"]
    return XLMRobertaTokenizer(vocab=[tuple(piece) for piece in model["vocab"]])
