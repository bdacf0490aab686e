"""What trains: the model, the rows and the trainer of one agreement, built once and kept warm.

Everything that the agreement promises about the start is checked here against what this machine
has: the base model's digest (in `build_agreed`), the number of parameters, the first state.
Imports torch.
"""

from collections.abc import Iterator
from fractions import Fraction

from comity_client.compute import Compute
from comity_client.datasets import Source, read_for
from comity_client.holdout import Holdout
from comity_client.model.build import build_agreed
from comity_client.model.evaluate import score_rows
from comity_client.rows import Rows, WordRows
from comity_client.scoring import Scoring
from comity_client.selftest.examination import Examination, examine_agreement
from comity_client.training.adam import AdamMoments
from comity_client.training.baseline import TrainerWithoutPrivacy
from comity_client.training.hardware import find
from comity_client.training.trainer import OnStep, Trainer
from comity_client.training.units import Units
from comity_common.agreement import Agreement, Unit
from comity_common.crypto.stream import opened_keystreams
from comity_common.errors import LocalError
from comity_common.mechanisms import schedule_event
from comity_common.optimizer import ModelState, check_denormals, first_state, state_digest
from comity_common.privatescore import Counts
from comity_common.vectors import Vector

OWN_EYES_ROWS = 64  # of the own rows, on which a released model is looked at


class Workbench:
    """The training side of one agreement.

    Args:
        data: the rows.

    Raises:
        LocalError: this machine does not have what the agreement names.
    """

    def __init__(self, agreement: Agreement, data: Source, compute: Compute) -> None:
        check_denormals()
        model = agreement.model
        self._classifier = build_agreed(agreement)
        self.first_state: ModelState = first_state(
            self._classifier.initial_vector(), agreement.aggregation
        )
        if self.first_state.parameters.size != model.parameters:
            raise LocalError(
                f"expected {model.parameters} parameters, got {self.first_state.parameters.size}"
            )
        if agreement.continues is None and state_digest(self.first_state) != model.initial_state:
            raise LocalError("expected the first model state that the agreement names")
        privacy, key = agreement.privacy, data.unit_key
        rows = read_for(data.path, agreement.task, key if privacy.unit is Unit.PERSON else "")
        self._agreement, self._threads = agreement, compute.threads
        self._scoring: Scoring | None = None
        if (scores := agreement.private_evaluation) is not None:  # never trained on, by none
            rows, held_out = Holdout(data.holdout_key, Fraction(scores.share)).part(rows)
            units = Units.agreed(privacy, held_out, data.cap_key)
            self._scoring = Scoring(self._classifier, held_out, units, scores.score)
        self._trainer = self._make_trainer(rows, data, compute)
        self._own = rows.first(OWN_EYES_ROWS)
        self._own_examples = self._classifier.prepare(self._own.texts)

    def _make_trainer(
        self, rows: Rows | WordRows, data: Source, compute: Compute
    ) -> Trainer | TrainerWithoutPrivacy:
        privacy, training = self._agreement.privacy, self._agreement.training
        if not privacy.is_private:  # the agreement promises nothing, and the budget says ε = ∞
            return TrainerWithoutPrivacy(self._classifier, rows, training, threads=compute.threads)
        return Trainer(
            self._classifier,
            rows,
            training,
            threads=compute.threads,
            hardware=find(compute),
            units=Units.agreed(privacy, rows, data.cap_key),
        )

    def examine(self) -> Examination:
        """Try the machinery out on made-up rows; see `selftest`."""
        return examine_agreement(self._agreement, self._classifier, self._threads)

    def train(self, start: Vector, moments: bytes | None, on_step: OnStep) -> tuple[Vector, bytes]:
        """Train one round.

        Returns:
            the delta, shape (d,), float32, and the optimiser's moments to keep.

        Raises:
            LocalError: other steps were taken than a round reserves, or a key came twice.
        """
        adam = None if moments is None else AdamMoments.from_bytes(moments, start.size)
        trainer = self._trainer
        if isinstance(trainer, TrainerWithoutPrivacy):
            delta, after = trainer.train(start, adam, on_step)
            return delta, after.to_bytes()
        drawn = trainer.noise_vectors_drawn
        with opened_keystreams() as keys:
            delta, after = trainer.train(start, adam, on_step)
        drawn = trainer.noise_vectors_drawn - drawn
        reserved = schedule_event(self._agreement, 1).steps
        if drawn != reserved or len(set(keys)) != len(keys):
            raise LocalError(f"expected fresh noise for each of {reserved} steps, got {drawn}")
        return delta, after.to_bytes()

    def score(self, parameters: Vector) -> Iterator[Counts]:
        """Score a model on each held-out unit, without noise.

        Args:
            parameters: shape (d,), float32.

        Raises:
            LocalError: the agreement has no such scores.
        """
        if self._scoring is None:
            raise LocalError("expected an agreement with scores on private rows")
        return self._scoring.counts(parameters)

    def look(self, parameters: Vector) -> tuple[float, float] | None:
        """Evaluate a released model on own rows, for the institution's own eyes.

        Returns:
            accuracy and macro F1, 0 to 1; never sent. None where all rows are held out for scores.
        """
        if not len(self._own):
            return None
        self._classifier.load(parameters)
        guessed = self._classifier.guess(self._own_examples)
        scores = score_rows(self._own, guessed, self._classifier.task.labels)
        return scores.accuracy, scores.macro_f1
