"""What every test gets: reproducible hypothesis, no leaked tasks or child processes, and the `server` marker."""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

CI = os.environ.get("CI", "").lower() in {"1", "true"}
# Where Debian keeps servers, outside a plain user's PATH.
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin")))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores SIGINT in what it starts in the background, and children inherit that: then no test could send Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

REAL_SERVERS = {"rfc2136", "haproxy"}

settings.register_profile("steerd", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("steerd"), derandomize=True, print_blob=True)
settings.load_profile("ci" if CI else "steerd")

os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), *SBIN])


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Real engines take a build: their tests are collected for `-m engines` only, as `make test-engines` asks."""
    if collection_path == Path(__file__).parent / "engines" and "engines" not in str(config.getoption("markexpr")):
        return True
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """`@pytest.mark.server("named")`: without the program a test skips with its reason; with CI=true it fails."""
    for marker in item.iter_markers("server"):
        for program in marker.args:
            if shutil.which(program) is None:
                reason = f"{program} is not installed (`make test` as root installs the servers that tests need)"
                if CI:
                    pytest.fail(reason, pytrace=False)
                pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Asynchronous tests are checked for leaked tasks; the others need no event loop and get none. Tests in the folder of
    a provider with a real server, or with it as a parameter, can be left out by `-m "not server"`."""
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        if inspect.iscoroutinefunction(item.obj):
            item.fixturenames.insert(0, "no_leaked_tasks")  # set up first, so looked at last
        words = {*item.path.parts, *(item.callspec.id.split("-") if hasattr(item, "callspec") else ())}
        if words & REAL_SERVERS:
            item.add_marker("server")


@pytest.fixture
async def no_leaked_tasks() -> AsyncIterator[None]:
    """An asynchronous test leaves no task behind: what it starts, it stops."""
    yield
    mine = asyncio.current_task()
    for _ in range(3):  # tasks that were just cancelled need a turn to end
        await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() if task is not mine and not task.done()]
    if left:
        pytest.fail(f"tasks left running: {[task.get_coro() for task in left]}", pytrace=False)


def _children() -> set[int]:
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return {int(pid) for pid in path.read_text().split()} if path.exists() else set()


@pytest.fixture(autouse=True, scope="module")
def no_leaked_processes() -> Iterator[None]:
    """A module of tests ends every process it started, by its pid."""
    before = _children()
    yield
    left = _children() - before
    if left:
        commands = {pid: _command(pid) for pid in left}
        pytest.fail(f"child processes left running: {commands}", pytrace=False)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "(gone)"
