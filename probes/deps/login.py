"""Where a dependency is and who asks: `dsn`, or `url`, `host` and `port`, with `user` and `password`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

from probes.address import Address
from probes.errors import MisconfiguredError, SettingError
from probes.settings import Resolve, Text, text
from probes.target import Target

__all__ = ["Login", "LoginSettings"]


@dataclass(frozen=True, slots=True)
class Login:
    """What a look connects with. `secure` asks for TLS; `path` is the URL's, without its slashes."""

    address: Address
    secure: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    path: str = ""


@dataclass(frozen=True, slots=True)
class LoginSettings:
    """The settings, read. `schemes` is URL scheme -> whether it means TLS; the first is written in messages."""

    schemes: Mapping[str, bool]
    default_port: int
    dsn: Text | None
    url: str | None
    host: str | None
    port: int | None
    user: str | None
    password: Text | None

    @classmethod
    def of(cls, settings: Mapping[str, Any], schemes: Mapping[str, bool], default_port: int) -> LoginSettings:
        """Reads the settings. Raises `SettingError`."""
        port = settings.get("port")
        if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536):
            raise SettingError(f"port: {port!r} is not a port: write 1 to 65535")
        dsn, password = settings.get("dsn"), settings.get("password")
        url, host = text(settings, "url"), text(settings, "host")
        if dsn is not None and (url or host):
            raise SettingError("dsn: it says where to look, so leave `url` and `host` out")
        if url is not None:
            _scheme(url, schemes)
            if URL(url).password is not None:
                raise SettingError("url: a password must not stand in it: write `password` by reference, or `dsn`")
        return cls(
            schemes,
            default_port,
            None if dsn is None else Text(dsn),
            url,
            host,
            port,
            text(settings, "user"),
            None if password is None else Text(password),
        )

    def read(self, target: Target, resolve: Resolve, hidden: list[str]) -> Login:
        """The login for one look. Secrets are added to `hidden`. Raises `MisconfiguredError`."""
        password = None
        if self.password is not None:
            password = self.password.read(resolve, "password")
            hidden.append(password)
        if self.dsn is not None:
            base = self.dsn.read(resolve, "dsn").strip()
            hidden.append(base)
        else:
            base = self.url or ("" if self.host else target.url)
        where = "`dsn`" if self.dsn is not None else "the URL"
        if not base:
            base = f"{next(iter(self.schemes))}://{self.host or ''}"
        try:
            secure = _scheme(base, self.schemes)
            url = URL(base)
            name, port = self.host or url.host, self.port or url.explicit_port or self.default_port
        except (ValueError, SettingError) as error:
            # A DSN is a secret as a whole: what is wrong with it is said without it.
            words = (
                f"write {next(iter(self.schemes))}://USER:PASSWORD@HOST:PORT" if self.dsn is not None else str(error)
            )
            raise MisconfiguredError(f"{where} cannot be read: {words}") from None
        if not name:
            raise MisconfiguredError(f"{where} names no host: write {next(iter(self.schemes))}://HOST:PORT")
        if url.password:
            hidden.append(url.password)
        own = self.host is None and self.url is None and self.dsn is None and target.address is not None
        address = Address(name, target.address if own and target.address else name, port)
        return Login(address, secure, self.user or url.user, password or url.password, url.path.strip("/"))


def _scheme(url: str, schemes: Mapping[str, bool]) -> bool:
    """Whether the URL's scheme means TLS. Raises `SettingError` for one that this kind does not know."""
    scheme, mark, _ = url.partition("://")
    if not mark or scheme.lower() not in schemes:
        known = " or ".join(f"{one}://" for one in schemes)
        raise SettingError(f"url: it must begin with {known}")
    return schemes[scheme.lower()]
