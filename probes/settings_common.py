"""Settings that many kinds share. Data only."""

from __future__ import annotations

from probes.kinds import Setting

__all__ = ["COMMON_HTTP", "COMMON_TLS"]

COMMON_TLS = (
    Setting("ca", "path", "file of the authorities to trust, instead of this host's"),
    Setting("cert", "path", "file of a client certificate"),
    Setting("key", "path", "file of the client certificate's key", needs=("cert",)),
    Setting("server_name", "string", "name to ask for and verify in TLS, instead of the URL's host"),
)

COMMON_HTTP = (
    Setting("url", "url", "look at this URL instead of the endpoint's"),
    Setting("headers", "map", "further request headers; a value may be {env: NAME} or {file: PATH}"),
    Setting("api_key", "secret", "sent as `Authorization: Bearer ...`"),
    Setting("version", "map", "where the version label is: {header: X} or {path: JSON path}"),
    *COMMON_TLS,
)
