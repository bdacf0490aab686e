"""Vaults that are killed: what a crash can cost, measured on real processes and on lost writes."""
