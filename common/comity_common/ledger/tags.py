"""What each field of a shared entry depends on: one tag for every field, and why.

* `public`: a function of the agreement, of what persons declared, of the software, and of events
  that others saw. Never of rows.
* `random`: fresh randomness, or bytes that nobody without a secret tells from it: ids, nonces,
  signatures, commitments under a salt or a key that stays at home, digests of masked vectors and of
  messages with such bytes in them.
* `time`: what a clock said. When things happen is outside the claim (`docs/privacy.md`).
* `sealed`: a function of rows. It stays in the country and is no field of any entry.

Exceptions, where a public field can follow from rows after all, are few, and listed in
`docs/what-a-ledger-says.md`. A test holds this table against the types of all entries and refuses a
sealed field; another one compares the ledgers of one vault over different rows, everything but
`random` and `time`. `messagetags` has the same for messages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from comity_common.dp.terms import Guarantee, SampledGaussian
from comity_common.ledger.bodies import (
    AgreementSign,
    BudgetCharge,
    BudgetGrant,
    BudgetRefund,
    BudgetReserve,
    DatasetRegister,
    Egress,
    Genesis,
    Ingress,
    Note,
    PolicySet,
    Refused,
    Restore,
    RoundComplaint,
    RoundJoin,
    RoundVoid,
    SelfTest,
)
from comity_common.ledger.entries import Entry
from comity_common.ledger.operatorbodies import (
    AgreementEnd,
    AgreementStart,
    Head,
    MemberApprove,
    MemberRevoke,
    ModelRelease,
    RoundCertificate,
    RoundPlan,
)


class Tag(StrEnum):
    """What a field depends on."""

    PUBLIC = "public"
    RANDOM = "random"
    TIME = "time"
    SEALED = "sealed"


@dataclass(frozen=True, slots=True)
class Tagged:
    """A field's tag, and why it has it: a phrase."""

    tag: Tag
    why: str


Tags = Mapping[type, Mapping[str, Tagged]]
"""By type, then by field. A field that holds such a type itself has the tags of that type."""


def public(why: str) -> Tagged:
    """Tag a field that does not depend on rows."""
    return Tagged(Tag.PUBLIC, why)


def random(why: str) -> Tagged:
    """Tag a field that says nothing to who lacks a secret."""
    return Tagged(Tag.RANDOM, why)


AGREEMENT = public("of the agreement")
DECLARED = public("a person declared it")
KIND = public("which of a closed list of events it was")
ROUND = public("the operator's count of key epochs or rounds")
OPERATOR = public("who the operator is, in the agreement, on its card or in the invitation")
PLAN = random("digest of the operator's plan, which has a nonce")
RESERVE = random("drawn for the reserve")
SIZE = public("length of a form that agreement, round and ledger fix; no list in it is over rows")
MESSAGE = random("digest of what crosses: keys, signatures and masked bytes are in it")

