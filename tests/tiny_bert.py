"""A BERT small enough for any test: two layers, random weights that are not too small to matter."""

from collections.abc import Sequence
from pathlib import Path


def save_tiny_bert(
    directory: Path, words: Sequence[str], *, hidden: int, positions: int, seed: int
) -> Path:
    """Save a model and its tokenizer, which knows these words and no others."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    directory.mkdir(exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (directory / "vocab.txt").write_text("\n".join(vocabulary))
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=3 * hidden // 2,
        max_position_embeddings=positions,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(directory)
    BertTokenizer.from_pretrained(directory).save_pretrained(directory)
    return directory
