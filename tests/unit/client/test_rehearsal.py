"""A rehearsal takes real steps on the real rows, and leaves everything as it was."""

import json
import sqlite3
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest
from tests.commands import comity
from tests.simulation.federation import make_agreement
from tests.unit.client.conftest import LABELS, TEXTS

from comity_client.compute import Compute
from comity_client.config import VaultConfig
from comity_client.datasets import Source
from comity_client.institution import Institution
from comity_client.rehearsal import rehearse
from comity_common.agreement import Agreement, TaskKind
from comity_common.canonical import encode
from comity_common.crypto.sign import Purpose, SigningKeys
from comity_common.dp.terms import Guarantee
from comity_common.errors import LocalError, Problem
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import DatasetId
from comity_common.optimizer import first_state, state_digest
from comity_common.secagg.masking import vector_bytes
from comity_common.tuning import Tune

IDS = [InstitutionId(f"inst-0{k}") for k in range(3)]


@dataclass
class Place:
    """An institution, its rows, and an operator that proposes agreements."""

    inst: Institution
    rows: Path
    base: Path
    keys: dict[InstitutionId, SigningKeys]
    operator: SigningKeys

    def write(
        self,
        tune: Tune = Tune.HEAD,
        name: str = "northern-banks",
        kind: TaskKind = TaskKind.SEQUENCE_CLASSIFICATION,
    ) -> Agreement:
        from comity_client.model.base import base_digest
        from comity_client.model.build import build

        draft = make_agreement(self.keys, self.operator)
        task = replace(draft.task, kind=kind, labels=LABELS, max_tokens=24)
        model = replace(
            draft.model, name=str(self.base), base=base_digest(self.base), tune=tune,
            lora_rank=2, lora_alpha=4,
        )  # fmt: skip
        classifier = build(
            self.base, task, pooling=model.pooling, tune=tune, lora_rank=2, lora_alpha=4,
            seed=model.seed,
        )  # fmt: skip
        state = first_state(classifier.initial_vector(), draft.aggregation)
        model = replace(model, parameters=state.parameters.size, initial_state=state_digest(state))
        first, *others = draft.institutions
        return replace(
            draft,
            federation=name,
            institutions=(replace(first, identity=self.inst.keys.identity), *others),
            task=task,
            model=model,
            training=replace(draft.training, local_steps=40, sampling_probability=Decimal("0.5")),
        )

    def offer(self, agreement: Agreement) -> None:
        raw = encode(agreement)
        signature = self.operator.sign(Purpose.AGREEMENT, raw).signature
        self.inst.agreements.offer(raw, signature, agreement.operator)


@pytest.fixture
def place(tmp_path: Path, tiny_base: Path) -> Place:
    settings = VaultConfig(id=IDS[0], name="A", jurisdiction="DE", server="127.0.0.1:1")
    inst = Institution.create(tmp_path / "home", settings)
    rows = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": text, "label": LABELS[k % 3]}) for k, text in enumerate(TEXTS * 3)]
    rows.write_text("\n".join(lines) + "\n")
    keys = {id: SigningKeys.generate() for id in IDS} | {IDS[0]: inst.keys.signing}
    return Place(inst, rows, tiny_base, keys, SigningKeys.generate())


def contents(home: Path) -> dict[str, bytes]:
    """Read every file of a home, the database as its rows."""
    found = {
        str(path.relative_to(home)): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and not path.name.startswith("vault.db")
    }
    with sqlite3.connect(home / "vault.db") as connection:
        found["vault.db"] = "\n".join(connection.iterdump()).encode()
    return found


