"""A report in all its forms, from a package that was verified."""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from comity_audit.ledgers.epsilons import NamespaceEpsilon
from comity_audit.ledgers.epsilons import recompute as recompute_all
from comity_audit.ledgers.verification import Verification
from comity_audit.report.facts import PackageFacts
from comity_audit.report.gathering import gather
from comity_audit.report.original import Original, original_of
from comity_audit.report.page import ALL_LANGUAGES, render
from comity_audit.report.page.voice import Language
from comity_audit.steps import Step
from comity_common.errors import LocalError


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A report, ready to be stored.

    Attributes:
        original: the JSON, signed or not.
        html: the page.
    """

    original: Original
    html: str


def recompute(verification: Verification) -> tuple[NamespaceEpsilon, ...] | None:
    """Compute every ε of a verified ledger again; None if its entries do not fit each other."""
    try:
        return recompute_all(verification.ledger)
    except LocalError:
        return None


def write_report(
    verification: Verification,
    steps: Sequence[Step],
    recomputed: Sequence[NamespaceEpsilon] | None,
    *,
    package: PackageFacts,
    languages: Sequence[Language] = ALL_LANGUAGES,
    key: Ed25519PrivateKey | None = None,
    made: str = "",
    software: str = "",
) -> Written:
    """Write a report and its page.

    Args:
        verification, steps: finished, and founded.
        recomputed: from `recompute`.
        key: of who answers for the report; None for an unsigned one.
        made: now, `YYYY-MM-DDTHH:MM:SSZ`; empty for no date.
        software: name and version of what makes it.

    Raises:
        LocalError: the verification did not come so far that there is a ledger.
    """
    report = gather(
        verification,
        steps,
        recomputed,
        package=package,
        made=made,
        software=software,
    )
    original = original_of(report, key)
    return Written(original=original, html=render(original, languages))
