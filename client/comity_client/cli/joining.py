"""`comity client join`: become a member of an operator's federation."""

from typing import TYPE_CHECKING, Annotated

import typer

from comity_client.cli.options import DEFAULT_HOME, HomeOption
from comity_common.errors import Problem
from comity_host.cli import succeed
from comity_host.options import JsonOption, YesOption

if TYPE_CHECKING:
    from comity_client.institution import Institution
    from comity_client.joining import Enrolment
    from comity_common.crypto.sign import Signed
    from comity_common.membership import Invitation, OperatorCard


def _proxy(address: str) -> str:
    from pydantic import ValidationError

    from comity_client.config import check_proxy

    try:
        return check_proxy(address)
    except ValidationError:
        raise typer.BadParameter("expected http://host:port without a password") from None


def join(
    invitation: Annotated[str, typer.Argument(help="The line that the operator sent.")],
    name: Annotated[
        str, typer.Option(help="How people call the institution. Default: its id.")
    ] = "",
    proxy: Annotated[
        str,
        typer.Option(
            help="HTTP proxy that leads out, http://host:port.", metavar="URL", callback=_proxy
        ),
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
        enrolment, card, operator = joining.reach(
            lambda: _greet(institution, invited), _say_that_it_waits
        )
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
        approved = joining.reach(enrolment.enrol, _say_that_it_waits)
        if not approved:
            waiting = "Waiting for the operator's approval. After Ctrl-C, the same line goes on."
            typer.echo(waiting, err=True)
            approved = joining.is_approved_within(enrolment, wait, _say_that_it_waits)
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


def _greet(
    institution: "Institution", invited: "Invitation"
) -> "tuple[Enrolment, Signed, OperatorCard]":
    from comity_client.joining import Enrolment

    enrolment = Enrolment(institution, invited)
    try:
        return enrolment, *enrolment.greet()
    except BaseException:
        enrolment.close()
        raise


def _say_that_it_waits(problem: Problem) -> None:
    typer.echo(f"{problem}; trying again", err=True)
