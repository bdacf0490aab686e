"""`comity client rehearse`: what a round will take from this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from comity_client.cli.options import DEFAULT_HOME, HomeOption
from comity_host.cli import succeed
from comity_host.options import JsonOption

if TYPE_CHECKING:
    from comity_client.agreements import Known
    from comity_client.institution import Institution
    from comity_client.rehearsal import OnPhase, Rehearsal
    from comity_common.ledger.bodies import DatasetId


def rehearse(
    data: Annotated[
        str, typer.Argument(metavar="[DATASET]", help="Default: the only one, or the signed one.")
    ] = "",
    agreement: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Federation, or the beginning of the digest. Default: the newest one.",
        ),
    ] = "",
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Try a few steps on the real rows: time, memory, what would leave; nothing does."""
    from dataclasses import asdict

    from comity_client.institution import Institution
    from comity_client.rehearsal import choose_agreement
    from comity_client.rehearsal import rehearse as measure

    institution = Institution(home)
    known = choose_agreement(institution, agreement)
    dataset = _dataset(institution, known, data)
    source = institution.data.source(dataset)
    with progress() as on_phase:
        measured = measure(institution, known.agreement, source, on_phase)
    found = {
        "agreement": known.agreement.digest,
        "federation": known.agreement.federation,
        "dataset": dataset,
        **asdict(measured),
        "round_seconds": measured.round_seconds,
        "schedule_bytes": measured.schedule_bytes,
    }
    succeed(found, as_json=json_, text=_in_words(known, measured))


def _dataset(institution: "Institution", known: "Known", name: str) -> "DatasetId":
    from comity_common.errors import Problem

    if name:
        return institution.data.find(name)
    if known.dataset is not None:
        return known.dataset
    here = [one for one in institution.data.all() if not one.removed]
    if len(here) != 1:
        raise Problem("COM-REHEARSE-004", count=len(here) or "no")
    return here[0].id


@contextmanager
def progress() -> "Iterator[OnPhase]":
    """Say what is done: one line that moves on a terminal, a line each elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda phase: console.print(phase, highlight=False)
        return
    with console.status("") as status:
        yield status.update


def _in_words(known: "Known", measured: "Rehearsal") -> str:
    name, steps, attempts = known.agreement.federation, measured.steps, measured.attempts
    noise = "with noise" if known.agreement.privacy.is_private else "without noise"
    lines = [
        ("load, once", _time(measured.load_seconds), "the model and the rows"),
        ("one step", _time(measured.step_seconds), f"on the real rows, {noise}"),
        (
            "a round",
            f"about {_time(measured.round_seconds)}",
            f"{steps} steps, and masks for {measured.institutions} institutions; "
            "then the network and the others",
        ),
        ("memory", _size(measured.memory_bytes), "at most"),
        (
            "disk",
            _size(measured.disk_needed_bytes),
            f"of {_size(measured.disk_free_bytes)} that are free",
        ),
        (
            "would leave",
            _size(measured.upload_bytes),
            f"a round, in all {attempts} rounds at most {_size(measured.schedule_bytes)}: "
            f"{measured.parameters:,} numbers, clipped, {noise}, under masks",
        ),
    ]
    return "\n".join(
        [
            f"{name} works on this machine; its model and your labels are those of the agreement.",
            "",
            *(f"  {what:<12} {figure:<14} {about}" for what, figure, about in lines),
            "",
            "Nothing was sent, nothing was written, and no budget was spent.",
        ]
    )


def _time(seconds: float) -> str:
    if seconds >= 120:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _size(count: int) -> str:
    """Write bytes in powers of a thousand, as disks and networks are sold."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"
