"""Training WITHOUT privacy, for comparison on public data only.

What a table of results is compared with: one institution alone, all rows in one place, federated
averaging without DP. Same sampler, steps, optimiser and signature as `trainer`, but no clipping
and no noise: what it returns says whatever the rows say. A vault uses it for agreements that
promise nothing: its policy refuses them unless a person has allowed them; its budget says ε = ∞.
"""

import torch

from comity_client.model.classifier import Classifier, logits
from comity_client.model.examples import Examples
from comity_client.model.losses import record_losses
from comity_client.rows import Rows, WordRows
from comity_client.training.adam import AdamMoments
from comity_client.training.sampler import PoissonSampler
from comity_client.training.trainer import OnStep
from comity_common.agreement import Training
from comity_common.vectors import Vector


class TrainerWithoutPrivacy:
    """Trains deltas that protect nobody; arguments as for `Trainer`."""

    def __init__(
        self,
        classifier: Classifier,
        rows: Rows | WordRows,
        training: Training,
        *,
        threads: int,
        examples: Examples | None = None,
    ) -> None:
        torch.set_num_threads(threads)
        self._classifier = classifier
        self._training = training
        self._examples = examples or classifier.prepare(rows.texts)
        self._targets = self._examples.targets(rows.labels)
        self._sampler = PoissonSampler(len(rows), training.sampling_probability)

    def train(
        self, start: Vector, adam: AdamMoments | None, on_step: OnStep
    ) -> tuple[Vector, AdamMoments]:
        """Take the agreement's number of plain Adam steps; arguments as for `Trainer.train`."""
        parameters = start
        moments = adam or AdamMoments.zero(start.size)
        for done in range(1, self._training.local_steps + 1):
            self._classifier.load(parameters)
            gradient = self._mean_gradient()
            parameters, moments = moments.step(
                parameters, gradient, float(self._training.learning_rate)
            )
            on_step(done, self._training.local_steps)
        return parameters - start, moments

    def _mean_gradient(self) -> Vector:
        records = self._sampler.draw()
        module, trained = self._classifier.trained_module, self._classifier.trained
        for parameter in trained.values():
            parameter.grad = torch.zeros_like(parameter)
        for batch in self._examples.batches(records):
            count = len(batch.records)
            output = logits(module, batch.inputs)[:count]
            targets = self._targets[torch.from_numpy(batch.records)]
            loss = record_losses(output, targets).sum() / len(records)
            loss.backward()  # type: ignore[no-untyped-call]
        gradients = {n: p.grad.numpy() for n, p in trained.items() if p.grad is not None}
        for parameter in trained.values():
            parameter.grad = None
        return self._classifier.layout.flatten(gradients)
