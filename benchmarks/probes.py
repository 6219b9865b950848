"""What a look costs: the whole pipeline (schedule, look, outcome, verdict, metrics) beside other health checkers, on the same
loopback addresses, in the same run. CPU is user and system time of the checker; checks are counted by the server that answers.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.addresses import address
from benchmarks.peers import PEERS, Answers, Blackbox, Gdnsd, Peer, cpu_s
from tests.support.servers import free_port

ADDRESSES = 2000
INTERVAL_S = 1.0
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
WARM_S = 12.0
"""Until everything is connected, known to be well, and an agent that was starved while it started votes again."""
MEASURE_S = 5.0
PROBES = 400
"""Looks of blackbox_exporter in a round."""

Measure = Callable[[], float]


class Steerd:
    """An agent in a process of its own."""

    def __init__(self, port: int, *options: str) -> None:
        argv = [sys.executable, "-m", "benchmarks.probing_agent", "--port", str(port), "--seconds", "3600", *options]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE)

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> dict[str, float]:
        """What it says next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the agent ended")
        found: dict[str, float] = json.loads(line)
        return found

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def run(_options: Sequence[str] = ()) -> None:
    """Prints the medians."""
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        folder.chmod(0o755)
        port = free_port()
        (folder / "nginx").mkdir()
        answers = Answers(folder / "nginx", port)
        answers.start()
        try:
            print(
                f"{ADDRESSES} addresses, every {INTERVAL_S:g} s, medians of {ROUNDS}; us of CPU per check", flush=True
            )
            _compare(folder, answers)
        finally:
            answers.stop()


def _compare(folder: Path, answers: Answers) -> None:
    kinds: dict[str, Callable[[], float]] = {
        "steerd, kept alive": lambda: _steerd(answers, 1_000_000),
        "steerd, fresh": lambda: _steerd(answers, 1),
        "steerd, every 10th fresh": lambda: _steerd(answers, 10),
    }
    for peer in PEERS:
        lacking = peer.missing()
        if lacking:
            print(f"  {peer.name}: skipped, it is not installed ({lacking})", flush=True)
        else:
            kinds[peer.name] = _peer(peer, folder, answers)
    figures: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(ROUNDS):
        for name, measure in kinds.items():
            figures[name].append(measure())
        print(f"  round {number + 1}: " + ", ".join(f"{n} {f[-1]:.0f}" for n, f in figures.items()), flush=True)
    medians = {name: statistics.median(found) for name, found in figures.items()}
    for name, median in medians.items():
        print(f"  {name:26} {median:6.1f} us   ({min(figures[name]):.0f} to {max(figures[name]):.0f})")
    for ours, theirs, goal in (
        ("steerd, kept alive", "Envoy, kept alive", 1.0),
        ("steerd, fresh", "HAProxy", 1.25),
        ("steerd, fresh", "Envoy, fresh", 1.0),
        ("steerd, fresh", "gdnsd", 1.0),
    ):
        if theirs in medians:
            ratios = [a / b for a, b in zip(figures[ours], figures[theirs], strict=True)]
            print(f"  {ours} / {theirs}: {statistics.median(ratios):.2f} (goal <= {goal})")


def _steerd(answers: Answers, fresh_every: int) -> float:
    steerd = Steerd(answers.port, "--fresh-every", str(fresh_every), "--interval", str(INTERVAL_S), "--every", "600")
    try:
        time.sleep(WARM_S)
        return _cost(lambda: steerd.pid, answers, MEASURE_S)
    finally:
        steerd.stop()


def _peer(kind: type[Peer], folder: Path, answers: Answers) -> Measure:
    def measure() -> float:
        with _started(kind, folder, answers.port) as peer:
            if isinstance(peer, Blackbox):
                return _cost(lambda: peer.pid, answers, 0.0, lambda: _ask(peer, answers.port))
            # gdnsd cannot look more often than each 10 s.
            return _cost(lambda: peer.pid, answers, 12.0 if isinstance(peer, Gdnsd) else MEASURE_S)

    return measure


@contextmanager
def _started(kind: type[Peer], folder: Path, port: int) -> Iterator[Peer]:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        peer = kind(Path(own))
        peer.start(port, ADDRESSES, INTERVAL_S)
        try:
            time.sleep(WARM_S)
            yield peer
        finally:
            peer.stop()


def _cost(pid: Callable[[], int], answers: Answers, seconds: float, work: Callable[[], None] | None = None) -> float:
    """CPU per check, in us."""
    before, asked = cpu_s(pid()), answers.asked()
    if work is not None:
        work()
    time.sleep(seconds)
    used, checks = cpu_s(pid()) - before, answers.asked() - asked - 1
    if checks < 100:
        raise SystemExit(f"only {checks} checks in {seconds:g} s")
    return used / checks * 1e6


def _ask(peer: Blackbox, port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=10)
    for number in range(PROBES):
        connection.request("GET", f"/probe?module=web&target=http://{address(number)}:{port}/")
        connection.getresponse().read()
    connection.close()
