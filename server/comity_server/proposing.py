"""Prepares an agreement for signing: reads the terms, and fills in what nobody should type.

Terms and evaluation set are checked first, which takes a moment; then the first model is built,
which takes seconds and needs PyTorch, in a process of its own that ends with it. Where PyTorch is
not installed, `comity model start` builds it on another machine and its directory is given here.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from comity_common.agreement import Agreement, Party
from comity_common.errors import LocalError, Problem
from comity_common.ids import Digest, InstitutionId
from comity_common.modelfile import read_state
from comity_common.optimizer import ModelState, first_state, state_digest
from comity_common.vectors import Vector
from comity_host import settings
from comity_host.modelterms import RECORD_FILE, STATE_FILE, ModelStart, decisive
from comity_server.continuing import continued
from comity_server.drafting import Start, aggregation_of, noise_of, write_agreement
from comity_server.evaluation import digest_of_file
from comity_server.operator import Operator
from comity_server.terms import Terms

BUILD_TIMEOUT_S = 600  # of which a download from the hub is the most


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What the operator signs and keeps.

    Attributes:
        parameters: shape (d,), float32, the model that training starts from.
    """

    agreement: Agreement
    parameters: Vector


def prepare_continuation(
    terms_file: Path, operator: Operator, name: str, *, today: date | None = None
) -> tuple[Agreement, ModelState]:
    """Make an agreement of a terms file that goes on with the model of an earlier agreement.

    Args:
        name: of the earlier one.
        today: in UTC; None asks the clock.

    Returns:
        the agreement, and the model state that it goes on with.

    Raises:
        Problem: terms or evaluation set are not in order, or of another model.
    """
    terms, institutions = _read_terms(terms_file, operator.registry.parties(), today)
    earlier = continued(operator, name, terms)
    model = earlier.agreement.model
    agreement = write_agreement(
        terms,
        operator.home.party(),
        institutions,
        Start(
            base=model.base,
            parameters=model.parameters,
            initial_state=state_digest(earlier.state),
        ),
        digest_of_file(terms_file.parent / terms.evaluation_set, terms.task.task()),
        nonce=os.urandom(16),
        seed=model.seed,
        continued=earlier,
    )
    return agreement, earlier.state


def prepare(
    terms_file: Path,
    operator: Party,
    parties: Mapping[InstitutionId, Party],
    start_dir: Path | None = None,
    *,
    today: date | None = None,
) -> Prepared:
    """Make an agreement of a terms file, with a fresh nonce.

    Args:
        parties: the approved institutions by id.
        start_dir: what `comity model start` wrote; None builds the model here.
        today: in UTC; None asks the clock.

    Raises:
        Problem: terms, evaluation set or model are not in order; nothing was written.
    """
    terms, institutions = _read_terms(terms_file, parties, today)
    noise_of(terms)  # before anything that takes long
    evaluation_set = digest_of_file(terms_file.parent / terms.evaluation_set, terms.task.task())
    with _started(terms_file, start_dir) as directory:
        record, parameters = _read(directory, terms, terms_file)
    agreement = write_agreement(
        terms,
        operator,
        institutions,
        Start(
            base=Digest(record.base),
            parameters=record.parameters,
            initial_state=Digest(record.initial_state),
        ),
        evaluation_set,
        nonce=os.urandom(16),
        seed=bytes.fromhex(record.seed),
    )
    return Prepared(agreement=agreement, parameters=parameters)


def _read_terms(
    terms_file: Path, parties: Mapping[InstitutionId, Party], today: date | None
) -> tuple[Terms, list[Party]]:
    terms = settings.load(terms_file, Terms)
    if terms.schedule.expires < (today or datetime.now(UTC).date()):
        raise Problem("COM-TERMS-002", file=terms_file.name, day=terms.schedule.expires)
    return terms, _institutions(terms_file, terms, parties)


def _institutions(
    terms_file: Path, terms: Terms, parties: Mapping[InstitutionId, Party]
) -> list[Party]:
    strangers = [id for id in terms.institutions if id not in parties]
    if strangers:
        names = ", ".join(strangers)
        raise Problem("COM-TERMS-001", file=terms_file.name, names=names, first=strangers[0])
    return [parties[id] for id in terms.institutions]


@contextmanager
def _started(terms_file: Path, start_dir: Path | None) -> Iterator[Path]:
    """Name the directory with the first model; one that is built here is gone afterwards."""
    if start_dir is not None:
        yield start_dir
        return
    with tempfile.TemporaryDirectory(prefix="comity-") as directory:
        _build(terms_file, Path(directory))
        yield Path(directory)


def _build(terms_file: Path, directory: Path) -> None:
    """Build the first model in a process of its own, which shows its progress on stderr."""
    if find_spec("torch") is None:
        raise Problem("COM-MODEL-002", file=terms_file)
    words = ("model", "start", str(terms_file), "--out", str(directory), "--json")
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "comity_host.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=BUILD_TIMEOUT_S,
            check=False,
        )
        answer = json.loads(ended.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        why = f"it took more than {BUILD_TIMEOUT_S // 60} minutes"
        raise Problem("COM-MODEL-003", file=terms_file, why=why) from None
    except (IndexError, ValueError):
        why = f"the process ended with code {ended.returncode} and no answer"
        raise Problem("COM-MODEL-003", file=terms_file, why=why) from None
    if not answer["ok"]:
        error = answer["error"]
        raise Problem("COM-MODEL-004", why=error["message"], fix=error["fix"])


def _read(directory: Path, terms: Terms, terms_file: Path) -> tuple[ModelStart, Vector]:
    """Read a first model, and check that it is whole and that of these terms."""

    def unfit(why: str) -> Problem:
        return Problem("COM-MODEL-005", directory=directory, file=terms_file, why=why)

    try:
        record = ModelStart.model_validate_json((directory / RECORD_FILE).read_bytes())
        parameters = read_state((directory / STATE_FILE).read_bytes()).parameters
    except OSError as error:
        raise unfit(f"{Path(error.filename).name}: {error.strerror}") from None
    except ValidationError:
        raise unfit(f"{RECORD_FILE} is not what comity model start writes") from None
    except LocalError:
        raise unfit(f"{STATE_FILE} is not what comity model start writes") from None
    wanted = dict(decisive(terms.task, terms.model, terms.aggregation.optimizer))
    if terms.model.seed is not None:
        wanted["seed"] = terms.model.seed
    other = [name for name, value in wanted.items() if getattr(record, name) != value]
    if other:
        raise unfit(f"it was built with another {other[0]} than {terms_file.name} says")
    state = first_state(parameters, aggregation_of(terms))
    if (parameters.size, state_digest(state)) != (record.parameters, record.initial_state):
        raise unfit(f"{STATE_FILE} is not the one that {RECORD_FILE} names")
    if not np.isfinite(parameters).all():
        raise unfit(f"{STATE_FILE} has weights that are no numbers")
    return record, parameters
