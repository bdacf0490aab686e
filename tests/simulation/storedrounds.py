"""Rounds played at a real operator's store by simulated institutions, to be exported and audited.

`Played` keeps an operator's directory. What goes wrong in a round is said in one line:
`played.round(dropped={"inst-01"})`, or by mischief that changes what an institution dealt.
"""

import os
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from comity_common.agreement import ModelOptimizer
from comity_common.canonical import decode, encode
from comity_common.crypto.seal import close_box
from comity_common.crypto.sign import Purpose
from comity_common.errors import PeerError, RefusalCode
from comity_common.ids import InstitutionId
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.messages import CertificateBody, Decline, Endorsement, Plan
from comity_common.secagg.participant import (
    _box_key,
    box_digest,
    certificate_digest,
    header_digest,
)
from comity_common.secagg.plan import make_plan, plan_digest
from comity_common.secagg.round import Stage
from comity_server.aggregator import total_path, write_total
from comity_server.exporting import export_round
from comity_server.history import History
from comity_server.home import Home
from comity_server.mailbox import Mailbox
from comity_server.models import Models
from comity_server.operator import opened
from comity_server.rounds import Round
from comity_server.uploads import Declared, Uploads
from tests.ledger_keys import arrived

from .federation import World, set_up_epoch
from .network import Federation

Mischief = Callable[[World, Plan], None]


class Played:
    """One operator and its institutions."""

    def __init__(
        self,
        directory: Path,
        n: int = 5,
        *,
        lanes: int = 50,
        optimizer: ModelOptimizer = ModelOptimizer.FEDAVGM,
        ring_width: int = 32,
        **terms: Any,
    ) -> None:
        federation = Federation.make(
            directory, n, lanes=lanes, optimizer=optimizer, ring_width=ring_width, **terms
        )
        self.home: Home = federation.home
        self.agreement = federation.agreement
        self.signing = {id: each.signing for id, each in federation.identities.items()}
        self.keys = self.home.signing_keys()
        chains = set_up_epoch(self.agreement, self.signing)
        self.world = World(self.agreement, self.keys, self.signing, chains)
        self.store = self.home.open_store()
        self.uploads = Uploads(self.store, self.home.uploads)
        self.mailbox = Mailbox(self.store, lambda: None)
        self.history = History(self.store)
        self.models = Models(self.home.models)

    def round(
        self,
        *,
        dropped: Collection[str] = (),
        silent: Collection[str] = (),
        declining: Mapping[str, RefusalCode] = MappingProxyType({}),
        mischief: Mischief = lambda _world, _plan: None,
        before_reveals: Mischief = lambda _world, _plan: None,
        kind: RoundKind = RoundKind.TRAIN,
    ) -> CertificateBody:
        """Play one round to its end and let all who know the model endorse it."""
        head = self.history.head(self.agreement)
        plan = make_plan(
            self.agreement,
            epoch=1,
            round=head.begun + 1,
            participants=self.agreement.roster,
            previous=head.previous,
            model=head.model,
            nonce=os.urandom(16),
            kind=kind,
        )
        for who in plan.participants:
            self.world.deal(plan, who, random.Random(f"{plan.round} {who}"))
        mischief(self.world, plan)
        round = Round.begin(self.store, self.uploads, self.keys, self.agreement, plan)
        for who, code in declining.items():
            self._decline(round, who, code)
        for who in plan.participants:
            if who not in (*dropped, *declining):
                self._upload(round, who)
        if round.stage is Stage.COLLECTING:
            round.expire()
        if round.stage is Stage.REVEALING:
            before_reveals(self.world, plan)
            round.list_survivors(self.mailbox, self.keys)
            listed = round.collector.survivors
            for who in listed.survivors:
                if who not in silent and round.stage is Stage.REVEALING:
                    round.reveal(who, self.world.reveal(plan, who, listed))
            if round.stage is Stage.REVEALING:
                round.expire()
        self._end(round)
        return decode(CertificateBody, round.certificate.body)

    def export(self, number: int, directory: Path) -> Path:
        """Write a stored round."""
        with opened(self.home.path) as operator:
            export_round(operator, self.agreement, number, directory)
        return directory

    def _upload(self, round: Round, who: InstitutionId) -> None:
        header, upload = self.world.signed[who]
        dealt = self.world.dealt[who]
        name = header_digest(dealt.header)
        self.uploads.begin(
            Declared(
                header=header.body,
                header_signature=header.signature,
                upload=upload.body,
                upload_signature=upload.signature,
                boxes=dealt.boxes,
                leaves=dealt.leaves,
            )
        )
        step = 1 << 20
        pieces = [(k, bytes(dealt.vector[k : k + step])) for k in range(0, len(dealt.vector), step)]
        self.uploads.put(name, who, pieces)
        self.uploads.finish(name, who, arrived(who))
        round.upload(who, name)

    def _decline(self, round: Round, who: InstitutionId, code: RefusalCode) -> None:
        message = Decline(
            agreement=self.agreement.digest,
            round=round.plan.round,
            plan=round.digest,
            institution=who,
            code=code,
        )
        round.decline(who, self.signing[who].sign(Purpose.DECLINE, encode(message)))

    def _end(self, round: Round) -> None:
        collector, plan = round.collector, round.plan
        root, model = b"", plan.model
        if round.stage is Stage.SUMMING:
            vectors = [self.uploads.path(header) for header in collector.survivors.headers]
            total = total_path(self.home.totals, self.agreement.digest, plan.round)
            try:
                root = write_total(plan, vectors, collector.residue, total)
                if plan.kind is RoundKind.TRAIN:
                    model = self.models.advance(self.agreement, plan, len(vectors), total)
                collector.summed()
            except PeerError as error:
                collector.fail(str(error))
        body = collector.certificate(root)
        round.end(self.mailbox, self.keys, body, model)
        for who in self.agreement.roster:
            endorsement = Endorsement(
                agreement=self.agreement.digest,
                epoch=plan.epoch,
                round=plan.round,
                institution=who,
                certificate=certificate_digest(body),
                model=model,
            )
            signed = self.signing[who].sign(Purpose.ENDORSEMENT, encode(endorsement))
            self.history.endorse(self.agreement, who, signed)