ENTRIES: Tags = {
    Entry: {
        "version": public("of the format"),
        "institution": public("whose ledger it is"),
        "generation": random("nonce of the genesis, or of a restore that a person declared"),
        "sequence": public("counts entries"),
        "time": Tagged(Tag.TIME, "the vault's clock, in seconds"),
    },
    Genesis: {
        "nonce": random("drawn for the ledger"),
        "software": public("name and version"),
    },
    PolicySet: {
        "policy": random("digest of the rules under a salt that stays at home"),
    },
    AgreementSign: {"agreement": AGREEMENT},
    DatasetRegister: {
        "dataset": random("drawn for the data set"),
        "namespace": random("drawn for the budget; that two data sets share one is an exception"),
        "commitment": random("digest of the rows with 32 random bytes, which stay at home"),
        "schema": public("digest of task and key column, which a person declared"),
        "unit": DECLARED,
        "parent": random("the id of another data set, or none"),
    },
    BudgetGrant: {
        "grant": random("drawn for the grant"),
        "namespace": random("drawn for the budget"),
        "gate": AGREEMENT,
        "order": AGREEMENT,
    },
    BudgetReserve: {
        "dataset": random("drawn for the data set"),
        "grant": random("drawn for the grant"),
        "nonce": RESERVE,
        "agreement": AGREEMENT,
        "epoch": ROUND,
        "round": ROUND,
        "unit": AGREEMENT,
    },
    BudgetCharge: {
        "nonce": RESERVE,
        "outcome": public("whether a vector was made; training that fails is an exception"),
        "released": random("digest of a masked vector"),
    },
    BudgetRefund: {
        "nonce": RESERVE,
        "reason": KIND,
        "evidence": random("digest of a signed certificate or plan, with nonces in it"),
    },
    RoundJoin: {"agreement": AGREEMENT, "epoch": ROUND, "round": ROUND, "plan": PLAN},
    RoundComplaint: {
        "agreement": AGREEMENT,
        "epoch": ROUND,
        "round": ROUND,
        "plan": PLAN,
        "dealers": public("whose shares were false: shares are of seeds, not of rows"),
    },
    RoundVoid: {
        "agreement": AGREEMENT,
        "epoch": ROUND,
        "round": ROUND,
        "plan": PLAN,
        "reason": public("the operator's words: who came how far, of whom"),
    },
    Egress: {
        "purpose": KIND,
        "receiver": OPERATOR,
        "jurisdiction": OPERATOR,
        "traffic": KIND,
        "message": KIND,
        "size_bytes": SIZE,
        "digest": MESSAGE,
        "round": ROUND,
        "nonce": random("drawn for the reserve, or none"),
    },
    Ingress: {
        "purpose": KIND,
        "sender": public("who sent it"),
        "jurisdiction": public("the sender's, in the agreement"),
        "traffic": KIND,
        "message": KIND,
        "size_bytes": public("of the sender's message"),
        "digest": MESSAGE,
        "round": ROUND,
        "nonce": random("drawn for the sender's reserve, or none"),
    },
    SelfTest: {
        "verdict": public("on made-up rows alone"),
        "tests": public("which tests there are"),
        "failed": public("on made-up rows alone, by chance or by a fault of the machine"),
        "attempt": public("counts attempts"),
        "agreement": AGREEMENT,
    },
    Refused: {
        "code": public("by agreement, policy, ledger or peer; `unavailable` is an exception"),
        "agreement": AGREEMENT,
        "round": ROUND,
    },
    Restore: {
        "agreement": AGREEMENT,
        "epoch": ROUND,
        "round": ROUND,
        "generation": random("drawn when a person declared it"),
    },
    Note: {
        "text": public("a person's words; no program writes them"),
        "about": public("which entry a person means"),
    },
    MemberApprove: {
        "institution": public("whom the operator let in"),
        "jurisdiction": public("where it is, as it enrolled"),
        "party": random("digest of its name and keys"),
    },
    MemberRevoke: {"institution": public("whom the operator turned away")},
    AgreementStart: {"agreement": AGREEMENT},
    AgreementEnd: {"agreement": AGREEMENT, "ending": KIND},
    RoundPlan: {"agreement": AGREEMENT, "epoch": ROUND, "round": ROUND, "plan": PLAN},
    RoundCertificate: {
        "agreement": AGREEMENT,
        "epoch": ROUND,
        "round": ROUND,
        "plan": PLAN,
        "certificate": random("digest of what names the plan and the masked sum's root"),
        "is_void": public("all institutions are told"),
        "model": random("digest of a model that has noise in it"),
    },
    ModelRelease: {
        "agreement": AGREEMENT,
        "round": ROUND,
        "model": random("digest of a model that has noise in it"),
    },
    Head: {
        "institution": public("whose ledger it is"),
        "generation": random("drawn for its genesis or restore"),
        "size": public("counts entries, which are public events"),
        "root": random("over entries with signatures and digests"),
    },
    SampledGaussian: {
        "sampling_probability": AGREEMENT,
        "noise_multiplier": AGREEMENT,
        "steps": AGREEMENT,
        "mechanism": AGREEMENT,
    },
    Guarantee: {
        "epsilon": public("of the agreement, or a person's ceiling or grant"),
        "delta": public("of the agreement, or a person's ceiling or grant"),
    },
}
"""Of every entry and of all that is in one."""
