"""Parties whose keys are known, what they agreed, and how they cosign a head.

Five institutions in five countries and an operator. Two agreements came into force: one counted by
a Rényi filter, with scores on private rows, and one with a fixed schedule that goes on from it. A
third was offered and refused. All of it follows from a seed, but for ML-DSA, which signs with
randomness of its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from hashlib import sha512
from typing import NamedTuple

from comity_common.agreement import Agreement, Continuation, Privacy, PublicIdentity
from comity_common.canonical import encode
from comity_common.crypto.sign import Purpose, SigningKeys
from comity_common.dp.accountant import calibrate
from comity_common.dp.terms import Gate
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import agreement_of
from comity_common.ledger.entries import Entry
from comity_common.ledger.keys import LedgerKeys
from comity_common.ledger.notes import NoteSignature
from comity_common.ledger.package import AuditPackage, Signatures
from comity_common.ledger.tree import Tree
from comity_common.ledger.witness import cosign, head_note, request_head, witness_lines
from comity_common.mechanisms import schedule_events
from tests.simulation.federation import make_agreement

COUNTRIES = {"bank": "DE", "clinic": "BR", "insurer": "CN", "lab": "SG", "union": "FR"}
OPERATOR = InstitutionId("operator")
ROUNDS, SPARE = 4, 4
WITNESSED = 1_790_000_000  # POSIX seconds


class Drawn(NamedTuple):
    """An institution whose keys were drawn somewhere else."""

    id: InstitutionId
    keys: SigningKeys
    identity: PublicIdentity


@dataclass(frozen=True)
class Federation:
    """Parties and agreements, made from a seed.

    Attributes:
        rounds: of the first agreement; as many spare ones, up to 300.
        drawn: institutions with other keys than those that follow from the seed.
    """

    seed: int = 0
    rounds: int = ROUNDS
    drawn: tuple[Drawn, ...] = ()

    @cached_property
    def keys(self) -> dict[InstitutionId, SigningKeys]:
        """The institutions' keys."""
        made = {InstitutionId(id): self._keys(id) for id in COUNTRIES}
        return made | {one.id: one.keys for one in self.drawn}

    @cached_property
    def operator(self) -> SigningKeys:
        """The operator's keys."""
        return self._keys(OPERATOR)

    def _keys(self, id: str) -> SigningKeys:
        return SigningKeys.from_bytes(sha512(f"{self.seed} {id}".encode()).digest())

    def ledger_keys(self, id: InstitutionId) -> LedgerKeys:
        """Return the keys of an institution's or the operator's ledger."""
        keys = self.operator if id == OPERATOR else self.keys[id]
        return LedgerKeys.derive(keys.to_bytes())

    @cached_property
    def first(self) -> Agreement:
        """Counted by a Rényi filter; a score after the second round."""
        draft = make_agreement(
            self.keys,
            self.operator,
            rounds=self.rounds,
            spare_rounds=min(self.rounds, 300),
            scored_after=(2,),
        )
        assert draft.private_evaluation is not None
        scores = replace(draft.private_evaluation, noise_multiplier=Decimal(12))
        return _calibrated(self._at_home(replace(draft, private_evaluation=scores)))

    @cached_property
    def second(self) -> Agreement:
        """A fixed schedule, which goes on with the first's model."""
        privacy = Privacy(
            unit=self.first.privacy.unit,
            rows_per_unit=1,
            adjacency="add-remove",
            noise=self.first.privacy.noise,
            gate=Gate.FIXED_SCHEDULE,
            order=0,
            epsilon=Decimal(2),
            delta=Decimal("0.000001"),
        )
        begun = Continuation(
            agreement=self.first.digest, certificate=Digest("c" * 64), certified=self.rounds
        )
        draft = make_agreement(self.keys, self.operator, rounds=ROUNDS, spare_rounds=SPARE)
        draft = replace(draft, continues=begun, privacy=privacy, nonce=b"second".ljust(16))
        return _calibrated(self._at_home(draft))

    @cached_property
    def refused(self) -> Agreement:
        """Offered by the operator, and never signed."""
        return replace(self.first, purpose="something else", nonce=b"refused".ljust(16))

    def _at_home(self, draft: Agreement) -> Agreement:
        identities = {one.id: one.identity for one in self.drawn}
        return replace(
            draft,
            operator=replace(draft.operator, jurisdiction="CH"),
            institutions=tuple(
                replace(
                    one,
                    jurisdiction=COUNTRIES[one.id],
                    identity=identities.get(one.id, one.identity),
                )
                for one in draft.institutions
            ),
        )

    @cached_property
    def agreements(self) -> dict[Digest, Agreement]:
        """All that there are, by digest."""
        return {one.digest: one for one in (self.first, self.second, self.refused)}

    @cached_property
    def signatures(self) -> dict[Digest, Signatures]:
        """All signed two of them; whoever refused the third was told of no signature."""
        return {
            self.first.digest: self.signed_by_all(self.first),
            self.second.digest: self.signed_by_all(self.second),
            self.refused.digest: Signatures(given=()),
        }

    @cached_property
    def proposal(self) -> Signatures:
        """The operator's own signature under what nobody else signed."""
        raw = encode(self.refused)
        return Signatures.of({OPERATOR: self.operator.sign(Purpose.AGREEMENT, raw).signature})

    def signed_by_all(self, agreement: Agreement) -> Signatures:
        """Let everybody sign an agreement."""
        raw, everybody = encode(agreement), {OPERATOR: self.operator, **self.keys}
        return Signatures.of(
            {id: keys.sign(Purpose.AGREEMENT, raw).signature for id, keys in everybody.items()}
        )

    def others(self, owner: InstitutionId) -> list[InstitutionId]:
        """Return who may cosign somebody's head."""
        return [id for id in self.keys if id != owner]

    def head(
        self,
        entries: Sequence[Entry],
        raw: Iterable[bytes],
        witnesses: Iterable[InstitutionId] | None = None,
    ) -> bytes:
        """Write the head of a ledger, signed by its owner and cosigned.

        Args:
            witnesses: who cosigns; None for all other institutions. They do it one after the other.
        """
        owner, tree = entries[-1].institution, Tree(raw)
        keys = self.ledger_keys(owner)
        generation = entries[-1].generation
        request = request_head(self.first.digest, owner, generation, tree, (), keys.head)
        lines: list[NoteSignature] = []
        for delay, id in enumerate(self.others(owner) if witnesses is None else witnesses):
            witness = self.ledger_keys(id)
            cosignature = cosign(request, id, witness, WITNESSED + len(tree) + delay)
            lines += witness_lines(cosignature, witness.public())
        return head_note(request.head, keys.head, lines)

    def package(self, entries: Sequence[Entry], raw: Sequence[bytes], head: bytes) -> AuditPackage:
        """Put together what an auditor is given: a head and every agreement that is named."""
        named = {agreement_of(entry.body) for entry in entries} & self.agreements.keys()
        signatures = {digest: self.signatures[digest] for digest in named}
        if entries[0].institution == OPERATOR and self.refused.digest in named:
            signatures[self.refused.digest] = self.proposal
        return AuditPackage(
            entries=tuple(raw),
            head=head,
            agreements={digest: encode(self.agreements[digest]) for digest in named},
            signatures=signatures,
        )


def _calibrated(draft: Agreement) -> Agreement:
    """Put in the noise with which all rounds, spare ones and scores too, keep the guarantee."""
    privacy, training = draft.privacy, draft.training
    noise, order = calibrate(
        training.sampling_probability,
        training.local_steps * draft.schedule.attempts,
        privacy.epsilon,
        privacy.delta,
        beside=schedule_events(draft)[1:],
    )
    return replace(
        draft,
        training=replace(training, noise_multiplier=noise),
        privacy=replace(privacy, order=order if privacy.gate is Gate.RENYI else 0),
    )
