"""Real servers, one of each for a module: every test writes names or backends of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.named import Named


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Named]:
    server = Named(tmp_path_factory.mktemp("named")).start()
    yield server
    server.stop()
