"""What the tests of agents share with those of probes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.model_server import ModelServer


@pytest.fixture(scope="module")
def server_process() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server
