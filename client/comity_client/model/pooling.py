"""Mean pooling inside a plain classifier of texts.

These encoders classify the vector of their first token. The mean of all token vectors is far better
for an encoder of sentences under DP (banking77, head, ε = 8: 0.87 against 0.76), but a pooling of
our own would make an export that only our code can load. So the mean is written in the model's own
parts, as one more encoder layer with fixed weights:

* query and key are 0, so every visible token gets equal attention; value is the identity;
* the attention's output is multiplied by α = 10⁴, which leaves the residual, the token itself,
  1 / α of the weight, and is standardised by the layer norm with weight 1 and bias 0;
* the feed-forward half adds 0, and its layer norm finds its input standardised already.

Each token then carries the standardised mean x, and plain transformers loads the result. The pooler
after it is tanh(x / 2) in BERT, RoBERTa and XLM-RoBERTa, and x cut below 0 in DistilBERT, which has
a ReLU there. Layer and pooler are never trained.
"""

from typing import Any

import torch
from torch import nn

from comity_client.model.families import Family

RESIDUAL_DIVISOR = 10_000.0  # α: means up to 6.5 still fit float16, should a user cast the export


def write_mean_layer(network: Any, family: Family) -> None:
    """Overwrite the last encoder layer so that every token carries the standardised mean.

    Args:
        network: a classifier of texts with one layer more than its base.
    """
    layer, parts = network.get_submodule(family.layers)[-1], family.layer
    with torch.no_grad():
        for name in (parts.query, parts.key):
            _scale(layer.get_submodule(name), 0.0)
        _scale(layer.get_submodule(parts.value), 1.0)
        _scale(layer.get_submodule(parts.attended), RESIDUAL_DIVISOR)
        for name in (parts.widened, parts.narrowed):
            layer.get_submodule(name).weight.zero_()
            layer.get_submodule(name).bias.zero_()
        for name in (parts.attended_norm, parts.norm):
            layer.get_submodule(name).weight.fill_(1.0)
            layer.get_submodule(name).bias.zero_()


def write_pooler(network: Any, family: Family) -> None:
    """Overwrite the pooler so that it lets every coordinate pass by itself."""
    pooler = network.get_submodule(family.pooler)
    with torch.no_grad():
        _scale(pooler, family.pooler_scale)
        pooler.bias.fill_(family.pooler_shift)


def _scale(dense: nn.Linear, factor: float) -> None:
    dense.weight.copy_(factor * torch.eye(len(dense.weight)))
    dense.bias.zero_()
