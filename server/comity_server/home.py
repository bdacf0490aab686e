"""Where the operator's things lie: one directory, readable by its own user alone.

    party = init(Path("operator"), name="University", jurisdiction="DE", transfer="10.0.0.1:7443")

makes directory, keys, authority and settings, and returns what the agreement calls the operator.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from comity_common.agreement import Party, PublicIdentity
from comity_common.canonical import encode
from comity_common.crypto.sign import Purpose, Signed, SigningKeys
from comity_common.errors import LocalError, Problem
from comity_common.ids import InstitutionId
from comity_common.ledger.keys import LedgerKeys
from comity_common.membership import (
    PROTOCOL_VERSION,
    OperatorCard,
    check_id,
    check_jurisdiction,
)
from comity_host import settings
from comity_host.files import check_socket_path, make_private, sync_directory, write_secret
from comity_server.authority import Authority, certificate_fingerprint, private_pem
from comity_server.config import Deadlines, FlowerSettings, ServerConfig
from comity_server.flower.superlink import SuperLink
from comity_server.ledger import Ledger
from comity_server.store import Store

LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one operator.

    Attributes:
        path: the directory, mode 0700.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The daemon's settings."""
        return self.path / "server.toml"

    @property
    def database(self) -> Path:
        """Institutions, agreements, rounds and mailboxes, in one SQLite file."""
        return self.path / "server.db"

    @property
    def keys(self) -> Path:
        """Private keys and certificates."""
        return self.path / "keys"

    @property
    def authority(self) -> Path:
        """The certificate that all others are signed with; institutions are given it (PEM)."""
        return self.keys / "authority.pem"

    @property
    def certificate(self) -> Path:
        """The certificate of the operator's listeners (PEM)."""
        return self.keys / "server.pem"

    @property
    def tls_key(self) -> Path:
        """The private key of the operator's listeners (PEM)."""
        return self.keys / "server.key"

    @property
    def uploads(self) -> Path:
        """Masked vectors."""
        return self.path / "uploads"

    @property
    def totals(self) -> Path:
        """Sums of certified rounds."""
        return self.path / "totals"

    @property
    def models(self) -> Path:
        """Global model states."""
        return self.path / "models"

    @property
    def flower(self) -> Path:
        """The SuperLink's own directory."""
        return self.path / "flower"

    @property
    def logs(self) -> Path:
        """What the daemons wrote."""
        return self.path / "logs"

    @property
    def socket(self) -> Path:
        """Where Flower's ServerApp and the operator's own tools ask.

        Raises:
            LocalError: the path is too long for the kernel.
        """
        socket = self.settings().socket or self.path.absolute() / "coordinator.sock"
        return check_socket_path(socket)

    @property
    def lock(self) -> Path:
        """Held by the one daemon that may run on this directory."""
        return self.path / "server.lock"

    def create(self) -> None:
        """Make the directories, for the owner alone."""
        make_private(self.path, self.keys, self.uploads, self.totals)
        make_private(self.models, self.flower, self.logs)

    def settings(self) -> ServerConfig:
        """Read the operator's settings.

        Raises:
            Problem: they are missing, no TOML, or have a wrong or unknown key.
        """
        if not self.config.exists():
            raise Problem("COM-SERVER-002", home=self.path)
        return settings.load(self.config, ServerConfig)

    def reachable(self, address: str) -> str:
        """Return by which `host:port` institutions reach a listener; empty if there is none."""
        host, _, port = address.rpartition(":")
        return f"{self.settings().host or host}:{port}" if address else ""

    def sign_card(
        self, institution: InstitutionId, jurisdiction: str, expires: int = 0, now: float = 0.0
    ) -> Signed:
        """Say who the operator is and where its listeners are, to one institution.

        Args:
            expires, now: of the invitation and by the operator's clock, seconds since 1970.
        """
        found = self.settings()
        card = OperatorCard(
            version=PROTOCOL_VERSION,
            operator=self.party(),
            transfer=self.reachable(found.transfer),
            gate=self.reachable(found.gate),
            institution=institution,
            jurisdiction=jurisdiction,
            expires=expires,
            now=int(now),
        )
        return self.signing_keys().sign(Purpose.CARD, encode(card))

    def open_store(self) -> Store:
        """Open the operator's database and its ledger.

        Raises:
            LocalError: there are no keys yet, or another version wrote it.
        """
        found = self.settings()
        keys = LedgerKeys.derive(self.signing_keys().to_bytes())
        return Store(found.database or self.database, Ledger(InstitutionId(found.id), keys))

    def signing_keys(self) -> SigningKeys:
        """Read the operator's private signing keys.

        Raises:
            LocalError: there are none yet.
        """
        try:
            return SigningKeys.from_bytes(self._signing.read_bytes())
        except (OSError, ValueError):
            raise LocalError("expected the operator's keys; make them first") from None

    def certificate_authority(self) -> Authority:
        """Read the operator's certificate authority."""
        return Authority(self._authority_key, self.authority)

    def party(self) -> Party:
        """Return what the agreement calls the operator."""
        operator = self.settings()
        return Party(
            id=InstitutionId(operator.id),
            name=operator.name,
            jurisdiction=operator.jurisdiction,
            identity=PublicIdentity.of(
                self.signing_keys(), certificate_fingerprint(self.certificate.read_bytes())
            ),
        )

    def superlink(self) -> SuperLink:
        """Return the operator's SuperLink, by the settings.

        Raises:
            LocalError: the settings name none.
        """
        flower = self.settings().flower
        if flower is None:
            raise LocalError("expected a [flower] section in server.toml")
        return SuperLink(
            home=self.flower.absolute(),
            port=flower.port,
            certificate=self.certificate.absolute(),
            key=self.tls_key.absolute(),
            authority=self.authority.absolute(),
            coordinator=self.socket,
        )

    @property
    def _signing(self) -> Path:
        return self.keys / "signing.key"

    @property
    def _authority_key(self) -> Path:
        return self.keys / "authority.key"


