"""The operator's certificate authority: whom TLS lets in.

A certificate says no more than "the operator approved this key under this id". What an institution
is known by is the fingerprint of the key itself, SHA-256 of its SubjectPublicKeyInfo (RFC 5280
§4.1.2.7), which the agreement names and all have signed.
"""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from comity_common.agreement import ID_PATTERN
from comity_common.errors import PeerError
from comity_common.ids import InstitutionId
from comity_host.files import write_secret

AUTHORITY_DAYS = 3650
LEAF_DAYS = 825
BACKDATED = datetime.timedelta(minutes=5)  # clocks of institutions may be slow

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """An institution's TLS key with the operator's signature.

    Attributes:
        fingerprint: of the key, 32 bytes.
        certificate: PEM.
    """

    id: InstitutionId
    fingerprint: bytes
    certificate: bytes


class Authority:
    """The key that signs certificates, ECDSA on P-256."""

    def __init__(self, key: Path, certificate: Path) -> None:
        """Read an authority that `create` made."""
        loaded = load_pem_private_key(key.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        self._key = loaded
        self._certificate = x509.load_pem_x509_certificate(certificate.read_bytes())

    @classmethod
    def create(cls, key: Path, certificate: Path, name: str) -> "Authority":
        """Make a fresh authority; existing files are never overwritten."""
        private = ec.generate_private_key(ec.SECP256R1())
        subject = _name(f"{name} authority")
        usage = x509.BasicConstraints(ca=True, path_length=0)
        signed = (
            _draft(subject, subject, private.public_key(), private.public_key(), AUTHORITY_DAYS)
            .add_extension(usage, critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .sign(private, SHA256())
        )
        write_secret(key, private_pem(private))
        certificate.write_bytes(signed.public_bytes(Encoding.PEM))
        return cls(key, certificate)

    def sign_server(self, public: ec.EllipticCurvePublicKey, hosts: Sequence[str]) -> bytes:
        """Certify the operator's own listeners under these host names and addresses; PEM."""
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        return self._sign(public, hosts[0], ExtendedKeyUsageOID.SERVER_AUTH, names)

    def sign_request(self, request: bytes) -> Certified:
        """Certify an institution's key for TLS as a client.

        Args:
            request: PKCS #10 as PEM, its common name is the institution's id.

        Raises:
            PeerError: it is malformed, not signed with its own key, or for no proper id.
        """
        id, public = _read_request(request)
        return Certified(
            id=id,
            fingerprint=fingerprint(public),
            certificate=self._sign(public, id, ExtendedKeyUsageOID.CLIENT_AUTH, None),
        )

    def _sign(
        self,
        public: PublicKey,
        common_name: str,
        purpose: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None,
    ) -> bytes:
        issuer = self._certificate.subject
        draft = (
            _draft(_name(common_name), issuer, public, self._key.public_key(), LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if names is not None:
            draft = draft.add_extension(names, critical=False)
        return draft.sign(self._key, SHA256()).public_bytes(Encoding.PEM)


def read_request(request: bytes) -> tuple[InstitutionId, bytes]:
    """Read for whom a certificate is asked: the id, and the fingerprint of the key.

    Raises:
        PeerError: it is malformed, not signed with its own key, or for no proper id.
    """
    id, public = _read_request(request)
    return id, fingerprint(public)


def _read_request(request: bytes) -> tuple[InstitutionId, PublicKey]:
    try:
        asked = x509.load_pem_x509_csr(request)
        valid = asked.is_signature_valid
        public = asked.public_key()
        names = asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion):
        raise PeerError("expected a certificate request in PEM") from None
    if not valid or not isinstance(public, PublicKey):
        raise PeerError("expected a request signed with its own key, of a usual kind")
    if len(names) != 1 or not ID_PATTERN.fullmatch(str(names[0].value)):
        raise PeerError("expected an institution's id as the request's common name")
    return InstitutionId(str(names[0].value)), public


def fingerprint(public: PublicKey) -> bytes:
    """Hash a public key's SubjectPublicKeyInfo: 32 bytes, what an agreement names."""
    state = Hash(SHA256())
    state.update(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return state.finalize()


def certificate_fingerprint(certificate: bytes) -> bytes:
    """Hash the key of a certificate (PEM) that TLS has verified: 32 bytes.

    Raises:
        PeerError: it holds no key of a usual kind.
    """
    try:
        public = x509.load_pem_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise PeerError("expected a certificate in PEM") from None
    if not isinstance(public, PublicKey):
        raise PeerError("expected a certificate for a key of a usual kind")
    return fingerprint(public)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Write a private key as PEM, to be stored as a secret."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _draft(
    subject: x509.Name, issuer: x509.Name, public: PublicKey, signer: PublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
