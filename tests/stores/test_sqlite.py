"""What only the SQLite store promises: one writer, file modes, and full disks that do no harm."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from steerd.stores.base import Put, StoreBusy, StoreError, StoreUnavailable
from steerd.stores.sqlite import SqliteStore

HOLDER = """
import asyncio, sys
from steerd.stores.base import Compare, Put
from steerd.stores.sqlite import SqliteStore

async def main():
    store = SqliteStore(sys.argv[1], "euw1")
    await store.open()
    lease = await store.grant(3600.0)
    await store.txn((), (Put("/acme/leader", b"euw1", lease), Put("/acme/state", b"kept")))
    print("holding", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the store's file."""
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "steerd.db")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        yield process
        process.kill()


async def test_a_second_coordinator_is_refused_and_told_who_holds_the_file(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    second = SqliteStore(tmp_path / "steerd.db", "use1")
    with pytest.raises(StoreBusy, match=rf"steerd\.db is in use by coordinator euw1 \(pid {holder.pid} on .*etcd"):
        await second.open()
    with pytest.raises(StoreUnavailable):
        await second.get("/acme/state")


async def test_after_sigkill_the_file_is_free_and_dead_leases_are_gone(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    store = SqliteStore(tmp_path / "steerd.db", "use1")
    await store.open()
    try:
        assert await store.get("/acme/leader") is None
        kept = await store.get("/acme/state")
        assert kept is not None
        assert kept.value == b"kept"
        assert "use1" in (tmp_path / "steerd.db.lock").read_text()
    finally:
        await store.close()


async def test_entries_outlive_a_clean_restart_and_revisions_go_on(tmp_path: Path) -> None:
    path = tmp_path / "steerd.db"
    first = SqliteStore(path, "one")
    await first.open()
    revision = (await first.txn((), (Put("/a", b"1"),))).revision
    await first.close()
    again = SqliteStore(path, "one")
    await again.open()
    try:
        assert (await again.txn((), (Put("/b", b"1"),))).revision > revision
        assert [e.key for e in await again.range("/")] == ["/a", "/b"]
    finally:
        await again.close()


async def test_files_are_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "steerd.db"
    store = SqliteStore(path, "one")
    await store.open()
    await store.txn((), (Put("/a", b"1"),))
    modes = {f.name: f.stat().st_mode & 0o777 for f in path.parent.iterdir()}
    await store.close()
    assert set(modes) >= {"steerd.db", "steerd.db-wal", "steerd.db.lock"}
    assert set(modes.values()) == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_file_that_is_no_store_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "steerd.db"
    path.write_bytes(b"something else entirely" * 100)
    store = SqliteStore(path, "one")
    with pytest.raises(StoreError, match="move it away"):
        await store.open()
    assert path.read_bytes().startswith(b"something else")


async def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "steerd.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="newer steerd"):
        await SqliteStore(path, "one").open()


async def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnavailable, match="file"):
        await SqliteStore(tmp_path / "file" / "steerd.db", "one").open()


async def test_a_disk_that_stands_still_delays_its_caller_only(tmp_path: Path) -> None:
    """The clock is asked in the store's thread: blocking there is a disk that does not answer."""
    free = threading.Event()
    free.set()

    def now() -> float:
        free.wait(20.0)
        return 0.0

    store = SqliteStore(tmp_path / "steerd.db", "one", now=now, timeout_s=0.1)
    await store.open()
    try:
        free.clear()
        with pytest.raises(StoreUnavailable, match="gave no answer"):
            await store.txn((), (Put("/a", b"1"),))
        free.set()
        entry = await store.get("/a")
        assert entry is not None, "a write that was given up on may still happen: the caller must look"
    finally:
        free.set()
        await store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        reason = f"cannot mount a small file system: {mounted.stderr.strip()}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(folder: Path) -> Path:
    """Use up the disk to the last byte."""
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as out:
        for size in (65536, 4096, 512, 1):
            try:
                while out.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return ballast


async def write_much(store: SqliteStore) -> None:
    for n in range(500):  # the WAL may reuse a few pages first
        await store.txn((), (Put(f"/big/{n}", b"y" * 20000),))


async def test_a_full_disk_is_unavailable_and_comes_back(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "steerd.db", "one")
    await store.open()
    try:
        await store.txn((), (Put("/a", b"before"),))
        ballast = fill(small_disk)
        with pytest.raises(StoreUnavailable, match=r"no space left on the disk .* free some"):
            await write_much(store)
        entry = await store.get("/a")
        assert entry is not None, "reads go on"
        assert entry.value == b"before"
        stored = [e.key for e in await store.range("/big/")]
        ballast.unlink()
        assert (await store.txn((), (Put("/a", b"after"),))).ok
        assert [e.key for e in await store.range("/big/")] == stored, "what failed left nothing behind"
    finally:
        await store.close()
    again = SqliteStore(small_disk / "steerd.db", "one")
    await again.open()
    entry = await again.get("/a")
    await again.close()
    assert entry is not None
    assert entry.value == b"after"


async def test_opening_on_a_full_disk_says_so_and_frees_the_lock(small_disk: Path) -> None:
    ballast = fill(small_disk)
    store = SqliteStore(small_disk / "steerd.db", "one")
    with pytest.raises(StoreUnavailable, match=r"no space left|No space left|disk"):
        await store.open()
    ballast.unlink()
    await store.open()
    await store.close()


async def test_waiting_operations_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steerd.stores.sqlite.MAX_WAITING", 3)
    store = SqliteStore(tmp_path / "steerd.db", "one")
    await store.open()
    try:
        answers = await asyncio.gather(*(store.get("/a") for _ in range(10)), return_exceptions=True)
        assert answers.count(None) == 3
        assert sum(isinstance(a, StoreUnavailable) for a in answers) == 7
        assert await store.get("/a") is None
    finally:
        await store.close()
