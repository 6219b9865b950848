"""llama.cpp's own `llama-server`, alone or as a router: an HTTP front with a process of its own for each model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.engines.engine import ENGINES, Engine, Users
from tests.support.servers import free_port
from tests.support.wait import until_sync

__all__ = ["LlamaServer", "weights"]

SERVER = ENGINES / "llama-server"
PYTHON = ENGINES / "venv/bin/python"
TOKENS = 6000
"""Of an answer that takes many seconds."""


def weights(folder: Path, kind: str, inner: int = 32) -> Path:
    """A model file of `tiny_gguf.py`, made once per folder."""
    file = folder / f"{kind}-{inner}.gguf"
    if not file.exists():
        maker = Path(__file__).with_name("tiny_gguf.py")
        subprocess.run([PYTHON, maker, kind, file, str(inner)], check=True)
    return file


class LlamaServer(Engine):
    """Serves `demo` from one of the tiny models."""

    def __init__(self, home: Path, models: Path) -> None:
        super().__init__(home, free_port())
        self._models = models
        self._router = False

    def argv(
        self,
        *,
        kind: str = "right",
        alias: str = "demo",
        router: bool = False,
        inner: int = 32,
        context: int = 8192,
        metrics: bool = True,
        more: Sequence[str] = (),
    ) -> list[str | Path]:
        self._router = router
        file = weights(self._models, kind, inner)
        common = ["--host", "127.0.0.1", "--port", str(self.port), "--threads", "1", "--parallel", "1", "--offline"]
        # By default it has so few threads for HTTP that waiting users leave none for looks: that is a hang, seen from outside.
        common += ["--threads-http", "32", "--ctx-size", str(context), *(("--metrics",) if metrics else ()), *more]
        if not router:
            return [SERVER, "--model", file, "--alias", alias, *common]
        folder = self.home / "models"
        folder.mkdir(exist_ok=True)
        shutil.copy(file, folder / f"{alias}.gguf")
        return [SERVER, "--models-dir", folder, *common]

    def start(self, *, wait: bool = True, **options: Any) -> None:
        super().start(wait=wait, **options)
        if wait and self._router:
            self._load()

    def _load(self) -> None:
        body = json.dumps({"model": "demo"}).encode()
        request = urllib.request.Request(f"{self.url}/models/load", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=30).close()
        until_sync(lambda: self.status("/metrics?model=demo") == 200, 30.0)

    def metric(self, name: str) -> float:
        """One of its metrics; 0 when it does not say."""
        try:
            with urllib.request.urlopen(f"{self.url}/metrics?model=demo", timeout=2) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return 0.0
        return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name} ")), 0.0)

    def damage(self) -> None:
        """The model's file is no model any more."""
        (self.home / "models/demo.gguf").write_bytes(b"not a model")

    def kill_worker(self) -> None:
        """SIGKILL to the model's process; returns once the router knows."""
        pid = self.worker()
        os.kill(pid, signal.SIGKILL)
        until_sync(lambda: pid not in self.children(), 10.0)

    def env(self, **_: Any) -> dict[str, str]:
        return {"HOME": str(self.home), "LLAMA_CACHE": str(self.home / "cache"), "PATH": os.environ["PATH"]}

    def up(self) -> bool:
        return self.status("/health", 0.5) == 200

    def worker(self) -> int:
        """The process of the router's one model."""
        (pid,) = self.children()
        return pid

    def users(self, count: int) -> Users:
        """Who ask for long answers."""
        body = {"messages": [{"role": "user", "content": "Count."}], "max_tokens": TOKENS, "stream": True}
        return Users(self.port, "/v1/chat/completions", {"model": "demo", **body}, count)
