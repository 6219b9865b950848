"""What every built probe kind is called and what it may be told. Data only.

Reading a config imports no client library.
"""

from __future__ import annotations

from probes.kinds import Kind, Setting
from probes.settings_common import COMMON_HTTP, COMMON_TLS

__all__ = ["BUILT", "COMMON_HTTP", "COMMON_TLS"]

_HTTP = Kind(
    "http",
    "One HTTP request: status, and optionally a pattern or JSON conditions on the body",
    (
        Setting("method", "string", "request method", "GET", choices=("GET", "HEAD", "POST")),
        Setting("path", "string", "path under the endpoint's URL; $model stands for the model's id", ""),
        Setting("body", "string", "request body, sent with POST"),
        Setting("status", "any", "status codes that pass: 200, '200-299' or a list", "200-299"),
        Setting(
            "unready",
            "any",
            "status codes that say the endpoint is not ready, where they would else be the check's mistake: 400",
        ),
        Setting("pattern", "string", "regular expression that the body must contain"),
        Setting("json", "any", "conditions on a JSON body: {path: data.*.id, contains: $model}, or a list of those"),
        Setting("slow", "duration", "an answer that takes longer is SLOW"),
        Setting("follow", "bool", "follow redirects within the same host", False),
        Setting("fresh_every", "int", "every n-th look uses a new connection", 10),
        Setting("max_bytes", "int", "bytes of the body to read at most", 65536),
        *COMMON_HTTP,
    ),
)

_TCP = Kind(
    "tcp",
    "A TCP connection can be made",
    (
        Setting("url", "string", "where to connect, as tcp://HOST:PORT, instead of the endpoint's URL"),
        Setting("host", "string", "host to connect to, instead of the URL's"),
        Setting("port", "int", "port to connect to, instead of the URL's"),
        Setting("slow", "duration", "a connection that takes longer is SLOW"),
    ),
)

_TLS = Kind(
    "tls",
    "A TLS handshake with a certificate that is valid for the name; soon to expire only warns",
    (
        Setting("url", "string", "where to connect, as tls://HOST:PORT, instead of the endpoint's URL"),
        Setting("host", "string", "host to connect to, instead of the URL's"),
        Setting("port", "int", "port to connect to, instead of the URL's (443 without one)"),
        Setting("warn_days", "int", "warn when the certificate expires within this many days", 14),
        Setting("slow", "duration", "a handshake that takes longer is SLOW"),
        *COMMON_TLS,
    ),
)

_DNS = Kind(
    "dns",
    "A DNS server answers for a name",
    (
        Setting("url", "string", "the server, as dns://HOST:PORT, instead of the endpoint's URL"),
        Setting("host", "string", "the server's address, instead of the URL's"),
        Setting("port", "int", "the server's port, instead of the URL's (53 without one)"),
        Setting("name", "string", "the name to ask for", required=True),
        Setting("type", "string", "the record type to ask for", "A"),
        Setting("expect", "strings", "answers that must be among those given; without it any answer passes"),
        Setting(
            "transport", "string", "how to ask; udp falls back to tcp when truncated", "udp", choices=("udp", "tcp")
        ),
        Setting("slow", "duration", "an answer that takes longer is SLOW"),
    ),
)

BUILT: tuple[Kind, ...] = (_HTTP, _TCP, _TLS, _DNS)
"""Kinds that `probes.registry.make` can make, beside those of `probes.catalog_paths`."""
