"""Real servers, one of each for a module: every test writes names or backends of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.knot import Knot
from tests.support.named import Named
from tests.support.pdns import Pdns


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Named]:
    server = Named(tmp_path_factory.mktemp("named")).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def knot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Knot]:
    server = Knot(tmp_path_factory.mktemp("knot")).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def pdns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pdns]:
    server = Pdns(tmp_path_factory.mktemp("pdns")).start()
    yield server
    server.stop()
