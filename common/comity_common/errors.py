"""The kinds of error, by who must act.

* `LocalError`: we called something wrongly; the caller in this process must change.
* `PeerError`: the other side sent something wrong; hostile bytes raise only this.
* `Problem`: a `LocalError` that a person meets, with a code of the catalogue.
* `Refusal`: nothing is broken, a rule says no. Its code comes from a closed list, so that
  both sides may see it: a code is a function of agreement, policy and ledger, never of rows.

Messages are one lower-case sentence with what was expected and what came, never a secret,
a row or a whole message.
"""

from enum import StrEnum

from comity_common.catalogue import ENGLISH


class ComityError(Exception):
    """The root of every error that this project raises on purpose."""


class LocalError(ComityError):
    """We called wrongly; the argument or the configuration must change."""


class PeerError(ComityError):
    """A peer sent something that is malformed, unsigned, out of order or untrue."""


class RefusalCode(StrEnum):
    """Why an institution does not take part, or takes no notice: a closed list.

    Both sides see it, but for `survivors`, `parcel` and `upload`: what an institution refused to
    hear, and that the operator would not have its upload, stand on its own ledger alone.
    """

    UNKNOWN_AGREEMENT = "unknown-agreement"
    AGREEMENT_EXPIRED = "agreement-expired"
    POLICY = "policy"
    BUDGET = "budget"
    PLAN = "plan"
    SURVIVORS = "survivors"
    PARCEL = "parcel"
    UPLOAD = "upload"
    STALE_ROUND = "stale-round"
    BEHIND = "behind"
    INTERRUPTED = "interrupted"
    RESTORED = "restored"
    SELFTEST = "selftest"
    UNAVAILABLE = "unavailable"


class Refusal(ComityError):
    """A rule says no.

    Attributes:
        code: what the other side may see.
    """

    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Problem(LocalError):
    """Something that a person must mend: a code of the catalogue and the facts of the case.

    `raise Problem("COM-NET-001", address="operator.example:7443", why="connection refused")`

    Attributes:
        code: in `comity_common.catalogue`.
        facts: what its sentences name; never a secret, a row or a whole message.
    """

    def __init__(self, code: str, **facts: object) -> None:
        super().__init__(ENGLISH[code].cause.format(**facts))
        self.code = code
        self.facts = facts
