"""The web page: one HTML, one CSS and one JS file out of `steerd.web`, under a policy that runs nothing else."""

from __future__ import annotations

from importlib import resources
from typing import Final

from aiohttp import web

from steerd.api.keys import AUTH

__all__ = ["CONTENT_SECURITY_POLICY", "FILES", "page"]

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

FILES: Final = {
    "/": ("index.html", "text/html"),
    "/app.css": ("app.css", "text/css"),
    "/app.js": ("app.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Path -> file in `steerd.web` and its type."""

_CONTENT = {path: (resources.files("steerd.web") / name).read_bytes() for path, (name, _) in FILES.items()}


async def page(request: web.Request) -> web.Response:
    """One file of the page; the same for everybody, but shown only to those who may read the status behind it."""
    request.app[AUTH].reader(request)
    path = request.path
    return web.Response(
        body=_CONTENT[path],
        content_type=FILES[path][1],
        charset="utf-8",
        headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY},
    )
