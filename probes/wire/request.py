"""Requests, encoded once: what changes from look to look is the id in the mark, eight bytes in the middle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from yarl import URL

from probes.errors import MisconfiguredError
from probes.headers import MARK

__all__ = ["Encoded", "encode"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Encoded:
    """One request without the id of its mark: `head`, the id, `tail`; or `tail_last` on a connection that ends with its answer."""

    head: bytes
    tail: bytes
    tail_last: bytes
    bodiless: bool
    """The answer has no body whatever its head says (HEAD)."""


def encode(method: str, url: URL, headers: Mapping[str, str], mark: str, body: bytes | None) -> Encoded:
    """`mark` is the value of X-Steerd-Probe up to its id. Raises `MisconfiguredError` for what cannot be a header."""
    fields = {"Host": url.host_port_subcomponent or "", "Accept": "*/*"}
    if body is not None:
        fields["Content-Type"] = "application/octet-stream"
        fields["Content-Length"] = str(len(body))
    given = {name.lower() for name in headers}
    lines = [f"{name}: {value}" for name, value in fields.items() if name.lower() not in given]
    for name, value in headers.items():
        if _TOKEN.fullmatch(name) is None:
            raise MisconfiguredError(f"{name!r} cannot be the name of a header")
        lines.append(f"{name}: {value}")
    start = f"{method} {url.raw_path_qs} HTTP/1.1\r\n" + "".join(line + "\r\n" for line in lines)
    payload = body or b""
    return Encoded(
        head=f"{start}{MARK}: {mark}".encode(),
        tail=b"\r\n\r\n" + payload,
        tail_last=b"\r\nConnection: close\r\n\r\n" + payload,
        bodiless=method == "HEAD",
    )
