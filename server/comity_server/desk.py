"""The desk: where the gRPC threads hand in what came, and where the coordinator sees it.

One lock and one condition, `moved`, guard what is going on now: agreement, key epoch, round,
orders. Everything is checked against the sender whom TLS has identified, and stored, before it
counts. A message of a round or epoch that is over is answered with yes and changes nothing: its
sender only missed the end.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, Signed, SigningKeys
from comity_common.errors import PeerError, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.collector import Collector
from comity_common.secagg.messages import Decline, Header, Plan, Receipt, Reveal, Survivors
from comity_common.secagg.participant import header_digest, list_digest, read_header
from comity_common.secagg.round import Stage

from comity_server.agreements import Agreements
from comity_server.epochs import EpochStep, KeyEpoch
from comity_server.errors import WrongTime
from comity_server.history import History, RoundRecord
from comity_server.orders import Orders
from comity_server.registry import Registry
from comity_server.rounds import Round
from comity_server.uploads import Declared, Uploads

OnPhase = Callable[[str, str, int], None]
"""Told the name of a boundary that was passed, the institution or "", and the round."""
