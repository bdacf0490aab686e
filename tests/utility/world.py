"""Trains an arm in one process, with the product's own trainers, noise and arithmetic of sums.

Each arm gets an agreement as the operator's program writes it: σ is calibrated by the gate's own
accountant for all rounds and spare rounds, and nothing in it follows from rows. Deltas of a
federation are quantised and summed as integers, and the model moves by the sum as in a vault; only
the masks are left out, which cancel in the sum to the last bit.

Sampling, noise and dither come from the operating system and cannot be repeated: with a seed there
would be no privacy. All else is fixed: rows and their order, the first parameters, the scoring.
"""

import os
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch

from comity_client.model.base import base_digest
from comity_client.model.build import build
from comity_client.model.evaluate import Scores, score_rows
from comity_client.model.examples import Features
from comity_client.rows import Rows
from comity_client.training.adam import AdamMoments
from comity_client.training.baseline import TrainerWithoutPrivacy
from comity_client.training.trainer import Trainer
from comity_common.agreement import Agreement, ModelOptimizer, Noise, Party, Pooling, PublicIdentity
from comity_common.crypto.sign import SigningKeys
from comity_common.crypto.stream import Keystream
from comity_common.fixedpoint import lane_bound, quantise
from comity_common.ids import Digest, InstitutionId
from comity_common.optimizer import first_state, next_state, state_digest
from comity_common.tuning import Tune
from comity_common.vectors import Vector
from comity_host.modelterms import ModelTerms, TaskTerms
from comity_server.drafting import Start, aggregation_of, write_agreement
from comity_server.terms import AggregationTerms, PrivacyTerms, ScheduleTerms, Terms, TrainingTerms
from tests.utility.arms import DELTA, Arm, Settings, Spread
from tests.utility.encoded import Encoded, Say
from tests.utility.rows import DataSet

SEED = bytes(32)  # of new parameters; a head begins with zeros, whatever it is
THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
NO_DAY_IN_PARTICULAR = date(2099, 12, 31)


