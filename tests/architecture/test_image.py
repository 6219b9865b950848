"""The container image: hadolint clean, built from what is in the tree, and a health check that tells the truth."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.tree import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
CHECK = ROOT / "packaging/healthcheck.py"


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        reason = "hadolint is not installed (`make test` installs it where its package has a build for the machine)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    result = subprocess.run([program, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    admitted = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied: set[str] = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        copied.update(line.split()[:-1])
    assert copied == admitted
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_last_stage_is_bare() -> None:
    last = DOCKERFILE.split("\nFROM ")[-1]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert "apt-get" not in DOCKERFILE
    assert not re.search(r"pip\S* .*\binstall\b", last), "packages are installed in the build stage only"
    assert last.index("USER ") < last.index("ENTRYPOINT ")
    for line in re.findall(r"\bpip\b[^&]*\binstall\b[^&]*", DOCKERFILE):
        assert "--require-hashes" in line or "--no-index" in line, line


async def asked(env: dict[str, str]) -> tuple[int, str]:
    import asyncio  # noqa: PLC0415 - used here only

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(CHECK), stdout=asyncio.subprocess.PIPE, env=env
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
async def test_the_health_check_asks_the_socket(tmp_path: Path, status: int, code: int) -> None:
    async def livez(_: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.add_routes([web.get("/livez", livez)])
    runner = web.AppRunner(app)
    await runner.setup()
    path = tmp_path / "s.sock"
    await web.UnixSite(runner, str(path)).start()
    tcp = web.TCPSite(runner, "127.0.0.1", 0)
    await tcp.start()
    port = next(a[1] for a in runner.addresses if isinstance(a, tuple))
    try:
        by_socket = await asked({"STEERD_SOCKET": str(path)})
        by_url = await asked({"STEERD_HEALTH_URL": f"http://127.0.0.1:{port}/livez"})
    finally:
        await runner.cleanup()
    assert by_url[0] == code
    assert by_socket[0] == code
    assert bool(by_socket[1]) == bool(code)


async def test_the_health_check_says_what_is_wrong() -> None:
    code, text = await asked({"STEERD_HEALTH_URL": "http://127.0.0.1:1/livez"})
    assert code == 1
    assert "127.0.0.1:1" in text
    assert "refused" in text


def test_the_unit_gives_nothing_away() -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have case
    parser.read(ROOT / "packaging/systemd/steerd.service")
    service = parser["Service"]
    assert service["User"] == "steerd"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert service["ExecStart"].endswith("steerd run")
    assert int(service["TimeoutStopSec"].removesuffix("s")) > 5, "a stop takes up to 5 s"
