from __future__ import annotations

import pytest

from tests.support.aws.identity import give_identity


@pytest.fixture(autouse=True)
def identity(monkeypatch: pytest.MonkeyPatch) -> None:
    give_identity(monkeypatch)
