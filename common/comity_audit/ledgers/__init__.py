"""Whether the ledger in an audit package is true: signatures, head, witnesses, budget, traffic."""
