"""A witness cosigns what extends, and nothing else; an owner knows its own past."""

from dataclasses import replace

import pytest
from tests.ledger_keys import LEDGER_KEYS
from tests.simulation.federation import make_agreement

from comity_common.crypto.sign import SigningKeys
from comity_common.errors import LocalError, PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.checkpoints import read_checkpoint
from comity_common.ledger.keys import LedgerKeys
from comity_common.ledger.notes import SignedNote, read_note
from comity_common.ledger.tree import Tree
from comity_common.ledger.witness import (
    TreeHead,
    cosign,
    extends,
    is_past_of,
    log_line,
    quorum,
    request_head,
    witness_lines,
)

CLINIC, BANK, AGREED = InstitutionId("clinic"), InstitutionId("bank"), Digest("ab" * 32)
FIRST, SECOND = b"first generation", b"later generation"
LONG = Tree([f"entry {k}".encode() for k in range(20)])


def tree(size: int, changed: int | None = None) -> Tree:
    names = [f"entry {k}" for k in range(size)]
    if changed is not None:
        names[changed] = "another"
    return Tree([name.encode() for name in names])


def head(size: int, of: Tree = LONG, generation: bytes = FIRST) -> TreeHead:
    return TreeHead(institution=CLINIC, generation=generation, size=size, root=of.root(size))


def asked(of: Tree, known=(), generation: bytes = FIRST):
    return request_head(AGREED, CLINIC, generation, of, known, LEDGER_KEYS.head)


def test_a_ledger_that_grew_is_cosigned_and_one_that_shrank_or_changed_is_not():
    last = head(10)
    assert extends(asked(tree(15), [10]), last, {FIRST})
    assert extends(asked(tree(10)), last, {FIRST})
    assert not extends(asked(tree(9), [5]), last, {FIRST})
    assert not extends(asked(tree(10, changed=9)), last, {FIRST})
    for changed in range(10):
        assert not extends(asked(tree(15, changed=changed), [10]), last, {FIRST})
    assert extends(asked(tree(15, changed=12), [10]), last, {FIRST})


def test_without_a_proof_from_what_the_witness_knows_nothing_is_cosigned():
    assert not extends(asked(tree(15), [5, 9, 11]), head(10), {FIRST})
    assert not extends(asked(tree(15)), head(10), {FIRST})


def test_a_proof_of_another_size_is_none():
    request = asked(tree(15), [10])
    (growth,) = request.growths
    for wrong in (replace(growth, path=growth.path[:-1]), replace(growth, path=())):
        assert not extends(replace(request, growths=(wrong,)), head(10), {FIRST})


def test_the_first_head_is_cosigned_at_any_size():
    assert extends(asked(tree(15)), None, frozenset())


def test_a_declared_restore_goes_on_in_a_new_generation_and_never_in_an_old_one():
    last = head(10)
    assert extends(asked(tree(8), generation=SECOND), last, {FIRST})
    after = head(8, generation=SECOND)
    assert not extends(asked(tree(12)), after, {FIRST, SECOND})
    assert not extends(asked(tree(7), [5], generation=SECOND), after, {FIRST, SECOND})


def test_an_owner_knows_what_is_in_its_past():
    now = tree(12)
    assert is_past_of(now, (FIRST,), head(12))
    assert is_past_of(now, (FIRST,), head(1))
    assert not is_past_of(now, (FIRST,), head(13))
    assert not is_past_of(tree(12, changed=3), (FIRST,), head(5))
    assert is_past_of(tree(12, changed=3), (FIRST,), head(3))
    assert is_past_of(tree(5), (FIRST, SECOND), head(13))  # before a restore that was declared
    assert not is_past_of(now, (FIRST,), head(5, generation=SECOND))  # somebody declared one


@pytest.mark.parametrize(
    "wrong", [{"generation": b"short"}, {"root": bytes(31)}, {"size": 0}, {"size": -1}]
)
def test_a_head_that_cannot_be_is_refused(wrong):
    with pytest.raises(LocalError):
        replace(head(3), **wrong)


def test_a_request_has_its_owners_line_as_a_checkpoint():
    request, other = asked(tree(15), [10]), LedgerKeys.derive(bytes(64)).public()
    line = log_line(request, LEDGER_KEYS.public())
    note = SignedNote(text=request.head.checkpoint.text, signatures=(line,))
    assert read_checkpoint(read_note(note.to_bytes()).text) == request.head.checkpoint
    assert request.head.checkpoint.origin == f"ledger.comity/clinic/{FIRST.hex()}"
    for wrong, keys in (
        (request, other),
        (replace(request, log=b""), LEDGER_KEYS.public()),
        (replace(request, head=head(14)), LEDGER_KEYS.public()),
    ):
        with pytest.raises(PeerError):
            log_line(wrong, keys)


def test_a_witness_signs_twice_and_both_must_hold():
    given = cosign(asked(tree(15)), BANK, LEDGER_KEYS, 1_700_000_000)
    classical, lasting = witness_lines(given, LEDGER_KEYS.public())
    assert (classical.name, lasting.name) == (BANK, BANK)
    for wrong in (
        replace(given, timed=(given.timed[0], bytes(2428))),
        replace(given, timed=(bytes(72), given.timed[1])),
        replace(given, head=head(14)),
        replace(given, witness=CLINIC),
    ):
        with pytest.raises(PeerError):
            witness_lines(wrong, LEDGER_KEYS.public())
    with pytest.raises(LocalError):
        replace(given, timed=given.timed[:1])


def test_a_request_shows_growth_from_known_sizes_alone():
    request = asked(tree(15), [0, 3, 3, 15, 99])
    assert [growth.size for growth in request.growths] == [3]


@pytest.mark.parametrize("n", range(3, 16))
@pytest.mark.parametrize("c", [1, 2, 3])
def test_two_quorums_have_an_honest_witness_in_common_where_the_agreement_allows_it(n, c):
    keys = {InstitutionId(f"inst-{k:02d}"): SigningKeys.generate() for k in range(n)}
    try:
        agreement = make_agreement(keys, SigningKeys.generate(), collusion=c, minimum=n)
    except LocalError:
        return  # no safe masked sum among so few
    least = quorum(agreement)
    assert c + 1 <= least <= n - 1
    assert 2 * least - (n - 1) >= c + 1  # in both quorums, and not all of them colluding
    relaxed = replace(agreement.aggregation, min_participants=max(3, -(-2 * n // 3)))
    lower = quorum(replace(agreement, aggregation=relaxed))
    assert c + 1 <= lower <= least
