"""Who can reach whom, how long it takes, and how much gets lost on the way."""

from __future__ import annotations

from dataclasses import dataclass

from steerd.model.fleet import Fleet

__all__ = ["GROUPS", "Link", "Network", "Path"]

GROUPS = ("endpoints", "agents", "coordinators", "store", "providers", "any")
"""Words that stand for many nodes in a link's `from` and `to`."""

_NEAR_S = 0.001
"""One way, between any two nodes; `latency` faults add to it."""


@dataclass(eq=False, slots=True)
class Link:
    """A fault of the network, one way. Node names are selectors: a name, a zone, a region or one of `GROUPS`."""

    source: str
    to: str
    loss: float = 0.0
    cut: bool = False
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Path:
    """One way from a node to another. `loss` is the probability that one message gets lost."""

    cut: bool
    loss: float
    latency_s: float

    @property
    def clear(self) -> bool:
        return not self.cut and self.loss == 0.0


_CLEAR_WAY = Path(cut=False, loss=0.0, latency_s=_NEAR_S)
_CLEAR_TRIP = Path(cut=False, loss=0.0, latency_s=2.0 * _NEAR_S)


class Network:
    """All nodes of a fleet and the faults between them."""

    def __init__(self, fleet: Fleet) -> None:
        self.links: list[Link] = []
        self._members: dict[str, set[str]] = {}
        """Selector -> the names of the nodes that it means."""
        self._groups: dict[str, frozenset[str]] = {}
        self._paths: dict[tuple[str, str], Path] = {}
        self._trips: dict[tuple[str, str], Path] = {}
        self.load(fleet)

    def load(self, fleet: Fleet) -> None:
        """Nodes of a config; a new one adds to them."""
        for agent in fleet.agents:
            self._add(agent.name, "agents", agent.zone, fleet.vantage_region(agent.zone))
        for coordinator in fleet.coordinators:
            self._add(coordinator.name, "coordinators", coordinator.region)
        for service in fleet.services:
            for endpoint in service.endpoints:
                region = fleet.vantage_region(endpoint.zone)
                self._add(endpoint.name, "endpoints", endpoint.zone, region, service.name)
        for dependency in fleet.dependencies:
            self._add(dependency.name, "dependencies")
            for region in dependency.instances:
                self._add(f"{dependency.name}@{region}", "dependencies", dependency.name, region)
        for provider in fleet.providers:
            self._add(provider.name, "providers")
        self._add("store", "store")
        self.changed()

    def _add(self, name: str, *groups: str) -> None:
        for group in self._groups.get(name, ()):  # a new config may have put it elsewhere
            self._members[group].discard(name)
        self._groups[name] = mine = frozenset((name, "any", *groups))
        for group in mine:
            self._members.setdefault(group, set()).add(name)

    def selects(self, selector: str) -> set[str]:
        """Names of the nodes that `selector` means."""
        return self._members.get(selector, set())

    def changed(self) -> None:
        """A link fault began or ended."""
        self._paths.clear()
        self._trips.clear()

    def path(self, source: str, to: str) -> Path:
        """One message's way."""
        if not self.links:
            return _CLEAR_WAY
        found = self._paths.get((source, to))
        if found is None:
            meeting = [link for link in self.links if self._meets(link, source, to)]
            found = self._paths[source, to] = self._fold(meeting, _NEAR_S) if meeting else _CLEAR_WAY
        return found

    def trip(self, source: str, to: str) -> Path:
        """There and back: a look, a call. A fault that meets both ways counts once for loss."""
        if not self.links:
            return _CLEAR_TRIP
        found = self._trips.get((source, to))
        if found is None:
            there = [link for link in self.links if self._meets(link, source, to)]
            back = [link for link in self.links if self._meets(link, to, source)]
            found = self._trips[source, to] = self._both(there, back) if there or back else _CLEAR_TRIP
        return found

    def _both(self, there: list[Link], back: list[Link]) -> Path:
        both = self._fold(list(dict.fromkeys((*there, *back))), 0.0)
        latency_s = self._fold(there, _NEAR_S).latency_s + self._fold(back, _NEAR_S).latency_s
        return Path(both.cut, both.loss, latency_s)

    def _meets(self, link: Link, source: str, to: str) -> bool:
        return source in self.selects(link.source) and to in self.selects(link.to)

    def _fold(self, links: list[Link], latency_s: float) -> Path:
        through = 1.0
        for link in links:
            through *= 1.0 - link.loss
        return Path(any(link.cut for link in links), 1.0 - through, latency_s + sum(link.latency_s for link in links))
