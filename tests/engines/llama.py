"""llama.cpp's own `llama-server`, alone or as a router: an HTTP front with a process of its own for each model."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.engines.engine import ENGINES, Engine, Users
from tests.support.servers import free_port

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

    def argv(
        self, *, kind: str = "right", alias: str = "demo", router: bool = False, inner: int = 32, more: Any = ()
    ) -> list[str | Path]:
        file = weights(self._models, kind, inner)
        common = ["--host", "127.0.0.1", "--port", str(self.port), "--threads", "1", "--parallel", "1", "--offline"]
        common += ["--ctx-size", "8192", *(("--metrics",) if "--no-metrics" not in more else ())]
        common += [one for one in more if one != "--no-metrics"]
        if not router:
            return [SERVER, "--model", file, "--alias", alias, *common]
        folder = self.home / "models"
        folder.mkdir(exist_ok=True)
        shutil.copy(file, folder / f"{alias}.gguf")
        return [SERVER, "--models-dir", folder, *common]

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
