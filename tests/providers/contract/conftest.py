from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from steerd.providers.base import Provider
from tests.providers.contract.aws_rigs import (  # noqa: F401  fixtures are found here
    arc_rig,
    elbv2_rig,
    global_accelerator_rig,
    route53_rig,
)
from tests.providers.contract.cloud_rigs import (  # noqa: F401
    clouddns_rig,
    cloudflare_disabling_rig,
    cloudflare_rig,
    compute_rig,
    gateway_rig,
    traffic_manager_rig,
    webhook_rig,
)
from tests.providers.contract.rigs import (
    BeaconRig,
    BindRig,
    EmbeddedRig,
    EnvoyRig,
    HAProxyRig,
    MemoryRig,
    PowerDNSRig,
    Rig,
)


@pytest.fixture(scope="module")
def haproxy_rig() -> Iterator[Rig]:
    with tempfile.TemporaryDirectory(prefix="ha") as directory:  # short: a socket's path holds about 100 bytes
        rig = HAProxyRig(Path(directory))
        rig.haproxy.start()
        yield rig
        rig.haproxy.stop()


SHARED = {
    "rfc2136": "bind_rig",
    "rfc2136-knot": "knot_rig",
    "haproxy": "haproxy_rig",
    "powerdns": "lua_rig",
    "powerdns-membership": "plain_rig",
    "route53": "route53_rig",
    "arc": "arc_rig",
    "elbv2": "elbv2_rig",
    "global_accelerator": "global_accelerator_rig",
    "webhook": "webhook_rig",
    "clouddns": "clouddns_rig",
    "azure-trafficmanager": "traffic_manager_rig",
    "gcp-backend": "compute_rig",
    "gateway-api": "gateway_rig",
    "cloudflare": "cloudflare_rig",
    "cloudflare-disabling": "cloudflare_disabling_rig",
}
"""Rig -> its fixture: it lives as long as its server does, so names must not repeat over tests."""


@pytest.fixture(params=["memory", "beacon", "embedded", "envoy", "envoy-file", *SHARED])
def rig(request: pytest.FixtureRequest) -> Rig:
    if request.param == "memory":
        return MemoryRig()
    if request.param == "beacon":
        return BeaconRig()
    if request.param == "embedded":
        return EmbeddedRig()
    if request.param.startswith("envoy"):
        return EnvoyRig(request.getfixturevalue("tmp_path"), path=request.param == "envoy-file")
    shared = request.getfixturevalue(SHARED[request.param])
    assert isinstance(shared, Rig)
    return shared


@pytest.fixture(scope="module")
def bind_rig(request: pytest.FixtureRequest) -> Rig:
    return BindRig(request.getfixturevalue("named"))


@pytest.fixture(scope="module")
def knot_rig(request: pytest.FixtureRequest) -> Rig:
    return BindRig(request.getfixturevalue("knot"))


@pytest.fixture(scope="module")
def lua_rig(request: pytest.FixtureRequest) -> Rig:
    return PowerDNSRig(request.getfixturevalue("pdns"), lua=True)


@pytest.fixture(scope="module")
def plain_rig(request: pytest.FixtureRequest) -> Rig:
    return PowerDNSRig(request.getfixturevalue("pdns"), lua=False)


@pytest.fixture
async def provider(rig: Rig) -> AsyncIterator[Provider]:
    made = rig.provider()
    await made.open()
    yield made
    await made.close()
