"""The embedded store: one SQLite file, one coordinator.

WAL with synchronous=FULL: a transaction that returned is on the disk. All SQL runs in one thread of its own with a
bounded queue, so a slow disk delays the caller and never the event loop. The file lock (`steerd.stores.lock`) proves
that the last holder is dead, so leases left behind are cleared at open: a restart need not wait for one to run out.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from steerd.stores.base import Compare, Delete, Entry, Op, Put, StoreError, StoreUnavailable, Txn
from steerd.stores.lock import FileLock

__all__ = ["SqliteStore", "boottime"]

T = TypeVar("T")

SCHEMA_VERSION = 1
BUSY_MS = 2000
MAX_WAITING = 1024
"""Operations in the queue of the store's thread; more means the disk stands still."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    key BLOB PRIMARY KEY, value BLOB NOT NULL, create_revision INTEGER NOT NULL, mod_revision INTEGER NOT NULL,
    lease INTEGER) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entries_lease ON entries (lease) WHERE lease IS NOT NULL;
CREATE TABLE IF NOT EXISTS leases (id INTEGER PRIMARY KEY AUTOINCREMENT, ttl_s REAL NOT NULL, expires REAL NOT NULL);
CREATE TABLE IF NOT EXISTS revision (one INTEGER PRIMARY KEY CHECK (one = 1), value INTEGER NOT NULL);
INSERT OR IGNORE INTO revision VALUES (1, 1);
"""
_LIVE = "(lease IS NULL OR lease IN (SELECT id FROM leases WHERE expires > ?))"


def boottime() -> float:
    """Seconds that keep counting while the machine sleeps, so that a suspended holder's lease ends (ha.md)."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SqliteStore:
    """`steerd.stores.base.Store` on the file `path`. `holder` is the coordinator's name, for the lock's text.

    `now` gives seconds for lease expiry. `timeout_s` bounds one operation as seen by the caller.
    """

    def __init__(
        self, path: str | Path, holder: str, *, now: Callable[[], float] = boottime, timeout_s: float = 5.0
    ) -> None:
        self.path = Path(path)
        self._lock = FileLock(self.path.with_name(self.path.name + ".lock"), holder)
        self._now = now
        self._timeout_s = timeout_s
        self._db: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._waiting = 0

    async def open(self) -> None:
        """Create the directory and file where missing, and lock. Raises `StoreBusy` or another `StoreError`."""
        if self._thread is not None:
            raise StoreError(f"{self.path} is open already")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="steerd-store")
        try:
            await self._run(self._open)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None:
            return
        closing = asyncio.get_running_loop().run_in_executor(thread, self._close)
        thread.shutdown(wait=False)
        await closing

    async def get(self, key: str) -> Entry | None:
        found = await self._run(lambda: self._read(f"key = ? AND {_LIVE}", (key.encode(), self._now())))
        return found[0] if found else None

    async def range(self, prefix: str, *, limit: int = 0, reverse: bool = False, after: str = "") -> list[Entry]:
        low, high = prefix.encode(), _end(prefix.encode())
        where, values = "key >= ?", [low]
        if high:
            where, values = f"{where} AND key < ?", [*values, high]
        if after:
            where, values = f"{where} AND key {'<' if reverse else '>'} ?", [*values, after.encode()]
        order = f" ORDER BY key {'DESC' if reverse else 'ASC'} LIMIT ?"
        return await self._run(
            lambda: self._read(f"{where} AND {_LIVE}{order}", (*values, self._now(), limit if limit > 0 else -1))
        )

    async def txn(self, compare: tuple[Compare, ...], then: tuple[Op, ...]) -> Txn:
        keys = [op.key for op in then]
        if len(set(keys)) != len(keys):
            raise StoreError("a transaction may touch a key only once")
        return await self._run(lambda: self._txn(compare, then))

    async def grant(self, ttl_s: float) -> int:
        return await self._run(lambda: self._grant(ttl_s))

    async def renew(self, lease: int) -> float | None:
        return await self._run(lambda: self._renew(lease))

    async def revoke(self, lease: int) -> None:
        await self._run(lambda: self._revoke(lease))

    # From here on everything runs in the store's thread, except `_run`.

    async def _run(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            raise StoreUnavailable(f"{self.path} is not open")
        if self._waiting >= MAX_WAITING:
            raise StoreUnavailable(f"{MAX_WAITING} operations already wait for {self.path}: its disk does not keep up")
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work)
        future.add_done_callback(self._done)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(future)
        except TimeoutError:
            raise StoreUnavailable(
                f"{self.path} gave no answer in {self._timeout_s:g} s: look at its disk; no decision is taken meanwhile"
            ) from None

    def _done(self, future: asyncio.Future[T]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # read here, as nobody else may be waiting any more after a timeout

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except sqlite3.Error as error:
            raise self._explain(error) from error
        except OSError as error:
            raise StoreUnavailable(f"{error.filename or self.path}: {error.strerror}") from error

    def _explain(self, error: sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        if primary == sqlite3.SQLITE_FULL:
            return StoreUnavailable(
                f"no space left on the disk of {self.path}: free some; no decision is taken until then, and it goes on "
                "by itself"
            )
        if primary in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
            return StoreUnavailable(f"{self.path}: {error}: check the disk, its free space and the file's owner")
        if primary == sqlite3.SQLITE_BUSY:
            return StoreUnavailable(f"{self.path} is locked by another program: close it")
        if primary in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            return StoreError(
                f"{self.path} is damaged or no store of steerd ({error}): move it away and start again; weights stay "
                "as the providers serve them, but drains and pins of operators must be set anew"
            )
        return StoreUnavailable(f"{self.path}: {error}")

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock.acquire()
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        if self.path.stat().st_mode & 0o077:
            self.path.chmod(0o600)
        db = sqlite3.connect(
            self.path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        self._db = db
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute("PRAGMA journal_size_limit = 4194304")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} was written by a newer steerd (format {version}, this one knows {SCHEMA_VERSION}): "
                "use that one"
            )
        if version == 0:
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        with self._transaction():
            self._drop_leases("1 = 1", ())

    def _close(self) -> None:
        db, self._db = self._db, None
        try:
            if db is not None:
                db.close()
        finally:
            self._lock.release()

    @property
    def _open_db(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreUnavailable(f"{self.path} is not open")
        return self._db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._open_db
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite rolls back by itself on some errors, a full disk among them
                db.execute("ROLLBACK")
            raise

    def _read(self, where: str, values: tuple[object, ...]) -> list[Entry]:
        rows = self._open_db.execute(
            f"SELECT key, value, create_revision, mod_revision, lease FROM entries WHERE {where}",  # noqa: S608  fixed texts
            values,
        )
        return [Entry(bytes(k).decode(), bytes(v), created, modified, lease) for k, v, created, modified, lease in rows]

    def _txn(self, compare: tuple[Compare, ...], then: tuple[Op, ...]) -> Txn:
        with self._transaction() as db:
            self._drop_leases("expires <= ?", (self._now(),))
            revision = self._revision()
            if not all(self._holds(c) for c in compare):
                return Txn(ok=False, revision=revision)
            if not then:
                return Txn(ok=True, revision=revision)
            revision = self._bump()
            for op in then:
                if isinstance(op, Delete):
                    db.execute("DELETE FROM entries WHERE key = ?", (op.key.encode(),))
                else:
                    self._put(op, revision)
        return Txn(ok=True, revision=revision)

    def _put(self, op: Put, revision: int) -> None:
        db = self._open_db
        if op.lease is not None and db.execute("SELECT 1 FROM leases WHERE id = ?", (op.lease,)).fetchone() is None:
            raise StoreError(f"lease {op.lease} has ended")
        db.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE "
            "SET value = excluded.value, mod_revision = excluded.mod_revision, lease = excluded.lease",
            (op.key.encode(), op.value, revision, revision, op.lease),
        )

    def _holds(self, compare: Compare) -> bool:
        found = self._read("key = ?", (compare.key.encode(),))
        entry = found[0] if found else None
        created, modified = (entry.create_revision, entry.mod_revision) if entry else (0, 0)
        return (
            (compare.create_revision is None or compare.create_revision == created)
            and (compare.mod_revision is None or compare.mod_revision == modified)
            and (compare.value is None or (entry is not None and entry.value == compare.value))
        )

    def _revision(self) -> int:
        return int(self._open_db.execute("SELECT value FROM revision").fetchone()[0])

    def _bump(self) -> int:
        self._open_db.execute("UPDATE revision SET value = value + 1")
        return self._revision()

    def _drop_leases(self, which: str, values: tuple[object, ...]) -> None:
        """End the leases that match `which` and delete their keys; part of the caller's transaction."""
        db = self._open_db
        ended = [row[0] for row in db.execute(f"SELECT id FROM leases WHERE {which}", values)]  # noqa: S608  fixed texts
        for lease in ended:
            db.execute("DELETE FROM leases WHERE id = ?", (lease,))
            if db.execute("DELETE FROM entries WHERE lease = ?", (lease,)).rowcount > 0:
                self._bump()

    def _grant(self, ttl_s: float) -> int:
        with self._transaction() as db:
            now = self._now()
            self._drop_leases("expires <= ?", (now,))
            made = db.execute("INSERT INTO leases (ttl_s, expires) VALUES (?, ?)", (ttl_s, now + ttl_s)).lastrowid
        assert made is not None
        return made

    def _renew(self, lease: int) -> float | None:
        with self._transaction() as db:
            now = self._now()
            self._drop_leases("expires <= ?", (now,))
            row = db.execute("SELECT ttl_s FROM leases WHERE id = ?", (lease,)).fetchone()
            if row is None:
                return None
            db.execute("UPDATE leases SET expires = ? WHERE id = ?", (now + row[0], lease))
        return float(row[0])

    def _revoke(self, lease: int) -> None:
        with self._transaction():
            self._drop_leases("id = ?", (lease,))


def _end(prefix: bytes) -> bytes:
    """The smallest key behind every key with `prefix`. UTF-8 has no 0xff byte, so adding one to the last is enough."""
    return prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else b""
