"""DP-SGD on private rows: sampler, noise, one step, the trainer of a round."""
