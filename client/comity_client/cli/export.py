"""`comity client export`: the model that came out, for anybody to use."""

from pathlib import Path
from typing import Annotated

import typer

from comity_client.cli.options import DEFAULT_HOME, HomeOption
from comity_host.cli import succeed
from comity_host.options import JsonOption


def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Made here, or empty.")],
    agreement: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Federation, or the beginning of the digest. Default: the last that trained.",
        ),
    ] = "",
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Write the newest model that this vault computed, in Hugging Face's format."""
    from comity_client.institution import Institution
    from comity_client.releases import newest_release
    from comity_host.servicetexts import waiting

    release = newest_release(Institution(home), agreement)
    with waiting("writing the model"):
        from comity_client.model.export import export_release  # torch takes seconds to import

        export_release(release, directory)
    federation, rounds = release.agreement.federation, release.certified
    succeed(
        {
            "directory": str(directory),
            "agreement": release.agreement.digest,
            "federation": federation,
            "certified": rounds,
            "model": release.digest,
        },
        as_json=json_,
        text=f"{directory} holds the model of {federation} after {rounds} certified rounds.\n"
        f'Try it: comity model predict {directory} "some text"',
    )
