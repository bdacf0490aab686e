"""Ledgers on this machine, whoever keeps them: each part of Comity that is installed knows its own.

A part registers, in the entry-point group `comity.ledgers`, a module with two functions:
`is_home(path)` and `package(path, agreement)`. So the auditor's tool needs none of them.
"""

from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, cast

from comity_common.errors import Problem
from comity_common.ledger.package import AuditPackage

GROUP = "comity.ledgers"


class Keeper(Protocol):
    """What keeps a ledger in a directory of its own."""

    def is_home(self, path: Path) -> bool:
        """Tell whether a directory is one of its own."""

    def package(self, path: Path, name: str = "") -> AuditPackage:
        """Put together what an auditor is given."""


def package_of(home: Path, agreement: str) -> AuditPackage:
    """Put together the audit package of whatever ledger is in a directory.

    Raises:
        Problem: there is none, or no head of it has been cosigned by enough others.
    """
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            keeper = cast(Keeper, point.load())
        except ModuleNotFoundError:  # a part whose extra is not installed
            continue
        if keeper.is_home(home):
            return keeper.package(home, agreement)
    raise Problem("COM-AUDIT-011", home=home)
