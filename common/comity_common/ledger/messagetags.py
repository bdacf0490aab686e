"""What each field of a message that leaves a vault depends on, as `tags` has it for entries.

`LEAVES` says of which types a message is made that the ledger knows by a name. What protobuf adds
as a carrier is in `CARRIERS`, by the names of its schemas.
"""

from collections.abc import Mapping

from comity_common.agreement import Agreement, Party, PublicIdentity
from comity_common.ledger.keys import PublicLedgerKeys
from comity_common.ledger.tags import AGREEMENT, PLAN, ROUND, Tag, Tagged, Tags, public, random
from comity_common.ledger.witness import Cosignature, Growth, HeadRequest, Objection, TreeHead
from comity_common.membership import EnrolmentRequest, Withdrawal
from comity_common.secagg.messages import (
    Complaint,
    Decline,
    Endorsement,
    EpochHalves,
    EpochKey,
    EpochView,
    Header,
    Reveal,
    Upload,
)

LEAVES: Mapping[str, tuple[type, ...]] = {
    "greet": (),
    "enrol": (EnrolmentRequest,),
    "ask": (),
    "follow": (),
    "probe": (),
    "fetch-agreements": (),
    "fetch-plan": (),
    "fetch-total": (),
    "fetch-model": (),
    "parcel_kind_signature": (Agreement,),
    "parcel_kind_withdrawal": (Withdrawal,),
    "parcel_kind_epoch_keys": (EpochKey,),
    "parcel_kind_epoch_halves": (EpochHalves,),
    "parcel_kind_epoch_views": (EpochView,),
    "parcel_kind_decline": (Decline,),
    "parcel_kind_reveal": (Reveal,),
    "parcel_kind_endorsement": (Endorsement,),
    "parcel_kind_head": (HeadRequest,),
    "parcel_kind_cosignature": (Cosignature,),
    "parcel_kind_objection": (Objection,),
    "upload": (Header, Upload),
}
"""By the name in an `egress` entry: what is signed in it, beside the carrier."""

WHOLE = (Agreement,)
"""Types that are of the agreement as a whole."""

OWN_ID = public("who sends it")
OWN_KEY = random("a public key")
DEALT = random("commitments to seeds, and digests of shares, of boxes and of their keys")
SEED_SHARE = random("a share of a seed, which is drawn")
SUMMED = random("digest of what all compute from a masked sum, which has the noise of all in it")

