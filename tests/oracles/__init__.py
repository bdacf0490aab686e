"""Implementations that are not ours, and what each of them checks of a ledger."""
