"""Prometheus as a fixture: it scrapes itself, once a second."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from tests.support.servers import Process, free_port, require

__all__ = ["Prometheus"]

CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: itself
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


class Prometheus:
    """One `prometheus`."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        file = directory / "prometheus.yml"
        file.write_text(CONFIG.format(port=self.port))
        argv = (
            require("prometheus"),
            f"--config.file={file}",
            f"--storage.tsdb.path={directory}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
        )
        self.process = Process(argv, directory / "prometheus.log", directory)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Prometheus:
        self.process.start(lambda: '"value"' in self.query("up"))
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def query(self, text: str) -> str:
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query?query={text}", timeout=2) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return ""
