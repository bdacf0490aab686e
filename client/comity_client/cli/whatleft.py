"""`comity client what-left`: every message that left this institution."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from comity_client.cli.options import DEFAULT_HOME, HomeOption
from comity_host.cli import succeed
from comity_host.options import JsonOption

if TYPE_CHECKING:
    from comity_client.whatleft import Departure, Totals

DIGEST_DIGITS = 12  # of 64, in text
RESERVE_DIGITS = 8  # of 32


def what_left(
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="From this day on (UTC)."),
    ] = None,
    round_: Annotated[
        int | None, typer.Option("--round", metavar="N", help="Of this round alone.")
    ] = None,
    purpose: Annotated[str, typer.Option(metavar="TEXT", help="For this purpose alone.")] = "",
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """List every message that left: when, what for, where to, how large."""
    from dataclasses import asdict

    from comity_client.home import Home
    from comity_client.whatleft import Totals, departures

    place = Home(home)
    place.settings()
    day = f"{since:%Y-%m-%d}" if since else ""
    totals = Totals()
    found = totals.count(departures(place.database, since=day, round=round_, purpose=purpose))
    if json_:
        messages = [asdict(departure) for departure in found]
        sums = {name: asdict(one) for name, one in totals.by_message.items()}
        data = {
            "messages": messages,
            "total": asdict(totals.all),
            "mechanism": asdict(totals.mechanism),
            "by_message": sums,
        }
        succeed(data, as_json=True, text="")
        return
    for line in _table(found):  # as it is read, so that a long ledger shows at once
        typer.echo(line)
    succeed(None, as_json=False, text=_summary(totals))


def _table(found: "Iterator[Departure]") -> Iterator[str]:
    columns = "{:<20}  {:<18}  {:<16}  {:<20}  {:>13}  {:<12}  {}".format
    for number, one in enumerate(found):
        if number == 0:
            yield columns(
                "time (UTC)", "purpose", "message", "to", "bytes", "digest", "why it may leave"
            )
        yield columns(
            one.time,
            one.purpose,
            one.message,
            f"{one.receiver} ({one.country})",
            f"{one.size_bytes:,}",
            one.digest[:DIGEST_DIGITS],
            _why(one),
        )


def _why(departure: "Departure") -> str:
    where = "" if departure.round is None else f", round {departure.round}"
    if departure.reserve:
        return f"mechanism, reserve {departure.reserve[:RESERVE_DIGITS]}{where}"
    return f"control{where}"


def _summary(totals: "Totals") -> str:
    from comity_client.whatleft import MEANING

    if not totals.all.messages:
        return "No message left."
    rows = [
        f"  {name:<16}  {one.messages:>9,}  {one.size_bytes:>15,}  {MEANING.get(name, '')}".rstrip()
        for name, one in totals.by_message.items()
    ]
    mechanism = totals.mechanism
    return "\n".join(
        [
            "",
            f"  {'message':<16}  {'number':>9}  {'bytes':>15}  what it says",
            *rows,
            "",
            f"{totals.all.messages:,} messages left, {totals.all.size_bytes:,} bytes.",
            f"mechanism: {mechanism.messages:,} of them, {mechanism.size_bytes:,} bytes, "
            "each covered by the privacy budget (comity client budget history).",
            "control: all others; every value in them follows from what is public.",
        ]
    )
