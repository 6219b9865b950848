"""Layout of a service: objectives, checks, routing, activation, endpoints and routes."""

from __future__ import annotations

from typing import Any

from steerd.config.kinds import PROBE_KINDS, fields_of, open_kind, stack_names
from steerd.config.layout_rules import RAMP
from steerd.config.nodes import Mapping, Node, Scalar
from steerd.config.presets import CLASSES, DEFAULT_CLASS
from steerd.config.problems import Problems
from steerd.config.specs import (
    AnyValue,
    Bool,
    Choice,
    Duration,
    Fraction,
    Integer,
    Ip,
    Name,
    Number,
    Spec,
    Text,
    Url,
)
from steerd.config.tables import Field, ListOf, MapOf, Raw, Section, Shapes, Table, field_schema
from steerd.model.sample import Layer
from steerd.providers.registry import ROUTE_SETTINGS

__all__ = ["CHECK_COMMON", "ENDPOINTS", "MODE", "SERVICE", "check_table"]

MODE = Choice(["steer", "observe"])
ENDPOINT_URL = Url(("tcp", "tls", "grpc", "grpcs", "http", "https"))

OBJECTIVES = Table(
    {
        "rto": Field(Duration(), "time to recover; default by class"),
        "rpo": Field(Duration(zero=True), "data that may be lost, as time"),
        "ttft": Field(Duration(), "time to first token"),
        "availability": Field(Fraction(), "share of good answers"),
    },
    what="`objectives`",
)

CHECK_COMMON: dict[str, Field] = {
    "kind": Field(Choice(PROBE_KINDS), "the probe"),
    "layer": Field(Choice([str(layer) for layer in Layer]), "how deep it looks"),
    "interval": Field(Duration(), "time between looks"),
    "timeout": Field(Duration(), "time one look may take"),
    "off": Field(Bool(), "switch a check of the stack off", default=False),
}


def check_table(kind: str) -> Table:
    """The table of a check of one probe kind. Its settings are all optional here: the stack may give them."""
    probe = PROBE_KINDS[kind]
    settings = fields_of(probe, lenient=True)
    # The common keys win over settings of the same name: a check's interval and timeout are the scheduler's.
    rest = AnyValue() if open_kind(probe) else None
    return Table({**settings, **CHECK_COMMON}, what=f"a check of kind {kind!r}", rest=rest)


def _check_schema() -> dict[str, Any]:
    kinds = [check_table(kind).schema() for kind in sorted(PROBE_KINDS)]
    return {
        "type": "object",
        "description": "overrides a check of the stack, or adds one; null or `off: true` switches one off",
        "properties": {key: field_schema(f) for key, f in CHECK_COMMON.items()},
        "anyOf": kinds,
    }


CHECKS = MapOf(Raw(_check_schema), what="checks", empty=True, null=True)

PREFER = MapOf(Fraction(), what="shares by region")


def _one_source(section: Section, problems: Problems) -> None:
    if section.given("from") == section.given("prometheus"):
        problems.add(section.mark(), "demand is a number, {prometheus: URL, query: PROMQL} or {from: progress}")
    elif section.given("prometheus") != section.given("query"):
        problems.add(section.mark(), "`prometheus` and `query` belong together: {prometheus: URL, query: PROMQL}")


DEMAND = Shapes(
    Number(0),
    Table(
        {
            "prometheus": Field(Url(), "a Prometheus server"),
            "query": Field(Text(), "PromQL that gives one number"),
            "from": Field(Choice(["progress"]), "the engines' own metrics"),
        },
        what="`demand`",
        rule=_one_source,
    ),
)
ROUTING = Table(
    {
        "mode": Field(
            Choice(["active-active", "active-passive"]),
            "all regions at once, or one at a time",
            default="active-active",
        ),
        "prefer": Field(PREFER, "share by region; default proportional to capacity"),
        "order": Field(ListOf(Name(), what="regions", low=1), "regions by preference, with active-passive"),
        "trickle": Field(Fraction(), "share that keeps a standby warm, with active-passive"),
        "failback": Field(
            Choice(["automatic", "manual"]), "what happens when a region is well again", default="automatic"
        ),
    },
    what="`routing`",
)


def _one_scaler(section: Section, problems: Problems) -> None:
    if len(section.node.entries.keys() & {"webhook", "command", "autoscaling", "kubernetes"}) != 1:
        problems.add(section.mark(), "`scale` takes exactly one of webhook, command, autoscaling, kubernetes")


SCALE = Table(
    {
        "webhook": Field(Url(), "a URL to POST to"),
        "body": Field(AnyValue(), "JSON body of the webhook"),
        "headers": Field(AnyValue(mapping=True), "headers of the webhook; secrets by reference"),
        "command": Field(ListOf(Text(), what="arguments", low=1), "a command and its arguments"),
        "autoscaling": Field(AnyValue(mapping=True), "an AWS Auto Scaling group and its desired capacity"),
        "kubernetes": Field(AnyValue(mapping=True), "a Kubernetes workload and its replicas"),
    },
    what="`scale`",
    rule=_one_scaler,
)


def _one_step(section: Section, problems: Problems) -> None:
    if len(section.node.entries.keys() & {"scale", "wait_ready", "wait_lag"}) != 1:
        problems.add(section.mark(), "an activation step does exactly one of scale, wait_ready, wait_lag")


STEP = Table(
    {
        "scale": Field(SCALE, "start capacity"),
        "wait_ready": Field(Integer(1), "wait for this many endpoints healthy by quorum"),
        "wait_lag": Field(Name(), "wait until this dependency's replication lag is within the RPO"),
        "timeout": Field(Duration(), "time the step may take", required=True),
        "on_failure": Field(Choice(["stop", "continue"]), "what a failure does to the takeover", default="stop"),
    },
    what="an activation step",
    rule=_one_step,
)


