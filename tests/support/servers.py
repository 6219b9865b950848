"""Real servers as fixtures: found, started on free loopback ports in a directory of their own, stopped by pid."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

__all__ = ["Process", "free_port", "home_of", "plain_user", "require"]

PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin", "/sbin")
READY_S = 15.0
_PORTS = 12000, 32000
_DRAW = random.SystemRandom()
_GIVEN: set[int] = set()


def require(program: str) -> Path:
    """The executable, or a skip with the reason. With CI=true a missing server fails: CI must not skip quietly."""
    found = shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", ""), *PLACES)))
    if found:
        return Path(found)
    reason = f"{program} is not installed (`make test` as root installs the servers the tests need)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free for TCP and UDP right now, and that nobody is given by chance before its server binds it.

    Below the range from which the kernel takes ports for outgoing connections, and drawn at random: tests run in several
    processes at once.
    """
    for _ in range(200):
        port = _DRAW.randrange(*_PORTS)
        if port in _GIVEN:
            continue
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            try:
                tcp.bind((host, port))
                udp.bind((host, port))
            except OSError:
                continue
        _GIVEN.add(port)
        return port
    raise RuntimeError(f"no port of {_PORTS[0]} to {_PORTS[1]} is free for both TCP and UDP")


def _stands_still(pid: int) -> None:
    """Returns once every thread of the process has stopped: a signal to many threads takes its time."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        tasks = Path(f"/proc/{pid}/task")
        if not tasks.exists():
            return  # no Linux: nothing to look at
        states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks.iterdir()]
        if set(states) <= {"T", "t", "Z", "X"}:
            return
        time.sleep(0.005)
    raise RuntimeError(f"process {pid} goes on after SIGSTOP")


def plain_user(*names: str) -> str | None:
    """Whom to run a server as that refuses root: the first of `names` that exists. None when this process is not root."""
    if os.geteuid() != 0:
        return None
    for name in (*names, "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    pytest.skip("no user to run the server as")


@contextlib.contextmanager
def home_of(user: str | None) -> Iterator[Path]:
    """A short-lived directory that `user` owns: those of pytest are closed to other users."""
    with tempfile.TemporaryDirectory(prefix="steerd-") as name:
        if user is not None:
            owner = pwd.getpwnam(user)
            os.chown(name, owner.pw_uid, owner.pw_gid)
        yield Path(name)


class Process:
    """One server process with its output in a file. Every stop is by this very pid."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        log: Path,
        cwd: Path,
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        ready_s: float = READY_S,
        stop_by: signal.Signals = signal.SIGTERM,
    ) -> None:
        self._argv = [str(a) for a in argv]
        self._user, self._ready_s, self._stop_by = user, ready_s, stop_by
        self._env = None if env is None else {**os.environ, **env}
        self._log = log
        self._cwd = cwd
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self, ready: Callable[[], bool]) -> None:
        """Start, and return when `ready()`; fails with the end of the log when it dies or takes too long."""
        with self._log.open("ab") as out:
            self._popen = subprocess.Popen(
                self._argv,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self._cwd,
                env=self._env,
                user=self._user,
                group=None if self._user is None else pwd.getpwnam(self._user).pw_gid,
                extra_groups=None if self._user is None else [],
            )
        deadline = time.monotonic() + self._ready_s
        while not ready():
            if self._popen.poll() is not None:
                raise RuntimeError(f"{self._argv[0]} ended with {self._popen.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self._argv[0]} was not ready within {self._ready_s} s:\n{self.tail()}")
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        assert self._popen is not None, "not started"
        return self._popen.pid

    def stop(self) -> None:
        """SIGTERM (or `stop_by`), then SIGKILL after 5 s; safe to call twice."""
        if self._popen is None:
            return
        self._popen.send_signal(self._stop_by)
        try:
            self._popen.wait(5)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(5)
        self._popen = None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Hangs: the kernel still takes connections for it, and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        _stands_still(self.pid)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def kill_paused(self) -> None:
        """SIGKILL, which needs no SIGCONT; `stop` collects it."""
        os.kill(self.pid, signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL at once."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait(5)
            self._popen = None

    def tail(self, lines: int = 30) -> str:
        """The end of its output."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])
