"""Four institutions and a scripted operator; three of them live here, and the fourth is killed.

The three are real vaults too. They cosign what the victim asks them to at any time, and take part
in a round when the victim has uploaded into it, or when it goes on without the victim. The
operator is not patient: it lets rounds expire, overtakes them, and repeats itself.

    world = World(path, terms_on(base))
    world.answer(Call("next", (0,)))   # what the victim asks over its line
"""

import gc
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from comity.v1 import transfer_pb2 as pb
from comity_client.rounds import StoredUpload
from comity_client.uplink import Delivery
from comity_common.agreement import Agreement
from comity_common.canonical import decode
from comity_common.crypto.derive import digest
from comity_common.crypto.sign import Signed
from comity_common.errors import PeerError
from comity_common.ids import Digest
from comity_common.optimizer import ModelState, first_state, state_digest
from comity_common.secagg.messages import Header, Reveal
from comity_common.secagg.participant import list_digest
from comity_common.secagg.plan import plan_digest
from comity_common.secagg.round import Stage
from tests.kill.line import Answer, Call
from tests.simulation.operator import Line
from tests.simulation.test_vaults import Federation
from tests.tiny_bert import save_tiny_bert

LABELS = ("card", "loan", "fraud")
WORDS = ("my", "card", "loan", "money", "was", "lost", "stolen", "please", "help", "the", "bank")
TEXTS = ("my card was lost", "please help", "the loan", "my money was stolen", "the bank", "loan")
ROWS = "".join(
    json.dumps({"text": text, "label": LABELS[k % 3]}) + "\n" for k, text in enumerate(TEXTS * 4)
)
STEPS = 2  # of a round
SCHEDULE = {"rounds": 30, "spare": 30}  # a ledger of some 500 entries at its end
GOES_ON = 0.3  # the share of rounds that end without a victim that is away
OVERTAKEN = 0.7  # the share of rounds without the victim's upload that are never ended
EXPIRED = 0.3  # the share of the others of them that nobody uploads into

Terms = Callable[[Agreement], tuple[Agreement, ModelState]]