@pytest.mark.parametrize("tune", [Tune.HEAD, Tune.LORA])
def test_words_are_trained_on_as_texts_are(place: Place, tune: Tune) -> None:
    agreement = place.write(tune, kind=TaskKind.TOKEN_CLASSIFICATION)
    words = [text.split() for text in TEXTS * 3]
    rows = [{"tokens": w, "tags": [LABELS[len(x) % 3] for x in w]} for w in words]
    with pytest.raises(Problem, match="expected the column tokens"):
        rehearse(place.inst, agreement, Source(path=place.rows), lambda _: None)
    place.rows.write_text("".join(json.dumps(row) + "\n" for row in rows))
    measured = rehearse(place.inst, agreement, Source(path=place.rows), lambda _: None)
    assert measured.parameters == agreement.model.parameters

    from comity_client.workbench import Workbench

    workbench = Workbench(agreement, Source(path=place.rows), Compute())
    accuracy, macro_f1 = workbench.look(workbench.first_state.parameters)
    first = sum(len(word) % 3 == 0 for row in words for word in row)
    assert accuracy <= first / sum(map(len, words)) + 1e-9  # all zeros name the first label
    assert 0 <= macro_f1 <= 1


@pytest.mark.parametrize("tune", Tune)
def test_steps_are_taken_and_everything_stays_as_it_was(place: Place, tune: Tune) -> None:
    agreement = place.write(tune)
    before = contents(place.inst.home.path)
    phases: list[str] = []
    measured = rehearse(place.inst, agreement, Source(path=place.rows), phases.append)
    assert contents(place.inst.home.path) == before
    steps = [f"trained step {k} of 3" for k in (1, 2, 3)]
    assert phases == ["loading the model and the rows", "training", *steps, "masking"]
    assert (measured.steps, measured.attempts, measured.institutions) == (40, 5, 3)
    assert measured.parameters == agreement.model.parameters
    for measure in (measured.load_seconds, measured.step_seconds, measured.mask_seconds):
        assert 0 < measure < 60
    assert measured.round_seconds == pytest.approx(
        40 * measured.step_seconds + measured.mask_seconds
    )
    assert measured.memory_bytes > 50e6  # this process holds torch


def test_the_bytes_are_those_of_a_real_upload(place: Place) -> None:
    agreement = place.write()
    measured = rehearse(place.inst, agreement, Source(path=place.rows), lambda phase: None)
    vector = vector_bytes(agreement.model.parameters, agreement.aggregation.ring_width)
    boxes = measured.upload_bytes - vector
    assert 500 < boxes < 5000  # header, commitments and shares for three institutions
    assert measured.schedule_bytes == 5 * measured.upload_bytes
    assert measured.disk_needed_bytes > vector


def test_a_model_that_is_not_the_agreements_is_told(place: Place) -> None:
    agreement = place.write()
    other = replace(agreement, model=replace(agreement.model, base=Digest("e" * 64)))
    missing = replace(agreement, model=replace(agreement.model, name="/no/such/model"))
    for changed, why in ((other, "digest"), (missing, "expected a directory")):
        with pytest.raises(Problem, match=why) as problem:
            rehearse(place.inst, changed, Source(path=place.rows), lambda phase: None)
        assert problem.value.code == "COM-MODEL-006"


def test_a_label_that_the_agreement_has_not_is_told_with_its_line(place: Place) -> None:
    agreement = place.write()
    place.rows.write_text(place.rows.read_text() + '{"text": "hello", "label": "savings"}\n')
    with pytest.raises(LocalError, match=r"rows\.jsonl line 22") as told:
        rehearse(place.inst, agreement, Source(path=place.rows), lambda phase: None)
    assert "savings" not in str(told.value)
    assert "hello" not in str(told.value)


def test_too_little_disk_is_told_before_anything_is_loaded(place: Place) -> None:
    huge = replace(place.write(), model=replace(place.write().model, parameters=2**52))
    phases: list[str] = []
    with pytest.raises(Problem) as problem:
        rehearse(place.inst, huge, Source(path=place.rows), phases.append)
    assert problem.value.code == "COM-REHEARSE-003"
    assert phases == []


# The command


