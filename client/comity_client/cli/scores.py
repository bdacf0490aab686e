"""`comity client scores`: what private evaluation has found, with its error."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from comity_client.cli.options import DEFAULT_HOME, HomeOption
from comity_host.cli import succeed
from comity_host.options import JsonOption

if TYPE_CHECKING:
    from comity_client.scores import Score
    from comity_common.agreement import Agreement

ABOUT_DEVIATIONS = (
    "± is one standard deviation of the noise alone; that only some rows were asked comes on top."
)

AgreementArgument = Annotated[
    str,
    typer.Argument(metavar="AGREEMENT", help="Name or digest. Default: all that have scores."),
]


def scores(
    name: AgreementArgument = "", home: HomeOption = DEFAULT_HOME, json_: JsonOption = False
) -> None:
    """Show how well models do on rows that institutions hold out: noisy, and the same for all."""
    from comity_client.institution import Institution

    institution = Institution(home)
    agreements = institution.agreements
    those = [agreements.find(name)] if name else agreements.known()
    rows = [
        _row(known.agreement, score)
        for known in those
        for score in institution.scores.of(known.agreement.digest)
    ]
    text = "\n".join([*map(_line, rows), ABOUT_DEVIATIONS]) if rows else "There is no score yet."
    succeed(rows, as_json=json_, text=text)


def _row(agreement: "Agreement", score: "Score") -> dict[str, Any]:
    from comity_common.scoresum import of_counts

    return {
        "agreement": agreement.digest,
        "federation": agreement.federation,
        "round": score.round,
        "after": score.certified,
        "institutions": score.vaults,
        **of_counts(agreement, score.total, score.vaults).data,
    }


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['federation']}, after {row['after']} rounds of training, "
        f"{row['institutions']} institutions: {row['words']}"
    )
