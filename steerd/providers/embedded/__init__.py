"""A small authoritative DNS server inside steerd, with real weighted answers. See README.md."""

from __future__ import annotations

from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers.base import Context, Provider

__all__ = ["CAPABILITIES", "KIND", "build"]

KIND = Kind(
    "embedded",
    "a small authoritative DNS server inside the coordinator, with weighted answers",
    (
        Setting("listen", "string", "HOST:PORT for UDP and TCP", default="127.0.0.1:5353"),
        Setting("zone", "string", "the zone it is authoritative for", required=True),
        Setting("ns", "string", "name of this server in the NS record; ns.ZONE by default"),
        Setting("ns_address", "string", "address of that name; the address of `listen` by default"),
        Setting("contact", "string", "mail address in the SOA; hostmaster@ZONE by default"),
        Setting("answers", "int", "how many addresses to give per answer", default=1),
        Setting("ttl", "duration", "of the SOA and NS records; routes carry their own", default=300.0),
        Setting("state", "path", "file that keeps the record sets, so that a restart serves them at once"),
    ),
    modules=("dns",),
)

# Volatile: nobody but steerd writes here, so what differs is what a restart without (or with an old) state file forgot.
CAPABILITIES = Capabilities(
    weight_max=10_000, zero=True, atomic=True, compare_and_set=True, ttl=True, dns=True, volatile=True
)


def build(context: Context) -> Provider:
    """The provider of one entry. Raises `Misconfigured`."""
    from steerd.providers.embedded.client import Embedded  # noqa: PLC0415  the registry is read without its clients

    return Embedded(context)
