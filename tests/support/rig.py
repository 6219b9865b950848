"""A whole steerd on loopback for end-to-end tests and benchmarks: real daemons, real model servers, a real name server.

Three zones (two in one region, one in another) with one model server and one agent each, one coordinator, one record. Every
process is started here and ended here, by its pid.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dns.message
import dns.query
import dns.rdatatype
import yaml

from steerd.cli.client import Client, Place
from steerd.cli.errors import NotWell
from tests.support.model_server import ModelServer
from tests.support.named import Named
from tests.support.servers import free_port
from tests.support.wait import until_sync

__all__ = ["RECORD", "ZONES", "Daemon", "Rig"]

ROOT = Path(__file__).resolve().parents[2]
ZONES = {"eua": "eu", "eub": "eu", "usa": "us"}
RECORD = "chat.acme.example"
MODEL = "demo-7b"
CALM = {
    "guards": {"dwell": "1s", "max_removed": {"share": "100%", "per": "1s"}},
    "damping": {"penalty": 1, "half_life": "1s"},
}
"""One world sees failure after failure within minutes here: the limits that bind such a fleet have tests of their own."""
UP_WITHIN_S = 60.0


class Daemon:
    """One steerd process."""

    def __init__(self, name: str, argv: list[str], log: Path, prefix: list[str] | None = None) -> None:
        self.name, self._log = name, log
        self.prefixed = prefix is not None
        self._argv = [*(prefix or []), sys.executable, "-m", "steerd", *argv]
        self._process: subprocess.Popen[bytes] | None = None
        self._log_from = log.stat().st_size if log.exists() else 0  # what an earlier start wrote is not this one's

    def start(self) -> Daemon:
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                self._argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )
        return self

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(5)

    def ask_to_stop(self) -> None:
        if self._process is not None and self.alive:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)
                self._process.terminate()

    def stop(self) -> int | None:
        """SIGTERM (after SIGCONT, should it stand still); the exit code."""
        if self._process is None:
            return None
        self.ask_to_stop()
        try:
            return self._process.wait(6)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def tail(self, lines: int = 30) -> str:
        text = self._log.read_bytes()[self._log_from :].decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


class Rig:
    """A context manager around it all. `overrides` are merged into the config; `agents` limits which agents are started."""

    def __init__(self, folder: Path, overrides: Mapping[str, Any] | None = None, interval: str = "1s") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.named = Named(folder)
        self.models = {zone: ModelServer(zone, MODEL) for zone in ZONES}
        self.addresses = {zone: f"192.0.2.{n}" for n, zone in enumerate(ZONES, 1)}
        self.port = free_port()
        self.config = folder / "steerd.yaml"
        self.socket = folder / "steerd.sock"
        self.daemons: dict[str, Daemon] = {}
        self._overrides = dict(overrides or {})
        self._interval = interval
        self.client = Client(Place("the rig", socket=str(self.socket)))

    def __enter__(self) -> Self:
        try:
            self.named.start()
            for address in self.addresses.values():
                self.named.add(RECORD, "A", address, 1)
            self.named.add(f"other.{RECORD}", "A", "192.0.2.77")
            for server in self.models.values():
                server.start()
            self.write_config()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends every process that was started here."""
        for daemon in self.daemons.values():
            daemon.ask_to_stop()
        for daemon in self.daemons.values():
            daemon.stop()
        for server in self.models.values():
            server.kill()
        self.named.stop()
        self.client.close()

    def write_config(self) -> None:
        config: dict[str, Any] = {
            "fleet": "acme",
            "regions": {r: {"zones": [z for z, of in ZONES.items() if of == r]} for r in dict.fromkeys(ZONES.values())},
            "agents": {f"probe-{zone}": {"zone": zone} for zone in ZONES},
            "coordinators": {"co": {"region": "eu", "url": f"http://127.0.0.1:{self.port}"}},
            "store": {"kind": "sqlite", "path": str(self.folder / "steerd.db")},
            "listen": {"host": "127.0.0.1", "port": self.port, "socket": str(self.socket)},
            "providers": {
                "dns": {
                    "kind": "rfc2136", "server": self.named.server, "zone": self.named.zone, "key": self.named.key,
                    "secret": {"env": "RIG_TSIG"}, "verify": [self.named.server],
                }
            },
            "services": {
                "chat": {
                    "stack": "vllm", "model": MODEL,
                    "checks": {
                        "liveness": {"interval": self._interval, "timeout": "500ms"},
                        "readiness": {"interval": self._interval, "timeout": "500ms"},
                    },
                    "endpoints": {
                        f"chat-{zone}": {
                            "zone": zone, "url": self.models[zone].url, "address": self.addresses[zone], "capacity": 100,
                        }
                        for zone in ZONES
                    },
                    "routes": [{"provider": "dns", "name": RECORD, "type": "A", "ttl": "1s", "per": "endpoint"}],
                }
            },
        }  # fmt: skip
        os.environ["RIG_TSIG"] = self.named.secret
        merge(config, CALM)
        merge(config, self._overrides)
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))

    # -- daemons ----------------------------------------------------------------------------------------------------------

    def start_coordinator(self) -> Daemon:
        return self._start("co", ["coordinator", "--config", str(self.config), "--name", "co"])

    def start_agent(self, zone: str, prefix: list[str] | None = None) -> Daemon:
        return self._start(f"probe-{zone}", ["agent", "--config", str(self.config), "--name", f"probe-{zone}"], prefix)

    def _start(self, name: str, argv: list[str], prefix: list[str] | None = None) -> Daemon:
        daemon = Daemon(name, argv, self.folder / f"{name}.log", prefix)
        self.daemons[name] = daemon
        return daemon.start()

    def start_all(self) -> Rig:
        """Coordinator and agents; returns once every endpoint is healthy by quorum and served."""
        self.start_coordinator()
        for zone in ZONES:
            self.start_agent(zone)
        self.wait(self._well, UP_WITHIN_S)
        return self

    def mend(self) -> Rig:
        """Everything as after `start_all`, for the next test: what was killed, paused or replaced runs again."""
        for server in self.models.values():
            server.resume() if server.alive else server.start()
            server.mode("healthy")
        for zone in ZONES:
            daemon = self.daemons[f"probe-{zone}"]
            if daemon.alive and not daemon.prefixed:
                daemon.signal(signal.SIGCONT)
            else:
                daemon.stop()
                started = self.start_agent(zone)
                until_sync(lambda d=started: "connected to coordinator" in d.tail(200), UP_WITHIN_S)  # type: ignore[misc]
        self.wait(self._well, UP_WITHIN_S)
        return self

    def _well(self, status: dict[str, Any]) -> bool:
        service = chat(status)
        return (
            all(e["health"] == "healthy" for e in service["endpoints"].values())
            and all(a["state"] == "voting" for a in status["agents"].values())
            and all(r["in_sync"] for r in service["routes"])
            and not status["drains"]
            and not {a["kind"] for a in status["alerts"]} & {"probe-error", "vantage-isolated", "quorum-lost"}
            and self.served() == set(self.addresses.values())
        )

    # -- looking ----------------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any] | None:
        """None while nobody answers."""
        try:
            found: dict[str, Any] = self.client.get("/v1/status")
        except NotWell:
            return None
        return found

    def wait(self, done: Callable[[dict[str, Any]], object], within_s: float = 30.0) -> dict[str, Any]:
        """Polls the status until `done`; fails with the logs of every daemon."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            status = self.status()
            if status is not None and done(status):
                found.append(status)
                return True
            return False

        try:
            until_sync(look, within_s)
        except AssertionError as error:
            logs = "\n".join(f"--- {d.name}\n{d.tail()}" for d in self.daemons.values())
            raise AssertionError(f"{error}; the status was {self.status()}\n{logs}") from error
        return found[0]

    def served(self) -> set[str]:
        """The addresses `named` answers for the record."""
        return set(self.named.query(RECORD))

    def records(self) -> dict[str, list[str]]:
        """Every record of the zone but those steerd may change (the record, its fence, the serial)."""
        names = {
            f"other.{RECORD}": "A",
            f"bystander.{self.named.zone}": "A",
            self.named.zone: "NS",
            f"ns.{self.named.zone}": "A",
        }
        return {name: self.named.query(name, kind) for name, kind in names.items()}

    def answer_lost(self, address: str) -> bool:
        """One quick look at `named`: the address is no longer in the answer, and the answer is not empty."""
        query = dns.message.make_query(RECORD, dns.rdatatype.A)
        answer = dns.query.udp(query, self.named.host, port=self.named.port, timeout=1)
        found = {str(r) for rrset in answer.answer for r in rrset}
        assert found, "an empty answer"
        return address not in found


def chat(status: Mapping[str, Any]) -> dict[str, Any]:
    """The service of the rig in a status."""
    found: dict[str, Any] = status["services"]["chat"]
    return found


def merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Deep merge of mappings; everything else replaces."""
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value
