"""What shows a vault that its disk is older than its own past, and what it does then.

A vault whose files were copied back cannot know it by itself. Its pair keys may have masked a round
that it has forgotten, so it erases them and takes no part until a new key epoch (design note,
"A round", ◆). Being named in a plan shows nothing: an order may have been lost on its way.
"""

from contextlib import suppress

import structlog

from comity_client.institution import Institution
from comity_common.canonical import decode
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.errors import PeerError
from comity_common.ids import Digest
from comity_common.ledger.bodies import Restore
from comity_common.secagg.messages import CertificateBody, Header

log = structlog.get_logger()


def is_own_header_shown(
    institution: Institution, agreement: Digest, plan: Digest, headers: tuple[Signed, ...]
) -> bool:
    """Tell whether a header of this vault's own is shown, of a round that its store never knew."""
    own = institution.keys.identity
    if institution.rounds.knows(agreement, plan):
        return False
    for signed in headers:
        with suppress(PeerError):
            verify(own.ed25519, own.mldsa44, Purpose.HEADER, signed)
            header = decode(Header, signed.body)
            if (header.institution, header.plan) == (institution.me, plan):
                return True
    return False


def is_unknown_upload_counted(institution: Institution, certificate: Signed) -> bool:
    """Tell whether a certificate that was accepted counts an upload that the store never knew."""
    body = decode(CertificateBody, certificate.body)
    knows = institution.rounds.knows(body.agreement, body.plan)
    return institution.me in body.survivors and not knows


def stop_until_a_new_epoch(institution: Institution, agreement: Digest) -> None:
    """Erase the pair keys, and say so in the ledger."""
    log.error("a round that was forgotten: this vault was restored")
    epoch, _ = institution.epochs.current(agreement)
    with institution.store.erasing() as tx:
        institution.epochs.forget(tx, agreement)
        institution.ledger.append(tx, Restore(agreement=agreement, epoch=epoch, round=0))
