"""Signing is the one act that permits anything: exact bytes, all parties, and an end."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from tests.simulation.federation import make_agreement

from comity_client.agreements import check_expiry
from comity_client.config import VaultConfig
from comity_client.institution import Institution
from comity_client.policy import Policy
from comity_common.agreement import Agreement, TaskKind
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import ED25519_BYTES, Purpose, Signed, SigningKeys, verify
from comity_common.dp.accountant import calibrate
from comity_common.dp.terms import Guarantee
from comity_common.errors import LocalError, PeerError, Refusal, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import AgreementSign, DatasetId
from comity_common.mechanisms import schedule_event

IDS = [InstitutionId(f"inst-0{k}") for k in range(3)]


@dataclass
class Founding:
    """An agreement that all but one institution have signed."""

    inst: Institution
    dataset: DatasetId
    agreement: Agreement
    raw: bytes
    signatures: dict[InstitutionId, bytes]  # of all parties, own one included
    keys: dict[InstitutionId, SigningKeys]

    def sign(self, raw: bytes, policy: Policy | None = None) -> Signed:
        inst = self.inst
        return inst.agreements.sign(raw, inst.keys, inst.me, policy or inst.policy, self.dataset)

    def is_active(self) -> bool:
        return bool(self.inst.agreements.active())


@pytest.fixture
def founding(tmp_path: Path) -> Founding:
    settings = VaultConfig(
        id=IDS[0], name="A", jurisdiction="DE", server="127.0.0.1:1", sockets=tmp_path / "s"
    )
    inst = Institution.create(tmp_path / "home", settings)
    keys = {id: SigningKeys.generate() for id in IDS}
    keys[IDS[0]] = inst.keys.signing
    operator = SigningKeys.generate()
    draft = make_agreement(keys, operator)
    first, *others = draft.institutions
    noise, order = calibrate(
        draft.training.sampling_probability,
        draft.training.local_steps * draft.schedule.attempts,
        draft.privacy.epsilon,
        draft.privacy.delta,
    )
    agreement = replace(
        draft,
        institutions=(replace(first, identity=inst.keys.identity), *others),
        training=replace(draft.training, noise_multiplier=noise),
        privacy=replace(draft.privacy, order=order),
    )
    raw = encode(agreement)
    signatures = {id: keys[id].sign(Purpose.AGREEMENT, raw).signature for id in IDS}
    signatures[agreement.operator.id] = operator.sign(Purpose.AGREEMENT, raw).signature
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "rows", "label": "a"}\n')
    dataset = inst.data.register(
        rows,
        name="rows",
        task=TaskKind.SEQUENCE_CLASSIFICATION,
        ceiling=Guarantee(epsilon=Decimal(8), delta=Decimal("0.00001")),
    )
    inst.data.grant(dataset, order)
    return Founding(inst, dataset, agreement, raw, signatures, keys | {"operator": operator})


def test_an_agreement_that_all_have_signed_comes_into_force(founding: Founding) -> None:
    signed = founding.sign(founding.raw)
    identity = founding.inst.keys.identity
    assert verify(identity.ed25519, identity.mldsa44, Purpose.AGREEMENT, signed) == founding.raw
    assert not founding.is_active()
    founding.inst.agreements.activate(founding.raw, founding.signatures)
    standing = founding.inst.agreements.get(founding.agreement.digest)
    assert (standing.agreement, standing.dataset) == (founding.agreement, founding.dataset)
    bodies = [entry.body for entry in founding.inst.ledger.entries()]
    assert AgreementSign(agreement=founding.agreement.digest) in bodies


def test_one_changed_byte_anywhere_is_another_agreement_that_nobody_signed(
    founding: Founding,
) -> None:
    founding.sign(founding.raw)
    for position in range(0, len(founding.raw), 61):
        changed = bytearray(founding.raw)
        changed[position] ^= 1
        with pytest.raises(PeerError):
            founding.inst.agreements.activate(bytes(changed), founding.signatures)
    for appended in (founding.raw + b" ", b" " + founding.raw, founding.raw[:-1]):
        with pytest.raises(PeerError):
            founding.inst.agreements.activate(appended, founding.signatures)
    assert not founding.is_active()


def test_other_terms_that_are_well_formed_are_not_covered_by_the_signatures(
    founding: Founding,
) -> None:
    founding.sign(founding.raw)
    for other in (
        replace(founding.agreement, purpose="something else"),
        replace(founding.agreement, schedule=replace(founding.agreement.schedule, rounds=2)),
    ):
        with pytest.raises(PeerError, match="valid signature"):
            founding.inst.agreements.activate(encode(other), founding.signatures)
    assert not founding.is_active()


def test_every_party_must_have_signed(founding: Founding) -> None:
    founding.sign(founding.raw)
    for id in founding.signatures:
        without = {key: value for key, value in founding.signatures.items() if key != id}
        with pytest.raises(PeerError, match=f"expected a signature of {id}"):
            founding.inst.agreements.activate(founding.raw, without)
    assert not founding.is_active()


@pytest.mark.parametrize(
    "forge",
    [
        lambda f, id: f.signatures["operator" if id != "operator" else IDS[1]],
        lambda f, id: SigningKeys.generate().sign(Purpose.AGREEMENT, f.raw).signature,
        lambda f, id: f.keys[id].sign(Purpose.EPOCH_VIEW, f.raw).signature,
        lambda f, id: f.keys[id].sign(Purpose.PLAN, f.raw).signature,
        lambda f, id: f.signatures[id][:ED25519_BYTES],  # the half that falls to a quantum computer
        lambda f, id: bytes(ED25519_BYTES) + f.signatures[id][ED25519_BYTES:],
        lambda f, id: f.signatures[id] + b"\0",
        lambda f, id: b"",
    ],
    ids=[
        "another party's", "a stranger's", "another purpose", "a short purpose",
        "classical alone", "post-quantum alone", "longer", "empty",
    ],
)  # fmt: skip
@pytest.mark.parametrize("id", [IDS[0], IDS[2], "operator"])
def test_a_signature_that_is_not_the_partys_own_is_refused(
    founding: Founding, id: InstitutionId, forge: Callable[[Founding, InstitutionId], bytes]
) -> None:
    founding.sign(founding.raw)
    with pytest.raises(PeerError, match="valid signature"):
        founding.inst.agreements.activate(
            founding.raw, founding.signatures | {id: forge(founding, id)}
        )
    assert not founding.is_active()


def test_what_this_institution_has_not_signed_does_not_come_into_force(founding: Founding) -> None:
    with pytest.raises(LocalError, match="has signed"):
        founding.inst.agreements.activate(founding.raw, founding.signatures)
    assert not founding.is_active()


def test_an_agreement_with_others_keys_under_my_name_is_not_signed(founding: Founding) -> None:
    first, *others = founding.agreement.institutions
    strange = SigningKeys.generate().public()
    for identity in (
        replace(first.identity, ed25519=strange[0]),
        replace(first.identity, mldsa44=strange[1]),
        replace(first.identity, tls=bytes(32)),
    ):
        forged = replace(
            founding.agreement, institutions=(replace(first, identity=identity), *others)
        )
        with pytest.raises(PeerError, match="own keys"):
            founding.sign(encode(forged))
    elsewhere = replace(first, id=InstitutionId("a-name"))
    with pytest.raises(PeerError, match="own keys"):
        founding.sign(encode(replace(founding.agreement, institutions=(elsewhere, *others))))


@pytest.mark.parametrize("raw", [b"", b"{}", b"null", b"\xff", b'{"version":"comity-agreement/1"}'])
def test_what_is_no_agreement_is_not_signed(founding: Founding, raw: bytes) -> None:
    with pytest.raises(PeerError):
        founding.sign(raw)


def test_a_refused_signature_leaves_no_trace(founding: Founding) -> None:
    before = founding.inst.ledger.entries()
    with pytest.raises(Refusal) as policy:
        founding.sign(founding.raw, Policy(epsilon=Decimal(1)))
    assert policy.value.code is RefusalCode.POLICY
    longer = replace(
        founding.agreement, schedule=replace(founding.agreement.schedule, spare_rounds=9)
    )
    with pytest.raises(Refusal) as budget:
        founding.sign(encode(longer))
    assert budget.value.code is RefusalCode.BUDGET
    with pytest.raises(Refusal):
        founding.inst.agreements.sign(
            founding.raw, founding.inst.keys, IDS[0], Policy(), DatasetId("0" * 32)
        )
    assert founding.inst.ledger.entries() == before
    assert founding.inst.store.reading().execute("select * from agreements").fetchall() == []


def test_an_agreement_that_spends_more_than_it_claims_is_not_signed(founding: Founding) -> None:
    modest = replace(founding.agreement.privacy, epsilon=Decimal(1))
    lying = replace(founding.agreement, privacy=modest)  # claims ε = 1, its noise gives ε = 8
    with pytest.raises((Refusal, PeerError)):
        founding.sign(encode(lying), Policy(epsilon=Decimal(2)))


def test_an_agreement_whose_last_day_is_no_date_is_not_signed(founding: Founding) -> None:
    for last in (b"the very end", b"2099-02-30", b"2099-1-1", b""):
        with pytest.raises(PeerError):
            founding.sign(founding.raw.replace(b"2099-12-31", last))


def test_an_agreement_lasts_until_the_end_of_its_last_day(founding: Founding) -> None:
    ending = replace(
        founding.agreement, schedule=replace(founding.agreement.schedule, expires="2026-03-31")
    )
    check_expiry(ending, date(2026, 3, 31))
    with pytest.raises(Refusal) as refusal:
        check_expiry(ending, date(2026, 4, 1))
    assert refusal.value.code is RefusalCode.AGREEMENT_EXPIRED


def test_an_unknown_agreement_has_a_code_of_its_own(founding: Founding) -> None:
    founding.sign(founding.raw)  # signed, not in force
    for digest in (founding.agreement.digest, Digest("0" * 64)):
        with pytest.raises(Refusal) as refusal:
            founding.inst.agreements.get(digest)
        assert refusal.value.code is RefusalCode.UNKNOWN_AGREEMENT


def retire(founding: Founding) -> None:
    with founding.inst.store.transaction() as tx:
        founding.inst.agreements.retire(tx, founding.agreement.digest)


def test_a_retired_agreement_is_unknown(founding: Founding) -> None:
    founding.sign(founding.raw)
    founding.inst.agreements.activate(founding.raw, founding.signatures)
    retire(founding)
    assert not founding.is_active()
    with pytest.raises(Refusal) as refusal:
        founding.inst.agreements.get(founding.agreement.digest)
    assert refusal.value.code is RefusalCode.UNKNOWN_AGREEMENT


def test_a_retired_agreement_is_out_of_force_for_good(founding: Founding) -> None:
    founding.sign(founding.raw)
    founding.inst.agreements.activate(founding.raw, founding.signatures)
    retire(founding)
    with pytest.raises(LocalError):
        founding.inst.agreements.activate(founding.raw, founding.signatures)
    assert not founding.is_active()


def test_a_schedule_counts_every_step_of_every_round(founding: Founding) -> None:
    training, attempts = founding.agreement.training, founding.agreement.schedule.attempts
    event = schedule_event(founding.agreement, attempts)
    assert event.steps == training.local_steps * attempts == 25
    assert event.noise_multiplier == training.noise_multiplier
    assert event.sampling_probability == training.sampling_probability
    assert decode(Agreement, founding.raw) == founding.agreement