MESSAGES: Tags = {
    EpochKey: {
        "agreement": AGREEMENT,
        "epoch": ROUND,
        "institution": OWN_ID,
        "key": OWN_KEY,
    },
    EpochHalves: {
        "agreement": AGREEMENT,
        "epoch": ROUND,
        "institution": OWN_ID,
        "sealed": random("drawn, and encrypted"),
    },
    EpochView: {
        "agreement": AGREEMENT,
        "epoch": ROUND,
        "institution": OWN_ID,
        "view": random("digest of keys and ciphertexts"),
    },
    Header: {
        "plan": PLAN,
        "institution": OWN_ID,
        "size": AGREEMENT,
        "root": random("digest of a masked vector"),
        "commitments": DEALT,
        "shares": DEALT,
    },
    Upload: {
        "header": random("digest of the header"),
        "boxes": DEALT,
        "keys": DEALT,
    },
    Reveal: {
        "survivors": random("digest of the operator's list of headers"),
        "institution": OWN_ID,
        "shares": SEED_SHARE,
    },
    Complaint: {
        "dealer": public("whose share was false: shares are of seeds, not of rows"),
        "box_key": random("a key of one box"),
    },
    Endorsement: {
        "agreement": AGREEMENT,
        "epoch": ROUND,
        "round": ROUND,
        "institution": OWN_ID,
        "certificate": random("digest of the operator's certificate"),
        "model": SUMMED,
    },
    Decline: {
        "agreement": AGREEMENT,
        "round": ROUND,
        "plan": PLAN,
        "institution": OWN_ID,
        "code": public("by agreement, policy, ledger or peer; `unavailable` is an exception"),
    },
    TreeHead: {
        "institution": OWN_ID,
        "generation": random("nonce of a genesis or of a restore"),
        "size": public("counts entries"),
        "root": random("digest of signed entries"),
    },
    Growth: {
        "size": public("counts entries, as a witness knows them"),
        "path": random("digests of signed entries"),
    },
    HeadRequest: {
        "agreement": AGREEMENT,
        "log": random("a signature"),
    },
    Cosignature: {
        "agreement": AGREEMENT,
        "witness": OWN_ID,
        "timed": Tagged(Tag.TIME, "the witness's clock, and signatures"),
    },
    Objection: {
        "agreement": AGREEMENT,
        "witness": OWN_ID,
        "institution": public("whose head it is"),
        "body": random("a head that its owner asked for, as it was signed"),
        "signature": random("its owner's"),
    },
    Withdrawal: {
        "agreement": AGREEMENT,
        "institution": public("who leaves: a person's decision"),
        "by": public("who says so"),
    },
    EnrolmentRequest: {
        "version": public("of the protocol"),
        "invitation": random("digest of the invitation's token"),
        "certificate_request": public("the institution's id and a public key"),
        "flower_key": public("a public key"),
    },
    Party: {
        "id": public("a person chose it"),
        "name": public("a person chose it"),
        "jurisdiction": public("a person declared it"),
    },
    PublicIdentity: {"ed25519": OWN_KEY, "mldsa44": OWN_KEY, "tls": OWN_KEY},
    PublicLedgerKeys: dict.fromkeys(("entries", "head", "witness", "lasting"), OWN_KEY),
}
"""Of every message that an institution signs, and of all that is in one."""

_SIGNED = random("what is signed in it: see the message")
_TOKEN = random("of the invitation")
_HEADER = random("digest of the upload's header")

CARRIERS: Mapping[str, Mapping[str, Tagged]] = {
    "Envelope": {"body": _SIGNED, "signature": random("a signature")},
    "Parcel": {
        "sequence": public("0: an institution's parcels are not counted"),
        "agreement": AGREEMENT,
        "kind": public("which of a closed list of messages it is"),
        "envelopes": _SIGNED,
        "boxes": random("none: no institution sends them by parcel"),
    },
    "FollowRequest": {
        "after": public("how many parcels of the operator have been taken"),
        "ready": public("the agreement, once model and rows are loaded"),
    },
    "FetchPlanRequest": {"agreement": AGREEMENT, "plan": PLAN},
    "FetchTotalRequest": {
        "agreement": AGREEMENT,
        "round": ROUND,
        "offset": public("always 0"),
    },
    "FetchModelRequest": {"agreement": AGREEMENT},
    "FetchAgreementsRequest": {},
    "BeginUploadRequest": {
        "agreement": AGREEMENT,
        "header": _SIGNED,
        "upload": _SIGNED,
        "boxes": random("shares of seeds, encrypted"),
        "leaves": random("digests of parts of a masked vector"),
    },
    "Chunk": {
        "header": _HEADER,
        "offset": public("which part: as many as the agreement's size makes"),
        "data": random("a part of a masked vector, uniform without the masks"),
    },
    "FinishUploadRequest": {"header": _HEADER},
    "ProbeRequest": {"data": random("drawn, and thrown away")},
    "GreetRequest": {"token": _TOKEN, "version": public("of the protocol")},
    "EnrolRequest": {"token": _TOKEN, "request": _SIGNED},
    "AskRequest": {"token": _TOKEN, "request": random("digest of the request")},
    "Acknowledgement": {
        "node": random("drawn by Flower"),
        "round": ROUND,
        "plan": PLAN,
        "accepted": public("by agreement, policy and ledger"),
        "code": public("by agreement, policy and ledger; `unavailable` is an exception"),
    },
}
"""By the name of the protobuf message."""
