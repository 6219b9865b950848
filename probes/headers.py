"""Headers of one look."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

from probes.errors import MisconfiguredError
from probes.outcome import Layer
from probes.settings import Resolve, Text

__all__ = ["MARK", "request_headers"]

MARK = "X-Steerd-Probe"
"""The header that tells a look from traffic: the layer and an id, `liveness/0a1b2c3d`."""


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def request_headers(
    layer: Layer, headers: Mapping[str, Text], api_key: Text | None, resolve: Resolve, hidden: list[str]
) -> dict[str, str]:
    """The check's own headers, its key, and a mark with an id that can be found in the server's log.

    Values of secrets are also added to `hidden`, for whoever says something about the answer. Raises
    `MisconfiguredError` when a secret cannot be read or cannot be a header.
    """
    found = {MARK: f"{layer.value}/{secrets.token_hex(4)}"}
    if api_key is not None:
        key = api_key.read(resolve, "api_key")
        hidden.append(key)
        found["Authorization"] = f"Bearer {key}"
    for name, value in headers.items():
        found[name] = value.read(resolve, f"headers.{name}")
        if value.secret:
            hidden.append(found[name])
    for name, sent in found.items():
        if _CONTROL.search(sent):
            raise MisconfiguredError(f"the value of header {name} has a line break or control character in it")
    return found
