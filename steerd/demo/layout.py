"""The demo's small world on paper: zones, addresses, ports, and the config file that the daemons run on."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

import yaml

__all__ = ["MODEL", "RECORD", "ZONES", "Layout", "plan_layout"]

MODEL = "demo-7b"
RECORD = "chat.demo.test"
ZONES = ("eu-west-1a", "eu-west-1b", "eu-west-1c", "us-east-1a", "us-east-1b")
_OUTSIDE = "outside"
"""A vantage zone outside both regions: without it nobody could tell a dead region from a cut between the two."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is. `addresses` maps a zone to the loopback address of its model server; all use `port`."""

    folder: Path
    addresses: dict[str, str]
    port: int
    dns_port: int
    api_port: int

    @property
    def config(self) -> Path:
        return self.folder / "steerd.yaml"

    @property
    def socket(self) -> Path:
        return self.folder / "steerd.sock"

    @property
    def agents(self) -> dict[str, str]:
        """Agent name -> zone: one in every zone, and one outside."""
        return {f"probe-{zone}": zone for zone in (*ZONES, _OUTSIDE)}

    def endpoint(self, zone: str) -> str:
        return f"chat-{zone}"

    def write(self) -> None:
        """Writes the config with timings that make a minute enough to see everything."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(self._config(), sort_keys=False, width=120)
        self.config.write_text("# A demo fleet on loopback. Timings are far shorter than the defaults.\n" + text)

    def _config(self) -> dict[str, object]:
        endpoints = {
            self.endpoint(zone): {
                "zone": zone,
                "url": f"http://{address}:{self.port}",
                "address": address,
                "capacity": 100,
            }
            for zone, address in self.addresses.items()
        }
        chat = {
            "stack": "vllm",
            "model": MODEL,
            "objectives": {"rto": "60s", "ttft": "2s"},
            "checks": {
                "liveness": {"interval": "1s", "timeout": "500ms"},
                "readiness": {"interval": "2s", "timeout": "1s"},
                "user_path": {"interval": "4s", "timeout": "3s"},
            },
            "demand": 300,
            "endpoints": endpoints,
            "routes": [{"provider": "dns", "name": RECORD, "type": "A", "ttl": "1s", "per": "endpoint"}],
        }
        return {
            "fleet": "demo",
            "regions": {
                "eu-west-1": {"zones": [z for z in ZONES if z.startswith("eu")]},
                "us-east-1": {"zones": [z for z in ZONES if z.startswith("us")]},
            },
            "agents": {name: {"zone": zone} for name, zone in self.agents.items()},
            "coordinators": {"demo": {"region": "eu-west-1", "url": f"http://127.0.0.1:{self.api_port}"}},
            "store": {"kind": "sqlite", "path": str(self.folder / "steerd.db")},
            "providers": {"dns": {"kind": "embedded", "listen": f"127.0.0.1:{self.dns_port}", "zone": "demo.test"}},
            "services": {"chat": chat},
            "guards": {"dwell": "1s"},
            "ramp": {"restore_after": "4s", "restore_steps": ["25%", "50%", "100%"], "restore_step_every": "2s"},
            "listen": {"host": "127.0.0.1", "port": self.api_port, "socket": str(self.socket)},
        }


def plan_layout(folder: Path) -> Layout:
    """Picks free ports, and a loopback address for each zone where the system has more than one."""
    addresses = {zone: f"127.0.10.{n}" for n, zone in enumerate(ZONES, 1)}
    for address in addresses.values():
        try:
            free_port(address)
        except OSError as error:
            raise OSError(
                f"the demo needs the loopback address {address} ({error.strerror}): Linux has all of 127.0.0.0/8; "
                f"elsewhere add it first (macOS: `sudo ifconfig lo0 alias {address}`)"
            ) from error
    return Layout(folder, addresses, _port_free_on(list(addresses.values())), free_port(udp=True), free_port())


def free_port(host: str = "127.0.0.1", *, udp: bool = False) -> int:
    """A port nobody listens on right now, for TCP (and UDP)."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            tcp.bind((host, 0))
            port = int(tcp.getsockname()[1])
            if not udp:
                return port
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
                try:
                    datagram.bind((host, port))
                except OSError:
                    continue
                return port


def _port_free_on(hosts: list[str]) -> int:
    """One port free on every one of these addresses."""
    for _ in range(50):
        port = free_port(hosts[0])
        try:
            for host in hosts[1:]:
                with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                    probe.bind((host, port))
        except OSError:
            continue
        return port
    raise OSError("no port is free on all of " + ", ".join(hosts))
