"""A cloudflare provider on the local API, and a route of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from steerd.model.fleet import Secret
from steerd.model.route import Route
from steerd.providers.base import Provider
from tests.support.cloud.cloudflare import ACCOUNT, ZONE_ID, LocalCloudflare, pool_id
from tests.support.cloud.steer import build, route

__all__ = ["ALL", "NAME", "made", "of"]

NAME = "chat.acme.example"
ALL = {"za": 50, "zb": 30, "zc": 20}


def made(server: LocalCloudflare, **settings: Any) -> Provider:
    base = {"zone_id": ZONE_ID, "account_id": ACCOUNT, "token": Secret("env", "CF"), "endpoint_url": server.api}
    return build("cloudflare", {**base, **settings}, server.token)


def of(name: str = NAME, **settings: Any) -> Route:
    return replace(route(name), types=(), settings={"pools": {z: pool_id(z) for z in ALL}, **settings})
