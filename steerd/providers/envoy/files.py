"""The files that Envoy watches: read whole, replaced whole, and only if they still are what was read."""

from __future__ import annotations

import fcntl
from pathlib import Path

import msgspec

from steerd.providers.base import Conflict, Misconfigured, Refused
from steerd.providers.envoy.translate import Held, Write, parse, response
from steerd.providers.whole_file import replace_file

__all__ = ["load", "replace"]

MAX_BYTES = 64 * 1024 * 1024


def load(path: Path, name: str) -> Held | None:
    """What the file holds for cluster `name`, or None when there is no file. Raises `Misconfigured`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Misconfigured(f"{path} is larger than any assignment", "`path` must name a file of steerd's own")
        held = parse(msgspec.json.decode(path.read_bytes()), name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Misconfigured(
            f"{path} cannot be read: {error.strerror}", "fix its rights, or name another file"
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise Misconfigured(
            f"{path} is no discovery response: {error!r}", "move it away: steerd writes it anew"
        ) from None
    if held is None:
        raise Misconfigured(
            f"{path} is not about cluster {name}", "write `{name}` into `path`: each cluster has a file"
        )
    return held


def replace(path: Path, write: Write) -> None:
    """Replace the file by a rename, which is what Envoy watches for. Two processes that write it take turns.

    Raises `Conflict` when it is no longer what was read, `Refused` when it cannot be written.
    """
    try:
        with Path(f"{path}.lock").open("a", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            standing = load(path, write.name)
            newest = standing.fence if standing else None
            if newest is not None and write.new.fence is not None and newest.newer_than(write.new.fence):
                raise Conflict(f"{path} carries {newest.text!r}, which is newer than {write.new.fence.text!r}")
            if standing != write.old:
                raise Conflict(f"{path} was written since it was read")
            # Envoy runs as a user of its own; nothing in it is secret.
            replace_file(path, msgspec.json.encode(response([write.new])), mode=0o644)
    except OSError as error:
        raise Refused(
            f"{path} cannot be written: {error.strerror or error}: Envoy keeps what it has",
            "free space or fix the rights of its directory",
        ) from None
