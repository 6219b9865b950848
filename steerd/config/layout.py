"""The config file's layout: every key, what it may hold, and what it means. Reading and the JSON Schema both come from here."""

from __future__ import annotations

from steerd.config.kinds import PROBE_KINDS, PROVIDER_KINDS, STORE_KINDS, KindTable, fields_of, open_kind
from steerd.config.layout_rules import DAMPING, GRAY, GUARDS, QUORUM, RAMP, VERDICT
from steerd.config.layout_service import MODE, SERVICE
from steerd.config.problems import Problems
from steerd.config.specs import AnyValue, Bool, Duration, Integer, Name, SecretRef, Text, Url
from steerd.config.tables import Field, ListOf, MapOf, Section, Shapes, Table

__all__ = ["DEPENDENCIES", "PROVIDERS", "ROOT", "STORE"]

TLS = Table(
    {
        "cert": Field(Text(), "PEM file of the certificate chain", required=True),
        "key": Field(Text(), "PEM file of its key", required=True),
        "client_ca": Field(Text(), "PEM file of the authorities that sign agents' certificates (mutual TLS)"),
    },
    what="`tls`",
)
LISTEN = Table(
    {
        "host": Field(Text(), "address to listen on", default="127.0.0.1"),
        "port": Field(Integer(0, 65535), "TCP port; 0 takes a free one", default=7443),
        "socket": Field(Text(), "Unix socket for operators on this host; its file permissions are the rights"),
        "tls": Field(TLS, "certificate of the listener"),
        "insecure": Field(Bool(), "allow plain HTTP beyond loopback", default=False),
    },
    what="`listen`",
)

REGION = Table(
    {"zones": Field(ListOf(Name(), what="zones", low=1), "zones of the region", required=True)}, what="a region"
)
AGENT = Table(
    {
        "zone": Field(Name(), "where the agent votes from; a zone outside `regions` is a vantage zone", required=True),
        "token": Field(SecretRef(), "bearer token that proves to coordinators who votes"),
        "sees": Field(
            ListOf(Name(), what="services or endpoints", low=1), "services or endpoints it looks at; default all"
        ),
        "listen": Field(LISTEN, "overrides of `listen`"),
    },
    what="an agent",
)
COORDINATOR = Table(
    {
        "region": Field(Name(), "its region", required=True),
        "url": Field(Url(), "where agents and other coordinators reach it", required=True),
        "listen": Field(LISTEN, "overrides of `listen`"),
    },
    what="a coordinator",
)

STORE = KindTable(STORE_KINDS, {}, what="a store", default="sqlite")
PROVIDERS = KindTable(
    PROVIDER_KINDS, {"region": Field(Name(), "the region whose coordinator carries out its writes")}, what="a provider"
)


class _Dependencies(KindTable):
    """Each instance takes the same settings as the dependency itself."""

    def table(self, name: str) -> Table:
        table = super().table(name)
        probe = self.kinds[name]
        own = {key: f for key, f in fields_of(probe, lenient=True).items() if key not in self.common}
        rest = AnyValue() if open_kind(probe) else None
        instance = Table(own, what=f"an instance of kind {name!r}", rest=rest)
        instances = Field(MapOf(instance, what="instances by region"), self.common["instances"].help)
        return Table({**table.fields, "instances": instances}, what=f"a dependency of kind {name!r}", rest=rest)


DEPENDENCIES = _Dependencies(
    PROBE_KINDS,
    {
        "stateful": Field(Bool(), "takeover waits for its replication lag (the data gate)", default=False),
        "max_lag": Field(Duration(), "alert when replication lags more than this"),
        "interval": Field(Duration(), "time between looks"),
        "timeout": Field(Duration(), "time one look may take"),
        "instances": Field(
            MapOf(AnyValue(mapping=True), what="instances by region"), "settings of its instance by region"
        ),
    },
    what="a dependency",
    lenient=True,
)


def _contact_reach(section: Section, problems: Problems) -> None:
    if not (section.given("phone") or section.given("url")):
        problems.add(section.mark(), "a contact needs a `phone` or a `url`")


CONTACT = Table(
    {
        "name": Field(Text(), "who", required=True),
        "phone": Field(Text(), "a number to call"),
        "url": Field(Url(), "a page to open"),
    },
    what="a contact",
    rule=_contact_reach,
)
ALERT = Table(
    {
        "webhook": Field(
            Shapes(Url(), SecretRef()), "a URL to POST alerts to; by reference where the URL is a secret", required=True
        ),
        "headers": Field(AnyValue(mapping=True), "headers to send; secrets by reference"),
    },
    what="an alert",
)
TELEMETRY = Table(
    {
        "otlp": Field(Url(), "an OpenTelemetry collector (OTLP over HTTP)"),
        "prometheus": Field(Bool(), "serve /metrics", default=True),
    },
    what="`telemetry`",
)

BUDGET = Table(
    {"tokens_per_day": Field(Integer(1), "tokens a day over the whole fleet", required=True)}, what="`budget`"
)

ROOT = Table(
    {
        "fleet": Field(Name(), "names the keys in the store and the TXT fence records", required=True),
        "mode": Field(MODE, "`observe` writes nothing for any service", default="steer"),
        "regions": Field(MapOf(REGION, what="regions"), "regions and their zones", required=True),
        "agents": Field(MapOf(AGENT, what="agents"), "who may vote, and from where", required=True),
        "coordinators": Field(MapOf(COORDINATOR, what="coordinators"), "who decides; one leads", required=True),
        "store": Field(STORE, "where decisions are kept"),
        "services": Field(MapOf(SERVICE, what="services"), "what is watched and steered", required=True),
        "dependencies": Field(MapOf(DEPENDENCIES, what="dependencies", empty=True), "what services need"),
        "providers": Field(MapOf(PROVIDERS, what="providers", empty=True), "traffic systems"),
        "references": Field(
            ListOf(Url(), what="URLs"),
            "URLs an agent asks when it doubts its own network; default the coordinators",
        ),
        "quorum": Field(QUORUM),
        "guards": Field(GUARDS),
        "verdict": Field(VERDICT),
        "gray": Field(GRAY),
        "damping": Field(DAMPING),
        "stacks": Field(
            MapOf(AnyValue(mapping=True), what="stacks", empty=True),
            "serving stacks of your own, by the keys of those of `steerd stacks`; `extends: NAME` begins with another one",
        ),
        "budget": Field(BUDGET, "what all looks of all agents may spend"),
        "ramp": Field(RAMP),
        "contacts": Field(ListOf(CONTACT, what="contacts"), "printed in runbooks"),
        "alerts": Field(ListOf(ALERT, what="alerts"), "where alerts go"),
        "telemetry": Field(TELEMETRY),
        "listen": Field(LISTEN, "where daemons listen"),
    },
    what="a config",
)
