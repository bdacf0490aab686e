"""`comity demo`, told from start to end.

rows → parties and their agreement → daemons → rounds → what it is compared with → results
"""

import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from comity_client.institution import Institution
from comity_common.errors import LocalError, Refusal
from comity_common.ids import Digest
from comity_common.ledger.bodies import DatasetId
from comity_common.modelfile import read_state
from comity_common.tuning import Tune
from comity_host.files import MAX_SOCKET_PATH, make_private
from comity_host.ports import HeldPorts
from comity_host.supervisor import Supervisor
from comity_local import page
from comity_local.conductor import Conductor
from comity_local.founding import Founded, Ports, found
from comity_local.layout import Workdir
from comity_local.options import Fault, FaultKind, Options, parse_fault
from comity_local.progress import Progress
from comity_local.results import DemoResult, InstitutionResult, Score
from comity_local.samples import Samples, generate, into_institutions, read_folder, write_rows
from comity_local.terms import model_seed, terms_of
from comity_local.yardstick import Yardstick
from comity_server.config import Deadlines

FEW_ROWS = 10
EVALUATION_ROWS = 300  # of the generated ones, where no features can be kept
UPLOAD_WITH_SILENCE_S = {
    Tune.HEAD: 40.0,
    Tune.LORA: 150.0,
    Tune.LORA_PLAIN: 150.0,
    Tune.BITFIT: 150.0,
    Tune.FULL: 400.0,
}


def run(options: Options, progress: Progress) -> DemoResult:
    """Run a demo.

    Raises:
        LocalError: an option or the data does not fit, or the federation gave up.
        Refusal: an institution's policy or budget does not allow the agreement.
    """
    began = time.monotonic()
    samples = _samples(options)
    ids = tuple(region.id for region in samples.regions)
    faults = tuple(parse_fault(text, ids) for text in options.faults)
    workdir = Workdir(options.workdir)
    _check_workdir(workdir)
    fresh = not workdir.path.exists()
    workdir.create()
    try:
        return _run(options, samples, faults, workdir, progress, began)
    except (LocalError, Refusal):
        if fresh and not workdir.operator.exists():  # nothing was founded, so nothing stays
            shutil.rmtree(workdir.path)
        raise


def _run(
    options: Options,
    samples: Samples,
    faults: tuple[Fault, ...],
    workdir: Workdir,
    progress: Progress,
    began: float,
) -> DemoResult:
    ids = tuple(region.id for region in samples.regions)
    rows = sum(len(region.rows) for region in samples.regions)
    write_rows(workdir.evaluation, samples.evaluation_rows)
    progress.say(_opening(options, samples))
    for region in samples.regions:
        if len(region.rows) < FEW_ROWS:
            progress.say(f"{region.id} has so few rows ({len(region.rows)}) that it learns nothing")
    progress.say(f"everything is kept in {workdir.path}")
    terms = terms_of(options, samples.labels, ids, workdir.evaluation, rows)
    yardstick = Yardstick(terms, model_seed(options))
    baseline = yardstick.score(yardstick.initial())

    sockets = _sockets(workdir)
    try:
        with HeldPorts(3 + len(ids)) as ports, Supervisor() as supervisor:
            numbers = Ports(
                transfer=ports.numbers[0], superlink=ports.numbers[1], gate=ports.numbers[2]
            )
            founded = found(
                options, samples, terms, yardstick, numbers, _deadlines(options), sockets
            )
            digest = founded.agreement.digest
            progress.say(f"all {len(ids)} institutions signed agreement {digest[:16]}")
            conductor = Conductor(
                supervisor, workdir, founded, faults, sockets, yardstick, progress, baseline
            )
            try:
                conductor.start(ports, numbers, ports.numbers[3:])
                conductor.watch()
            finally:
                conductor.close()
    finally:
        shutil.rmtree(sockets, ignore_errors=True)
    return _conclude(options, samples, yardstick, founded, conductor, baseline, progress, began)


def _sockets(workdir: Workdir) -> Path:
    """Make a directory for unix sockets: in the workdir, unless its path is too long for them."""
    here = workdir.path / "run"
    if len(str(here / "00" / "control.sock").encode()) > MAX_SOCKET_PATH:
        return Path(tempfile.mkdtemp(prefix="comity-"))
    make_private(here)
    return here


