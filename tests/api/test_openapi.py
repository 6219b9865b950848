"""The document says exactly what there is."""

from __future__ import annotations

import re

from steerd.api.app import make_app
from steerd.api.auth import Auth
from steerd.api.openapi import document
from tests.support.scripted import ScriptedCoordinator, resolve


def routes():
    coordinator = ScriptedCoordinator()
    app = make_app(coordinator, auth=Auth(lambda: coordinator.fleet, resolve))
    return {(r.method.lower(), r.resource.canonical) for r in app.router.routes() if r.method != "HEAD"}


def test_every_route_is_in_the_document_and_nothing_else():
    told = {(method, path) for path, operations in document()["paths"].items() for method in operations}
    assert told == routes()


def test_no_get_changes_anything():
    changing = {path for method, path in routes() if method != "get"}
    assert {p for m, p in routes() if m == "get"} & changing == set()


def test_references_lead_somewhere():
    found = document()
    schemas = set(found["components"]["schemas"])
    used = set(re.findall(r"#/components/schemas/(\w+)", str(found)))
    assert used <= schemas
    assert {"DrainBody", "PinBody", "FreezeBody", "Problem"} <= used


def test_path_parameters_are_declared():
    for path, operations in document()["paths"].items():
        wanted = set(re.findall(r"{(\w+)}", path))
        for operation in operations.values():
            declared = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
            assert declared == wanted, path


def test_bodies_say_their_limits():
    schema = document()["components"]["schemas"]
    assert schema["PinBody"]["properties"]["share"]["maximum"] == 1
    assert schema["DrainBody"]["required"] == ["name", "reason"]
    assert schema["DrainBody"]["additionalProperties"] is False


async def test_it_is_served(api):
    async with api.tcp.get("/v1/openapi.json") as r:
        assert (await r.json())["openapi"] == "3.1.0"
