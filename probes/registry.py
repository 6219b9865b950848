"""Every probe kind by name, and how to make one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from probes.catalog import BUILT
from probes.errors import SettingError
from probes.kinds import Kind
from probes.outcome import Layer
from probes.planned import PLANNED
from probes.probe import Probe
from probes.settings import Resolve

__all__ = ["KINDS", "ProbeUnavailableError", "make"]

KINDS: dict[str, Kind] = {kind.name: kind for kind in (*BUILT, *PLANNED)}
"""All kinds, those not written yet included (`built` False)."""

# Imported when the first probe of the kind is made: an agent without a kind does not load its client library.
_MODULES = {
    "http": "probes.http_probe",
    "tcp": "probes.tcp_probe",
    "tls": "probes.tls_probe",
    "dns": "probes.dns_probe",
    "openai-chat": "probes.openai_chat",
    "grpc": "probes.deps.grpc_probe",
    "redis": "probes.deps.redis_probe",
    "postgres": "probes.deps.postgres_probe",
    "rabbitmq": "probes.deps.rabbitmq_probe",
    "nats-jetstream": "probes.deps.nats_probe",
    "kafka": "probes.deps.kafka_probe",
    "sqs": "probes.deps.sqs_probe",
    "qdrant": "probes.deps.vector_probe",
    "milvus": "probes.deps.vector_probe",
    "weaviate": "probes.deps.vector_probe",
    "s3": "probes.deps.s3_probe",
    "dcgm": "probes.deps.dcgm_probe",
    "prometheus": "probes.deps.prometheus_probe",
    "icmp": "probes.deps.icmp_probe",
}


class ProbeUnavailableError(ValueError):
    """There is no such kind in this build; the text says what to do."""


def make(kind: str, layer: str, settings: Mapping[str, Any], resolve: Resolve) -> Probe:
    """A probe for one check. It serves any number of targets and holds connections until it is closed.

    `settings` are the check's, durations as float seconds, secrets as references that `resolve` turns into their value
    when a look needs it. Raises `ProbeUnavailableError` for a kind that this build lacks and `SettingError` for a
    setting that cannot be, both with what to write instead.
    """
    known = KINDS.get(kind)
    if known is None:
        raise ProbeUnavailableError(f"there is no probe kind {kind!r}; known are {', '.join(sorted(KINDS))}")
    if not known.built:
        raise ProbeUnavailableError(f"the probe kind {kind!r} is not written yet; switch the check off or use another")
    for setting in known.settings:
        if setting.required and settings.get(setting.name) is None:
            raise SettingError(f"{setting.name}: {kind} needs it: {setting.help}")
    for name, other in known.lacking(settings):
        raise SettingError(f"{name}: needs `{other}` beside it")
    try:
        module = importlib.import_module(_MODULES[kind])
    except ModuleNotFoundError as error:
        if known.extra is None or str(error.name).partition(".")[0] not in known.modules:
            raise
        text = f"{kind!r} needs a client library: install the extra: pip install 'steerd[{known.extra}]'"
        raise ProbeUnavailableError(text) from error
    build: Callable[[Layer, Mapping[str, Any], Resolve], Probe] = module.build
    return build(Layer(layer), settings, resolve)
