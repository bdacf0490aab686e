"""Why the operator does not do what an institution asked: each kind has its own gRPC status.

All are `PeerError`: whoever catches that catches these. The status tells the vault what to do: give
up this message, or come back.
"""

from comity_common.errors import PeerError


class Stranger(PeerError):
    """The certificate belongs to no approved institution, or the agreement does not name it."""


class WrongTime(PeerError):
    """The message is well made, but its time is over or has not come."""


class Overtaken(PeerError):
    """The upload's state is another than the sender thinks: begin again and go on from there."""


class Foreign(PeerError):
    """The caller speaks another version of the protocol."""


class Busy(PeerError):
    """The institution has too many calls open."""
