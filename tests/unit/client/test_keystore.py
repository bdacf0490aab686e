"""Private keys on disk: for the owner alone, made once, and never shown."""

import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from comity_client.keystore import AUTHORITY, SIGNING, TLS_KEY, Keystore
from comity_common.errors import LocalError

SECRETS = (SIGNING, TLS_KEY)


@pytest.fixture
def keys(tmp_path: Path) -> Keystore:
    return Keystore.create(tmp_path)


def test_private_keys_are_for_the_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Keystore.create(tmp_path)
    finally:
        os.umask(before)
    for name in SECRETS:
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_keys_are_never_overwritten(keys: Keystore, tmp_path: Path) -> None:
    before = {name: (tmp_path / name).read_bytes() for name in SECRETS}
    with pytest.raises(LocalError, match="never overwritten"):
        Keystore.create(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in SECRETS} == before
    assert Keystore(tmp_path).identity == keys.identity


def test_two_keystores_have_nothing_in_common(tmp_path: Path) -> None:
    identities = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        identities.append(Keystore.create(tmp_path / name).identity)
    one, other = identities
    assert one.ed25519 != other.ed25519
    assert one.mldsa44 != other.mldsa44
    assert one.tls != other.tls


def test_no_way_of_printing_a_keystore_shows_a_key(keys: Keystore, tmp_path: Path) -> None:
    secrets = [(tmp_path / name).read_bytes() for name in SECRETS]
    shown = "".join([repr(keys), str(keys), f"{keys}", repr(keys.signing), f"{keys.signing}"])
    assert shown == "Keystore(...)" * 3 + "SigningKeys(...)" * 2
    for secret in secrets:
        for part in (secret[k : k + 8] for k in range(0, len(secret) - 8, 8)):
            assert part.hex() not in shown
            assert repr(part) not in shown


@pytest.mark.parametrize("name", SECRETS)
def test_without_a_key_the_keystore_does_not_open(
    keys: Keystore, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).unlink()
    with pytest.raises(LocalError, match="make them first"):
        Keystore(tmp_path)


@pytest.mark.parametrize("size", [0, 31, 63, 65, 200])
def test_a_signing_key_of_another_size_is_an_error_that_does_not_show_it(
    keys: Keystore, tmp_path: Path, size: int
) -> None:
    (tmp_path / SIGNING).write_bytes(b"S" * size)
    with pytest.raises(LocalError) as error:
        Keystore(tmp_path)
    assert "SSSS" not in str(error.value)


def test_there_is_no_tls_before_the_operator_approved(keys: Keystore) -> None:
    with pytest.raises(LocalError, match="not joined"):
        keys.tls()


def test_a_certificate_that_was_installed_is_given_with_the_key(
    keys: Keystore, tmp_path: Path
) -> None:
    keys.install(b"certificate", b"authority")
    assert Keystore(tmp_path).tls() == ((tmp_path / TLS_KEY).read_bytes(), b"certificate")
    assert (tmp_path / AUTHORITY).read_bytes() == b"authority"


def test_the_certificate_request_is_for_the_key_of_the_identity(keys: Keystore) -> None:
    request = x509.load_pem_x509_csr(keys.certificate_request("inst-00"))
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=inst-00"
    public = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    state = Hash(SHA256())
    state.update(public)
    assert keys.identity.tls == state.finalize()
