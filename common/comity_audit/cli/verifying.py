"""A package on the command line: the options that say how to verify it, and the verifying.

What an auditor asks for is either checked or refused: no option is passed over in silence.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from comity_audit.ledgers.verification import Verification
    from comity_audit.steps import Step
    from comity_common.ledger.notes import NoteKey, SignedNote
    from comity_common.ledger.package import AuditPackage

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
    typer.Option("--head", metavar="FILE", help="A head of PACKAGE's ledger that you kept."),
]
WitnessOption = Annotated[
    list[str],
    typer.Option(
        "--witness",
        metavar="VKEY",
        help="Key of a witness that is in no agreement, as comity witness show prints it, which "
        "must have cosigned PACKAGE. May be given several times.",
    ),
]
OperatorOption = Annotated[
    Path | None,
    typer.Option("--operator", metavar="PACKAGE", help="The operator's ledger, to compare both."),
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
    agreements: Sequence[str] = (),
    head: Path | None = None,
    witnesses: Sequence[str] = (),
    operator: Path | None = None,
) -> "Verification":
    """Read a package, and get ready to verify it.

    Args:
        agreements: as they were given; the package must have each of them.
        head: of the same ledger, as somebody kept it.
        witnesses: keys, as they were given.
        operator: the package of the other side.

    Raises:
        Problem: a file cannot be read, or an option is not what it should be.
    """
    from comity_audit.anchor import read_anchor
    from comity_audit.auditfile import load_package
    from comity_audit.ledgers.verification import Verification

    anchors, outside = list(map(read_anchor, agreements)), witness_keys(witnesses)
    package = load_package(file)
    older = None if head is None else _older(file, package, head)
    other = None if operator is None else _other_side(file, package, operator, anchors)
    return Verification(package, operator=other, anchors=anchors, older=older, outside=outside)


def witness_keys(given: Sequence[str]) -> "list[NoteKey]":
    """Read the keys of witnesses.

    Raises:
        Problem: one is none.
    """
    from comity_common.errors import PeerError, Problem
    from comity_common.ledger.notes import read_key
    from comity_common.words import printable

    keys = []
    for vkey in given:
        try:
            keys.append(read_key(vkey))
        except PeerError:
            raise Problem("COM-AUDIT-020", given=printable(vkey[:40])) from None
    return keys


def _older(file: Path, package: "AuditPackage", head: Path) -> "SignedNote":
    from comity_audit.auditfile import load_head
    from comity_audit.ledgers.parties import owner_of, sides_said
    from comity_common.errors import PeerError, Problem

    note = load_head(head)
    try:
        (_, of), (owner, _) = owner_of(note), sides_said(package)
    except PeerError:
        return note  # the steps say what is wrong with which
    if of != owner:
        why = f"{head} is a head of {of}, and this is the ledger of {owner}"
        raise Problem("COM-AUDIT-021", option="--head", file=file, why=why)
    return note


def _other_side(
    file: Path, package: "AuditPackage", operator: Path, anchors: list[str]
) -> "Verification":
    from comity_audit.anchor import is_anchored
    from comity_audit.auditfile import load_package
    from comity_audit.ledgers.parties import Side, sides_said
    from comity_audit.ledgers.verification import Verification
    from comity_common.errors import PeerError, Problem
    from comity_common.ids import Digest

    other = load_package(operator)
    for path, given, side in ((file, package, Side.INSTITUTION), (operator, other, Side.OPERATOR)):
        try:
            owner, sides = sides_said(given)
        except PeerError:
            continue  # the steps say what is wrong with it
        if side not in sides:
            why = f"{path} is the ledger of {owner}, and not of an {side.value}"
            raise Problem("COM-AUDIT-021", option="--operator", file=file, why=why)
    its = [one for one in anchors if any(is_anchored(Digest(of), one) for of in other.agreements)]
    return Verification(other, anchors=its or anchors)
