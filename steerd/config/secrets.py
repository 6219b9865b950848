"""Values of secrets, read anew at each use, so that a rotated file or variable is seen. Values appear in no message."""

from __future__ import annotations

import os
from pathlib import Path

from steerd.model.fleet import Secret

__all__ = ["MAX_SECRET_BYTES", "SecretError", "resolve"]

MAX_SECRET_BYTES = 64 * 1024


class SecretError(Exception):
    """A secret cannot be had. The text names its reference and says what to do; never its value."""


def resolve(secret: Secret) -> str:
    """The value of `secret`, without one trailing newline. Raises `SecretError` when it is missing, empty or unreadable."""
    value = _from_env(secret) if secret.kind == "env" else _from_file(secret)
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise SecretError(f"secret {_words(secret)} is empty")
    return value


def _words(secret: Secret) -> str:
    return f"{{{secret.kind}: {secret.ref}}}"


def _from_env(secret: Secret) -> str:
    value = os.environ.get(secret.ref)
    if value is None:
        raise SecretError(
            f"secret {_words(secret)}: the environment has no such variable; set it where the daemon is started"
        )
    return value


def _from_file(secret: Secret) -> str:
    try:
        with Path(secret.ref).open("rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise SecretError(
            f"secret {_words(secret)}: {reason}; check the path and that the daemon's user may read it"
        ) from None
    if len(data) > MAX_SECRET_BYTES:
        raise SecretError(f"secret {_words(secret)} is over {MAX_SECRET_BYTES // 1024} KiB: that is no secret")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise SecretError(f"secret {_words(secret)} is not UTF-8 text") from None
