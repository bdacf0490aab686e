"""`comity audit recompute-round`: is a sum that of what was uploaded?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comity_audit.cli.lines import data, line
from comity_host.cli import succeed
from comity_host.options import JsonOption

if TYPE_CHECKING:
    from comity_audit.recompute import Recomputation
    from comity_audit.steps import Step

TELL_FROM_BYTES = 256 << 20  # a sum of so much takes seconds


def recompute_round(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A stored round.")],
    agreement: Annotated[
        str,
        typer.Option(metavar="DIGEST_OR_WORDS", help="Of the agreement, from an institution."),
    ] = "",
    previous: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The stored round before it.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Compute a round's sum again from what its institutions signed."""
    from comity_audit.anchor import read_anchor
    from comity_audit.directory import StoredRound
    from comity_audit.recompute import Recomputation
    from comity_audit.steps import Outcome, Verdict, verdict
    from comity_common.catalogue import FINDINGS
    from comity_common.errors import Problem
    from comity_common.optimizer import check_denormals

    check_denormals()
    recomputation = Recomputation(
        StoredRound(directory),
        anchor=read_anchor(agreement) if agreement else "",
        previous=None if previous is None else StoredRound(previous),
        on_bytes=_Progress() if not json_ else lambda _done, _size: None,
    )
    steps = []
    for step in recomputation.steps():
        steps.append(step)
        if not json_:
            typer.echo(line(step))
    said = verdict(steps)
    if json_:
        succeed(_data(recomputation, said.value, steps), as_json=True, text="")
        raise typer.Exit(0 if said is Verdict.TRUE else FINDINGS)
    for step in steps:
        if step.outcome is Outcome.FAILS:
            raise Problem("COM-AUDIT-002", number=step.number, name=step.name, why=step.detail)
    if said is Verdict.UNANCHORED:
        raise Problem("COM-AUDIT-003")
    succeed(None, as_json=False, text=_conclusion(recomputation, steps))


def _conclusion(recomputation: "Recomputation", steps: "list[Step]") -> str:
    from comity_audit.steps import Outcome
    from comity_common.words import printable

    round = f"Round {recomputation.plan.round} of {printable(recomputation.agreement.federation)}"
    open_ = [step.name for step in steps if step.outcome is Outcome.ABSENT]
    rest = f" Not checked, for want of files: {', '.join(open_)}." if open_ else ""
    if not recomputation.certificate.void:
        score = recomputation.score
        told = "" if score is None else f" It is a score: {score.words}."
        return f"{round} is true: its total is the sum of what was uploaded.{told}{rest}"
    on_word = any(step.outcome is Outcome.WORD for step in steps)
    seen = "as far as the operator is believed" if on_word else "and the reason can be seen"
    return f"{round} is void, {seen}: {recomputation.certificate.reason}.{rest}"


def _data(recomputation: "Recomputation", verdict: str, steps: "list[Step]") -> dict[str, Any]:
    agreement = getattr(recomputation, "agreement", None)
    plan = getattr(recomputation, "plan", None)
    certificate = getattr(recomputation, "certificate", None)
    return {
        "verdict": verdict,
        "agreement": None if agreement is None else agreement.digest,
        "federation": None if agreement is None else agreement.federation,
        "round": None if plan is None else plan.round,
        "kind": None if plan is None else plan.kind.value,
        "void": None if certificate is None else certificate.void,
        "reason": (certificate.reason or None) if certificate is not None else None,
        "survivors": [] if certificate is None else list(certificate.survivors),
        "model": recomputation.model,
        "score": None if recomputation.score is None else recomputation.score.data,
        "steps": [data(step) for step in steps],
    }


class _Progress:
    """Tells on stderr how far a long sum is, in tenths."""

    def __init__(self) -> None:
        self._told = 0

    def __call__(self, done: int, size: int) -> None:
        tenth = 10 * done // size
        if size >= TELL_FROM_BYTES and tenth > self._told:
            self._told = tenth
            typer.echo(f"adding the vectors: {10 * tenth} %", err=True)
