"""The demo's model server as a process of its own, for tests that need a real endpoint to break."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["ModelServer"]

ROOT = Path(__file__).resolve().parents[2]


class ModelServer:
    """A running model server. A context manager; the process dies with the tests' process too."""

    def __init__(
        self,
        name: str = "m1",
        model: str = "demo-7b",
        *,
        port: int = 0,
        version: str = "v1",
        stack: str = "vllm",
        engine_process: bool = False,
    ) -> None:
        self.name = name
        self.model = model
        self.port = port
        self.version = version
        self.stack = stack
        self.engine_process = engine_process
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, within_s: float = 20.0) -> ModelServer:
        """Start, on the same port as before if there was one, and wait for its announcement."""
        assert not self.alive, "already running"
        command = [sys.executable, "-m", "steerd.demo.model_server", "--port", str(self.port), "--model", self.model]
        command += ["--stack", self.stack, *(["--engine-process"] if self.engine_process else [])]
        command += ["--name", self.name, "--version-label", self.version, "--exit-with-stdin"]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._process = process
        assert process.stdout is not None
        line = b""
        deadline = time.monotonic() + within_s
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(process.stdout.fileno(), 256) if ready else b""
            if not piece:
                self.kill()
                raise AssertionError(f"the model server did not come up; it said {line!r}")
            line += piece
        self.port = int(line.decode().strip().rpartition(":")[2])
        return self

    def mode(self, mode: str, **options: Any) -> None:
        """Tell the server how to behave; see `steerd.demo.model_modes`."""
        self._control(json.dumps({"mode": mode, **options}).encode())
        if mode == "crash":
            self.wait()

    def requests(self) -> dict[str, int]:
        """How many requests each path has had."""
        return dict(self._control(None)["requests"])

    def kill_engine(self) -> None:
        """SIGKILL to the engine's own process; the HTTP front lives on."""
        os.kill(int(self._control(None)["engine_pid"]), signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL, as a crash of the host would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        return self._end(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: the kernel still accepts connections, nobody answers them."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> ModelServer:
        """Start again on the same port."""
        if self.alive:
            self.kill()
        return self.start()

    def wait(self, within_s: float = 10.0) -> int:
        """The exit code, once the process is gone."""
        assert self._process is not None, "not started"
        code = self._process.wait(within_s)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        return code

    def _end(self, number: int) -> int:
        process = self._process
        assert process is not None, "not started"
        if process.poll() is None:
            process.send_signal(number)
            if number != signal.SIGKILL:
                process.send_signal(signal.SIGCONT)
        return self.wait()

    def _control(self, body: bytes | None) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.url}/control", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def __enter__(self) -> ModelServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.kill()
