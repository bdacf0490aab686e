"""The original of a report: its canonical JSON, signed if there is a key.

Signed it is a DSSE envelope of a type of its own; unsigned it is the JSON alone, and its SHA-256 is
what people compare. Pages are made from what is in it, so they add nothing to it.
"""

from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from comity_audit.report.facts import Report
from comity_common.canonical import decode, encode
from comity_common.errors import PeerError
from comity_common.ledger.envelopes import Envelope, key_id, open_envelope, seal

PAYLOAD_TYPE = "application/vnd.comity.audit-report+json"
MAX_ORIGINAL_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A report and the bytes that it is kept as.

    Attributes:
        raw: an envelope, or the bare JSON.
        signer: id of the key that signed, SHA-256 of it in hexadecimal; empty for none.
        sha256: of the JSON, whether it is in an envelope or not.
    """

    report: Report
    raw: bytes
    signer: str
    sha256: str


def original_of(report: Report, key: Ed25519PrivateKey | None = None) -> Original:
    """Write a report down.

    Args:
        key: of who answers for it; None for an unsigned one.
    """
    payload = encode(report)
    signer = "" if key is None else key_id(key.public_key().public_bytes_raw())
    return Original(
        report=report,
        raw=payload if key is None else seal(payload, key, PAYLOAD_TYPE),
        signer=signer,
        sha256=sha256(payload).hexdigest(),
    )


def read_original(raw: bytes, public: bytes | None = None) -> Original:
    """Read a report again.

    Args:
        public: 32 bytes, the key of who should have signed it; None to read an unsigned one.

    Raises:
        PeerError: it is no report, not signed with this key, or signed where no key was given.
    """
    if len(raw) > MAX_ORIGINAL_BYTES:
        raise PeerError("expected a report of at most 64 MiB")
    if public is None:
        if _is_envelope(raw):
            raise PeerError("expected the key of who signed this report")
        payload = raw
    else:
        payload = _opened(raw, public)
    return Original(
        report=decode(Report, payload),
        raw=raw,
        signer="" if public is None else key_id(public),
        sha256=sha256(payload).hexdigest(),
    )


def _is_envelope(raw: bytes) -> bool:
    try:
        return decode(Envelope, raw).payloadType == PAYLOAD_TYPE
    except PeerError:
        return False


def _opened(raw: bytes, public: bytes) -> bytes:
    try:
        return open_envelope(raw, public, PAYLOAD_TYPE)
    except PeerError:
        raise PeerError("expected a report that was signed with this key") from None
