"""Of what form the values in entries are."""

import re

from comity_common.errors import LocalError
from comity_common.ids import Digest

NONCE_BYTES = 16
MAX_TEXT = 500  # characters

ID_PATTERN = re.compile(r"[0-9a-f]{32}")
DIGEST_PATTERN = re.compile(r"[0-9a-f]{64}")
JURISDICTION_PATTERN = re.compile(r"[A-Z]{2}")


def check_dataset(value: str) -> None:
    """Check the id of a data set.

    Raises:
        LocalError: it is not of that form.
    """
    if not ID_PATTERN.fullmatch(value):
        raise LocalError("expected a data set id of 32 lower-case hexadecimal digits")


def check_namespace(value: str) -> None:
    """Check the id of a namespace.

    Raises:
        LocalError: it is not of that form.
    """
    if not ID_PATTERN.fullmatch(value):
        raise LocalError("expected a namespace id of 32 lower-case hexadecimal digits")


def check_digest(value: str) -> None:
    """Check a digest.

    Raises:
        LocalError: it is not of that form.
    """
    if not DIGEST_PATTERN.fullmatch(value):
        raise LocalError("expected a digest of 64 lower-case hexadecimal digits")


def check_nonce(value: bytes) -> None:
    """Check 16 bytes that name something.

    Raises:
        LocalError: it is not of that form.
    """
    if len(value) != NONCE_BYTES:
        raise LocalError(f"expected a nonce of {NONCE_BYTES} bytes, got {len(value)}")


def check_counters(*values: int) -> None:
    """Check numbers that count from 0.

    Raises:
        LocalError: it is not of that form.
    """
    if min(values) < 0:
        raise LocalError("expected no negative epoch, round or sequence")


def check_text(text: str) -> None:
    """Check a text that is there and not long.

    Raises:
        LocalError: it is not of that form.
    """
    if not 1 <= len(text) <= MAX_TEXT:
        raise LocalError(f"expected a text of 1 to {MAX_TEXT} characters, got {len(text)}")


def check_crossing(purpose: str, peer: str, jurisdiction: str, message: str) -> None:
    """Check what is said of a message that crosses a border.

    Raises:
        LocalError: it is not of that form.
    """
    for text in (purpose, peer, message):
        check_text(text)
    check_country(jurisdiction)


def check_payload(size_bytes: int, digest: Digest, round: int | None) -> None:
    """Check size, digest and round of a message.

    Raises:
        LocalError: it is not of that form.
    """
    check_counters(size_bytes, round or 0)
    check_digest(digest)


def check_country(code: str) -> None:
    """Check a country code.

    Raises:
        LocalError: it is not of that form.
    """
    if not JURISDICTION_PATTERN.fullmatch(code):
        raise LocalError("expected an ISO 3166-1 alpha-2 country code")
