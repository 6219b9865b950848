"""Who asks, in tests: an identity from the environment, the first place the SDK's own chain looks at."""

from __future__ import annotations

import pytest

__all__ = ["give_identity"]


def give_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up keys; and nothing of the host's own configuration or instance metadata is read."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIATESTS",
        "AWS_SECRET_ACCESS_KEY": "of-the-tests",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
