"""`comity audit` for ledgers: export, verify, compute ε again, show and prove entries."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comity_audit.cli.lines import data, line
from comity_audit.cli.outputs import check_free, write_out
from comity_audit.cli.verifying import (
    AgreementsOption,
    HeadOption,
    OperatorOption,
    PackageArgument,
    WitnessOption,
    verification_of,
    verified,
    witness_keys,
)
from comity_host.cli import succeed
from comity_host.options import JsonOption

if TYPE_CHECKING:
    from comity_audit.ledgers.epsilons import Computed, NamespaceEpsilon
    from comity_audit.ledgers.verification import Verification
    from comity_audit.steps import Step
    from comity_common.ledger.entries import Entry

SHOWN_DIGITS = 12  # of a digest


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="To be written, as in audit.zip.")],
    home: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Of an institution or an operator.",
            show_default="the one that is on this machine",
        ),
    ] = None,
    agreement: Annotated[
        str,
        typer.Option(metavar="NAME", help="Whose institutions vouch for the head: federation."),
    ] = "",
    json_: JsonOption = False,
) -> None:
    """Write the ledger of this machine into one file for an auditor."""
    from comity_audit.export import package_of
    from comity_common.ledger.checkpoints import read_checkpoint
    from comity_common.ledger.notes import read_note
    from comity_common.words import agreement_words

    check_free(file)
    package = package_of(None if home is None else home.expanduser().absolute(), agreement)
    raw = package.to_bytes()
    write_out((file, raw))
    note = read_note(package.head)
    names = list(dict.fromkeys(one.name for one in note.signatures[1:]))
    words = {digest: agreement_words(digest) for digest in package.agreements}  # type: ignore[arg-type]
    succeed(
        {
            "file": str(file),
            "bytes": len(raw),
            "entries": len(package.entries),
            "log": read_checkpoint(note.text).origin,
            "root": read_checkpoint(note.text).root.hex(),
            "witnesses": names,
            "agreements": words,
        },
        as_json=json_,
        text="\n".join(
            [
                f"{file} holds {len(package.entries):,} entries up to the newest head that enough "
                f"others cosigned ({', '.join(names)}).",
                "Tell the auditor the words of your agreement by another way than this file:",
                *(f"  {each}" for each in words.values()),
                f'They check it with: comity audit verify {file.name} --agreement "word word …"',
            ]
        ),
    )


def verify(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A package, or the proof of one entry.")
    ],
    agreement: AgreementsOption = [],  # noqa: B006
    head: HeadOption = None,
    witness: WitnessOption = [],  # noqa: B006
    operator: OperatorOption = None,
    terms: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The agreement's own file, to check a proof with."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Say whether a ledger is true: signatures, head, witnesses, budget, traffic."""
    from comity_audit.auditfile import is_proof

    if is_proof(file):
        _refuse("--operator", operator, file, "a proof of one entry has one side")
        _verify_fact(file, agreement, terms, head, witness, json_)
        return
    _refuse("--terms", terms, file, "a package has its agreements in it")
    verification = verification_of(file, agreement, head, witness, operator)
    steps = []
    for step in verification.steps():
        steps.append(step)
        if not json_:
            typer.echo(line(step))
    _conclude(steps, _summary(verification), _about(verification), json_)


