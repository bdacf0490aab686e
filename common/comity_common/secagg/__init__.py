"""`comity-sum/1`, the masked sum: messages, thresholds, masks, and both sides of a round."""
