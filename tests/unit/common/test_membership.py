"""Invitations, requests and withdrawals: whole or refused, and signed by who may."""

import hashlib
from dataclasses import replace

import pytest
from tests.simulation.federation import make_agreement

from comity_common.canonical import encode
from comity_common.crypto.sign import Purpose, Signed, SigningKeys
from comity_common.errors import LocalError, PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.membership import (
    PROTOCOL_VERSION,
    USER_AGENT,
    Invitation,
    Withdrawal,
    check_user_agent,
    check_withdrawal,
    read_invitation,
    token_digest,
)
from comity_common.words import agreement_words, in_words, party_words

INVITATION = Invitation(
    host="operator.example",
    port=7444,
    token=bytes(range(16)),
    pin=bytes(range(100, 132)),
    operator_jurisdiction="CH",
    institution=InstitutionId("berlin-2"),
    jurisdiction="DE",
)
IDS = [InstitutionId(f"inst-{k}") for k in range(3)]


@pytest.mark.parametrize("host", ["operator.example", "127.0.0.1", "[2001:db8::1]"])
def test_an_invitation_is_read_back_with_white_space_around_it(host: str) -> None:
    invitation = replace(INVITATION, host=host)
    assert read_invitation(f"  {invitation.write()}\n") == invitation


def test_an_invitation_shows_its_address_and_never_its_token() -> None:
    assert repr(INVITATION) == "Invitation(operator.example:7444)"
    assert INVITATION.write().startswith("https://operator.example:7444/i/")


def test_an_invitation_with_any_letter_of_its_code_changed_or_missing_is_refused() -> None:
    line = INVITATION.write()
    begin = line.index("/i/") + 3
    for place in range(begin, len(line)):
        other = "A" if line[place] != "A" else "B"
        for damaged in (line[:place] + other + line[place + 1 :], line[:place] + line[place + 1 :]):
            with pytest.raises(LocalError):
                read_invitation(damaged)


@pytest.mark.parametrize(
    "line",
    ["", "hello", "https://operator.example/i/", "http://a:1/i/AAAA", "https://a:99999/i/AAAA"],
)
def test_what_is_no_invitation_is_refused(line: str) -> None:
    with pytest.raises(LocalError):
        read_invitation(line)


def test_the_digest_of_a_token_says_nothing_of_it() -> None:
    assert token_digest(bytes(16)) != token_digest(bytes(15) + b"\1")
    assert bytes(16).hex() not in token_digest(bytes(16))


def test_words_are_eight_and_hang_on_the_first_88_bits() -> None:
    words = in_words(bytes(32))
    assert words == " ".join(["abandon"] * 8)
    for bit in range(88):
        changed = bytearray(32)
        changed[bit // 8] ^= 0x80 >> (bit % 8)
        assert in_words(bytes(changed)) != words
    assert in_words(bytes(11) + b"\xff" * 21) == words


def test_the_words_of_an_agreement_are_stretched_as_another_implementation_does_it() -> None:
    agreement = Digest("ab" * 32)
    stretched = hashlib.scrypt(
        bytes.fromhex(agreement), salt=b"comity/agreement-words", n=16384, r=8, p=1, dklen=11
    )
    assert agreement_words(agreement) == in_words(stretched)
    assert agreement_words(agreement) != in_words(bytes.fromhex(agreement))


def test_words_of_parties_and_agreements_differ_with_every_key() -> None:
    keys = {id: SigningKeys.generate() for id in IDS}
    agreement = make_agreement(keys, SigningKeys.generate())
    parties = [agreement.operator, *agreement.institutions]
    assert len({party_words(party) for party in parties}) == 4
    other = replace(agreement, purpose="something else")
    assert agreement_words(agreement.digest) != agreement_words(other.digest)


class Leaving:
    """An agreement of three, and everybody's keys."""

    def __init__(self) -> None:
        self.operator = SigningKeys.generate()
        self.keys = {id: SigningKeys.generate() for id in IDS}
        self.agreement = make_agreement(self.keys, self.operator)

    def word(self, who: InstitutionId, by: InstitutionId, keys: SigningKeys) -> Signed:
        said = Withdrawal(agreement=self.agreement.digest, institution=who, by=by)
        return keys.sign(Purpose.WITHDRAWAL, encode(said))


def test_an_institution_leaves_by_its_own_word_or_the_operators() -> None:
    leaving = Leaving()
    own = leaving.word(IDS[1], IDS[1], leaving.keys[IDS[1]])
    assert check_withdrawal(leaving.agreement, own).institution == IDS[1]
    operator = leaving.agreement.operator.id
    said = leaving.word(IDS[1], operator, leaving.operator)
    assert check_withdrawal(leaving.agreement, said).by == operator


def test_nobody_else_can_make_an_institution_leave() -> None:
    leaving = Leaving()
    operator = leaving.agreement.operator.id
    for forged in (
        leaving.word(IDS[1], IDS[2], leaving.keys[IDS[2]]),
        leaving.word(IDS[1], IDS[1], leaving.keys[IDS[2]]),
        leaving.word(IDS[1], operator, leaving.keys[IDS[2]]),
        leaving.word(InstitutionId("stranger"), operator, leaving.operator),
        Signed(body=b"{}", signature=bytes(64)),
    ):
        with pytest.raises(PeerError):
            check_withdrawal(leaving.agreement, forged)


def test_a_withdrawal_from_another_agreement_counts_for_nothing() -> None:
    leaving, other = Leaving(), Leaving()
    own = other.word(IDS[1], IDS[1], other.keys[IDS[1]])
    with pytest.raises(PeerError, match="this agreement"):
        check_withdrawal(leaving.agreement, own)


@pytest.mark.parametrize("more", ["", " grpc-python/1.85.0 grpc-c/54.0.0 (linux; chttp2)"])
def test_a_caller_of_the_same_protocol_is_known_by_its_user_agent(more: str) -> None:
    check_user_agent(USER_AGENT + more)


@pytest.mark.parametrize("spoken", ["0", str(PROTOCOL_VERSION + 1), "10", "11", "99999"])
def test_a_caller_of_another_protocol_is_told_both_versions(spoken: str) -> None:
    with pytest.raises(PeerError) as refused:
        check_user_agent(f"comity/{spoken} grpc-python/1.85.0")
    assert str(refused.value) == f"expected protocol {PROTOCOL_VERSION}, got {spoken}"


@pytest.mark.parametrize(
    "given",
    [
        "",
        " ",
        "grpc-python/1.85.0",
        "comity",
        "comity/",
        "comity/ 1",
        " comity/1",
        "Comity/1",
        "comity/1.0",
        "comity/1;x",
        "comity/1x",
        "comity/1\tx",
        "comity/1\0",
        "comity/-1",
        "comity/+1",
        "comity/0x1",
        "comity/\u0661",  # a digit one, and not ours
        "comity/\u00b9",
        "comity/1\u00a0x",
        "x comity/1",
        "comity/999999",
        "comity/" + "1" * 10_000,
        "comity/1" + "x" * 1_000_000,
        "\ud800",
    ],
)
def test_a_caller_that_does_not_say_what_it_speaks_is_refused_in_one_short_sentence(
    given: str,
) -> None:
    with pytest.raises(PeerError) as refused:
        check_user_agent(given)
    assert str(refused.value) == f"expected protocol {PROTOCOL_VERSION}, got none"


def test_a_version_with_leading_zeros_is_another_one() -> None:
    with pytest.raises(PeerError, match="expected protocol 1, got 01"):
        check_user_agent("comity/01")
