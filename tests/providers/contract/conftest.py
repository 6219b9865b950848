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
from tests.providers.contract.rigs import BindRig, EmbeddedRig, HAProxyRig, MemoryRig, Rig


@pytest.fixture(scope="module")
def haproxy_rig() -> Iterator[Rig]:
    with tempfile.TemporaryDirectory(prefix="ha") as directory:  # short: a socket's path holds about 100 bytes
        rig = HAProxyRig(Path(directory))
        rig.haproxy.start()
        yield rig
        rig.haproxy.stop()


@pytest.fixture(params=["memory", "embedded", "rfc2136", "haproxy", "route53", "arc", "elbv2", "global_accelerator"])
def rig(request: pytest.FixtureRequest) -> Rig:
    if request.param == "memory":
        return MemoryRig()
    if request.param == "embedded":
        return EmbeddedRig()
    # Names must not repeat over tests on one server: these rigs live as long as it does.
    shared = request.getfixturevalue("bind_rig" if request.param == "rfc2136" else f"{request.param}_rig")
    assert isinstance(shared, Rig)
    return shared


@pytest.fixture(scope="module")
def bind_rig(request: pytest.FixtureRequest) -> Rig:
    return BindRig(request.getfixturevalue("named"))


@pytest.fixture
async def provider(rig: Rig) -> AsyncIterator[Provider]:
    made = rig.provider()
    await made.open()
    yield made
    await made.close()
