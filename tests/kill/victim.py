"""The vault that is killed: a fork of the campaign, or an interpreter of its own.

    python -m tests.kill.victim DESCRIPTOR HOME AGREEMENT [JOURNAL HOW]

Everything that is the product's is the product's: its store on a disk, its ledger, its walk, its
workbench. Only the way out is a pipe (`line`), and three things are told through it before they
happen: that a boundary is passed, that a vector of noise is about to be drawn, and that there is
nothing left to do.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn
from unittest.mock import patch

import numpy as np
import structlog

from comity.v1 import transfer_pb2 as pb
from comity_client.compute import Compute
from comity_client.correspondence import Correspondence
from comity_client.cosigning import Cosigner
from comity_client.daemon import Works
from comity_client.institution import Institution
from comity_client.mailbox import Mailbox
from comity_client.mailroom import Mailroom
from comity_client.training.noise import GaussianNoise
from comity_client.uplink import Delivery
from comity_client.vault import Vault
from comity_common.errors import Refusal
from comity_common.ids import Digest
from tests.kill.line import Far

TURNS = 40  # more than any life has; a victim that is not killed by then has failed


@contextmanager
def noise_told(tell: Callable[[], None]) -> Iterator[None]:
    """Tell of every vector of noise before it is drawn, as long as the context lasts."""
    add = GaussianNoise.add

    def told(self: GaussianNoise, total: np.ndarray) -> None:
        tell()
        add(self, total)

    with patch.object(GaussianNoise, "add", told):
        yield


class Victim:
    """A vault at work, from its start to its death.

    Args:
        works: its workbench.
    """

    def __init__(self, home: Path, agreement: Digest, line: Far, works: Works) -> None:
        self._line, self._agreement = line, agreement
        self.inst = inst = Institution(home)
        standing = inst.agreements.get(agreement)
        self.vault = Vault(inst, standing, works, line, self._pass)
        self._letters = Correspondence(inst, line)
        self._mailbox = Mailbox(inst.store)
        self._mailroom = Mailroom(inst, standing.agreement, self.vault, line, self._letters, works)
        self._cosigner = Cosigner(inst, line.send)
        self._round = 0
        line.hear = self._hear

    def live(self) -> None:
        """Come back, and do what is due until killed, or told that it is enough."""
        with noise_told(lambda: self._line.ask("noise", self._round)):
            self.vault.recover()
            self._letters.send_waiting()
            for _ in range(TURNS):
                told = self._line.ask("next", self._mailbox.cursor())
                if told is None:
                    return
                order, mail = told
                if order is not None:
                    with suppress(Refusal):
                        self.vault.accept_order(*order)
                for delivery in mail:
                    self._mailbox.take(delivery, self._mailroom.deliver)
                while self.vault.go_on():
                    self._letters.send_waiting()
                self._letters.send_waiting()

    def _pass(self, name: str, round: int) -> None:
        self._round = round
        self._line.ask("boundary", name, round)

    def _hear(self, delivery: Delivery) -> None:
        match delivery.kind:
            case pb.PARCEL_KIND_HEAD:
                self._cosigner.answer(self._agreement, delivery.messages)
            case pb.PARCEL_KIND_COSIGNATURE:
                self.vault.witnesses.take_cosignature(delivery.messages)
            case _:
                self.vault.witnesses.take_objection(delivery.messages)


def live(connection: Connection, life: Callable[[], None]) -> NoReturn:
    """Live in this process, and tell what went wrong if anything does."""
    quiet()
    try:
        life()
    except BaseException:  # nothing may be lost of it, whatever it is
        connection.send(traceback.format_exc())
    os._exit(1)


def quiet() -> None:
    """Say only what is an error."""
    bound = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=bound)


def workbench(home: Path, agreement: Digest) -> Works:
    """Build what trains from what the home has, as the daemon does."""
    from comity_client.workbench import Workbench

    inst = Institution(home)
    standing = inst.agreements.get(agreement)
    works = Workbench(standing.agreement, inst.data.source(standing.dataset), Compute())
    inst.store.reading().close()  # no connection may cross a fork
    return works


def watched(home: Path, agreement: Digest, line: Far) -> None:
    """Live on a disk that is watched; see `power`."""
    from tests.kill.power import Noisy

    inst = Institution(home)
    terms = inst.agreements.get(agreement).agreement
    inst.store.reading().close()
    Victim(home, agreement, line, Noisy(terms)).live()


def main() -> None:
    """Live in an interpreter of one's own."""
    descriptor, path, digest, *watch = sys.argv[1:]
    connection, home, agreement = Connection(int(descriptor)), Path(path), Digest(digest)
    if watch:
        from tests.kill.power import careless, mark

        journal, how = watch
        with careless(how):
            line = Far(connection, mark(Path(journal)))
            live(connection, lambda: watched(home, agreement, line))
    line, works = Far(connection), workbench(home, agreement)
    live(connection, lambda: Victim(home, agreement, line, works).live())


if __name__ == "__main__":
    main()
