"""The file that keeps the embedded server's record sets over a restart: JSON, replaced atomically."""

from __future__ import annotations

from pathlib import Path

import msgspec

from steerd.providers.base import Misconfigured, Refused
from steerd.providers.embedded.translate import RecordSet
from steerd.providers.whole_file import replace_file

__all__ = ["Kept", "load", "save"]

MAX_BYTES = 64 * 1024 * 1024


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds. `zone` guards against a file of another zone."""

    zone: str
    serial: int
    records: tuple[RecordSet, ...]
    v: int = 1


def load(path: Path) -> Kept | None:
    """What was kept, or None when there is no file yet. Raises `Misconfigured`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Misconfigured(f"{path} is larger than any state file", "`state` must name a file of steerd's own")
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Misconfigured(
            f"{path} cannot be read: {error.strerror}", "fix its rights, or name another file"
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Misconfigured(
            f"{path} is not a state file of the embedded server: {error}",
            "move it away: steerd writes the records again from its own journal",
        ) from None


def save(path: Path, kept: Kept) -> None:
    """Replace the file: after a crash either the old or the new content stands, whole. Raises `Refused`."""
    try:
        replace_file(path, msgspec.json.encode(kept))
    except OSError as error:
        raise Refused(
            f"{path} cannot be written: {error.strerror or error}: the record sets stay as they are",
            "free space or fix the rights of its directory",
        ) from None