class World:
    """A data set, the classifier on it, and ways to train.

    Args:
        base: directory of the base model.
        features: the folder in which encoded texts are kept; None: nowhere.
    """

    def __init__(self, data: DataSet, base: Path, features: Path | None, say: Say) -> None:
        torch.set_num_threads(THREADS)
        self.data = data
        self.base = base
        self._task = TaskTerms(labels=data.labels)
        self._classifier = build(
            base,
            self._task.task(),
            pooling=Pooling.MEAN,
            tune=Tune.HEAD,
            lora_rank=1,
            lora_alpha=1,
            seed=SEED,
        )
        self._base_digest = base_digest(base)
        kept = features and features / f"{data.name}-{self._base_digest[:16]}.npz"
        self._encoded = Encoded(self._classifier, kept, say)
        self.agreement = cache(self._agreement)

    @cached_property
    def _regions(self) -> dict[str, tuple[Rows, Features]]:
        return {id: self._with_features(rows) for id, rows in self.data.regions.items()}

    @cached_property
    def _pooled(self) -> tuple[Rows, Features]:
        return self._with_features(self.data.pooled())

    @cached_property
    def _dev(self) -> tuple[Rows, Features]:
        return self._with_features(self.data.dev)

    @cached_property
    def _test(self) -> tuple[Rows, Features]:
        return self._with_features(self.data.test)

    def _with_features(self, rows: Rows) -> tuple[Rows, Features]:
        return rows, self._encoded.features(rows.texts)

    def on_dev(self, parameters: Vector) -> Scores:
        """Score a model on the dev rows of all regions."""
        return self._score(parameters, *self._dev)

    def on_test(self, parameters: Vector) -> Scores:
        """Score a model on the public test set."""
        return self._score(parameters, *self._test)

    def _score(self, parameters: Vector, rows: Rows, features: Features) -> Scores:
        self._classifier.load(parameters)
        guessed = self._classifier.guess(features)
        return score_rows(rows, guessed, self._classifier.task.labels)

    def train(self, arm: Arm, settings: Settings) -> Vector:
        """Train an arm once, with fresh randomness: shape (d,), float32."""
        agreement = self.agreement(arm.epsilon, settings)
        match arm.spread:
            case Spread.ALONE:
                return self._in_one_place(agreement, *self._regions[arm.region])
            case Spread.POOLED:
                return self._in_one_place(agreement, *self._pooled)
            case Spread.FEDERATED:
                return self._together(agreement)

    def _in_one_place(self, agreement: Agreement, rows: Rows, features: Features) -> Vector:
        """Train as one vault does, for as many steps, with the whole delta after every round."""
        trainer = self._trainer(agreement, rows, features)
        parameters, moments = self._classifier.initial_vector(), None
        for _ in range(agreement.schedule.rounds):
            delta, moments = trainer.train(parameters, moments, _quietly)
            parameters = parameters + delta
        return parameters

    def _together(self, agreement: Agreement) -> Vector:
        """Train each region in turn, and move the model by the sum of all, round after round."""
        trainers = [self._trainer(agreement, *region) for region in self._regions.values()]
        terms, count = agreement.aggregation, len(trainers)
        bound = lane_bound(terms.ring_width, count)
        moments: list[AdamMoments | None] = [None] * count
        state = first_state(self._classifier.initial_vector(), terms)
        for _ in range(agreement.schedule.rounds):
            total = np.zeros(state.parameters.size, np.uint32)
            for k, trainer in enumerate(trainers):
                delta, moments[k] = trainer.train(state.parameters, moments[k], _quietly)
                total += quantise(delta, terms.range, bound, Keystream.fresh())
            state = next_state(state, total, count, count, terms)
        return state.parameters

    def _trainer(
        self, agreement: Agreement, rows: Rows, features: Features
    ) -> Trainer | TrainerWithoutPrivacy:
        kind = Trainer if agreement.privacy.is_private else TrainerWithoutPrivacy
        training = agreement.training
        return kind(self._classifier, rows, training, threads=THREADS, examples=features)

    def _agreement(self, epsilon: int | None, settings: Settings) -> Agreement:
        """Write the agreement of an arm; parties have keys that nobody holds."""
        terms = self._terms(epsilon, settings)
        initial = self._classifier.initial_vector()
        start = Start(
            base=self._base_digest,
            parameters=initial.size,
            initial_state=state_digest(first_state(initial, aggregation_of(terms))),
        )
        return write_agreement(
            terms,
            _party("operator"),
            [_party(id) for id in terms.institutions],
            start,
            Digest("0" * 64),
            nonce=bytes(16),
            seed=SEED,
        )

    def _terms(self, epsilon: int | None, settings: Settings) -> Terms:
        if epsilon is None:
            privacy = PrivacyTerms(noise=Noise.NONE)
        else:
            privacy = PrivacyTerms(epsilon=Decimal(epsilon), delta=DELTA)
        kind = ModelOptimizer.FEDAVGM if settings.momentum else ModelOptimizer.FEDAVG
        return Terms(
            federation="utility",
            purpose="measure what a model is worth",
            institutions=tuple(InstitutionId(id) for id in self._ids),
            evaluation_set=Path("test.jsonl"),
            task=self._task,
            model=ModelTerms(tune=Tune.HEAD),
            training=TrainingTerms(
                learning_rate=settings.learning_rate,
                local_steps=settings.local_steps,
                clip_norm=settings.clip_norm,
            ),
            privacy=privacy,
            aggregation=AggregationTerms(optimizer=kind, momentum=settings.momentum),
            schedule=ScheduleTerms(rounds=settings.rounds, expires=NO_DAY_IN_PARTICULAR),
        )

    @property
    def _ids(self) -> Sequence[str]:
        return sorted(self.data.regions)


def _party(id: str) -> Party:
    identity = PublicIdentity.of(SigningKeys.generate(), os.urandom(32))
    return Party(id=InstitutionId(id), name=id, jurisdiction="ZZ", identity=identity)


def _quietly(done: int, of: int) -> None:
    """Say nothing about single steps."""
