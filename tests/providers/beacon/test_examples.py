"""The worked examples of the README, on what they are for."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from steerd.api.app import make_app
from steerd.api.auth import Auth
from steerd.api.server import ApiServer
from steerd.model.fleet import Listen
from steerd.providers import beacon
from tests.support.scripted import ScriptedCoordinator, resolve
from tests.support.servers import Process, free_port, require

README = (Path(beacon.__file__).parent / "README.md").read_text()


def test_the_health_check_is_one_that_route_53_takes_and_asks_the_inverted_way() -> None:
    botocore = pytest.importorskip("botocore.session")
    validate = pytest.importorskip("botocore.validate")
    block = re.search(r"```json\n(.*?)```", README, re.DOTALL)
    assert block is not None
    config = json.loads(block.group(1))
    model = botocore.get_session().get_service_model("route53").operation_model("CreateHealthCheck")
    report = validate.ParamValidator().validate(
        {"CallerReference": "x", "HealthCheckConfig": config}, model.input_shape
    )
    assert not report.has_errors(), report.generate_report()
    kinds = model.input_shape.members["HealthCheckConfig"].members["Type"].enum
    assert config["Type"] in kinds
    asked = urlsplit(config["ResourcePath"])
    assert config["Inverted"] is True
    assert "inverted" in parse_qs(asked.query, keep_blank_values=True)


class Fleet(ScriptedCoordinator):
    """In which one zone is steered."""

    def __init__(self) -> None:
        super().__init__()
        self.beacons = {"eu-west-1a": True}


@asynccontextmanager
async def serving(coordinator: Fleet, port: int, folder: Path) -> AsyncIterator[None]:
    async def accept() -> str | None:
        return None

    app = make_app(coordinator, auth=Auth(lambda: coordinator.fleet, resolve), meters=None, accept=accept)
    server = ApiServer(app, Listen(port=port, socket=str(folder / "s.sock")))
    await server.start()
    yield
    await server.stop()


async def health(port: int) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/healthz") as answer:
        return answer.status


async def becomes(port: int, status: int) -> None:
    end = asyncio.get_running_loop().time() + 10
    while await health(port) != status:
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.02)


async def test_a_proxy_passes_a_drain_on_and_a_dead_steerd_drains_nothing() -> None:
    block = re.search(r"```\n(backend drain-.*?)```", README, re.DOTALL)
    assert block is not None
    steerd, page = free_port(), free_port()
    text = (
        block.group(1).replace("10.0.0.5:7443", f"127.0.0.1:{steerd}").replace("bind :8081", f"bind 127.0.0.1:{page}")
    )
    text = text.replace("inter 1s", "inter 50ms")
    defaults = (
        "defaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n  timeout check 1s\n"
    )
    with tempfile.TemporaryDirectory(prefix="ha") as name:
        folder = Path(name)
        (folder / "haproxy.cfg").write_text(f"global\n{defaults}{text}")
        proxy = Process((require("haproxy"), "-db", "-f", folder / "haproxy.cfg"), folder / "log", folder)
        proxy.start(lambda: True)
        try:
            coordinator = Fleet()
            async with serving(coordinator, steerd, folder):
                await until_listening(page)
                await becomes(page, 200)
                coordinator.beacons["eu-west-1a"] = False
                await becomes(page, 503)
                coordinator.beacons["eu-west-1a"] = True
                await becomes(page, 200)
                coordinator.beacons["eu-west-1a"] = False
                await becomes(page, 503)
            await becomes(page, 200)  # steerd is gone: what it does not say is not a drain
            for _ in range(20):
                assert await health(page) == 200
        finally:
            proxy.stop()


async def until_listening(port: int) -> None:
    end = asyncio.get_running_loop().time() + 10
    while True:
        try:
            await health(port)
        except aiohttp.ClientError:
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.02)
        else:
            return
