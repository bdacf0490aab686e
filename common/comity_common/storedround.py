"""The layout of a stored round: the files from which anybody can recompute its sum.

The operator writes such a directory, an auditor reads it. Every message stands there as the exact
bytes that were signed (canonical JSON) with the signature, raw, beside it:

    format.json                              {"format":"comity-round/1"}
    agreement.json                           what all have signed
    signatures/PARTY.sig                     over it, the operator's and every institution's
    plan.json, plan.sig                      by the operator
    certificate.json, certificate.sig        by the operator: how the round ended
    uploads/ID.header.json, ID.header.sig    by the institution: size, root, commitments
    uploads/ID.upload.json, ID.upload.sig    by the institution: digests of its boxes and their keys
    uploads/ID.vector                        the masked vector: q, canaries, z, little-endian
    declines/ID.json, ID.sig                 by the institution: that it took no part, and why
    survivors.json, survivors.sig            by the operator: whose vectors are summed
    reveals/ID.json, ID.sig                  by the institution: its shares of what masks the sum
    boxes/DEALER.HELPER.box                  a box that HELPER complained about, encrypted
    total.vector                             the sum, laid out like a masked vector
    endorsements/ID.json, ID.sig             by the institution: the next model that it computed
    model/before.state, model/after.state    as `comity_common.modelfile` writes them

Vectors, survivor list and reveals are there as far as the round got; total and the state after it
only if it was certified; declines, boxes, endorsements and states where there are any. Nothing
else is there.
Who holds it can do what the operator can, and no more: open the sum, never one vector.
"""

import re
from dataclasses import dataclass

from comity_common.agreement import ID_PATTERN
from comity_common.ids import InstitutionId

FORMAT = "comity-round/1"

FORMAT_FILE = "format.json"
AGREEMENT_FILE = "agreement.json"
TOTAL_FILE = "total.vector"
BEFORE_FILE = "model/before.state"
AFTER_FILE = "model/after.state"
PLAN, CERTIFICATE, SURVIVORS = "plan", "certificate", "survivors"  # stems of .json and .sig
FOLDERS = ("signatures", "uploads", "declines", "reveals", "boxes", "endorsements", "model")

MAX_FILES = 1 << 17  # 255 institutions, each complained about by all others
MAX_MESSAGE_BYTES = 16 << 20  # 4 × a reveal among 255
MAX_SIGNATURE_BYTES = 4096  # Ed25519 and ML-DSA-44 together are 2484
MAX_BOX_BYTES = 16 << 10  # 255 seeds of 32 bytes and a tag

_ID = ID_PATTERN.pattern
_NAME = re.compile(
    r"(format|agreement|plan|certificate|survivors)\.json|(plan|certificate|survivors)\.sig"
    rf"|signatures/{_ID}\.sig|uploads/{_ID}\.((header|upload)\.(json|sig)|vector)"
    rf"|(declines|reveals|endorsements)/{_ID}\.(json|sig)|boxes/{_ID}\.{_ID}\.box"
    r"|total\.vector|model/(before|after)\.state"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What `format.json` says."""

    format: str


def is_of_layout(name: str) -> bool:
    """Tell whether a file of this name, with `/` between folder and file, may be there."""
    return _NAME.fullmatch(name) is not None


def signature_of(party: InstitutionId) -> str:
    """Name the file with a party's signature over the agreement."""
    return f"signatures/{party}.sig"


def header_of(institution: InstitutionId) -> str:
    """Name the two files of a header, less their endings."""
    return f"uploads/{institution}.header"


def upload_of(institution: InstitutionId) -> str:
    """Name the two files of an upload message, less their endings."""
    return f"uploads/{institution}.upload"


def decline_of(institution: InstitutionId) -> str:
    """Name the two files of a decline, less their endings."""
    return f"declines/{institution}"


def vector_of(institution: InstitutionId) -> str:
    """Name the file of a masked vector."""
    return f"uploads/{institution}.vector"


def reveal_of(institution: InstitutionId) -> str:
    """Name the two files of a reveal, less their endings."""
    return f"reveals/{institution}"


def endorsement_of(institution: InstitutionId) -> str:
    """Name the two files of an endorsement, less their endings."""
    return f"endorsements/{institution}"


def box_of(dealer: InstitutionId, helper: InstitutionId) -> str:
    """Name the file of a box."""
    return f"boxes/{dealer}.{helper}.box"
