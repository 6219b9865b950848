"""The demo's processes: started together, watched, and all gone at the end, whatever ends the demo."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["Child", "Crew"]

_PR_SET_PDEATHSIG = 1
_STOP_WITHIN_S = 5.0


def _die_with_parent() -> None:
    """Linux: the kernel ends the child when the demo itself is killed hard, so that nothing is left behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """One process with its log file. Started in a process group of its own, so that Ctrl-C reaches only the demo, which then
    ends its children in order."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self._argv = list(argv)
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, by its full path
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - the demo has one thread when it starts processes
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """SIGKILL: a power cut."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ask_to_stop(self) -> None:
        if self._process is not None and self.running:
            self._process.terminate()

    def wait_gone(self, until: float) -> None:
        """Waits for the end until `until` (time.monotonic), then kills."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()

    def tail(self, lines: int = 12) -> str:
        """The end of its log, for an error message."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError as error:
            return f"(no log: {error})"


class Crew:
    """All children by name, in order of start. A context manager: leaving it ends them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.children: dict[str, Child] = {}
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1"}

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self, name: str, *argv: str) -> Child:
        """Starts `python -m ...` (the same Python, the same steerd)."""
        child = Child(name, (sys.executable, "-m", *argv), self._folder / f"{name}.log", self._env)
        self.children[name] = child
        child.start()
        return child

    def dead(self, ignoring: Sequence[str] = ()) -> list[Child]:
        """Children that ended without having been told to."""
        return [c for n, c in self.children.items() if not c.running and n not in ignoring]

    def stop(self) -> None:
        """Ends everything: politely, in reverse order of start, then hard."""
        for child in reversed(self.children.values()):
            child.ask_to_stop()
        until = time.monotonic() + _STOP_WITHIN_S
        for child in reversed(self.children.values()):
            child.wait_gone(until)
