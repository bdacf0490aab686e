"""A whole federation in memory: one operator and n institutions, on the real sans-io core.

The simulator speaks the same functions as the daemons. Change the world in one line, run, look.
"""

import os
import random
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import numpy as np

from comity_common.agreement import (
    VERSION,
    Aggregation,
    Agreement,
    Gate,
    Model,
    ModelOptimizer,
    Noise,
    Party,
    Pooling,
    Privacy,
    PrivateEvaluation,
    PublicIdentity,
    Schedule,
    Task,
    TaskKind,
    Training,
    Unit,
)
from comity_common.canonical import encode
from comity_common.crypto.seal import SealingKey
from comity_common.crypto.sign import Purpose, Signed, SigningKeys
from comity_common.fixedpoint import signed
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.collector import Collector
from comity_common.secagg.keyepoch import (
    PairChain,
    make_halves,
    pair_chains,
    read_halves,
    read_keys,
    view_digest,
)
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.masking import sections
from comity_common.secagg.messages import EpochKey, EpochOpen, EpochView, Plan, Survivors
from comity_common.secagg.participant import answer
from comity_common.secagg.plan import make_plan, plan_digest
from comity_common.secagg.round import Stage
from comity_common.tuning import Tune

from .wholevector import Whole, deal


def make_agreement(
    keys: dict[InstitutionId, SigningKeys],
    operator: SigningKeys,
    *,
    lanes: int = 50,
    collusion: int = 1,
    minimum: int | None = None,
    rounds: int = 3,
    spare_rounds: int = 2,
    ring_width: int = 32,
    scored_after: tuple[int, ...] = (),
    spare_scores: int = 1,
    score_units: int = 100,
) -> Agreement:
    """Write an agreement among these keys."""

    def party(id: str, signing: SigningKeys) -> Party:
        identity = PublicIdentity.of(signing, bytes(32))
        return Party(id=InstitutionId(id), name=id, jurisdiction="DE", identity=identity)

    return Agreement(
        version=VERSION,
        federation="simulated",
        purpose="testing",
        nonce=bytes(16),
        continues=None,
        operator=party("operator", operator),
        institutions=tuple(party(id, keys[id]) for id in sorted(keys)),
        task=Task(kind=TaskKind.SEQUENCE_CLASSIFICATION, labels=("a", "b"), max_tokens=16),
        model=Model(
            name="none",
            base=Digest("0" * 64),
            pooling=Pooling.MEAN,
            tune=Tune.HEAD,
            lora_rank=0,
            lora_alpha=0,
            seed=bytes(32),
            parameters=lanes,
            initial_state=Digest("1" * 64),
        ),
        evaluation_set=Digest("2" * 64),
        private_evaluation=(
            scores(scored_after, spare_scores, score_units) if scored_after else None
        ),
        training=Training(
            learning_rate=Decimal("0.01"),
            local_steps=5,
            sampling_probability=Decimal("0.1"),
            clip_norm=Decimal(1),
            noise_multiplier=Decimal("1.5"),
            divisor=Decimal(100),
        ),
        privacy=Privacy(
            unit=Unit.RECORD,
            rows_per_unit=1,
            adjacency="add-remove",
            noise=Noise.FULL,
            gate=Gate.RENYI,
            order=8,
            epsilon=Decimal(8),
            delta=Decimal("0.00001"),
        ),
        aggregation=Aggregation(
            collusion=collusion,
            min_participants=minimum or max(3, -(-2 * len(keys) // 3)),
            ring_width=ring_width,
            range=Decimal(1),
            optimizer=ModelOptimizer.FEDAVG,
            learning_rate=Decimal(1),
            momentum=Decimal(0),
        ),
        schedule=Schedule(rounds=rounds, spare_rounds=spare_rounds, expires="2099-12-31"),
    )


def scores(after: tuple[int, ...], spare: int = 1, units: int = 100) -> PrivateEvaluation:
    """Write terms of scores with so little noise that those of a few vaults can be read."""
    return PrivateEvaluation(
        share=Decimal("0.2"),
        after=after,
        spare=spare,
        units=units,
        noise_multiplier=Decimal("0.5"),
        loss_clip=Decimal(4),
        grid=64,
    )


def some_counts(chance: random.Random) -> list[int]:
    """Make up what a vault may count in a round of scores, noise and all."""
    return [chance.randint(800, 1600), chance.randint(100, 400), chance.randint(-50, 300)]


def promising_nothing(agreement: Agreement) -> Agreement:
    """Return the agreement without noise and without a promise, as a baseline has it."""
    nothing = replace(
        agreement.privacy,
        noise=Noise.NONE,
        gate=Gate.NONE,
        order=0,
        epsilon=Decimal(0),
        delta=Decimal(0),
    )
    silent = replace(agreement.training, noise_multiplier=Decimal(0))
    return replace(agreement, privacy=nothing, training=silent)


@dataclass
class World:
    """One operator and its institutions."""

    agreement: Agreement
    operator: SigningKeys
    keys: dict[InstitutionId, SigningKeys]
    chains: dict[InstitutionId, dict[InstitutionId, PairChain]]
    dealt: dict[InstitutionId, Whole] = field(default_factory=dict)
    clear: dict[InstitutionId, np.ndarray] = field(default_factory=dict)
    signed: dict[InstitutionId, tuple[Signed, Signed]] = field(default_factory=dict)

    @classmethod
    def of(cls, n: int, **terms: Any) -> "World":
        """Make n institutions and set up their first key epoch."""
        ids = [InstitutionId(f"inst-{k:02d}") for k in range(n)]
        keys = {id: SigningKeys.generate() for id in ids}
        operator = SigningKeys.generate()
        agreement = make_agreement(keys, operator, **terms)
        return cls(agreement, operator, keys, set_up_epoch(agreement, keys))

    def plan(
        self,
        round: int = 1,
        participants: list[InstitutionId] | None = None,
        kind: RoundKind = RoundKind.TRAIN,
    ) -> Plan:
        """Write the plan of a round."""
        return make_plan(
            self.agreement,
            epoch=1,
            round=round,
            participants=participants or self.agreement.roster,
            previous=self.agreement.digest,
            model=self.agreement.model.initial_state,
            nonce=os.urandom(16),
            kind=kind,
        )

    def deal(self, plan: Plan, who: InstitutionId, chance: random.Random) -> None:
        """Let an institution mask a random vector within ±L, or what it may have counted."""
        bound = plan.lane_bound
        if plan.kind is RoundKind.EVALUATE:
            values = np.array(some_counts(chance))
        else:
            values = np.array([chance.randint(-bound, bound) for _ in range(plan.lanes)])
        self.clear[who] = values
        named = bytes.fromhex(plan_digest(plan))
        round_keys = {
            peer: chain.turn_to(plan.round).round_key(named)
            for peer, chain in self.chains[who].items()
        }
        dealt = deal(plan, who, round_keys, values.astype(np.int64).astype(np.uint32))
        self.dealt[who] = dealt
        self.signed[who] = (
            self.keys[who].sign(Purpose.HEADER, encode(dealt.header)),
            self.keys[who].sign(Purpose.UPLOAD, encode(dealt.upload)),
        )

    def reveal(self, plan: Plan, who: InstitutionId, survivors: Survivors) -> Signed:
        """Let an institution answer a survivor list."""
        slot = plan.participants.index(who)
        reveal = answer(
            self.agreement,
            plan,
            who,
            self.dealt[who].held,
            survivors,
            [self.signed[party][0] for party in survivors.survivors],
            [self.signed[party][1] for party in survivors.survivors],
            [self.dealt[party].boxes[slot] for party in survivors.survivors],
        )
        return self.keys[who].sign(Purpose.REVEAL, encode(reveal))

    def total(self, collector: Collector) -> tuple[np.ndarray, np.ndarray]:
        """Sum the survivors' vectors and take the residue off: q as int64, and the canaries."""
        assert collector.stage is Stage.SUMMING
        assert collector.residue is not None
        assert collector.survivors is not None
        lanes, width = collector.plan.lanes, collector.plan.ring_width
        q = np.zeros(lanes + 4, np.uint32)
        z = np.zeros(1, np.uint64)
        for party in collector.survivors.survivors:
            part_q, part_z = sections(self.dealt[party].vector, lanes, width)
            q += part_q
            z += part_z
        collector.residue.masks("q").apply(q)
        collector.residue.masks("z").apply(z)
        q = signed(q, width)
        return q[:lanes].astype(np.int64), np.concatenate([q[lanes:].view(np.uint32), z])


def set_up_epoch(
    agreement: Agreement, keys: dict[InstitutionId, SigningKeys], epoch: int = 1
) -> dict[InstitutionId, dict[InstitutionId, PairChain]]:
    """Run the four messages of a key epoch among all members."""
    opened = EpochOpen(agreement=agreement.digest, epoch=epoch, members=agreement.roster)
    sealing = {id: SealingKey.generate() for id in keys}
    key_messages = [
        keys[id].sign(
            Purpose.EPOCH_KEY,
            encode(
                EpochKey(
                    agreement=agreement.digest,
                    epoch=epoch,
                    institution=id,
                    key=sealing[id].public(),
                )
            ),
        )
        for id in agreement.roster
    ]
    public = read_keys(agreement, opened, key_messages)
    own, half_messages = {}, []
    for id in agreement.roster:
        message, own[id] = make_halves(agreement, opened, id, public)
        half_messages.append(keys[id].sign(Purpose.EPOCH_HALVES, encode(message)))
    halves = read_halves(agreement, opened, half_messages)
    views = {
        EpochView(
            agreement=agreement.digest,
            epoch=epoch,
            institution=id,
            view=view_digest(opened, public, halves),
        ).view
        for id in keys
    }
    assert len(views) == 1
    return {id: pair_chains(opened, id, sealing[id], own[id], public, halves) for id in keys}
