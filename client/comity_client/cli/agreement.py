"""`comity client agreement`: read what an operator proposes, sign it, refuse it or leave it."""

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comity_client.cli.options import DEFAULT_HOME, HomeOption
from comity_common.errors import Problem
from comity_host.cli import succeed
from comity_host.options import JsonOption, YesOption

if TYPE_CHECKING:
    from comity_client.agreements import Known
    from comity_client.institution import Institution
    from comity_common.agreement import Agreement

app = typer.Typer(help="Read, sign or refuse what the operator proposes.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(metavar="[NAME]", help="Federation, or the beginning of the digest.")
]


@app.command("list")
def list_(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """List the agreements that name this institution."""
    institution, warning = _open(home)
    known = institution.agreements.known()
    lines = [
        f"{one.state.value:<10} {one.agreement.federation:<24} {one.agreement.digest[:16]}  "
        f"{one.agreement.schedule.rounds} rounds, ε = {_epsilon(one.agreement)}"
        for one in known
    ]
    if warning and not json_:
        typer.echo(warning, err=True)
    succeed(
        [_summary(one) for one in known],
        as_json=json_,
        text="\n".join(lines) or "No agreement has been proposed to you yet.",
    )


@app.command()
def show(name: Name = "", home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Show an agreement in plain words; --json gives its exact content."""
    import json

    from comity_client.terms import in_words

    institution, warning = _open(home)
    known = _find(institution, name)
    if warning and not json_:
        typer.echo(warning, err=True)
    data = _summary(known) | {"agreement": json.loads(known.raw)}
    succeed(data, as_json=json_, text=in_words(known.agreement, institution.me))


@app.command()
def sign(
    name: Name = "",
    data: Annotated[
        str, typer.Option(help="Data set that is to be trained on. Default: the only one.")
    ] = "",
    home: HomeOption = DEFAULT_HOME,
    yes: YesOption = False,
    json_: JsonOption = False,
) -> None:
    """Sign an agreement, after showing what it says."""
    import os

    os.environ["HF_HUB_OFFLINE"] = "1"  # whether the model is here is asked of this machine alone
    from comity_client import correspondence
    from comity_client.terms import in_words

    institution, _ = _open(home)
    known = _find(institution, name)
    dataset = _dataset(institution, data)
    if not json_:
        typer.echo(in_words(known.agreement, institution.me))
    if not (yes or json_) and not typer.confirm("\nSign it?"):
        raise Problem("COM-AGREE-004")
    correspondence.sign(institution, known, dataset)
    sent = _deliver(institution)
    where = (
        "the operator has your signature" if sent else "it is sent as soon as the operator is up"
    )
    succeed(
        _summary(_find(institution, known.agreement.digest)) | {"delivered": sent},
        as_json=json_,
        text=f"Signed; {where}. Training begins when all have signed: comity client start",
    )


@app.command()
def refuse(
    name: Name = "",
    home: HomeOption = DEFAULT_HOME,
    yes: YesOption = False,
    json_: JsonOption = False,
) -> None:
    """Refuse an agreement, or leave one that is in force; both are final."""
    from comity_client import correspondence

    institution, _ = _open(home)
    known = _find(institution, name)
    question = f"Refuse {known.agreement.federation} for good?"
    if not (yes or json_) and not typer.confirm(question):
        raise Problem("COM-AGREE-004")
    with institution.store.transaction() as tx:
        correspondence.refuse(institution, tx, known.agreement.digest)
    sent = _deliver(institution)
    where = "The operator knows." if sent else "The operator hears of it as soon as it is up."
    succeed(
        _summary(_find(institution, known.agreement.digest)) | {"delivered": sent},
        as_json=json_,
        text=f"Refused; this vault accepts no plan of it any more. {where}",
    )


def _open(home: Any) -> "tuple[Institution, str]":
    """Open the institution and learn what is new; without the operator, tell what is known."""
    from comity_client.correspondence import Correspondence
    from comity_client.failures import Unreachable
    from comity_client.institution import Institution
    from comity_host import log

    log.set_up()  # what an agreement is refused for is told on stderr
    institution = Institution(home)
    uplink = institution.uplink()
    warning = ""
    try:
        Correspondence(institution, uplink).refresh()
    except Unreachable as error:
        warning = f"The operator cannot be reached ({error}); this is what is known here."
    finally:
        uplink.close()
    return institution, warning


def _deliver(institution: "Institution") -> bool:
    """Try to hand over what waits, now; the vault goes on trying."""
    from comity_client.correspondence import Correspondence
    from comity_client.failures import Unreachable

    uplink = institution.uplink()
    try:
        with suppress(Unreachable):
            letters = Correspondence(institution, uplink)
            letters.send_waiting()
            letters.refresh()
            return True
    finally:
        uplink.close()
    return False


def _find(institution: "Institution", name: str) -> "Known":
    from comity_client.agreements import OVER

    if name:
        return institution.agreements.find(name)
    open_ = [one for one in institution.agreements.known() if one.state not in OVER]
    if not open_:
        raise Problem("COM-AGREE-008")
    if len(open_) > 1:
        raise Problem("COM-AGREE-001", which="open", count=len(open_))
    return open_[0]


def _dataset(institution: "Institution", name: str) -> Any:
    if name:
        return institution.data.find(name)
    here = [one for one in institution.data.all() if not one.removed]
    if len(here) != 1:
        raise Problem("COM-AGREE-005", count=len(here) or "no")
    return here[0].id


def _epsilon(agreement: "Agreement") -> str:
    return f"{agreement.privacy.epsilon:f}" if agreement.privacy.is_private else "inf"


def _summary(known: "Known") -> dict[str, Any]:
    from comity_common.words import agreement_words

    agreement = known.agreement
    return {
        "federation": agreement.federation,
        "digest": agreement.digest,
        "words": agreement_words(agreement.digest),
        "state": known.state.value,
        "epsilon": _epsilon(agreement),
        "delta": f"{agreement.privacy.delta:f}",
        "rounds": agreement.schedule.rounds,
        "institutions": list(agreement.roster),
    }