@pytest.fixture
def registered(place: Place) -> Place:
    register(place, "messages", place.rows)
    return place


def register(place: Place, name: str, file: Path) -> DatasetId:
    ceiling = Guarantee(epsilon=Decimal(8), delta=Decimal("0.00001"))
    task = TaskKind.SEQUENCE_CLASSIFICATION
    return place.inst.data.register(file, name=name, task=task, ceiling=ceiling)


def test_people_read_what_a_round_takes(registered: Place) -> None:
    home = registered.inst.home.path
    registered.offer(registered.write())
    before = contents(home)
    outcome = comity("client", "rehearse", "--home", home)
    assert outcome.exit_code == 0, outcome.error
    assert contents(home) == before
    assert outcome.output.startswith("northern-banks works on this machine")
    for words in ("40 steps, and masks for 3 institutions", "in all 5 rounds at most", "no budget"):
        assert words in outcome.output
    assert outcome.error.splitlines()[0] == "loading the model and the rows"


def test_scripts_read_the_numbers(registered: Place) -> None:
    agreement = registered.write()
    registered.offer(agreement)
    data = comity("client", "rehearse", "--home", registered.inst.home.path, "--json").data
    assert data["agreement"] == agreement.digest
    assert data["parameters"] == agreement.model.parameters
    assert data["schedule_bytes"] == 5 * data["upload_bytes"]
    assert data["round_seconds"] > data["step_seconds"] > 0


def test_the_newest_agreement_is_rehearsed_unless_another_is_named(registered: Place) -> None:
    home = registered.inst.home.path
    for name in ("first", "second", "third"):
        registered.offer(registered.write(name=name))
    third = registered.inst.agreements.find("third").agreement
    with registered.inst.store.transaction() as tx:
        registered.inst.agreements.refuse(tx, third.digest)
    assert comity("client", "rehearse", "--home", home, "--json").data["federation"] == "second"
    first = registered.inst.agreements.find("first").agreement
    for name in ("first", first.digest[:12]):
        words = ("--agreement", name, "--home", home, "--json")
        assert comity("client", "rehearse", *words).data["agreement"] == first.digest
    words = ("--agreement", "nobody", "--home", home, "--json")
    assert comity("client", "rehearse", *words).envelope["error"]["code"] == "COM-AGREE-001"


def test_the_data_set_is_the_only_one_or_the_named_one(registered: Place, tmp_path: Path) -> None:
    home = registered.inst.home.path
    registered.offer(registered.write())
    others = tmp_path / "others.jsonl"
    others.write_text(registered.rows.read_text() * 2)
    dataset = register(registered, "others", others)
    several = comity("client", "rehearse", "--home", home, "--json").envelope["error"]
    assert several["code"] == "COM-REHEARSE-004"
    data = comity("client", "rehearse", "others", "--home", home, "--json").data
    assert data["dataset"] == dataset
    registered.inst.data.remove("messages")
    assert comity("client", "rehearse", "--home", home, "--json").data["dataset"] == dataset
    registered.inst.data.remove("others")
    none = comity("client", "rehearse", "--home", home, "--json").envelope["error"]
    assert (none["code"], none["message"][:3]) == ("COM-REHEARSE-004", "no ")


def test_without_an_agreement_the_fix_is_told(registered: Place) -> None:
    outcome = comity("client", "rehearse", "--home", registered.inst.home.path, "--json")
    assert outcome.envelope["error"]["code"] == "COM-REHEARSE-001"
    assert "comity client agreement list" in outcome.envelope["error"]["fix"]


def test_rows_that_changed_are_told(registered: Place) -> None:
    registered.offer(registered.write())
    registered.rows.write_text("{}")
    outcome = comity("client", "rehearse", "--home", registered.inst.home.path)
    assert outcome.exit_code == 1
    assert "rows.jsonl" in outcome.error
    assert len(outcome.error.splitlines()) == 1
