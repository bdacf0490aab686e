"""The way to the operator: whose key is shown, what time it is there, how fast it is."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from comity_client.doctor.own import agreements
from comity_client.failures import Unreachable
from comity_client.institution import Institution
from comity_client.tls import clock_problem, pinned_certificate
from comity_client.uplink import Uplink
from comity_common.agreement import Agreement
from comity_common.errors import Problem
from comity_common.membership import PROTOCOL_VERSION
from comity_common.secagg.masking import vector_bytes
from comity_host.checks import Finding, ok, problem, told, warning
from comity_host.checks.files import size

SMALL_PROBE_BYTES = 64 << 10
LARGE_PROBE_BYTES = 4 << 20
PROBE_S = 5.0  # a slow way is measured with as much as fits in here
LONG_UPLOAD_S = 300.0  # half of what an operator waits, by default
SHORTEST_S = 1e-6  # that a clock may show


class Probed(Protocol):
    """What the operator answers to bytes that measure the way."""

    @property
    def seconds(self) -> float:
        """From the first byte to the answer."""

    @property
    def now(self) -> float:
        """The operator's clock, seconds since 1970."""

    @property
    def version(self) -> int:
        """Of the operator's protocol."""


Probe = Callable[[int], Probed]
"""Sends so many bytes."""

Connect = Callable[[Institution], AbstractContextManager[Probe]]


@contextmanager
def connect(inst: Institution) -> Iterator[Probe]:
    """Open the vault's own connection; every probe is on the ledger before it leaves."""
    party = inst.card.operator
    record = inst.recorder(party.id, party.jurisdiction)
    config = inst.config
    uplink = Uplink(config.server, party.identity.tls, inst.keys.tls(), record, config.proxy)
    try:
        yield uplink.probe
    finally:
        uplink.close()


def operator(inst: Institution) -> Finding:
    """Compare the key that is shown at the operator's address with the one that was agreed on."""
    party, config = inst.card.operator, inst.config
    pinned_certificate(config.server, party.identity.tls, config.proxy)
    return ok("operator", f"{party.name} shows its own key at {config.server}")


def measured(
    inst: Institution, connect: Connect, clock: Callable[[], float] = time.time
) -> list[Finding]:
    """Compare versions and clocks, and measure how fast bytes arrive.

    Raises:
        Problem: the operator does not answer.
    """
    try:
        with connect(inst) as probe:
            first = probe(SMALL_PROBE_BYTES)
            here = clock()
            rate = _rate(probe, first.seconds)
    except Unreachable as error:
        raise Problem("COM-NET-001", address=inst.config.server, why=error) from None
    return [
        _protocol(first.version),
        _clock(first.now, here),
        _goodput(rate, agreements(inst)),
    ]


def _rate(probe: Probe, first_s: float) -> float:
    """Measure with as much as fits into a few seconds; bytes a second."""
    rate = SMALL_PROBE_BYTES / max(first_s, SHORTEST_S)
    count = min(LARGE_PROBE_BYTES, int(rate * PROBE_S))
    if count <= SMALL_PROBE_BYTES:
        return rate
    return count / max(probe(count).seconds, SHORTEST_S)


def _protocol(theirs: int) -> Finding:
    if theirs == PROTOCOL_VERSION:
        return ok("protocol", f"version {theirs} on both sides")
    fix = "install the same version of comity on both sides"
    return problem("protocol", f"version {PROTOCOL_VERSION} here, {theirs} there", fix)


def _clock(theirs: float, own: float) -> Finding:
    trouble = clock_problem(theirs, own)
    if trouble is not None:
        return told("clock", trouble)
    return ok("clock", f"less than {int(abs(theirs - own)) + 1} s from the operator's")


def _goodput(rate: float, terms: Sequence[Agreement]) -> Finding:
    """Say how fast the way is, and how long an upload takes on it.

    Args:
        rate: bytes a second.
    """
    megabits = 8 * rate / 1e6
    speed = f"{megabits:{'.0f' if megabits >= 100 else '.3g'}} Mbit/s to the operator"
    if not terms:
        return ok("goodput", speed)
    count = max(vector_bytes(each.model.parameters, each.aggregation.ring_width) for each in terms)
    seconds = count / rate
    detail = f"{speed}; an upload of {size(count)} takes about {max(1.0, seconds):.0f} s"
    if seconds <= LONG_UPLOAD_S:
        return ok("goodput", detail)
    fix = "use bbr (see TCP) or a faster line, or ask the operator for LoRA or a longer upload_s"
    return warning("goodput", detail, fix)
