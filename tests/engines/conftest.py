"""Real engines are there, or it is said how to get them."""

from __future__ import annotations

import pytest

from tests.engines.engine import ENGINES


@pytest.fixture(autouse=True, scope="session")
def engines_are_there() -> None:
    missing = [name for name in ("llama-server", "venv/bin/mlserver") if not (ENGINES / name).exists()]
    if missing:
        pytest.exit(f"{', '.join(missing)} missing in {ENGINES}: run `make test-engines`", returncode=1)
