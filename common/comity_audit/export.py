"""Ledgers on this machine, whoever keeps them: each part of Comity that is installed knows its own.

A part registers, in the entry-point group `comity.ledgers`, a module with three functions:
`usual_home()`, `is_home(path)` and `package(path, agreement)`. So the auditor's tool needs none of
them.
"""

from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, cast

from comity_common.errors import Problem
from comity_common.ledger.package import AuditPackage

GROUP = "comity.ledgers"


class Keeper(Protocol):
    """What keeps a ledger in a directory of its own."""

    def usual_home(self) -> Path:
        """Return the directory that is meant where none is named."""

    def is_home(self, path: Path) -> bool:
        """Tell whether a directory is one of its own."""

    def package(self, path: Path, name: str = "") -> AuditPackage:
        """Put together what an auditor is given."""


def package_of(home: Path | None, agreement: str) -> AuditPackage:
    """Put together the audit package of whatever ledger is in a directory.

    Args:
        home: None for the usual one of whatever is installed.

    Raises:
        Problem: nothing here keeps a ledger, there is none or more than one, or no head of it has
            been cosigned by enough others.
    """
    keepers = _keepers()
    if not keepers:
        raise Problem("COM-AUDIT-025")
    asked = [(keeper, home or keeper.usual_home()) for keeper in keepers]
    found = [(keeper, path) for keeper, path in asked if keeper.is_home(path)]
    if not found:
        places = " or ".join(dict.fromkeys(str(path) for _, path in asked))
        raise Problem("COM-AUDIT-011", home=places)
    if len(found) > 1:
        raise Problem("COM-AUDIT-026", homes=" and ".join(str(path) for _, path in found))
    keeper, path = found[0]
    return keeper.package(path, agreement)


def _keepers() -> list[Keeper]:
    found = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            found.append(cast(Keeper, point.load()))
        except ModuleNotFoundError:  # a part whose extra is not installed
            continue
    return found
