"""Control messages: the closed list of what may leave a vault without the budget's cover.

Every value in them is a function of public inputs or fresh randomness: keys, digests, signatures,
positions, codes of closed lists. None depends on rows. A bound on their size keeps anything else
from riding along; it grows with the number of institutions where the message does.
"""

from dataclasses import dataclass

from comity_common.agreement import MAX_INSTITUTIONS
from comity_common.secagg.kinds import RoundKind

FEDERATED_TRAINING = "federated-training"
FEDERATED_EVALUATION = "federated-evaluation"
UPLOAD = "upload"
"""The one message that is no control message: a masked vector, which a reserve covers."""

GREETING = "greet"
"""The first message of all. Who answers is known from the answer, so it goes to an address."""

HEAD = "parcel_kind_head"
"""By which an institution asks the others to cosign its ledger."""

PURPOSES = {
    GREETING: "enrolment",
    "enrol": "enrolment",
    "ask": "enrolment",
    "fetch-agreements": "agreement",
    "parcel_kind_signature": "agreement",
    "parcel_kind_withdrawal": "agreement",
    "probe": "connection-test",
}
"""What a message is for, by its name; anything else is training."""

PURPOSE_OF_ROUND = {
    RoundKind.TRAIN: FEDERATED_TRAINING,
    RoundKind.EVALUATE: FEDERATED_EVALUATION,
}
"""What an upload is for."""

_KIB = 1 << 10


@dataclass(frozen=True, slots=True)
class Control:
    """How large one message may be, in bytes.

    Attributes:
        fixed: without any institution.
        each: more for each institution of the agreement.
        pairs: more for each pair of them.
    """

    fixed: int
    each: int = 0
    pairs: int = 0

    def limit(self, institutions: int = MAX_INSTITUTIONS) -> int:
        """Return how many bytes it may have in a federation of so many."""
        return self.fixed + self.each * institutions + self.pairs * institutions**2


CONTROLS = {
    GREETING: Control(_KIB),
    "enrol": Control(16 * _KIB),
    "ask": Control(16 * _KIB),
    "follow": Control(_KIB // 4),
    "probe": Control(4 << 20),
    "fetch-agreements": Control(0),
    "fetch-plan": Control(_KIB // 4),
    "fetch-total": Control(_KIB // 4),
    "fetch-model": Control(_KIB // 4),
    "parcel_kind_signature": Control(16 * _KIB, each=8 * _KIB),
    "parcel_kind_withdrawal": Control(4 * _KIB),
    "parcel_kind_epoch_keys": Control(8 * _KIB),
    "parcel_kind_epoch_halves": Control(4 * _KIB, each=4 * _KIB),
    "parcel_kind_epoch_views": Control(4 * _KIB),
    "parcel_kind_decline": Control(4 * _KIB),
    "parcel_kind_reveal": Control(4 * _KIB, each=_KIB // 4, pairs=12),
    "parcel_kind_endorsement": Control(4 * _KIB),
    HEAD: Control(1 << 20),
    "parcel_kind_cosignature": Control(10 * _KIB),
    "parcel_kind_objection": Control(2 << 20),
}
"""By the name that stands in an `egress` entry."""


def is_greeting(message: str, receiver: str) -> bool:
    """Tell whether a message went to `host:port`, before its sender knew who is there."""
    return message == GREETING and ":" in receiver


def purpose_of(message: str) -> str:
    """Say what a control message is for, in the words of the ledger."""
    return PURPOSES.get(message, FEDERATED_TRAINING)
