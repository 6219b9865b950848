"""A changed file is read again; a bad one changes nothing and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from steerd import config
from steerd.config import reload
from steerd.config.reload import ConfigWatcher
from tests.support.configs import GOOD

CHANGED = GOOD.replace("demand: 100", "demand: 101")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "steerd.yaml"
    found.write_text(GOOD)
    return found


def test_nothing_changed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = ConfigWatcher(path, config.load(path))
    assert watcher.poll() is None
    monkeypatch.setattr(reload, "load_with_files", None)  # a second read would fail
    assert watcher.poll() is None


def test_a_good_change(path: Path) -> None:
    watcher = ConfigWatcher(path, config.load(path))
    watcher.poll()
    path.write_text(CHANGED)
    fleet = watcher.poll()
    assert fleet is not None
    assert fleet.services[0].demand is not None
    assert fleet.services[0].demand.value == 101.0
    assert watcher.current is fleet
    assert watcher.poll() is None


def test_a_change_before_the_first_poll_is_seen(path: Path) -> None:
    fleet = config.load(path)
    path.write_text(CHANGED)
    assert ConfigWatcher(path, fleet).poll() is not None


def test_a_comment_changes_nothing(path: Path) -> None:
    watcher = ConfigWatcher(path, config.load(path))
    watcher.poll()
    path.write_text("# words\n" + GOOD)
    assert watcher.poll() is None
    assert watcher.problem is None


def test_a_bad_change_keeps_the_old_and_says_so(path: Path) -> None:
    times = iter([100.0, 200.0, 300.0])
    old = config.load(path)
    watcher = ConfigWatcher(path, old, clock=lambda: next(times))
    watcher.poll()
    path.write_text(GOOD.replace("demand: 100", "demand: much").replace("rto: 60s", "rto: 60"))
    assert watcher.poll() is None
    assert watcher.current is old
    assert watcher.problem is not None
    assert watcher.problem.startswith(f"{path}:")
    assert "and 1 more" in watcher.problem
    assert watcher.bad_since == 100.0
    path.write_text("also bad, in another way: [")
    assert watcher.poll() is None
    assert watcher.bad_since == 100.0, "it has been bad since the first bad one"
    path.unlink()
    assert watcher.poll() is None
    assert "cannot read" in str(watcher.problem)
    path.write_text(GOOD)
    assert watcher.poll() is None, "the old one is back: nothing to take over"
    assert (watcher.problem, watcher.bad_since) == (None, None)
    path.write_text(CHANGED)
    assert watcher.poll() is not None


def test_force_reads_although_nothing_seems_changed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = ConfigWatcher(path, config.load(path))
    watcher.poll()
    reads: list[Path] = []
    real = reload.load_with_files
    monkeypatch.setattr(reload, "load_with_files", lambda p: (reads.append(p), real(p))[1])
    assert watcher.poll() is None
    assert reads == []
    watcher.force()
    assert watcher.poll() is None
    assert reads == [path]


def test_a_replaced_link_is_a_change(path: Path, tmp_path: Path) -> None:
    """How Kubernetes updates a mounted config: the name is a link into a folder that is swapped."""
    (tmp_path / "v2.yaml").write_text(CHANGED)
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    watcher = ConfigWatcher(link, config.load(link))
    watcher.poll()
    (tmp_path / "next").symlink_to(tmp_path / "v2.yaml")
    (tmp_path / "next").replace(link)
    assert watcher.poll() is not None


def test_files_of_endpoints_are_watched_too(tmp_path: Path) -> None:
    before, _, rest = GOOD.partition("    endpoints:\n")
    block, _, after = rest.partition("    routes:")
    endpoints = tmp_path / "e.yaml"
    endpoints.write_text("\n".join(line.strip() for line in block.splitlines()))
    path = tmp_path / "steerd.yaml"
    path.write_text(before + "    endpoints: {file: e.yaml}\n    routes:" + after)
    watcher = ConfigWatcher(path, config.load(path))
    assert watcher.poll() is None
    endpoints.write_text(endpoints.read_text().replace("203.0.113.3, capacity: 100", "203.0.113.3, capacity: 90"))
    fleet = watcher.poll()
    assert fleet is not None
    assert fleet.endpoint_by_name["chat-c"].capacity == 90.0
