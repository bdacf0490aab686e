"""How long a certificate lasts, and for which names."""

import datetime

from cryptography import x509

from comity_host.checks import Finding, ok, problem, warning


def validity(name: str, pem: bytes, *, now: datetime.datetime, warn_days: int, fix: str) -> Finding:
    """Check that a certificate is valid, and for more than so many days.

    Args:
        now: with a time zone.
        fix: how to get another one.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError:
        return problem(name, "this is no certificate in PEM", fix)
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < first:
        wait = f"valid from {first:%Y-%m-%d %H:%M} UTC on"
        return problem(name, wait, "set this machine's clock: timedatectl set-ntp true")
    days = (last - now).days
    if now > last:
        return problem(name, f"expired on {last:%Y-%m-%d}", fix)
    if days < warn_days:
        return warning(name, f"expires on {last:%Y-%m-%d}, in {days} days", fix)
    return ok(name, f"valid until {last:%Y-%m-%d}, {days} days")


def certified_hosts(pem: bytes) -> frozenset[str]:
    """Name the hosts and addresses that a certificate is for.

    Raises:
        ValueError: it is no certificate.
    """
    certificate = x509.load_pem_x509_certificate(pem)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    addresses = (str(each) for each in names.get_values_for_type(x509.IPAddress))
    return frozenset((*names.get_values_for_type(x509.DNSName), *addresses))
