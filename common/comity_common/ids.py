"""Distinct ids as distinct types, so that one cannot be passed for another."""

from typing import NewType

InstitutionId = NewType("InstitutionId", str)
"""A party's short name in an agreement: lower-case letters, digits and hyphens."""

Digest = NewType("Digest", str)
"""A SHA-256 digest as 64 lower-case hexadecimal digits."""
