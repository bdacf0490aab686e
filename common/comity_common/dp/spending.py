"""What one agreement may do to rows: all mechanisms that it may ever run, and what it claims."""

from dataclasses import dataclass

from comity_common.dp.terms import NON_PRIVATE, Gate, Guarantee, SampledGaussian, Unit, check_order
from comity_common.errors import LocalError
from comity_common.ids import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """The terms under which an agreement spends.

    Attributes:
        agreement: its digest.
        unit: what it protects.
        gate: the accountant that its noise was made for; `none` where it promises no privacy.
        order: α of the Rényi filter, 2 to 256; 0 for other gates.
        guarantee: what it claims for the whole schedule; None where it promises nothing.
        schedule: each mechanism that it may run, with all its steps over rounds and spare rounds
            (T_max); no two with the same sampling, noise and name.
    """

    agreement: Digest
    unit: Unit
    gate: Gate
    order: int
    guarantee: Guarantee | None
    schedule: tuple[SampledGaussian, ...]

    def __post_init__(self) -> None:
        if not self.schedule or len(set(map(mechanism_of, self.schedule))) != len(self.schedule):
            raise LocalError("expected at least one mechanism, each once")
        without = {self.guarantee is None, self.gate is Gate.NONE} | {
            event.mechanism == NON_PRIVATE for event in self.schedule
        }
        if len(without) != 1:
            raise LocalError("expected a guarantee, a gate and noise, or none of them")
        if self.gate is Gate.RENYI:
            check_order(self.order)
        elif self.order != 0:
            raise LocalError(f"expected order 0 without a Rényi filter, got {self.order}")

    def steps_of(self, event: SampledGaussian) -> int:
        """Return how many steps of a mechanism are scheduled; 0 for one that is not."""
        return sum(one.steps for one in self.schedule if mechanism_of(one) == mechanism_of(event))


def mechanism_of(event: SampledGaussian) -> tuple[object, ...]:
    """Return what one step of an event is, however many it has."""
    return event.mechanism, event.sampling_probability, event.noise_multiplier
