"""`comity witness`: remembers the heads of ledgers, and cosigns what goes on from them."""

from pathlib import Path
from typing import Annotated

import typer

from comity_audit.cli.outputs import check_free, write_out
from comity_audit.cli.verifying import (
    AgreementsOption,
    PackageArgument,
    verification_of,
    verified,
)
from comity_host.cli import succeed
from comity_host.options import JsonOption, home_option

app = typer.Typer(
    help="Remember heads of ledgers, and cosign what goes on from them.", no_args_is_help=True
)

DEFAULT_HOME = Path("~/comity-witness")
HomeOption = Annotated[
    Path, home_option(DEFAULT_HOME, "COMITY_WITNESS_HOME", "Directory of the witness.")
]


@app.callback()
def witness() -> None:
    """Remember heads of ledgers, and cosign what goes on from them."""


@app.command()
def init(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Without spaces, as in regulator.example.")
    ],
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Make a witness: a secret, and a memory of what it has cosigned."""
    import os

    from comity_audit.witness.desk import SECRET_BYTES, Desk
    from comity_common.errors import LocalError, Problem
    from comity_common.words import printable

    try:
        desk = Desk.create(home, name, os.urandom(SECRET_BYTES))
    except Problem:
        raise
    except LocalError as error:
        raise Problem("COM-WITNESS-006", name=printable(name), why=error) from None
    keys = [key.vkey for key in desk.keys]
    succeed(
        {"home": str(home), "name": name, "keys": keys},
        as_json=json_,
        text="\n".join(["Auditors know this witness by these keys, both of which sign:", *keys]),
    )


@app.command()
def cosign(
    package: PackageArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="To be written: the signed head.")],
    agreement: AgreementsOption = [],  # noqa: B006
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Cosign a ledger's head if it goes on from the one that was cosigned before."""
    import time

    from comity_audit.witness.desk import Desk
    from comity_common.errors import Problem

    desk = Desk(home)
    name = desk.name
    verification = verification_of(package, agreement)
    verified(verification)
    if not agreement:
        raise Problem("COM-AUDIT-009")
    check_free(file)
    owner = verification.ledger.parties.owner.id
    is_known = owner in {one.owner for one in desk.kept()}
    write_out((file, desk.cosign(verification, int(time.time()))))
    checkpoint = verification.checkpoint
    first = "" if is_known else ", of which it had cosigned nothing before"
    succeed(
        {
            "file": str(file),
            "first": not is_known,
            "witness": name,
            "owner": owner,
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
        },
        as_json=json_,
        text=f"{name} has cosigned the {checkpoint.size:,} entries of {owner}{first}, and will "
        f"cosign nothing that takes one back. {file} is for the ledger's owner and for auditors.",
    )


@app.command()
def show(
    owner: Annotated[
        str | None, typer.Option(metavar="ID", help="Show the kept head of this one.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Show this witness's keys and what it has cosigned last."""
    from comity_audit.witness.desk import Desk
    from comity_common.errors import Problem
    from comity_common.words import printable

    desk = Desk(home)
    keys = [key.vkey for key in desk.keys]
    kept = [one for one in desk.kept() if owner in (None, one.owner)]
    if owner is not None and not kept:
        raise Problem("COM-WITNESS-005", owner=printable(owner))
    lines = [f"Witness {desk.name}, known by:", *keys]
    lines += [f"  {one.owner}: {one.size:,} entries, root {one.root.hex()}" for one in kept]
    if owner is not None:
        lines.append(kept[0].note.decode())
    succeed(
        {
            "name": desk.name,
            "keys": keys,
            "heads": [
                {
                    "owner": one.owner,
                    "generation": one.generation.hex(),
                    "size": one.size,
                    "root": one.root.hex(),
                    "note": one.note.decode(),
                }
                for one in kept
            ],
        },
        as_json=json_,
        text="\n".join(lines),
    )
