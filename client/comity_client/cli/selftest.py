"""`comity client selftest`: whether noise, clipping and sampling do here what they claim."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from comity_client.cli.options import DEFAULT_HOME, HomeOption
from comity_host.cli import succeed
from comity_host.options import JsonOption

if TYPE_CHECKING:
    from comity_client.agreements import Known
    from comity_client.institution import Institution
    from comity_client.rehearsal import OnPhase
    from comity_client.selftest.examination import Examination, Outcome

BROKE_OFF = "it broke off; COMITY_DEBUG=1 shows where, in `comity client rehearse`"


def selftest(
    agreement: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Federation, or the beginning of the digest. Default: the newest that promises "
            "privacy, else standard terms without a model.",
        ),
    ] = "",
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Try noise, clipping and sampling out on made-up rows; the result goes onto the ledger."""
    from comity_client.cli.rehearse import progress
    from comity_client.institution import Institution
    from comity_client.selftest import gate
    from comity_common.catalogue import FINDINGS
    from comity_common.ids import Digest

    institution = Institution(home)
    known = _chosen(institution, agreement)
    digest = known.agreement.digest if known else Digest("")
    with progress() as on_phase:
        examine = _examiner(institution, known, on_phase)
        found = list(gate.attempts(institution, digest, examine))
    passed = found[-1] is not None and found[-1].passed
    name = known.agreement.federation if known else "standard terms"
    data = {
        "agreement": digest,
        "passed": passed,
        "attempts": [None if one is None else _as_data(one) for one in found],
    }
    succeed(data, as_json=json_, text=_in_words(name, found))
    if not passed:
        raise typer.Exit(FINDINGS)


def _chosen(institution: "Institution", name: str) -> "Known | None":
    """Find the agreement whose machinery is meant; one that promises nothing has none to try."""
    from comity_client.agreements import OVER
    from comity_common.errors import Problem

    if name:
        known = institution.agreements.find(name)
        if not known.agreement.privacy.is_private:
            raise Problem("COM-SELFTEST-001", agreement=known.agreement.federation)
        return known
    those = [known for known in institution.agreements.known() if known.state not in OVER]
    return next((one for one in reversed(those) if one.agreement.privacy.is_private), None)


def _examiner(
    institution: "Institution", known: "Known | None", on_phase: "OnPhase"
) -> "Callable[[], Examination]":
    import os

    threads = institution.config.threads
    if known is None:
        from comity_client.selftest.examination import examine_standard

        return lambda: examine_standard(threads, on_phase)
    os.environ["HF_HUB_OFFLINE"] = "1"  # a self-test opens no connection
    on_phase("loading the model")
    from comity_client.model.build import build_agreed
    from comity_client.selftest.examination import examine_agreement

    classifier, terms = build_agreed(known.agreement), known.agreement
    return lambda: examine_agreement(terms, classifier, threads, on_phase)


def _as_data(examined: "Examination") -> dict[str, object]:
    from dataclasses import asdict

    return {
        "passed": examined.passed,
        "tests": [asdict(outcome) for outcome in examined.outcomes],
        "epsilon_bound": examined.epsilon_bound,
        "epsilon_claimed": examined.epsilon_claimed,
    }


def _in_words(name: str, found: "list[Examination | None]") -> str:
    parts = []
    for number, examined in enumerate(found, 1):
        heading = f"{name}, attempt {number}: "
        if examined is None:
            parts.append(heading + BROKE_OFF)
            continue
        passed = examined.passed
        parts += [heading + ("all passed" if passed else f"{len(examined.failed)} failed"), ""]
        parts += [_line(outcome) for outcome in examined.outcomes]
        parts += ["", *_pictures(examined)]
    last = found[-1]
    ended = "Made-up rows only: nothing was spent, nothing has left. The ledger has the result."
    if last is None or not last.passed:
        ended += "\nNothing is trained under this agreement until a self-test passes."
    return "\n".join([*parts, ended])


def _line(outcome: "Outcome") -> str:
    sign = "ok    " if outcome.passed else "FAILED"
    p = "" if outcome.p is None else f"p = {outcome.p:.2g}"
    return f"  {sign} {outcome.test:<18} {p:<12} {outcome.question:<56} {outcome.found}".rstrip()


def _pictures(examined: "Examination") -> list[str]:
    from comity_client.selftest import picture

    return [
        "Noise, in promised standard deviations (| is where a bar should end):",
        picture.noise(examined.seen),
        "",
        "Canaries, by how many steps drew them:",
        picture.inclusions(examined.seen),
        "",
        f"A guess from what came out shows ε ≥ {examined.epsilon_bound:.2f} for the 300 steps of "
        f"this test with the canaries' block disclosed, where ε ≤ {examined.epsilon_claimed:.2f} "
        "is claimed. No round discloses such a block: this says nothing about your rows.",
        "",
    ]
