"""The terms that the demo's operator proposes: its options, and everything else by default."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from comity_common.crypto.derive import digest
from comity_common.errors import LocalError
from comity_common.ids import InstitutionId
from comity_host.modelterms import ModelTerms, TaskTerms
from comity_local.options import Options
from comity_server.terms import (
    PrivacyTerms,
    PrivateEvaluationTerms,
    ScheduleTerms,
    Terms,
    TrainingTerms,
)

HELD_OUT = 5  # every fifth row, as the terms have it by default
LIFETIME = timedelta(days=30)


def terms_of(
    options: Options,
    labels: Sequence[str],
    institutions: Sequence[str],
    evaluation_set: Path,
    rows: int,
) -> Terms:
    """Write the terms of a demo.

    Args:
        rows: of all institutions together.

    Raises:
        LocalError: a term is out of bounds.
    """
    try:
        return Terms(
            federation="demo",
            purpose=f"show that {len(institutions)} institutions can fine-tune one BERT together",
            institutions=tuple(InstitutionId(id) for id in sorted(institutions)),
            evaluation_set=evaluation_set,
            task=TaskTerms(labels=tuple(labels)),
            model=ModelTerms(name=options.model, tune=options.tune, seed=model_seed(options).hex()),
            training=TrainingTerms(clip_norm=options.clip_norm),
            privacy=PrivacyTerms(epsilon=options.epsilon, delta=options.delta),
            private_evaluation=_scores(options, rows),
            schedule=ScheduleTerms(
                rounds=options.rounds,
                spare_rounds=options.spare_rounds,
                expires=datetime.now(UTC).date() + LIFETIME,
            ),
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise LocalError(f"{key}: {first['msg']}") from None


def _scores(options: Options, rows: int) -> PrivateEvaluationTerms | None:
    """Ask for one score after the last round."""
    if options.score_epsilon is None:
        return None
    return PrivateEvaluationTerms(epsilon=options.score_epsilon, units=max(1, rows // HELD_OUT))


def model_seed(options: Options) -> bytes:
    """Return the 32 bytes from which new parameters are drawn."""
    return digest("demo-seed", str(options.seed).encode())
