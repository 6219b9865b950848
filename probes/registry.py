"""Every probe kind by name, and how to make one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from probes.catalog import BUILT
from probes.catalog_paths import PATHS
from probes.deps.catalog import DEPENDENCIES
from probes.errors import SettingError
from probes.kinds import Kind
from probes.outcome import Layer
from probes.plugins import Plugin, installed
from probes.probe import Probe
from probes.settings import Resolve

__all__ = ["KINDS", "PLUGIN_FAULTS", "ProbeUnavailableError", "make"]

_OURS = {kind.name: kind for kind in (*BUILT, *PATHS, *DEPENDENCIES)}
_PLUGINS: dict[str, Plugin] = installed(_OURS)

KINDS: dict[str, Kind] = {**_OURS, **{name: plugin.kind for name, plugin in _PLUGINS.items()}}
"""All kinds, those of installed plug-ins included, also of plug-ins that cannot be used (`built` False)."""

PLUGIN_FAULTS = {name: plugin.kind.help for name, plugin in _PLUGINS.items() if plugin.build is None}
"""Plug-ins that are installed and cannot be used, and why."""

# Imported when the first probe of the kind is made: an agent without a kind does not load its client library.
_MODULES = {
    "http": "probes.http_probe",
    "tcp": "probes.tcp_probe",
    "tls": "probes.tls_probe",
    "dns": "probes.dns_probe",
    "openai-chat": "probes.openai_chat",
    "openai-completions": "probes.openai_completions",
    "openai-embeddings": "probes.openai_embeddings",
    "kserve-infer": "probes.kserve_infer",
    "script": "probes.script",
    "progress": "probes.progress",
    "version": "probes.version_label",
    "exec": "probes.exec_probe",
    "grpc": "probes.deps.grpc_probe",
    "kserve-grpc": "probes.deps.kserve_grpc_probe",
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
    plugin = _PLUGINS.get(kind)
    if kind in PLUGIN_FAULTS:
        raise ProbeUnavailableError(f"the probe kind {kind!r} cannot be used: {PLUGIN_FAULTS[kind]}")
    for setting in known.settings:
        if setting.required and settings.get(setting.name) is None:
            raise SettingError(f"{setting.name}: {kind} needs it: {setting.help}")
    for name, other in known.lacking(settings):
        raise SettingError(f"{name}: needs `{other}` beside it")
    if plugin is not None and plugin.build is not None:
        return plugin.build(Layer(layer), settings, resolve)
    try:
        module = importlib.import_module(_MODULES[kind])
    except ModuleNotFoundError as error:
        if known.extra is None or str(error.name).partition(".")[0] not in known.modules:
            raise
        text = f"{kind!r} needs a client library: install the extra: pip install '.[{known.extra}]' from the checkout"
        raise ProbeUnavailableError(text) from error
    build: Callable[[Layer, Mapping[str, Any], Resolve], Probe] = module.build
    return build(Layer(layer), settings, resolve)
