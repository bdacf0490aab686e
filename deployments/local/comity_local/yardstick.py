"""What the federation is measured with, in the demo's own process: nothing of it is sent anywhere.

The public evaluation set after every round; each region alone under the same terms; and the same
federation without clipping, noise and masks, which shows what privacy cost. Imports torch.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from comity_client.datasets import evaluation_set_digest, read_for
from comity_client.model.base import base_digest, base_path
from comity_client.model.build import build
from comity_client.model.classifier import Classifier
from comity_client.model.evaluate import score_rows
from comity_client.model.examples import Examples
from comity_client.model.export import Provenance, export
from comity_client.rows import Rows, WordRows
from comity_client.training.adam import AdamMoments
from comity_client.training.baseline import TrainerWithoutPrivacy
from comity_client.training.trainer import Trainer
from comity_common.agreement import Agreement
from comity_common.dp.terms import Guarantee
from comity_common.ids import Digest, InstitutionId
from comity_common.optimizer import first_state, state_digest
from comity_common.vectors import Vector
from comity_local.results import InstitutionResult, RoundResult, Score
from comity_server.drafting import Start, aggregation_of
from comity_server.terms import Terms

THREADS_BESIDE = 1  # while the vaults train on the same cores
THREADS_ALONE = 2


class Yardstick:
    """Builds the classifier of a demo and scores parameters on the public evaluation set.

    Args:
        seed: 32 bytes, from which new parameters are drawn.
    """

    def __init__(self, terms: Terms, seed: bytes) -> None:
        torch.set_num_threads(THREADS_BESIDE)
        self._terms = terms
        self._known: dict[Path, tuple[Rows | WordRows, Examples]] = {}
        self._base = base_path(terms.model.name)
        self.classifier: Classifier = build(
            self._base,
            terms.task.task(),
            pooling=terms.model.pooling,
            tune=terms.model.tune,
            lora_rank=terms.model.lora_rank,
            lora_alpha=terms.model.lora_alpha,
            seed=seed,
        )
        self._initial = self.classifier.initial_vector()
        self._rows = read_for(terms.evaluation_set, terms.task.task())
        self._examples = self.classifier.prepare(self._rows.texts)

    @property
    def evaluation_set(self) -> Digest:
        """The digest of the public evaluation set."""
        return evaluation_set_digest(self._rows)

    @property
    def all_parameters(self) -> int:
        """How many parameters the whole model has."""
        return sum(parameter.numel() for parameter in self.classifier.network.parameters())

    def initial(self) -> Vector:
        """The parameters that training starts from."""
        return self._initial.copy()

    def start(self) -> Start:
        """Return what the agreement says about the start."""
        state = first_state(self._initial, aggregation_of(self._terms))
        return Start(
            base=base_digest(self._base),
            parameters=self._initial.size,
            initial_state=state_digest(state),
        )

    def score(self, parameters: Vector) -> Score:
        """Score a model on the public evaluation set."""
        self.classifier.load(parameters)
        guessed = self.classifier.guess(self._examples)
        scores = score_rows(self._rows, guessed, self.classifier.task.labels)
        return Score(accuracy=scores.accuracy, macro_f1=scores.macro_f1)

    def alone(self, agreement: Agreement, data: Path) -> Score:
        """Train one region by itself, under the same DP terms and for as many steps."""
        rows, examples = self._prepared(data)
        trainer = Trainer(
            self.classifier, rows, agreement.training, threads=THREADS_ALONE, examples=examples
        )
        parameters, moments = self.initial(), None
        for _ in range(agreement.schedule.rounds):
            delta, moments = trainer.train(parameters, moments, _quietly)
            parameters = parameters + delta
        return self.score(parameters)

    def without_dp(self, agreement: Agreement, data: Sequence[Path]) -> Score:
        """Train the same federation without clipping and noise, as a plain computation."""
        trainers = []
        for file in data:
            rows, examples = self._prepared(file)
            trainers.append(
                TrainerWithoutPrivacy(
                    self.classifier,
                    rows,
                    agreement.training,
                    threads=THREADS_ALONE,
                    examples=examples,
                )
            )
        parameters = self.initial()
        moments: list[AdamMoments | None] = [None] * len(trainers)
        for _ in range(agreement.schedule.rounds):
            deltas = []
            for k, trainer in enumerate(trainers):
                delta, moments[k] = trainer.train(parameters, moments[k], _quietly)
                deltas.append(delta)
            parameters = parameters + np.mean(deltas, axis=0, dtype=np.float32)
        return self.score(parameters)

    def _prepared(self, data: Path) -> tuple[Rows | WordRows, Examples]:
        """Read and prepare a file once: with a frozen encoder that is most of the work."""
        if data not in self._known:
            torch.set_num_threads(THREADS_ALONE)
            rows = read_for(data, self._terms.task.task())
            self._known[data] = rows, self.classifier.prepare(rows.texts)
        return self._known[data]

    def export(
        self,
        directory: Path,
        parameters: Vector,
        agreement: Agreement,
        rounds: Sequence[RoundResult],
        institutions: Sequence[InstitutionResult],
    ) -> None:
        """Write the model in Hugging Face's format; one from an earlier run is replaced."""
        shutil.rmtree(directory, ignore_errors=True)
        self.classifier.load(parameters)
        provenance = Provenance(
            agreement=agreement.digest,
            base=agreement.model.name,
            purpose=agreement.purpose,
            rounds=sum(result.moved for result in rounds),
            unit=agreement.privacy.unit,
            scores=agreement.attempts - agreement.schedule.attempts,
            guarantees={
                InstitutionId(one.id): Guarantee.covering(
                    one.epsilon_reserved, agreement.privacy.delta
                )
                for one in institutions
                if one.epsilon_reserved  # whose rows had a part in nothing needs none
            },
        )
        export(self.classifier, provenance, directory)


def _quietly(done: int, of: int) -> None:
    """Say nothing about single steps."""