def _conclude(
    options: Options,
    samples: Samples,
    yardstick: Yardstick,
    founded: Founded,
    conductor: Conductor,
    baseline: Score,
    progress: Progress,
    began: float,
) -> DemoResult:
    workdir, agreement = Workdir(options.workdir), founded.agreement
    parameters = read_state(conductor.final.read_bytes()).parameters
    institutions = tuple(
        _institution(workdir, agreement.digest, region.id, len(region.rows), conductor)
        for region in samples.regions
    )
    yardstick.export(workdir.model, parameters, agreement, conductor.rounds, institutions)
    alone: dict[str, Score] = {}
    without_dp = None
    if options.baselines:
        for region in samples.regions:
            progress.say(f"for comparison: {region.id} alone, under the same DP terms")
            alone[region.id] = yardstick.alone(agreement, workdir.rows(region.id))
        progress.say("for comparison: the same federation without DP, in this process")
        files = [workdir.rows(region.id) for region in samples.regions]
        without_dp = yardstick.without_dp(agreement, files)
    result = DemoResult(
        workdir=workdir.path,
        model_dir=workdir.model,
        report=workdir.report,
        seconds=time.monotonic() - began,
        full_model_bytes=4 * yardstick.all_parameters,
        baseline=baseline,
        federated=yardstick.score(parameters),
        without_dp=without_dp,
        alone=alone,
        rounds=tuple(conductor.rounds),
        institutions=institutions,
        agreement=agreement.digest,
        ledger=workdir.institutions,
        logs=workdir.logs,
        model=options.model,
        tune=options.tune.value,
        data=str(options.data) if options.data else "messages that the project generated",
        evaluation_rows=len(samples.evaluation_rows),
        labels=len(samples.labels),
    )
    workdir.report.write_text(page.render(result), "utf-8")
    return result


def _institution(
    workdir: Workdir, agreement: Digest, id: str, rows: int, conductor: Conductor
) -> InstitutionResult:
    institution = Institution(workdir.home(id))
    standing = institution.agreements.get(agreement)
    budget = institution.ledger.budget()
    dataset: DatasetId = standing.dataset
    ceiling = budget.statement(budget.namespace(dataset)).ceiling
    sent, received = institution.traffic(agreement)
    return InstitutionResult(
        id=id,
        name=institution.config.name,
        jurisdiction=institution.config.jurisdiction,
        rows=rows,
        epsilon=budget.epsilon_charged(dataset),
        epsilon_reserved=budget.epsilon_reserved(dataset),
        epsilon_cap=float(ceiling.epsilon),
        delta=float(ceiling.delta),
        rounds=sum(id in result.survivors for result in conductor.rounds if result.moved),
        bytes_sent=sent,
        bytes_received=received,
    )


def _samples(options: Options) -> Samples:
    if options.data is not None:
        samples = read_folder(options.data)
    else:
        samples = generate(options.seed)
        if options.tune is not Tune.HEAD:  # each score runs the whole BERT
            fewer = samples.evaluation_rows[:EVALUATION_ROWS]
            samples = replace(samples, evaluation_rows=fewer)
    if options.institutions is not None:
        samples = into_institutions(samples, options.institutions)
    if len(samples.regions) < 3:
        raise LocalError(
            f"expected at least 3 institutions, the data has {len(samples.regions)} regions; "
            "choose --institutions"
        )
    return samples


def _opening(options: Options, samples: Samples) -> str:
    rows = sum(len(region.rows) for region in samples.regions)
    origin = (
        "customer messages that the project generates from a seed"
        if options.data is None
        else f"rows of {options.data.name}"
    )
    return (
        f"{len(samples.regions)} institutions train on {rows} {origin}, "
        f"{len(samples.labels)} labels; {len(samples.evaluation_rows)} public rows to evaluate"
    )


def _deadlines(options: Options) -> Deadlines:
    silent = any(text.startswith(FaultKind.STOP_BEFORE_UPLOAD) for text in options.faults)
    upload = UPLOAD_WITH_SILENCE_S[options.tune] if silent else 600.0
    return Deadlines(
        acknowledge_s=30.0,
        upload_s=upload,
        reveal_s=20.0,
        gather_s=180.0,
        settle_s=40.0,
        patience_s=900.0,  # many processes load a model at once, on whatever machine
    )


def _check_workdir(workdir: Workdir) -> None:
    path = workdir.path
    if path.exists() and any(path.iterdir()) and not workdir.marker.exists():
        raise LocalError(f"expected an empty directory or one of a demo, {path} is neither")
