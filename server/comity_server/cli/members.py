"""`comity server init|invite|institutions|approve|revoke`: the operator and its partners."""

import re
from typing import Annotated, Any

import typer

from comity_common.errors import Problem
from comity_host.cli import succeed
from comity_host.options import JsonOption, YesOption
from comity_server.cli.options import DEFAULT_HOME, HomeOption

DAY_S = 86_400
Id = Annotated[str, typer.Argument(metavar="NAME", help="The institution's id.")]
Region = Annotated[str, typer.Option(metavar="XX", help="Country, ISO 3166-1 alpha-2.")]


def _host(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", name):
        raise typer.BadParameter("expected a host name or an IPv4 address")
    return name


def init(
    name: Annotated[str, typer.Option(help="How people call the operator.")],
    region: Region,
    host: Annotated[
        str,
        typer.Option(
            help="Name or address by which institutions reach this machine.", callback=_host
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=1024,
            max=65531,
            help="First of five: for vaults, for those who join, for Flower's nodes, and two that "
            "only this machine can reach, for Flower itself and for Prometheus.",
        ),
    ] = 7443,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Make an operator: directory, keys, certificate authority, settings."""
    from comity_common.words import party_words
    from comity_server.home import Home
    from comity_server.home import init as make

    if Home(home).config.exists():
        raise Problem("COM-SERVER-004", home=home)
    listen = host if host in ("127.0.0.1", "localhost") else "0.0.0.0"  # noqa: S104
    party = make(
        home,
        name=name,
        jurisdiction=region,
        host=host,
        transfer=f"{listen}:{port}",
        enrolment=f"{listen}:{port + 1}",
        gate=f"{listen}:{port + 2}",
        flower_port=port + 3,
        metrics_port=port + 4,
    )
    words = party_words(party)
    succeed(
        {"home": str(home), "words": words, "ports": [port + k for k in range(5)]},
        as_json=json_,
        text=f"{name} ({region}) is ready in {home}\n"
        f"Institutions must reach {host} at ports {port}, {port + 1} and {port + 2}.\n"
        f"Your words, which they compare:\n\n    {words}\n\nNext: comity server start",
    )


def invite(
    id: Id,
    region: Region,
    days: Annotated[int, typer.Option(min=1, max=90, help="How long it is good.")] = 7,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Write an invitation for one institution, good once."""
    import time

    from comity_common.ids import InstitutionId
    from comity_common.membership import Invitation
    from comity_common.words import party_words
    from comity_server.operator import opened

    with opened(home) as operator:
        settings, party = operator.home.settings(), operator.home.party()
        if not settings.enrolment:
            raise Problem("COM-SERVER-005")
        expires = int(time.time()) + days * DAY_S
        token = operator.registry.invite(id, region, expires)
    host, _, port = operator.home.reachable(settings.enrolment).rpartition(":")
    line = Invitation(
        host=host,
        port=int(port),
        token=token,
        pin=party.identity.tls,
        operator_jurisdiction=party.jurisdiction,
        institution=InstitutionId(id),
        jurisdiction=region,
    ).write()
    succeed(
        {"invitation": line, "institution": id, "expires": expires, "words": party_words(party)},
        as_json=json_,
        text=f"For {id}, good once within {days} days. They type:\n\n"
        f"    comity client join {line}\n\n"
        f"and see these words, which you tell them by telephone:\n\n    {party_words(party)}",
    )


def institutions(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """List the institutions, with the words of their keys."""
    from comity_common.words import party_words
    from comity_server.operator import opened

    with opened(home) as operator:
        listed = operator.registry.all()
    rows: list[dict[str, Any]] = [
        {
            "id": one.id,
            "name": one.party.name if one.party else None,
            "jurisdiction": one.jurisdiction,
            "state": one.state.value,
            "words": party_words(one.party) if one.party else None,
        }
        for one in listed
    ]
    lines = [
        f"{row['state']:<9} {row['jurisdiction']}  {row['id']:<24} {row['words'] or ''}".rstrip()
        for row in rows
    ]
    succeed(rows, as_json=json_, text="\n".join(lines) or "Nobody was invited yet.")


def approve(
    id: Id,
    home: HomeOption = DEFAULT_HOME,
    yes: YesOption = False,
    json_: JsonOption = False,
) -> None:
    """Let an institution in, after comparing its words."""
    from comity_common.ids import InstitutionId
    from comity_common.words import party_words
    from comity_server.operator import opened

    with opened(home) as operator:
        found = {one.id: one for one in operator.registry.all()}.get(InstitutionId(id))
        if found is None or found.party is None:
            raise Problem("COM-MEMBER-004", id=id)
        words = party_words(found.party)
        if not json_:
            who = f"{found.party.name} ({found.jurisdiction})"
            typer.echo(f"{who} shows these words:\n\n    {words}\n")
        if not (yes or json_) and not typer.confirm("Does the institution read out the same?"):
            raise Problem("COM-SERVER-006")
        operator.registry.approve(operator.home.certificate_authority(), id)
    succeed({"id": id, "words": words}, as_json=json_, text=f"{id} is approved.")


def revoke(
    id: Id, home: HomeOption = DEFAULT_HOME, yes: YesOption = False, json_: JsonOption = False
) -> None:
    """Turn an institution away for good; every agreement goes on without it."""
    from comity_common.ids import InstitutionId
    from comity_server.operator import opened

    if not (yes or json_) and not typer.confirm(f"Turn {id} away for good?"):
        raise Problem("COM-SERVER-007")
    with opened(home) as operator:
        left = operator.turn_away(InstitutionId(id))
    succeed(
        {"id": id, "left": left},
        as_json=json_,
        text=f"{id} is turned away and out of {len(left)} open agreements.",
    )
