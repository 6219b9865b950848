"""MLServer, which speaks the open inference protocol (KServe's v2): an HTTP front and one worker process with the model."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.engines.engine import ENGINES, Engine, Users
from tests.support.servers import free_port
from tests.support.wait import until_sync

__all__ = ["INPUTS", "MLServer"]

RUNTIME = Path(__file__).with_name("runtime")
INPUTS = [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]


class MLServer(Engine):
    """Serves `doubler` with `runtime/doubler.py`."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, free_port())
        self.metrics_port = free_port()
        self._grpc_port = free_port()
        self._gate = home / "gate"

    def argv(
        self, *, model: str = "doubler", factor: float | str = 2, work_s: float = 0.0, metrics: bool = True
    ) -> list[str | Path]:
        folder = self.home / "model"
        folder.mkdir(exist_ok=True)
        extra = {"factor": factor, "work_s": work_s, "gate": str(self._gate)}
        settings = {"name": model, "implementation": "doubler.Doubler", "parameters": {"extra": extra}}
        (folder / "model-settings.json").write_text(json.dumps(settings))
        server = {
            "host": "127.0.0.1",
            "http_port": self.port,
            "grpc_port": self._grpc_port,
            "metrics_port": self.metrics_port,
            "metrics_endpoint": "/metrics" if metrics else None,
            "metrics_dir": str(self.home / "metrics"),
            "environments_dir": str(self.home / "environments"),
            "parallel_workers": 1,
            "debug": False,
        }
        (self.home / "settings.json").write_text(json.dumps(server))
        return [ENGINES / "venv/bin/mlserver", "start", self.home]

    def env(self, **_: Any) -> dict[str, str]:
        return {"PYTHONPATH": str(RUNTIME), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}

    def up(self) -> bool:
        return self.status("/v2/health/ready", 0.5) == 200

    def worker(self) -> int:
        """The process that has the model."""
        (pid,) = (pid for pid in self.children() if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())
        return pid

    @contextlib.contextmanager
    def gate(self) -> Iterator[None]:
        """Whoever loads the model meanwhile waits."""
        self._gate.touch()
        try:
            yield
        finally:
            self._gate.unlink()

    def users(self, count: int) -> Users:
        return Users(self.port, "/v2/models/doubler/infer", {"inputs": INPUTS}, count)

    def infers(self) -> bool:
        """True when an inference is answered."""
        return self.ask("/v2/models/doubler/infer", {"inputs": INPUTS}) == 200

    def until_infers(self) -> None:
        until_sync(self.infers, 60.0)
