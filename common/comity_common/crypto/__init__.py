"""Cryptography of `comity-sum/1`: labels, keystreams, signatures, sealing, secret sharing."""
