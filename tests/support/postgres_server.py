"""PostgreSQL as a fixture: a primary, and a standby that streams from it. Runs as another user than root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.servers import Process, free_port, home_of, plain_user, require

__all__ = ["PASSWORD", "Postgres", "postgres_home", "programs"]

PASSWORD = "of-the-tests"

CONFIG = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{directory}'
fsync = off
full_page_writes = off
wal_level = replica
max_wal_senders = 5
hot_standby = on
shared_buffers = 16MB
max_connections = 12
wal_retrieve_retry_interval = 200ms
wal_receiver_timeout = 60s
autovacuum = off
{extra}
"""


def programs() -> Path:
    """The folder of initdb, pg_basebackup and postgres: Debian keeps them apart, one folder a version."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "postgres").exists():
            return folder
    return require("postgres").resolve().parent


@contextlib.contextmanager
def postgres_home() -> Iterator[Path]:
    """A directory for servers, open to the user they run as."""
    with home_of(plain_user("postgres")) as home:
        yield home


class Postgres:
    """One server in `directory`. `primary` is whom it streams from; its files are then copied from there."""

    def __init__(self, directory: Path, *, primary: Postgres | None = None, extra: str = "") -> None:
        self.port = free_port()
        self._bin, self._user = programs(), plain_user("postgres")
        self.directory = directory
        if primary is None:
            self._init()
        else:
            self._copy(primary)
        config = CONFIG.format(port=self.port, directory=directory, extra=extra)
        self._write("steerd.conf", config)
        with (directory / "data" / "postgresql.conf").open("a") as file:
            file.write(f"include '{directory}/steerd.conf'\n")
        argv = (self._bin / "postgres", "-D", directory / "data")
        # SIGINT: stop although clients are there (SIGTERM waits for them).
        log = directory / "postgres.log"
        self.process = Process(argv, log, directory, user=self._user, stop_by=signal.SIGINT)

    def _run(self, program: str, *words: str | Path) -> None:
        uid = None if self._user is None else pwd.getpwnam(self._user).pw_uid
        done = subprocess.run(
            [str(self._bin / program), *map(str, words)],
            check=False,
            capture_output=True,
            text=True,
            user=uid,
            cwd=self.directory,
            env={**os.environ, "PGPASSWORD": PASSWORD, "LC_ALL": "C.UTF-8"},
        )
        assert done.returncode == 0, done.stderr

    def _write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.write_text(text)
        self._own(path)

    def lend(self, path: Path, content: bytes) -> None:
        """A file that this server may read, and nobody else."""
        path.write_bytes(content)
        path.chmod(0o600)
        self._own(path)

    def _own(self, path: Path) -> None:
        if self._user is not None:
            shutil.chown(path, self._user)

    def _init(self) -> None:
        self.directory.mkdir()
        self._own(self.directory)
        self._write("password", PASSWORD)
        words = ("-U", "boss", "-A", "scram-sha-256", f"--pwfile={self.directory}/password", "--no-sync", "-E", "UTF8")
        self._run("initdb", "-D", self.directory / "data", *words)

    def _copy(self, primary: Postgres) -> None:
        self.directory.mkdir()
        self._own(self.directory)
        source = f"host=127.0.0.1 port={primary.port} user=boss"
        self._run(
            "pg_basebackup", "-D", self.directory / "data", "-d", source, "-R", "-c", "fast", "-X", "stream", "-N"
        )

    def dsn(self, user: str = "boss", password: str = PASSWORD, database: str = "postgres") -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> Postgres:
        self.process.start(self._ready)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def _ready(self) -> bool:
        with contextlib.suppress(AssertionError):
            return self.sql("SELECT 1") == "1"
        return False

    def sql(self, text: str, *more: str) -> str:
        """Carry out; what comes back, unaligned. AssertionError with the server's words when it refuses."""
        words = [w for one in (text, *more) for w in ("-c", one)]
        done = subprocess.run(
            [
                str(self._bin / "psql"),
                "-XAtq",
                "-h",
                "127.0.0.1",
                "-p",
                str(self.port),
                "-U",
                "boss",
                "-d",
                "postgres",
                *words,
            ],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "PGPASSWORD": PASSWORD, "PGCONNECT_TIMEOUT": "5"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
