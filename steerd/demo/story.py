"""The demo's story: a healthy fleet, a zone loses power, traffic leaves, the zone returns, traffic comes back.

Everything is real: the processes, the probes, the ballots, the quorum, the DNS server and the client that asks it. The story only
starts and kills processes, asks DNS, reads steerd's API, and at the end says whether traffic moved as it should.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from steerd.cli.client import Client
from steerd.cli.errors import NotWell
from steerd.demo.dig import ask, split
from steerd.demo.layout import MODEL, RECORD, ZONES, Layout
from steerd.demo.processes import Crew
from steerd.demo.screen import Screen

__all__ = ["Story", "StoryError"]

VICTIM = ZONES[0]
_QUERIES = 1000
_TOLERANCE = 0.05
"""How far the split of 1000 answers may be from the plan: chance alone moves it about 1.3 points at 20%."""


class StoryError(Exception):
    """The demo could not go on; the text says what happened and where to look."""


@dataclass(slots=True)
class Told:
    """What was seen, for the verdict."""

    before: Counter[str] = field(default_factory=Counter)
    during: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)
    killed_at: float = 0.0
    gone_at: float | None = None
    began: float = 0.0


class Story:
    """One run of the demo."""

    def __init__(self, layout: Layout, crew: Crew, screen: Screen, client: Client) -> None:
        self.layout = layout
        self.crew = crew
        self.screen = screen
        self.client = client
        self.told = Told()
        self._killed: list[str] = []

    def play(self) -> bool:
        """The whole story; True when traffic moved as it should."""
        self.told.began = time.time()
        self.start_world()
        self.told.before = self._split("before")
        self._break_zone()
        self.told.during = self._split("during")
        self._repair_zone()
        self.told.after = self._split("after")
        return self._conclude()

    def start_world(self) -> None:
        """Starts every process and waits until the fleet is healthy and published."""
        layout, screen = self.layout, self.screen
        agents = len(layout.agents)
        screen.note(f"starting {len(ZONES)} model servers, {agents} agents, 1 coordinator with its own DNS server")
        layout.write()
        for zone in ZONES:
            self._start_model(zone)
        self.crew.start("coordinator", "steerd", "coordinator", "--config", str(layout.config), "--name", "demo")
        for name in layout.agents:
            self._start_agent(name)
        self._until("the fleet to be healthy and its record published", 30.0, self._settled)
        screen.note(f"{RECORD} is published: every zone is healthy", "green")

    def _start_model(self, zone: str) -> None:
        address = self.layout.addresses[zone]
        self.crew.start(
            f"model-{zone}", "steerd.demo.model_server", "--host", address, "--port", str(self.layout.port),
            "--model", MODEL, "--name", zone,
        )  # fmt: skip

    def _start_agent(self, name: str) -> None:
        self.crew.start(name, "steerd", "agent", "--config", str(self.layout.config), "--name", name)

    def _break_zone(self) -> None:
        self.screen.heading(f"{VICTIM} loses power: its model server and its agent are killed")
        self.told.killed_at = time.time()
        for name in (f"model-{VICTIM}", f"probe-{VICTIM}"):
            self._killed.append(name)
            self.crew.children[name].kill()
        address = self.layout.addresses[VICTIM]
        self._until("traffic to leave the zone", 15.0, lambda _: self._gone(address))

    def _gone(self, address: str) -> bool:
        """The address has left the answers: none of 40 in a row names it."""
        seen = {ask(RECORD, self.layout.dns_port) for _ in range(40)}
        if address in seen or seen == {None}:
            return False
        self.told.gone_at = time.time()
        return True

    def _repair_zone(self) -> None:
        self.screen.heading(f"{VICTIM} has power again: it comes back in steps, once it has been well for a while")
        self._start_model(VICTIM)
        self._start_agent(f"probe-{VICTIM}")
        self._killed.clear()
        self._until("traffic to come back", 40.0, self._back)
        self.screen.note(f"{VICTIM} is fully back", "green")

    def _settled(self, status: dict[str, Any]) -> bool:
        service = status["services"]["chat"]
        healthy = all(e["health"] == "healthy" for e in service["endpoints"].values())
        return healthy and self._back(status) and ask(RECORD, self.layout.dns_port) is not None

    def _back(self, status: dict[str, Any]) -> bool:
        service = status["services"]["chat"]
        even = all(abs(z["share"] - 1 / len(ZONES)) < 0.01 for z in service["zones"].values())
        return even and all(r["in_sync"] for r in service["routes"])

    def _until(self, what: str, within_s: float, done: Callable[[dict[str, Any]], bool]) -> None:
        """Polls steerd's status until `done`, showing every change; says what is wrong when it takes too long."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            self._check_crew()
            status = self.status()
            self.screen.fleet(status)
            if status is not None and done(status):
                self.screen.fleet(self.status())
                return
            time.sleep(0.05)
        raise StoryError(f"waited {within_s:.0f} s for {what}, in vain; the logs are in {self.layout.folder}")

    def _check_crew(self) -> None:
        for child in self.crew.dead(ignoring=self._killed):
            raise StoryError(f"{child.name} ended by itself with exit code {child.exit_code}:\n{child.tail()}")

    def status(self) -> dict[str, Any] | None:
        """The status, None while nobody answers yet."""
        try:
            answer: dict[str, Any] = self.client.get("/v1/status")
        except NotWell:
            return None
        return answer

    def _split(self, when: str) -> Counter[str]:
        counts = split(RECORD, self.layout.dns_port, _QUERIES)
        zones = {a: z for z, a in self.layout.addresses.items()}
        text = "  ".join(
            f"{zones.get(a, a)} {n}" for a, n in sorted(counts.items(), key=lambda item: zones.get(item[0], "~"))
        )
        self.screen.note(f"{_QUERIES} DNS answers {when}: {text}")
        return counts

    # -- the end ----------------------------------------------------------------------------------------------------------

    def _conclude(self) -> bool:
        told, screen = self.told, self.screen
        screen.heading(f"Answers of {RECORD}, {_QUERIES} queries each")
        screen.splits(self.layout.addresses, (("before", told.before), ("during", told.during), ("after", told.after)))
        screen.heading("How long it took, from the kill")
        screen.times(self._times())
        problems = self._problems()
        screen.text("")
        for problem in problems:
            screen.note(problem, "bold red")
        if not problems:
            screen.note(f"Traffic left {VICTIM} and came back, and no query went without an answer.", "bold green")
        return not problems

    def _times(self) -> list[tuple[str, float | None, str]]:
        """Stage times from steerd's own history, and what the DNS client saw."""
        killed = self.told.killed_at
        first: dict[str, dict[str, Any]] = {}
        for record in self.client.get(f"/v1/history?since={killed:.3f}&limit=200")["events"]:
            first.setdefault(record["kind"], record)
        decision = first.get("decision", {}).get("data", {})
        sync = first.get("in-sync", {}).get("data", {})

        def after(value: object) -> float | None:
            return float(str(value)) - killed if value is not None else None

        return [
            ("detect", after(decision.get("suspect_at")), "an agent's first failed look reached the coordinator"),
            (
                "agree",
                after(decision.get("agreed_at")),
                "the voices of at least two thirds of the vantage zones said so",
            ),
            ("decide", after(sync.get("decided_at")), "planned, checked by the guards, on disk"),
            ("accept", after(sync.get("accepted_at")), "the DNS server took the change"),
            ("authoritative", after(sync.get("authoritative_at")), "read back from every name server of the zone"),
            ("seen", after(self.told.gone_at), "a DNS client no longer got the address"),
        ]

    def _problems(self) -> list[str]:
        """What did not go as it should; nothing when it did."""
        told, victim = self.told, self.layout.addresses[VICTIM]
        found = []
        for when, counts, shares in (
            ("before", told.before, dict.fromkeys(self.layout.addresses.values(), 1 / len(ZONES))),
            ("after", told.after, dict.fromkeys(self.layout.addresses.values(), 1 / len(ZONES))),
        ):
            off = [a for a, share in shares.items() if abs(counts[a] / _QUERIES - share) > _TOLERANCE]
            if off:
                found.append(f"The split {when} the failure is not as planned: {', '.join(off)}.")
        if told.during[victim]:
            found.append(f"{told.during[victim]} of {_QUERIES} answers still named {VICTIM} after it was drained.")
        missing = told.before["no answer"] + told.during["no answer"] + told.after["no answer"]
        if missing:
            found.append(f"{missing} queries got no answer.")
        return found