def _version_form(section: Section, problems: Problems) -> None:
    keys = set(section.node.entries) & set(VERSION.fields)
    if keys not in ({"header"}, {"url"}, {"url", "path"}, {"metric", "label"}):
        problems.add(
            section.mark(), "version is {header: X}, {url: PATH, path: JSON_PATH} or {metric: NAME, label: LABEL}"
        )


VERSION = Table(
    {
        "header": Field(Text(), "a response header"),
        "url": Field(Text(), "a path on the endpoint that answers JSON"),
        "path": Field(Text(), "where in that JSON the version stands"),
        "metric": Field(Text(), "a metric of the endpoint"),
        "label": Field(Text(), "the metric's label that holds the version"),
    },
    what="`version`",
    rule=_version_form,
)

ENDPOINT = Table(
    {
        "zone": Field(Name(), "its zone", required=True),
        "url": Field(ENDPOINT_URL, "what agents look at", required=True),
        "public_url": Field(ENDPOINT_URL, "what agents outside `regions` look at"),
        "address": Field(Ip(4), "IPv4 that DNS serves for it"),
        "address6": Field(Ip(6), "IPv6 that DNS serves for it"),
        "capacity": Field(Number(above=0), "what it can take, in the unit of `demand`"),
    },
    what="an endpoint",
)


class _Endpoints(Spec):
    """A map of endpoints, or `{file: PATH}`, which reads to the path's `Scalar`."""

    _inline = MapOf(ENDPOINT, what="endpoints")

    def read(self, node: Node, problems: Problems) -> Any:
        if isinstance(node, Mapping) and list(node.entries) == ["file"]:
            value = node.entries["file"].value
            if isinstance(value, Scalar):
                return value
        return self._inline.read(node, problems)

    def schema(self) -> dict[str, Any]:
        file = {
            "type": "object",
            "properties": {"file": {"type": "string"}},
            "required": ["file"],
            "additionalProperties": False,
        }
        return {"anyOf": [file, self._inline.schema()]}


ENDPOINTS = _Endpoints()
SCOPE = Shapes(
    Name(),
    Table({"region": Field(Name(), "one region"), "zone": Field(Name(), "one zone")}, what="`scope`"),
)
_ROUTE_EXTRAS: dict[str, list[str]] = {}
for _kind, _settings in ROUTE_SETTINGS.items():
    for _setting in _settings:
        _ROUTE_EXTRAS.setdefault(_setting.name, []).append(_kind)

ROUTE = Table(
    {
        "provider": Field(Name(), "one of `providers`", required=True),
        "name": Field(Text(), "the record's name (DNS), or what the provider calls this split"),
        "backend": Field(Text(), "the load balancer's backend"),
        "set": Field(Name(), "tells record sets of one name apart (one geo set per continent, say)"),
        "type": Field(
            ListOf(Choice(["A", "AAAA", "CNAME", "ALIAS"]), what="types", low=1, single=True),
            "record types",
            default="A",
        ),
        "ttl": Field(Duration(1.0, 604800.0, whole=True), "time resolvers may keep answers", default="30s"),
        "per": Field(Choice(["endpoint", "zone", "region"]), "what the route can address", required=True),
        "scope": Field(SCOPE, "limits the route to one region or zone"),
        "servers": Field(MapOf(Text(), what="servers"), "target -> the name the load balancer knows it by"),
        "targets": Field(
            MapOf(ListOf(Text(), what="values", low=1, single=True), what="targets"),
            "target -> address or name to serve",
        ),
        "prefer": Field(PREFER, "share by region, in place of the service's"),
        "only": Field(ListOf(Name(), what="regions", low=1), "regions it may ever be served from (residency)"),
        "on_drift": Field(Choice(["report", "enforce"]), "what to do about edits of others", default="report"),
        **{
            key: Field(Raw(dict), "for some kinds of provider: " + ", ".join(kinds))
            for key, kinds in _ROUTE_EXTRAS.items()
        },
    },
    what="a route",
)


class _StackName(Name):
    """One of the stacks that come with steerd, or one of the config's own."""

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(stack_names())}, super().schema()]}


SERVICE = Table(
    {
        "class": Field(Choice(CLASSES), "presets of objectives, intervals and ramps", default=DEFAULT_CLASS),
        "stack": Field(_StackName(), "the serving stack: which paths and metrics mean what", default="http"),
        "model": Field(Text(), "the model's id"),
        "mode": Field(MODE, "`observe` decides and records but writes nothing"),
        "objectives": Field(OBJECTIVES),
        "checks": Field(CHECKS, "overrides and additions to what the stack checks"),
        "depends_on": Field(ListOf(Name(), what="dependencies"), "dependencies it needs"),
        "demand": Field(DEMAND, "what there is to serve, in the unit of capacity"),
        "routing": Field(ROUTING),
        "fallback": Field(Name(), "a service that can take what this one cannot"),
        "shortfall": Field(
            Choice(["spread", "shed"]), "when survivors of dead endpoints cannot take it all; default by class"
        ),
        "activate": Field(
            MapOf(ListOf(STEP, what="steps", low=1), what="regions"), "what a region does before it takes over"
        ),
        "version": Field(VERSION, "where an endpoint's version label is seen"),
        "endpoints": Field(ENDPOINTS, "the endpoints, or {file: PATH} of a .csv or .yaml", required=True),
        "routes": Field(ListOf(ROUTE, what="routes"), "every place where this service's split is written"),
        "ramp": Field(RAMP, "overrides of `ramp`"),
    },
    what="a service",
)
