"""`comity client keys`: a backup of this institution, and the way back from it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comity_client.cli.numbers import finite, in_words
from comity_client.cli.options import DEFAULT_HOME, HomeOption
from comity_host.cli import succeed
from comity_host.options import JsonOption

if TYPE_CHECKING:
    from comity_client.backup import Passphrase
    from comity_client.forfeits import Forfeit

app = typer.Typer(help="Back up keys and ledger, and restore them.", no_args_is_help=True)

PassphraseFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Holds the passphrase on its first line. Default: ask."),
]


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write; must not exist.")],
    passphrase_file: PassphraseFile = None,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Write keys, settings and ledger into one encrypted file."""
    from datetime import UTC, datetime

    from comity_client.backup import check_absent, write_backup
    from comity_client.home import Home

    place = Home(home)
    place.settings()
    check_absent(file)
    passphrase = _passphrase(passphrase_file, twice=True).check_length()
    write_backup(place, file, passphrase, datetime.now(UTC))
    size = file.stat().st_size
    succeed(
        {"file": str(file), "size_bytes": size},
        as_json=json_,
        text=f"{file} holds keys, settings and ledger ({size:,} bytes), but neither rows nor "
        "models.\nKeep it away from this machine, and the passphrase away from it. Nobody can open "
        "it without.\nMake a new one after each agreement that you sign.",
    )


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What keys backup wrote.")],
    passphrase_file: PassphraseFile = None,
    signed_since: Annotated[
        bool | None,
        typer.Option(
            "--signed-since/--not-signed-since",
            help="Whether an agreement may have been signed after the backup. "
            "Default: ask; yes without a terminal.",
        ),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Bring an institution back into an empty home; what may be spent counts as spent."""
    from comity_client.backup import check_empty, open_backup
    from comity_client.backup import restore as write_home

    check_empty(home)
    opened = open_backup(file, _passphrase(passphrase_file, twice=False))
    if signed_since is None:
        signed_since = _ask_whether_signed(opened.time)
    forfeits = write_home(opened, home, signed_since=signed_since)
    data = {
        "home": str(home),
        "backup_time": opened.time,
        "signed_since": signed_since,
        "counts_as_spent": [
            {
                "dataset": one.dataset,
                "name": one.name,
                "agreement": one.agreement.agreement.digest if one.agreement else None,
                "epsilon_before": finite(one.epsilon_before),
                "epsilon": finite(one.epsilon),
                "ceiling": f"{one.ceiling:f}",
            }
            for one in forfeits
        ],
    }
    words = "\n".join(_in_words(home, opened.time, signed_since, forfeits))
    succeed(data, as_json=json_, text=words)


def _passphrase(file: Path | None, *, twice: bool) -> "Passphrase":
    from comity_client.backup import Passphrase
    from comity_common.errors import Problem

    if file is not None:
        return Passphrase.from_file(file)
    if not sys.stdin.isatty():
        raise Problem("COM-KEYS-007")
    typed = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True)
    return Passphrase(typed)


def _ask_whether_signed(time: str) -> bool:
    if not sys.stdin.isatty():
        return True
    question = f"The backup is of {time}. Did this institution sign an agreement after that?"
    typer.echo(
        "If you do not know, say yes: all that was left of the budgets is gone then.", err=True
    )
    return typer.confirm(question, default=True, err=True)


def _in_words(
    home: Path, time: str, signed_since: bool, forfeits: "tuple[Forfeit, ...]"
) -> list[str]:
    lines = [f"{home} is as it was on {time}, except that:"]
    for one in forfeits:
        what = (
            f"the rest of the budget reserved for {one.agreement.agreement.federation}"
            if one.agreement
            else "all that was left of the budget"
        )
        lines.append(
            f"  data set {one.name}: {what} counts as spent, "
            f"{in_words(one.epsilon)} of {one.ceiling:f} in all "
            f"(it was {in_words(one.epsilon_before)})"
        )
    lines.append("  agreements that were signed are refused: sign a new one to go on")
    lines.append("The vault takes part again from the next key epoch of a new agreement.")
    if signed_since:
        lines += [
            f"Do not add data that was added after {time}: what it spent is forgotten.",
            "If you are certain that no agreement was signed after that, remove this home and "
            "restore again with --not-signed-since.",
        ]
    lines.append("Never run this vault beside the one that the backup is of.")
    return lines