def init(
    directory: Path,
    *,
    name: str,
    jurisdiction: str,
    transfer: str,
    id: str = "operator",
    hosts: Sequence[str] = (),
    flower_port: int | None = None,
    deadlines: Deadlines | None = None,
    socket: Path | None = None,
    host: str = "",
    enrolment: str = "",
    gate: str = "",
    metrics_port: int | None = None,
) -> Party:
    """Make an operator: directory, keys, authority, settings.

    Args:
        jurisdiction: ISO 3166-1 alpha-2.
        transfer: `host:port` that the vaults will connect to.
        hosts: names and addresses of this machine that institutions use, besides loopback.
        flower_port: of the SuperLink on loopback; None if Flower is not used.
        socket: where the daemon's own socket is to be; None for the directory itself.
        host: name or address by which institutions reach this machine.
        enrolment, gate: `host:port` of the other listeners; empty for none.
        metrics_port: of the figures for Prometheus, on loopback.

    Raises:
        Problem: the id or the country is not well formed.
        LocalError: there is an operator already, or a value is not allowed. Nothing is left of a
            directory that was not there before.
    """
    check_id(id)
    check_jurisdiction(jurisdiction)
    operator = ServerConfig(
        id=id,
        name=name,
        jurisdiction=jurisdiction,
        host=host,
        transfer=transfer,
        enrolment=enrolment,
        gate=gate,
        metrics_port=metrics_port,
        socket=socket,
        flower=None if flower_port is None else FlowerSettings(port=flower_port),
        deadlines=deadlines or Deadlines(),
    )
    home, is_new = Home(directory), not directory.exists()
    try:
        return _make(home, operator, hosts)
    except BaseException:
        if is_new:
            shutil.rmtree(directory, ignore_errors=True)
        raise


def _make(home: Home, operator: ServerConfig, hosts: Sequence[str]) -> Party:
    home.create()
    write_secret(home._signing, SigningKeys.generate().to_bytes())
    authority = Authority.create(home._authority_key, home.authority, operator.name)
    key = ec.generate_private_key(ec.SECP256R1())
    write_secret(home.tls_key, private_pem(key))
    names = tuple(dict.fromkeys((*filter(None, (operator.host, *hosts)), *LOOPBACK)))
    home.certificate.write_bytes(authority.sign_server(key.public_key(), names))
    settings.write(home.config, operator)
    sync_directory(home.keys)
    return home.party()
