"""moto's AWS as a fixture: S3, SQS and CloudWatch in a process of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import boto3
import requests

from tests.support.servers import Process, free_port

__all__ = ["KEYS", "Moto"]

KEYS = {"access_key": "AKIATESTS", "secret_key": "of-the-tests", "region": "eu-west-1"}
"""Settings of a look; `secret_key` stands for what the reference resolves to."""


class Moto:
    """One `moto.server`."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        argv = (sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port))
        self.process = Process(argv, directory / "moto.log", directory, ready_s=30.0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Moto:
        self.process.start(self._ready)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def _ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/moto-api/data.json", timeout=5).ok
        except requests.RequestException:
            return False

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=KEYS["region"],
            aws_access_key_id=KEYS["access_key"],
            aws_secret_access_key=KEYS["secret_key"],
        )