def deals_a_false_share(dealer: str, *helpers: str, key_digest: bytes | None = None) -> Mischief:
    """Let an institution put other shares into helpers' boxes than those it promised.

    Args:
        key_digest: what it signs as the digest of these boxes' keys; None for the true ones.
    """

    def mischief(world: World, plan: Plan) -> None:
        dealt, named = world.dealt[dealer], bytes.fromhex(plan_digest(plan))
        name = header_digest(dealt.header)
        boxes, keys = list(dealt.boxes), list(dealt.upload.keys)
        for helper in helpers:
            slot = plan.participants.index(helper)
            chain = world.chains[dealer][helper].turn_to(plan.round)
            key = _box_key(chain.round_key(named), dealer, helper, name)
            boxes[slot] = close_box(key, bytes(32 * len(plan.participants)), bytes.fromhex(name))
            keys[slot] = keys[slot] if key_digest is None else key_digest
        upload = replace(
            dealt.upload, boxes=tuple(box_digest(box) for box in boxes), keys=tuple(keys)
        )
        world.dealt[dealer] = replace(dealt, boxes=tuple(boxes), upload=upload)
        signed = world.keys[dealer].sign(Purpose.UPLOAD, encode(upload))
        world.signed[dealer] = (world.signed[dealer][0], signed)

    return mischief


def commits_to_another_seed(who: str, peer: str) -> Mischief:
    """Let an institution commit to a pair seed that its peer does not have."""

    def mischief(world: World, plan: Plan) -> None:
        slot, dealt = plan.participants.index(peer), world.dealt[who]
        commitments = list(dealt.header.commitments)
        commitments[slot] = bytes(32)
        header = replace(dealt.header, commitments=tuple(commitments))
        upload = replace(dealt.upload, header=header_digest(header))
        world.dealt[who] = replace(dealt, header=header, upload=upload)
        world.signed[who] = (
            world.keys[who].sign(Purpose.HEADER, encode(header)),
            world.keys[who].sign(Purpose.UPLOAD, encode(upload)),
        )

    return mischief
