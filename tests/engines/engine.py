"""A real engine as a process on loopback that tests kill, freeze, starve and start again, always by its own pids."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.servers import Process
from tests.support.tree import ROOT
from tests.support.wait import until_sync

__all__ = ["ENGINES", "Engine", "Users", "starved"]

ENGINES = ROOT / (os.environ.get("ENGINES") or ".engines")
"""Where scripts/setup-engines.sh puts the engines: `llama-server`, and `venv` with MLServer and the gguf package."""

_ON_S, _OFF_S = 0.01, 0.19
"""A starved process runs for 10 ms of 200 ms: a twentieth of its speed."""


class Engine:
    """One server process on a port that it keeps over restarts. `argv` and `up` are the engine's own."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._process: Process | None = None

    def argv(self, **options: Any) -> list[str | Path]:
        raise NotImplementedError

    def up(self) -> bool:
        """True once it answers as a healthy one does."""
        raise NotImplementedError

    def env(self, **options: Any) -> Mapping[str, str]:
        return {}

    def start(self, *, wait: bool = True, **options: Any) -> None:
        """Start, and wait until it is up, or only until the process runs."""
        process = Process(self.argv(**options), self.home / "log", self.home, env=self.env(**options), ready_s=60.0)
        self._process = process
        process.start(self.up if wait else lambda: True)

    def restart(self, *, wait: bool = True, **options: Any) -> None:
        """A crash, and another start on the same port."""
        self.kill()
        self.start(wait=wait, **options)

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def children(self) -> list[int]:
        """Pids of the process's own children, oldest first."""
        found: set[int] = set()
        for file in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # a thread that has just ended
                found.update(map(int, file.read_text().split()))
        return sorted(found)

    def kill(self) -> None:
        """SIGKILL to it and all that it started."""
        if self._process is None:
            return
        family = [*self.children(), self.pid]
        self._process.kill()
        for pid in family[:-1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until_sync(lambda: not any(map(_alive, family)), 10.0)
        self._process = None

    @contextlib.contextmanager
    def frozen(self, pid: int | None = None) -> Iterator[None]:
        """SIGSTOP: connections are still taken by the kernel, nothing is answered."""
        pid = pid or self.pid
        os.kill(pid, signal.SIGSTOP)
        until_sync(lambda: _stopped(pid), 10.0)  # on a host at its limits threads run on for a while
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def status(self, path: str, within_s: float = 2.0) -> int:
        """HTTP status of a GET; 0 without an answer."""
        return self._status(urllib.request.Request(self.url + path), within_s)

    def ask(self, path: str, body: Mapping[str, Any], within_s: float = 2.0) -> int:
        """HTTP status of a POST of JSON; 0 without an answer."""
        headers = {"Content-Type": "application/json"}
        return self._status(urllib.request.Request(self.url + path, json.dumps(body).encode(), headers), within_s)

    def _status(self, request: urllib.request.Request, within_s: float) -> int:
        try:
            with urllib.request.urlopen(request, timeout=within_s) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def tail(self) -> str:
        """The end of what it printed."""
        assert self._process is not None, "not started"
        return self._process.tail()


def _alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def _stopped(pid: int) -> bool:
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(") T " in thread.read_text() for thread in threads)


@contextlib.contextmanager
def starved(pid: int) -> Iterator[None]:
    """A process that gets a twentieth of the time, as on a host that is out of CPU."""
    enough = threading.Event()

    def squeeze() -> None:
        with contextlib.suppress(ProcessLookupError):
            while not enough.is_set():
                os.kill(pid, signal.SIGSTOP)
                enough.wait(_OFF_S)
                os.kill(pid, signal.SIGCONT)
                enough.wait(_ON_S)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=squeeze)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


class Users:
    """`count` users who ask one thing after the other until the end of the block."""

    def __init__(self, port: int, path: str, body: Mapping[str, Any], count: int) -> None:
        self._port, self._path, self._body = port, path, json.dumps(body).encode()
        self._over = threading.Event()
        self._connections: list[http.client.HTTPConnection] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def _ask(self) -> None:
        while not self._over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            self._connections.append(connection)
            try:
                connection.request("POST", self._path, self._body, {"Content-Type": "application/json"})
                connection.getresponse().read()
            except (OSError, http.client.HTTPException, ValueError, AttributeError):
                self._over.wait(0.05)  # hung up on from either end
            finally:
                connection.close()

    def __enter__(self) -> Users:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for connection in self._connections:
            sock = connection.sock
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(2)
        for thread in self._threads:
            thread.join(30)
