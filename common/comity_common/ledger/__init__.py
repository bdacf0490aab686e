"""The ledger: what happened, in order, append-only."""
