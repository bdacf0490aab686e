"""Differential privacy: what was done (terms), what it costs (accountant), what is left."""
