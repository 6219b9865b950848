from __future__ import annotations

from collections.abc import Iterator

import pytest

from steerd.providers.base import Provider
from tests.support.cloud.cloudflare import LocalCloudflare
from tests.support.cloud.cloudflare_steer import NAME, made


@pytest.fixture
def server() -> Iterator[LocalCloudflare]:
    local = LocalCloudflare()
    local.start()
    local.add(NAME, {"za": 1, "zb": 1, "zc": 0})
    yield local
    local.stop()


@pytest.fixture
def provider(server: LocalCloudflare) -> Provider:
    return made(server)
