"""The kinds of store, and what each takes in a config."""

from __future__ import annotations

from steerd.model.kinds import Kind, Setting

__all__ = ["KINDS"]

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "sqlite",
            "one file on local disk, for exactly one coordinator",
            (Setting("path", "path", "the database file", default="/var/lib/steerd/steerd.db"),),
        ),
        Kind("memory", "nothing outlives the process: for tests only"),
        Kind(
            "etcd",
            "an etcd cluster, for any number of coordinators",
            (
                Setting("endpoints", "strings", "URLs of the members' client ports", required=True),
                Setting("user", "string", "user name; without it no authentication"),
                Setting("password", "secret", "the user's password"),
                Setting("ca", "path", "PEM file of the authorities that sign the members' certificates"),
                Setting("cert", "path", "PEM file of a client certificate"),
                Setting("key", "path", "PEM file of the client certificate's key"),
            ),
            built=False,
        ),
    )
}
