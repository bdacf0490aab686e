"""A package on the command line: the options that say how to verify it, and the verifying."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from comity_audit.ledgers.verification import Verification
    from comity_audit.steps import Step

PackageArgument = Annotated[
    Path, typer.Argument(metavar="PACKAGE", help="What comity audit export wrote.")
]
AgreementsOption = Annotated[
    list[str],
    typer.Option(
        "--agreement",
        metavar="DIGEST_OR_WORDS",
        help="Of an agreement, from somebody outside. May be given several times.",
    ),
]
HeadOption = Annotated[
    Path | None,
    typer.Option("--head", metavar="FILE", help="A head of the same ledger that you kept."),
]
WitnessOption = Annotated[
    list[str],
    typer.Option(
        "--witness",
        metavar="VKEY",
        help="Key of a witness that is in no agreement, as comity witness show prints it.",
    ),
]


def verified(verification: "Verification") -> "list[Step]":
    """Verify a package whose content is to be used.

    Raises:
        Problem: a step that all others stand on fails; the rules of what happened may.
    """
    from comity_audit.steps import Outcome
    from comity_common.errors import Problem

    steps = list(verification.steps())
    for step in steps:
        if step.outcome is Outcome.FAILS and not verification.is_founded:
            raise Problem("COM-AUDIT-008", number=step.number, name=step.name, why=step.detail)
    return steps


def verification_of(
    file: Path,
    agreements: list[str],
    head: Path | None,
    witnesses: list[str],
    operator: Path | None = None,
) -> "Verification":
    """Read a package, and get ready to verify it.

    Args:
        agreements, witnesses: as they were given.
        head: of the same ledger, as somebody kept it.
        operator: the package of the other side, which is verified here.

    Raises:
        Problem: a file cannot be read, or the other side's package is not what it says.
        PeerError: a witness's key is none.
    """
    from comity_audit.anchor import read_anchor
    from comity_audit.auditfile import load_head, load_package
    from comity_audit.ledgers.verification import Verification
    from comity_common.ledger.notes import read_key

    other = None
    if operator is not None:
        other = verification_of(operator, agreements, None, witnesses)
        verified(other)
    return Verification(
        load_package(file),
        operator=None if other is None else other.ledger,
        anchors=[read_anchor(given) for given in agreements],
        older=None if head is None else load_head(head),
        outside=[read_key(given) for given in witnesses],
    )
