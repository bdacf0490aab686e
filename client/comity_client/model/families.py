"""The kinds of BERT that can be trained, and all that differs between them.

Four encoders that are one model under different names of parts: post-norm layers, learned absolute
positions, a linear classifier on top. Whatever builds, pools, adapts or exports asks its `Family`
for a name and knows no kind by itself.

* BERT has a pretrained pooler between encoder and classifier. RoBERTa and XLM-RoBERTa have a dense
  layer inside their classification head in its place, DistilBERT has one before a ReLU, and no base
  brings weights for these.
* RoBERTa and XLM-RoBERTa count positions from the one after `pad_token_id`.
* DistilBERT knows no token types.

Everything else is refused by name: ALBERT shares its layers, DeBERTa has relative positions, GPT is
no encoder. None of the four ties a weight to another in a classifier.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from transformers import (
    BertForSequenceClassification,
    BertForTokenClassification,
    DistilBertForSequenceClassification,
    DistilBertForTokenClassification,
    RobertaForSequenceClassification,
    RobertaForTokenClassification,
    XLMRobertaForSequenceClassification,
    XLMRobertaForTokenClassification,
)

from comity_common.agreement import TaskKind
from comity_common.errors import LocalError

TEXTS, TOKENS = TaskKind.SEQUENCE_CLASSIFICATION, TaskKind.TOKEN_CLASSIFICATION


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Where an encoder layer has its parts.

    Attributes:
        query, key, value, attended: linear, of the attention.
        attended_norm: the layer norm after it.
        widened, narrowed: linear, of the feed-forward half.
        norm: the layer norm after that.
    """

    query: str
    key: str
    value: str
    attended: str
    attended_norm: str
    widened: str
    narrowed: str
    norm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One kind of BERT.

    Attributes:
        name: as people write it.
        networks: the class that learns each kind of task. Its positional arguments are token ids,
            attention mask, token types and positions.
        layers: where the encoder layers are.
        layer: where each has its parts.
        pooler: the linear layer between the encoder and a classifier of texts.
        pretrained_pooler: whether a base has weights for it.
        pooler_scale, pooler_shift: what it multiplies each coordinate by and adds to it where it
            has no weights of the base.
        classifiers: the linear layer that gives the logits, for each kind of task.
        positions_after_padding: whether positions are counted from the one after `pad_token_id`.
        dropouts: the names of all dropout rates in the configuration.
    """

    name: str
    networks: Mapping[TaskKind, Any]
    layers: str
    layer: Layer
    pooler: str
    pretrained_pooler: bool
    pooler_scale: float
    pooler_shift: float
    classifiers: Mapping[TaskKind, str]
    positions_after_padding: bool
    dropouts: tuple[str, ...]

    def first_position(self, config: Any) -> int:
        """Return the position of a text's first token."""
        return config.pad_token_id + 1 if self.positions_after_padding else 0

    def longest_text(self, config: Any) -> int:
        """Return how many tokens of a text can be read, special ones included."""
        longest: int = config.max_position_embeddings - self.first_position(config)
        return longest


class _WithoutTokenTypes:
    """DistilBERT with the positional arguments of the others."""

    def forward(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        token_type_ids: Any = None,  # of which it has none
        position_ids: Any = None,
    ) -> Any:
        return super().forward(  # type: ignore[misc]
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids
        )


class _DistilBertForTexts(_WithoutTokenTypes, DistilBertForSequenceClassification): ...  # type: ignore[misc]


class _DistilBertForTokens(_WithoutTokenTypes, DistilBertForTokenClassification): ...  # type: ignore[misc]


_BERT_LAYER = Layer(
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attended="attention.output.dense",
    attended_norm="attention.output.LayerNorm",
    widened="intermediate.dense",
    narrowed="output.dense",
    norm="output.LayerNorm",
)
_DISTILBERT_LAYER = Layer(
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attended="attention.out_lin",
    attended_norm="sa_layer_norm",
    widened="ffn.lin1",
    narrowed="ffn.lin2",
    norm="output_layer_norm",
)
_BERT_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout")
_TANH_SCALE = 0.5  # keeps most of a standardised vector in the steep part of tanh


def _roberta(name: str, texts: Any, tokens: Any) -> Family:
    return Family(
        name=name,
        networks={TEXTS: texts, TOKENS: tokens},
        layers="roberta.encoder.layer",
        layer=_BERT_LAYER,
        pooler="classifier.dense",
        pretrained_pooler=False,
        pooler_scale=_TANH_SCALE,
        pooler_shift=0.0,
        classifiers={TEXTS: "classifier.out_proj", TOKENS: "classifier"},
        positions_after_padding=True,
        dropouts=_BERT_DROPOUTS,
    )


FAMILIES: Mapping[str, Family] = {
    "bert": Family(
        name="BERT",
        networks={TEXTS: BertForSequenceClassification, TOKENS: BertForTokenClassification},
        layers="bert.encoder.layer",
        layer=_BERT_LAYER,
        pooler="bert.pooler.dense",
        pretrained_pooler=True,
        pooler_scale=_TANH_SCALE,
        pooler_shift=0.0,
        classifiers={TEXTS: "classifier", TOKENS: "classifier"},
        positions_after_padding=False,
        dropouts=_BERT_DROPOUTS,
    ),
    "distilbert": Family(
        name="DistilBERT",
        networks={TEXTS: _DistilBertForTexts, TOKENS: _DistilBertForTokens},
        layers="distilbert.transformer.layer",
        layer=_DISTILBERT_LAYER,
        pooler="pre_classifier",
        pretrained_pooler=False,
        pooler_scale=1.0,
        pooler_shift=0.0,
        classifiers={TEXTS: "classifier", TOKENS: "classifier"},
        positions_after_padding=False,
        dropouts=("dropout", "attention_dropout", "seq_classif_dropout"),
    ),
    "roberta": _roberta("RoBERTa", RobertaForSequenceClassification, RobertaForTokenClassification),
    "xlm-roberta": _roberta(
        "XLM-RoBERTa", XLMRobertaForSequenceClassification, XLMRobertaForTokenClassification
    ),
}
"""The families by `model_type`."""


def read_config(base: Path) -> tuple[Family, Any]:
    """Read the configuration of a base, and which family it is of.

    Raises:
        LocalError: there is none, or the base is nothing that can be trained here.
    """
    try:
        kind = json.loads((base / "config.json").read_text("utf-8")).get("model_type")
        family = FAMILIES.get(kind)
        if family is None:
            raise LocalError(f"expected a base model of type {', '.join(FAMILIES)}, got {kind}")
        config = transformers.AutoConfig.from_pretrained(
            base, local_files_only=True, trust_remote_code=False
        )
    except LocalError:
        raise
    except Exception:  # a broken configuration raises anything
        raise LocalError(f"expected a readable config.json in {base.name}") from None
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        raise LocalError(f"expected an encoder, got a {family.name} that is a decoder")
    if getattr(config, "position_embedding_type", None) not in (None, "absolute"):
        raise LocalError(f"expected a {family.name} with absolute positions")
    if getattr(config, "sinusoidal_pos_embds", False):
        raise LocalError(f"expected a {family.name} with learned positions, got sinusoidal ones")
    if family.positions_after_padding and config.pad_token_id is None:
        raise LocalError(f"expected the pad_token_id of a {family.name} in config.json")
    return family, config
