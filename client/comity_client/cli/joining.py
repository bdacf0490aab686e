"""`comity client join`: become a member of an operator's federation."""

from typing import TYPE_CHECKING, Annotated

import typer

from comity_client.cli.options import DEFAULT_HOME, HomeOption, JsonOption, YesOption
from comity_common.errors import Problem
from comity_host.cli import succeed

if TYPE_CHECKING:
    from comity_client.joining import Enrolment


def join(
    invitation: Annotated[str, typer.Argument(help="The line that the operator sent.")],
    name: Annotated[
        str, typer.Option(help="How people call the institution. Default: its id.")
    ] = "",
    proxy: Annotated[
        str, typer.Option(help="HTTP proxy that leads out, http://host:port.", metavar="URL")
    ] = "",
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for the operator's approval.", metavar="SECONDS")
    ] = 600.0,
    home: HomeOption = DEFAULT_HOME,
    yes: YesOption = False,
    json_: JsonOption = False,
) -> None:
    """Make keys here, compare the operator's words, and ask to be approved."""
    import shutil

    from comity_client import joining
    from comity_client.home import Home
    from comity_common.membership import PROTOCOL_VERSION
    from comity_common.words import party_words

    invited = joining.read(invitation)
    place = Home(home)
    fresh = not place.config.exists()
    institution = joining.prepare(place, invited, name=name, proxy=proxy)
    try:
        enrolment = joining.Enrolment(institution, invited)
        card, operator = enrolment.greet()
        own, theirs = party_words(joining.party(institution)), party_words(operator.operator)
        if not json_:
            who = f"{operator.operator.name} ({operator.operator.jurisdiction})"
            typer.echo(f"The operator is {who}. Its words, to compare by voice:\n\n    {theirs}\n")
        if not (yes or json_) and not typer.confirm("Does the operator show the same words?"):
            raise Problem("COM-JOIN-006")
    except Exception:
        if fresh:  # nothing was agreed, so nothing stays
            institution.store.reading().close()
            shutil.rmtree(home)
        raise
    try:
        joining.accept(institution, card)
        if not json_:
            typer.echo(f"Your own words, which the operator compares:\n\n    {own}\n")
        approved = enrolment.enrol() or _wait(enrolment, wait, quiet=json_)
    finally:
        enrolment.close()
    if not approved:
        raise Problem("COM-JOIN-007", id=institution.me)
    succeed(
        {
            "id": institution.me,
            "home": str(home),
            "operator": operator.operator.name,
            "operator_words": theirs,
            "words": own,
            "protocol": PROTOCOL_VERSION,
        },
        as_json=json_,
        text=f"{institution.me} is approved. Next: comity client data add NAME FILE",
    )


def _wait(enrolment: "Enrolment", seconds: float, *, quiet: bool) -> bool:
    """Ask again and again until the operator has approved; False when the time is over."""
    import time

    from comity_client.joining import ASK_EVERY_S

    if not quiet:
        typer.echo("Waiting for the operator's approval. Ctrl-C keeps everything.", err=True)
    deadline, pause = time.monotonic() + seconds, ASK_EVERY_S
    while time.monotonic() < deadline:
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        if enrolment.ask():
            return True
        pause = min(pause * 1.5, 30.0)
    return False
