"""`comity audit report`: what a verified ledger says, for people; and its page from the JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comity_audit.cli.lines import data
from comity_audit.cli.outputs import check_free, write_out
from comity_audit.cli.verifying import (
    AgreementsOption,
    HeadOption,
    OperatorOption,
    PackageArgument,
    WitnessOption,
    verification_of,
    verified,
)
from comity_host.cli import succeed
from comity_host.options import JsonOption

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from comity_audit.report.page.voice import Language
    from comity_audit.report.writing import Written
    from comity_audit.steps import Step

PageOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="The page, as in report.html.")
]
LanguageOption = Annotated[
    str, typer.Option("--language", metavar="LANGUAGE", help="Of the page: en, zh or both.")
]
LANGUAGES = {"en": ("en",), "zh": ("zh-Hans",), "both": ("en", "zh-Hans")}
MAX_KEY_BYTES = 1 << 14
MISSING = "COM-AUDIT-024"  # told as it is, also of a file that was to be something special


def report(
    package: PackageArgument,
    output: PageOption,
    json_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The report's original, as JSON.")
    ] = None,
    language: LanguageOption = "both",
    sign_with: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your Ed25519 key in PEM, to sign the JSON.")
    ] = None,
    agreement: AgreementsOption = [],  # noqa: B006
    head: HeadOption = None,
    witness: WitnessOption = [],  # noqa: B006
    operator: OperatorOption = None,
    json_: JsonOption = False,
) -> None:
    """Write what a ledger says into a page that opens anywhere, and into signed JSON."""
    from datetime import UTC, datetime
    from hashlib import sha256
    from importlib.metadata import version

    from comity_audit.auditfile import read_bounded
    from comity_audit.ledgers.epsilons import has_second
    from comity_audit.report.facts import PackageFacts, cut
    from comity_audit.report.writing import recompute, write_report
    from comity_common.errors import Problem
    from comity_common.ledger.package import MAX_PACKAGE_BYTES

    languages = _languages(language)
    if sign_with is not None and json_out is None:
        raise Problem("COM-AUDIT-028")
    key = None if sign_with is None else _signing_key(sign_with)
    _check_apart(output, json_out)
    for file in (output, json_out):
        if file is not None:
            check_free(file)
    verification = verification_of(package, agreement, head, witness, operator)
    steps = verified(verification)
    if not json_:
        by = "two implementations" if has_second() else "one implementation"
        typer.echo(f"computing every ε again, by {by}", err=True)
    raw = read_bounded(package, MAX_PACKAGE_BYTES)
    written = write_report(
        verification,
        steps,
        recompute(verification),
        package=PackageFacts(
            name=cut(package.name), sha256=sha256(raw).hexdigest(), bytes=len(raw)
        ),
        languages=languages,
        key=key,
        made=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        software=f"comity {version('comity')}",
    )
    original = [] if json_out is None else [(json_out, written.original.raw)]
    write_out(*original, (output, written.html.encode()))
    public = "" if key is None else key.public_key().public_bytes_raw().hex()
    _conclude(written, steps, public, [output, json_out], json_)


def page(
    original: Annotated[
        Path, typer.Argument(metavar="REPORT", help="What comity audit report --json-out wrote.")
    ],
    output: PageOption,
    language: LanguageOption = "both",
    key: Annotated[
        str | None, typer.Option(metavar="HEX", help="Public key of who signed the report.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Write the page of a report again, from its JSON alone."""
    from comity_audit.auditfile import read_bounded
    from comity_audit.report.original import MAX_ORIGINAL_BYTES, read_original
    from comity_audit.report.page import render
    from comity_common.errors import PeerError, Problem

    languages = _languages(language)
    public = None if key is None else _public_key(key)
    check_free(output)
    try:
        found = read_original(read_bounded(original, MAX_ORIGINAL_BYTES), public)
    except Problem as problem:
        if problem.code == MISSING:
            raise
        raise Problem("COM-AUDIT-015", path=original, why=problem.facts["why"]) from None
    except PeerError as error:
        raise Problem("COM-AUDIT-015", path=original, why=error) from None
    write_out((output, render(found, languages).encode()))
    by = ", which nobody signed" if key is None else ", signed with the key that you gave"
    succeed(
        {"page": str(output), "sha256": found.sha256, "signer": found.signer or None},
        as_json=json_,
        text=f"{output} is the page of the report with SHA-256 {found.sha256}{by}.",
    )


def _languages(given: str) -> "tuple[Language, ...]":
    from comity_audit.report.page.voice import Language
    from comity_common.errors import Problem

    if given not in LANGUAGES:
        raise Problem("COM-AUDIT-016", given=given)
    return tuple(Language(tag) for tag in LANGUAGES[given])


def _check_apart(page: Path, original: Path | None) -> None:
    """Check that page and JSON do not overwrite each other, however their paths are spelled."""
    from os.path import realpath

    from comity_common.errors import Problem

    if original is not None and realpath(original) == realpath(page):
        raise Problem("COM-AUDIT-027", file=original)


def _signing_key(file: Path) -> "Ed25519PrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from comity_audit.auditfile import read_bounded
    from comity_common.errors import Problem

    try:
        key = load_pem_private_key(read_bounded(file, MAX_KEY_BYTES), None)
    except Problem as problem:
        if problem.code == MISSING:
            raise
        raise Problem("COM-AUDIT-014", path=file, why=problem.facts["why"]) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Problem("COM-AUDIT-014", path=file, why="it is no open private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise Problem("COM-AUDIT-014", path=file, why="it is no Ed25519 key")
    return key


def _public_key(given: str) -> bytes:
    from comity_common.errors import Problem

    try:
        raw = bytes.fromhex(given)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise Problem("COM-AUDIT-017", count=len(given))
    return raw


def _conclude(
    written: "Written",
    steps: "list[Step]",
    public: str,
    files: list[Path | None],
    json_: bool,
) -> None:
    """Say what was written, and end as the verification does.

    Raises:
        Problem: there are findings, or nobody vouched for the agreement.
    """
    from comity_audit.steps import Outcome
    from comity_common.catalogue import FINDINGS
    from comity_common.errors import Problem

    original, summary = written.original, written.original.report.summary
    is_clean = summary.is_anchored and not summary.findings_count
    names = [str(file) for file in files if file is not None]
    if json_:
        told: dict[str, Any] = {
            "files": names,
            "sha256": original.sha256,
            "key": public or None,
            "findings": list(summary.findings),
            "anchored": summary.is_anchored,
            "steps": [data(step) for step in steps],
        }
        succeed(told, as_json=True, text="")
        raise typer.Exit(0 if is_clean else FINDINGS)
    signed = f", signed with the key {public}" if public else ", not signed"
    typer.echo(f"{' and '.join(names)}: a report with SHA-256 {original.sha256}{signed}.")
    for step in steps:
        if step.outcome is Outcome.FAILS:
            raise Problem("COM-AUDIT-008", number=step.number, name=step.name, why=step.detail)
    if summary.findings_count:
        after, why = len(steps) + 1, summary.findings[0]
        raise Problem("COM-AUDIT-008", number=after, name="epsilon", why=why)
    if not summary.is_anchored:
        raise Problem("COM-AUDIT-009")
    if not original.report.recomputation.has_second:
        typer.echo("One implementation computed every ε; pip install dp-accounting adds the other.")
    typer.echo("Nothing was found. What cannot be concluded is the report's section 12.")
