"""Notices that the config changed, and never lets a bad one replace a good one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from steerd.config.build import load_with_files
from steerd.config.problems import ConfigError
from steerd.model.fleet import Fleet

__all__ = ["ConfigWatcher"]

_Stamp = tuple[tuple[str, int, int, int], ...]


class ConfigWatcher:
    """Watches a config file and the files it names. `poll` is cheap while nothing changes: one stat per file.

    `problem` says why the file on disk is not in force (None while it is), `bad_since` since when (`clock`'s seconds, wall
    time by default).
    """

    def __init__(self, path: Path, current: Fleet, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._files: tuple[Path, ...] = (path,)
        self._stamp: _Stamp | None = None
        self.current = current
        self.problem: str | None = None
        self.bad_since: float | None = None

    def force(self) -> None:
        """Read again at the next `poll`, whatever the files' times say (SIGHUP)."""
        self._stamp = None

    def poll(self) -> Fleet | None:
        """A new fleet when the files changed and are good and different, else None. The first call always reads.

        Blocks for the time of a read: milliseconds for a small config, about a second for 10 000 endpoints.
        """
        if self._stamp is not None and self._stamp == _stamp(self._files):
            return None
        # The stamp is taken before the read: a change during it is seen by the next poll.
        before = _stamp(self._files)
        try:
            loaded = load_with_files(self._path)
        except ConfigError as error:
            self._stamp = before
            more = len(error.problems) - 1
            self.problem = str(error.problems[0]) + (f" (and {more} more: see `steerd config check`)" if more else "")
            if self.bad_since is None:
                self.bad_since = self._clock()
            return None
        self._stamp = before if loaded.files == self._files else _stamp(loaded.files)
        self._files = loaded.files
        self.problem = None
        self.bad_since = None
        if loaded.fleet.config_hash == self.current.config_hash:
            return None
        self.current = loaded.fleet
        return loaded.fleet


def _stamp(files: tuple[Path, ...]) -> _Stamp:
    found = []
    for path in files:
        try:
            status = path.stat()
        except (OSError, ValueError):
            # A missing file is a state like any other: reading it says what is wrong.
            found.append((str(path), -1, -1, -1))
        else:
            found.append((str(path), status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)
