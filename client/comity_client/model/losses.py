"""The loss of each record, for training with privacy, without it, and for evaluation.

Per record, and never over the batch: a mean over all labelled tokens of a batch would weigh a
record's tokens by how many its neighbours have, so that taking one record out would move the
gradients of the others, which no clipping bounds.
"""

import torch

IGNORED = -100  # a target that nothing is learnt from: padding, a later piece of a word


def record_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Take the cross-entropy of each record, for labelled tokens their mean within the record.

    Args:
        logits: shape (n, labels) for texts, (n, length, labels) for tokens.
        targets: int64, the classes: shape (n,) for texts; for tokens (n, at least length), where
            what lies beyond `length` is `IGNORED`, and so is every token without a label.

    Returns:
        shape (n,); 0, with a gradient of 0, for a record without a labelled token.
    """
    if logits.dim() == 2:
        return torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    targets = targets[:, : logits.shape[1]]
    losses = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none"
    )
    labelled = (targets != IGNORED).sum(dim=1)
    return losses.sum(dim=1) / labelled.clamp(min=1)
