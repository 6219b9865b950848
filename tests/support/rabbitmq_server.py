"""RabbitMQ with its management API as a fixture. Takes several seconds to start: one a session.

Its port mapper (epmd) is a child of the tests too, on a port of its own: by itself the broker would leave one running.
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support.servers import Process, free_port, home_of, plain_user, require

__all__ = ["RabbitMq"]

CONFIG = """
listeners.tcp.1 = 127.0.0.1:{port}
management.tcp.ip = 127.0.0.1
management.tcp.port = {api}
collect_statistics_interval = 500
loopback_users.guest = true
"""


class RabbitMq:
    """One broker; user and password are `guest`."""

    def __init__(self) -> None:
        # Debian's own starter changes directory, user and log: the one below it does as it is told.
        require("rabbitmq-server")
        program = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
        self._user = plain_user("rabbitmq")
        self._home = home_of(self._user)
        home = self._home.__enter__()
        self.port, self.api, self._mapper_port = free_port(), free_port(), free_port()
        (home / "rabbitmq.conf").write_text(CONFIG.format(port=self.port, api=self.api))
        (home / "enabled_plugins").write_text("[rabbitmq_management].")
        for file in home.iterdir():
            if self._user is not None:
                shutil.chown(file, self._user)
        mapping = {"ERL_EPMD_PORT": str(self._mapper_port), "ERL_EPMD_ADDRESS": "127.0.0.1"}
        env = {
            **mapping,
            "HOME": str(home),
            "RABBITMQ_NODENAME": f"steerd-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(home / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RUNNING_UNDER_SYSTEMD": "1",  # the starter becomes the broker, so that its pid is ours
            "RABBITMQ_PID_FILE": str(home / "pid"),
            # One scheduler thread: the machine is shared with other tests.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 -kernel inet_dist_use_interface {127,0,0,1}",
        }
        self._mapper = Process((require("epmd"),), home / "epmd.log", home, user=self._user, env=mapping)
        self.process = Process((program,), home / "rabbit.log", home, user=self._user, env=env, ready_s=60.0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api}"

    def __enter__(self) -> RabbitMq:
        try:
            self._mapper.start(self._mapped)
            self.process.start(lambda: self.call("GET", "api/overview") is not None)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()  # a farewell takes it seconds
        self._mapper.stop()
        self._home.__exit__(None, None, None)

    def _mapped(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._mapper_port), timeout=1).close()
        except OSError:
            return False
        return True

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the API as guest; None when it is not answered well."""
        word = base64.b64encode(b"guest:guest").decode()
        request = urllib.request.Request(
            f"{self.url}/{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Basic {word}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return json.loads(answer.read() or b"{}")
        except (urllib.error.URLError, OSError):
            return None

    def declare(self, queue: str, **arguments: Any) -> None:
        assert self.call("PUT", f"api/queues/%2F/{quote(queue, safe='')}", {"arguments": arguments}) is not None

    def publish(self, queue: str, **properties: Any) -> None:
        body = {"properties": properties, "routing_key": queue, "payload": "x", "payload_encoding": "string"}
        answer = self.call("POST", "api/exchanges/%2F/amq.default/publish", body)
        assert answer == {"routed": True}
