"""Dynamic DNS update (RFC 2136) of record sets by membership: signed with TSIG, fenced by prerequisites. README.md."""

from __future__ import annotations

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.base import Context, Provider

__all__ = ["CAPABILITIES", "KIND", "build"]

ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1", "hmac-md5")

KIND = Kind(
    "rfc2136",
    "dynamic DNS updates (BIND, Knot, PowerDNS and others), membership only: an address is in or out",
    (
        Setting("server", "string", "the primary that takes updates, HOST:PORT", default="127.0.0.1:53"),
        Setting("zone", "string", "the zone that holds the records", required=True),
        Setting("key", "string", "name of the TSIG key; without it updates go unsigned"),
        Setting("secret", "secret", "the key's secret, base64 as in the server's key clause"),
        Setting("algorithm", "string", "of the TSIG key", default="hmac-sha256", choices=ALGORITHMS),
        Setting("timeout", "duration", "of one exchange with a server", default=2.0),
        Setting(
            "verify",
            "strings",
            "name servers to ask after a write, HOST:PORT; by default those of the zone's NS records",
        ),
    ),
    modules=("dns",),
)

CAPABILITIES = Capabilities(membership=True, weight_max=1, atomic=True, compare_and_set=True, ttl=True, dns=True)


def build(context: Context) -> Provider:
    """The provider of one entry. Raises `Misconfigured`."""
    from steerd.providers.rfc2136.client import Rfc2136  # noqa: PLC0415  the registry is read without its clients

    return Rfc2136(context)