def epsilon(
    package: PackageArgument,
    agreement: AgreementsOption = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Compute every ε of a ledger again, by two implementations that share no code."""
    from comity_audit.ledgers.epsilons import has_second, recompute
    from comity_common.errors import Problem

    verification = verification_of(package, agreement)
    steps = verified(verification)
    found = recompute(verification.ledger)
    findings = [finding for space in found for finding in space.findings]
    told = {
        "second_implementation": has_second(),
        "findings": findings,
        "namespaces": [_space_data(space) for space in found],
    }
    if not json_:
        for text in _space_lines(found):
            typer.echo(text)
        if not has_second():
            typer.echo(
                "One implementation computed this; pip install dp-accounting adds the other."
            )
    if findings and not json_:
        raise Problem("COM-AUDIT-008", number=1, name="epsilon", why=findings[0])
    _conclude(steps, _epsilon_summary(found), told, json_, fails=bool(findings))


def show(
    package: PackageArgument,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Of this kind alone: egress, …")
    ] = None,
    sequence: Annotated[
        int | None, typer.Option("--entry", metavar="N", help="This one entry, whole.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """List the entries of a ledger, each of which its owner signed."""
    from comity_common.errors import Problem
    from comity_common.ledger.bodies import EntryKind
    from comity_common.words import printable

    kinds = [one.value for one in EntryKind]
    if kind is not None and kind not in kinds:
        raise Problem("COM-AUDIT-022", given=printable(kind[:40]), kinds=", ".join(kinds))
    verification = verification_of(package)
    verified(verification)
    if sequence is not None:
        _check_entry(package, verification, sequence)
    entries = [
        one
        for one in verification.ledger.entries
        if kind in (None, one.kind.value) and sequence in (None, one.sequence)
    ]
    if json_:
        succeed({"entries": [_entry_data(one) for one in entries]}, as_json=True, text="")
        return
    if sequence is None:
        for one in entries:
            typer.echo(_entry_line(one))
    for one in entries if sequence is not None else ():
        typer.echo(json.dumps(_entry_data(one), indent=2))
    if not entries:
        typer.echo(f"There is no such entry of kind {kind}.")


def prove(
    package: PackageArgument,
    sequence: Annotated[int, typer.Argument(metavar="ENTRY", help="Its number, from show.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="To be written: a .tlog-proof.")],
    json_: JsonOption = False,
) -> None:
    """Take a single fact out of a ledger, with the proof that it is in there."""
    from comity_audit.ledgers.facts import prove as proof_of

    verification = verification_of(package)
    verified(verification)
    _check_entry(package, verification, sequence)
    check_free(file)
    proof = proof_of(verification.package, sequence)
    write_out((file, proof.to_bytes()))
    entry = verification.ledger.entries[sequence]
    succeed(
        {"file": str(file), "entry": _entry_data(entry)},
        as_json=json_,
        text=f"{file} shows that entry {sequence}, {entry.kind.value}, is in the ledger of "
        f"{entry.institution}. It is checked with: comity audit verify {file.name} --terms "
        'AGREEMENT.json --agreement "word word …"',
    )


def _refuse(option: str, given: object, file: Path, why: str) -> None:
    """Refuse an option that this kind of file is not checked with."""
    from comity_common.errors import Problem

    if given:
        raise Problem("COM-AUDIT-021", option=option, file=file, why=why)


def _check_entry(file: Path, verification: "Verification", sequence: int) -> None:
    from comity_common.errors import Problem

    last = len(verification.ledger.entries) - 1
    if not 0 <= sequence <= last:
        raise Problem("COM-AUDIT-023", file=file, number=sequence, last=last)


def _verify_fact(
    file: Path,
    agreements: list[str],
    terms: Path | None,
    head: Path | None,
    witnesses: list[str],
    json_: bool,
) -> None:
    from comity_audit.anchor import read_anchor
    from comity_audit.auditfile import load_head, load_proof, load_terms
    from comity_audit.ledgers.facts import FactCheck, misfit
    from comity_common.errors import Problem

    _refuse("--agreement", agreements[1:], file, "one entry is of one agreement, name that alone")
    anchor = read_anchor(agreements[0]) if agreements else ""
    if terms is None:
        raise Problem("COM-AUDIT-013", file=file)
    check = FactCheck(
        load_proof(file),
        load_terms(terms),
        anchor=anchor,
        outside=witness_keys(witnesses),
        kept=None if head is None else load_head(head),
    )
    if found := misfit(check):
        raise Problem("COM-AUDIT-021", option=found[0], file=file, why=found[1])
    steps = []
    for step in check.steps():
        steps.append(step)
        if not json_:
            typer.echo(line(step))
    entry = None if check.entry is None else _entry_data(check.entry)
    text = "" if check.entry is None else f"It happened: {_entry_line(check.entry)}"
    _conclude(steps, text, {"entry": entry}, json_)


def _conclude(
    steps: "list[Step]", text: str, about: dict[str, Any], json_: bool, fails: bool = False
) -> None:
    """End with what all steps say together, and its exit code.

    Raises:
        Problem: a step fails, or nobody vouched for the agreement.
    """
    from comity_audit.steps import Outcome, Verdict, verdict
    from comity_common.catalogue import FINDINGS
    from comity_common.errors import Problem

    said = Verdict.FALSE if fails else verdict(steps)
    if json_:
        told = {"verdict": said.value, **about, "steps": [data(step) for step in steps]}
        succeed(told, as_json=True, text="")
        raise typer.Exit(0 if said is Verdict.TRUE else FINDINGS)
    for step in steps:
        if step.outcome is Outcome.FAILS:
            raise Problem("COM-AUDIT-008", number=step.number, name=step.name, why=step.detail)
    if said is Verdict.UNANCHORED:
        raise Problem("COM-AUDIT-009")
    typer.echo(text)


def _summary(verification: "Verification") -> str:
    from comity_audit.ledgers.heads import moment

    if not verification.is_founded:
        return ""
    owner, complete = verification.ledger.parties.owner.id, verification.witnessed.complete
    if complete is None:
        return f"The ledger of {owner} is whole and keeps its rules."
    return (
        f"The ledger of {owner} is whole and keeps its rules, complete as of {moment(complete)}. "
        "Only a newer head, kept by somebody else and given with --head, could show more."
    )


def _about(verification: "Verification") -> dict[str, Any]:
    from dataclasses import asdict

    if not verification.is_founded:
        return {"findings": verification.findings}
    witnessed, parties = verification.witnessed, verification.ledger.parties
    return {
        "findings": verification.findings,
        "owner": parties.owner.id,
        "country": parties.owner.jurisdiction,
        "log": verification.checkpoint.origin,
        "entries": verification.checkpoint.size,
        "root": verification.checkpoint.root.hex(),
        "agreements": sorted(parties.agreements),
        "vouched": sorted(parties.vouched),
        "witnesses": {one.name: one.time for one in (*witnessed.institutions, *witnessed.others)},
        "quorum": witnessed.needed,
        "complete_as_of": witnessed.complete,
        "crossings": None if verification.crossings is None else asdict(verification.crossings),
    }


def _space_data(space: "NamespaceEpsilon") -> dict[str, Any]:
    return {
        "namespace": space.namespace,
        "unit": space.unit,
        "ceiling": {"epsilon": str(space.ceiling.epsilon), "delta": str(space.ceiling.delta)},
        "epsilon": space.epsilon,
        "grants": [
            {
                "grant": one.statement.grant.grant.hex(),
                "gate": one.statement.grant.gate.value,
                "order": one.statement.grant.order,
                "spent": None if one.of_spent is None else _computed_data(one.of_spent),
            }
            for one in space.grants
        ],
        "runs": [
            {
                "agreement": run.agreement,
                "claim": None if run.claim is None else str(run.claim.epsilon),
                "delta": None if run.claim is None else str(run.claim.delta),
                "mechanisms": [
                    {
                        "mechanism": event.mechanism,
                        "q": str(event.sampling_probability),
                        "sigma": str(event.noise_multiplier),
                        "steps": event.steps,
                    }
                    for event in run.spent
                ],
                "spent": _computed_data(run.of_spent),
                "schedule": _computed_data(run.of_schedule),
            }
            for run in space.runs
        ],
    }


def _computed_data(one: "Computed") -> dict[str, Any]:
    agree = None if one.theirs is None else one.agree
    return {"ours": one.ours, "theirs": one.theirs, "agree": agree}


def _space_lines(found: "tuple[NamespaceEpsilon, ...]") -> "list[str]":
    from comity_audit.epsilontext import epsilon_shown

    lines = []
    for space in found:
        lines.append(
            f"Budget {space.namespace[:8]}, counts {space.unit}s, ceiling ε = "
            f"{space.ceiling.epsilon:f} at δ = {space.ceiling.delta:f}, spent "
            f"{epsilon_shown(space.epsilon)}"
        )
        for grant in space.grants:
            if grant.of_spent is not None:
                terms = grant.statement.grant
                lines.append(
                    f"  grant {terms.grant.hex()[:8]}, Rényi filter at order {terms.order}: "
                    f"{_twice(grant.of_spent)}"
                )
        for run in space.runs:
            for event in run.spent:
                lines.append(
                    f"  agreement {run.agreement[:SHOWN_DIGITS]}…: {event.mechanism}, q = "
                    f"{event.sampling_probability:f}, σ = {event.noise_multiplier:f}, "
                    f"T = {event.steps:,}"
                )
            claim = "nothing" if run.claim is None else f"ε = {run.claim.epsilon:f}"
            lines.append(f"    spent so far    {_twice(run.of_spent)}")
            lines.append(f"    whole schedule  {_twice(run.of_schedule)}, claimed {claim}")
    return lines


def _epsilon_summary(found: "tuple[NamespaceEpsilon, ...]") -> str:
    from comity_audit.ledgers.epsilons import has_second

    if not any(space.runs for space in found):
        return "Nothing was spent, so there is no ε to compute."
    if not has_second():
        return "No agreement spends more than it claims, by one implementation."
    return "Every ε agrees, and no agreement spends more than it claims."


def _twice(one: "Computed") -> str:
    from comity_audit.epsilontext import epsilon_shown

    if one.theirs is None:
        return f"ε = {epsilon_shown(one.ours)}"
    mark = "✓" if one.agree else "✗"
    return f"{mark} ε = {epsilon_shown(one.ours)} and {epsilon_shown(one.theirs)}"


def _entry_line(entry: "Entry") -> str:
    from comity_common.words import printable

    told = [
        f"{name} {_told(value)}" for name, value in _body(entry).items() if value not in ("", [])
    ]
    return printable(f"{entry.sequence:>6} {entry.time} {entry.kind.value:<17} {', '.join(told)}")


def _entry_data(entry: "Entry") -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "time": entry.time,
        "kind": entry.kind.value,
        "generation": entry.generation.hex(),
        "body": _body(entry),
    }


def _body(entry: "Entry") -> dict[str, Any]:
    return {name: value for name, value in _plain(entry.body).items() if value is not None}


def _plain(value: Any) -> Any:
    """Write what is in an entry as JSON has it, bytes in hexadecimal."""
    from dataclasses import fields, is_dataclass

    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return value.hex()
    return value if value is None or isinstance(value, int) else str(value)


def _told(value: Any) -> str:
    """Write it in a line: digests and ids by their beginning, a mechanism in brackets."""
    if isinstance(value, dict):
        return f"({', '.join(f'{name} {_told(one)}' for name, one in value.items())})"
    if isinstance(value, list):
        return " ".join(map(_told, value))
    text = str(value)
    return text[:SHOWN_DIGITS] if len(text) in (32, 64) else text
