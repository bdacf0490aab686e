"""The only reader of an institution's private keys.

Three keys, each for one thing: the signing pair (Ed25519 and ML-DSA-44), the TLS key, and Flower's
node key, which lies with Flower. They are made here and never leave; the operator gets public keys
and a certificate request.
"""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from comity_common.agreement import PublicIdentity
from comity_common.crypto.derive import expand
from comity_common.crypto.sign import SigningKeys
from comity_common.errors import LocalError, Problem
from comity_common.ledger.keys import LedgerKeys
from comity_host.files import write_durably, write_secret

SIGNING = "signing.key"
TLS_KEY = "tls.key"
TLS_CERTIFICATE = "tls.pem"
AUTHORITY = "authority.pem"


class Keystore:
    """The keys of one institution.

    Attributes:
        signing: the signing pair.
        ledger: the keys of its ledger and as a witness of others', derived from the signing pair.
        policy_salt: 32 bytes, derived from it too; who has them can tell a policy by its digest.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            self.signing = SigningKeys.from_bytes((directory / SIGNING).read_bytes())
            self._tls = (directory / TLS_KEY).read_bytes()
            self.ledger = LedgerKeys.derive(self.signing.to_bytes())
            self.policy_salt = expand(self.signing.to_bytes(), "policy-salt")
        except (OSError, ValueError):
            raise LocalError("expected the institution's keys; make them first") from None

    def __repr__(self) -> str:
        return "Keystore(...)"

    @classmethod
    def create(cls, directory: Path) -> "Keystore":
        """Make fresh keys; existing ones are never overwritten.

        Raises:
            LocalError: there are keys already.
        """
        tls = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        write_secret(directory / SIGNING, SigningKeys.generate().to_bytes())
        write_secret(directory / TLS_KEY, tls)
        return cls(directory)

    @property
    def identity(self) -> PublicIdentity:
        """What the institution is known by in an agreement."""
        public = self._private_tls().public_key()
        state = Hash(SHA256())
        state.update(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        return PublicIdentity.of(self.signing, state.finalize())

    def certificate_request(self, id: str) -> bytes:
        """Write a PKCS #10 request for the TLS key, as PEM."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, id)])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject)
        return request.sign(self._private_tls(), SHA256()).public_bytes(Encoding.PEM)

    def install(self, certificate: bytes, authority: bytes) -> None:
        """Keep the certificate that the operator signed, and the operator's authority (PEM)."""
        write_durably(self._directory / TLS_CERTIFICATE, certificate)
        write_durably(self._directory / AUTHORITY, authority)

    def tls(self) -> tuple[bytes, bytes]:
        """Return private key and certificate as PEM.

        Raises:
            Problem: the operator has not approved this institution yet.
        """
        try:
            return self._tls, (self._directory / TLS_CERTIFICATE).read_bytes()
        except OSError:
            raise Problem("COM-JOIN-001") from None

    def _private_tls(self) -> ec.EllipticCurvePrivateKey:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        key = load_pem_private_key(self._tls, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise LocalError("expected an elliptic-curve key for TLS")
        return key
