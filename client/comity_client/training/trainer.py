"""One round of DP-SGD on the vault's own rows.

draw a Poisson batch of units → sum their clipped gradients → add the full noise → divide by the
agreement's constant → Adam, `local_steps` times. Everything after the noise is post-processing.
Sampling probability, clipping norm, noise and divisor come from the agreement; no number of rows
enters. A unit is a record, or a person with all its rows.

There is no way to switch noise or clipping off here; what trains without them is in `baseline`.
What leaves the vault is the delta alone, and whether it may leave is not decided here.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from comity_client.model.classifier import Classifier
from comity_client.model.examples import Examples
from comity_client.rows import Rows, WordRows
from comity_client.training.adam import AdamMoments
from comity_client.training.hardware import PLAIN, Hardware
from comity_client.training.noise import GaussianNoise
from comity_client.training.persons import sum_over_units
from comity_client.training.sampler import PoissonSampler
from comity_client.training.step import ClippedSum, clipping
from comity_client.training.units import Units
from comity_common.agreement import Training
from comity_common.vectors import Vector

OnStep = Callable[[int, int], None]


class Trainer:
    """Trains one institution's deltas, round after round.

    Args:
        classifier: moved about while a round is trained; may be shared by trainers that take turns.
        rows: the institution's own; with a frozen encoder they are encoded here, once.
        training: the agreement's terms.
        threads: how many torch may use in this process.
        hardware: where and in what precision the model's layers compute.
        examples: the rows as `classifier.prepare` returned them, where they are at hand.
        units: what is drawn and clipped as a whole; each row by itself if left out.
    """

    def __init__(
        self,
        classifier: Classifier,
        rows: Rows | WordRows,
        training: Training,
        *,
        threads: int,
        hardware: Hardware = PLAIN,
        examples: Examples | None = None,
        units: Units | None = None,
    ) -> None:
        torch.set_num_threads(threads)
        hardware.move(classifier)
        self._hardware = hardware
        self._classifier = classifier
        self._training = training
        self._examples = examples or classifier.prepare(rows.texts)
        self._targets = self._examples.targets(rows.labels)
        self._units = units or Units.of_records(len(rows))
        self._sampler = PoissonSampler(len(self._units), training.sampling_probability)
        self._noise = GaussianNoise(float(training.noise_multiplier * training.clip_norm))

    @property
    def noise_vectors_drawn(self) -> int:
        """How many vectors of noise were drawn so far: one for each step ever begun."""
        return self._noise.vectors_drawn

    def train(
        self, start: Vector, adam: AdamMoments | None, on_step: OnStep
    ) -> tuple[Vector, AdamMoments]:
        """Take the agreement's number of noisy steps from the global model.

        Args:
            start: the global parameters, shape (d,), float32.
            adam: the moments after the last round; None in the first.
            on_step: told after each step how many are done and how many there are.

        Returns:
            the delta, shape (d,), float32, and the moments to keep for the next round.
        """
        training, classifier = self._training, self._classifier
        classifier.load(start)
        live = classifier.live
        parameters = start.copy() if live is None else live
        moments = adam.copy() if adam else AdamMoments.zero(start.size)
        with clipping(classifier, float(training.clip_norm), self._hardware) as clipped_sum:
            for done in range(1, training.local_steps + 1):
                gradient = self._noisy_mean(clipped_sum)
                moments = moments.advance(parameters, gradient, float(training.learning_rate))
                del gradient  # as large as all else of a step
                if live is None:
                    classifier.load(parameters)
                on_step(done, training.local_steps)
        return parameters - start, moments

    def _noisy_mean(self, clipped_sum: ClippedSum) -> npt.NDArray[np.float64]:
        """Take the step's noised sum over the agreement's divisor: shape (d,), float64."""
        total = sum_over_units(
            clipped_sum, self._examples, self._targets, self._units, self._sampler.draw()
        )
        self._noise.add(total)
        total /= float(self._training.divisor)
        return total
