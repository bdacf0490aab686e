"""Made-up ledgers that are honestly signed, and everything that may be done to their packages."""
