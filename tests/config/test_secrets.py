"""Secrets are read when used, and their values stand in no message."""

from __future__ import annotations

from pathlib import Path

import pytest

from steerd.config.secrets import MAX_SECRET_BYTES, SecretError, resolve
from steerd.model.fleet import Secret


def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("first\n")
    secret = Secret("file", str(path))
    assert resolve(secret) == "first"
    path.write_text("second\n\n")
    assert resolve(secret) == "second\n", "only one newline is taken off"


def test_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEERD_TEST_KEY", "value")
    assert resolve(Secret("env", "STEERD_TEST_KEY")) == "value"


@pytest.mark.parametrize(
    ("data", "needle"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xffhunter2", "not UTF-8"),
        (b"hunter2" * MAX_SECRET_BYTES, "over 64 KiB"),
    ],
)
def test_files_that_are_no_secret(tmp_path: Path, data: bytes, needle: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(data)
    with pytest.raises(SecretError, match=needle) as caught:
        resolve(Secret("file", str(path)))
    assert str(path) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "secret", [Secret("env", "STEERD_NOT_SET"), Secret("file", "/nonexistent/key"), Secret("file", "a\0b")]
)
def test_missing_ones_name_their_reference(secret: Secret) -> None:
    with pytest.raises(SecretError, match=r"secret \{(env|file): "):
        resolve(secret)