class World(Federation):
    """One agreement, and what is known of the victim from outside.

    Attributes:
        noise: by round, how many vectors of noise the victim was about to draw.
        uploads, reveals: by round, the digests of all that it ever sent.
    """

    def __init__(self, path: Path, terms: Terms, chance: random.Random, **schedule: int) -> None:
        super().__init__(path, n=4, terms=terms, rows=lambda _: ROWS, **(SCHEDULE | schedule))
        self.set_up_keys()
        self.me = self.agreement.roster[0]
        victim = self.seats.pop(self.me)
        victim.inst.store.reading().close()
        self.home = victim.path
        del victim
        gc.collect()  # what founded the victim closes its connection; from now on others open it
        self.others = list(self.seats)
        self._line = Line(self.operator, self.me)
        self._chance = chance
        self._heard: list[Delivery] = []
        self.operator.ears[self.me] = self._heard.append
        self.noise: Counter[int] = Counter()
        self.uploads: dict[int, set[bytes]] = defaultdict(set)
        self.reveals: dict[int, set[bytes]] = defaultdict(set)
        self._asked = False  # whether this life of the victim was offered the round at hand
        self._rounds: dict[Digest, int] = {}  # by plan
        self._lists: dict[Digest, int] = {}  # rounds, by survivor list

    @property
    def is_used_up(self) -> bool:
        """Whether hardly a round is left under the agreement."""
        schedule, operator = self.agreement.schedule, self.operator
        return operator.round + 4 > schedule.attempts or self.certified + 4 > schedule.rounds

    @property
    def certified(self) -> int:
        """How many rounds changed the model."""
        return len(self.operator.totals)

    def wake(self) -> None:
        """Let the victim live again."""
        self._asked = False
        if self.operator.collector is not None and self._chance.random() < GOES_ON:
            self._end()

    def close(self) -> None:
        """Close what the others have open."""
        for seat in self.seats.values():
            seat.inst.store.reading().close()

    def answer(self, call: Call) -> Answer:
        """Answer one call of the victim."""
        try:
            value, refused = getattr(self, f"_on_{call.name}")(*call.words), False
        except PeerError as error:
            value, refused = str(error), True
        heard = tuple(self._heard)
        self._heard.clear()
        return Answer(value, refused, heard)

    def _on_boundary(self, name: str, round: int) -> None:
        """Pass."""

    def _on_noise(self, round: int) -> None:
        self.noise[round] += 1

    def _on_fetch_plan(self, agreement: Digest, plan: Digest) -> Signed:
        return self._line.fetch_plan(agreement, plan)

    def _on_fetch_total(self, agreement: Digest, round: int, size: int) -> bytearray:
        return self._line.fetch_total(agreement, round, size)

    def _on_upload(self, agreement: Digest, stored: StoredUpload, vector: bytes) -> Signed:
        plan = decode(Header, stored.header).plan
        sent = digest("kill-upload", stored.header, stored.upload, *stored.boxes, vector)
        self.uploads[self._rounds[plan]].add(sent)
        if plan != plan_digest(self.operator.plan):
            raise PeerError("expected an upload into the round that is open")
        return self._line.take(stored, vector)

    def _on_send(self, agreement: Digest, kind: int, message: Signed) -> None:
        if kind == pb.PARCEL_KIND_REVEAL:
            self.reveals[self._lists[decode(Reveal, message.body).survivors]].add(message.body)
        self._line.send(agreement, kind, message)

    def _on_next(self, cursor: int) -> tuple[tuple[Digest, int, Digest], list[Delivery]]:
        """Take the round as far as it goes, and tell the victim what is new to it."""
        if self.operator.collector is None:
            self._begin()
        elif self._asked:
            self._go_on()
        self._asked = True
        plan = self.operator.plan
        mail = [one for one in self.operator.mail[self.me] if one.sequence > cursor]
        return (self.agreement.digest, plan.round, plan_digest(plan)), mail

    def _go_on(self) -> None:
        """Let the next thing happen in the round that the victim can do no more in."""
        collector = self.operator.collector
        if collector.stage is Stage.COLLECTING and self.me in collector.uploads:
            self._let_others_upload()
            if collector.stage is Stage.REVEALING:
                self._ask_reveals()
        elif collector.stage is Stage.COLLECTING and self._chance.random() < OVERTAKEN:
            self._begin()
        else:
            self._end()

    def _end(self) -> None:
        """Bring the round to its end with whoever is here, and begin the next."""
        if self.operator.collector.stage is Stage.COLLECTING and self._chance.random() < EXPIRED:
            self.operator.collector.expire()  # void: hardly anybody took part
        self._let_others_upload()
        if self.operator.collector.stage is Stage.REVEALING:
            self._ask_reveals()
        self.finish(self.others)
        self._begin()

    def _let_others_upload(self) -> None:
        collector = self.operator.collector
        if collector.stage is Stage.COLLECTING:
            self.order(self.operator.plan, self.others)
            self._let_others_work()
        if collector.stage is Stage.COLLECTING:
            collector.expire()

    def _ask_reveals(self) -> None:
        self._lists[list_digest(self.operator.collector.survivors)] = self.operator.round
        self.operator.ask_reveals()
        self._let_others_work()

    def _let_others_work(self) -> None:
        for seat in self.seats.values():
            seat.work()

    def _begin(self) -> None:
        plan = self.operator.begin_round(list(self.agreement.roster))
        self._rounds[plan_digest(plan)] = plan.round


def terms_on(base: Path) -> Terms:
    """Return terms under which a head on a tiny BERT is trained.

    The noise is what `calibrate` finds for all rounds of the schedule, spare ones too, at ε = 8:
    the budget lasts as long as the agreement.
    """
    from comity_client.model.base import base_digest
    from comity_client.model.build import build_agreed

    if not base.exists():
        save_tiny_bert(base, WORDS, hidden=16, positions=64, seed=5)

    def terms(draft: Agreement) -> tuple[Agreement, ModelState]:
        task = replace(draft.task, labels=LABELS)
        model = replace(draft.model, name=str(base), base=base_digest(base))
        training = replace(draft.training, local_steps=STEPS, sampling_probability=Decimal("0.2"))
        agreed = replace(draft, task=task, model=model, training=training)
        state = first_state(build_agreed(agreed).initial_vector(), draft.aggregation)
        model = replace(model, parameters=state.parameters.size, initial_state=state_digest(state))
        return replace(agreed, model=model), state

    return terms
