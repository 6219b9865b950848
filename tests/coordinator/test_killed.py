"""kill -9 of a coordinator at every point between decision and verification, on a real BIND and a real SQLite file.

After the restart the record set is right, it was never empty, and the change was applied once (invariant 14).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from steerd.coordinator.clock import SystemClock
from steerd.coordinator.journal import Journal
from steerd.stores.base import Put
from steerd.stores.sqlite import SqliteStore
from tests.coordinator.victim import POINTS, RECORD, make
from tests.support.named import Named
from tests.support.wait import until_sync

pytestmark = [pytest.mark.server("named"), pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
DOWN = "eua-1"


@pytest.fixture(scope="module")
def bind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Named]:
    named = Named(tmp_path_factory.mktemp("named"))
    named.start()
    yield named
    named.stop()


@pytest.fixture
def addresses(bind: Named) -> dict[str, str]:
    """Endpoint -> its address; the record serves all of them and carries no fence."""
    found = {e.name: e.address or "" for e in make(bind.server, bind.key).services[0].endpoints}
    for value in bind.query(RECORD):
        if value not in found.values():
            bind.remove(RECORD, "A", value)
    for address in found.values():
        bind.add(RECORD, "A", address)
    for text in bind.query(f"_steerd.{RECORD}", "TXT"):
        bind.remove(f"_steerd.{RECORD}", "TXT", text)
    return found


class Client:
    """Asks the server without pause, and keeps every answer that differs from the one before."""

    def __init__(self, bind: Named) -> None:
        self.answers: list[list[str]] = []
        self.failed: BaseException | None = None
        self._bind = bind
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            try:
                answer = self._bind.query(RECORD)
            except BaseException as error:  # noqa: BLE001  raised again by the test
                self.failed = error
                return
            if not self.answers or self.answers[-1] != answer:
                self.answers.append(answer)

    @contextmanager
    def asking(self) -> Iterator[Client]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join()
        if self.failed is not None:
            raise self.failed


@contextmanager
def victim(folder: Path, bind: Named, point: str | None) -> Iterator[subprocess.Popen[bytes]]:
    settings = {"folder": str(folder), "server": bind.server, "key": bind.key, "point": point}
    (folder / "settings.json").write_text(json.dumps(settings))
    with (
        (folder / "log").open("ab") as log,
        subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.coordinator.victim", str(folder / "settings.json")],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            env={**os.environ, "TSIG": bind.secret},
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def seen(folder: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What the running process says of itself."""
    if process.poll() is not None:
        raise AssertionError(f"it ended with {process.returncode}:\n{(folder / 'log').read_text()[-3000:]}")
    path = folder / "seen"
    told: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return told if told.get("pid") == process.pid else {}


def steady(folder: Path, process: subprocess.Popen[bytes], targets: set[str]) -> bool:
    told = seen(folder, process)
    return (
        bool(told) and told["leading"] and told["in_sync"] and set(told["observed"]) == targets and not told["waiting"]
    )


@pytest.mark.parametrize("point", POINTS)
def test_killed(point: str, tmp_path: Path, bind: Named, addresses: dict[str, str]) -> None:
    everyone, survivors = set(addresses), set(addresses) - {DOWN}
    before, after = (sorted(addresses[n] for n in names) for names in (everyone, survivors))
    with Client(bind).asking() as client:
        with victim(tmp_path, bind, point) as process:
            until_sync(
                lambda: steady(tmp_path, process, everyone) and seen(tmp_path, process)["health"] == "healthy", 20.0
            )
            (tmp_path / "down.new").write_text(DOWN)
            (tmp_path / "down.new").replace(tmp_path / "down")
            assert process.wait(20.0) == -signal.SIGKILL
        early = point in POINTS[: POINTS.index("after apply")]
        assert bind.query(RECORD) == (before if early else after)
        with victim(tmp_path, bind, None) as process:
            until_sync(lambda: steady(tmp_path, process, survivors), 30.0)
            process.send_signal(signal.SIGTERM)
            assert process.wait(5.0) == 0, (tmp_path / "log").read_text()[-3000:]
    assert bind.query(RECORD) == after
    assert client.answers == [before, after], "never empty, and one change"
    sent = [line for line in (tmp_path / "sent").read_text().splitlines() if "fence only" not in line]
    assert len(sent) == 1, sent
    assert f"-{addresses[DOWN]}" in sent[0]
    assert bind.query("bystander.acme.example") == ["192.0.2.99"], "no other record moves"
    assert_nothing_open(tmp_path)


def assert_nothing_open(folder: Path) -> None:
    """The store knows the decision, and that it was carried out."""
    import asyncio  # noqa: PLC0415  for this look into the file only

    async def look() -> None:
        store = SqliteStore(folder / "steerd.db", "test")
        await store.open()
        try:
            token = (await store.txn((), (Put("/test/leader", b"{}", await store.grant(60.0)),))).revision
            journal = Journal(store, "test", SystemClock())
            loaded = await journal.lead(token)
            assert loaded.open == ()
            assert loaded.state is not None
            kinds = [line["kind"] for line in await journal.history(None, 100)]
            assert "leadership" in kinds
        finally:
            await store.close()

    asyncio.run(look())
