"""Who had cause to see an endpoint fail: the truth behind votes, for the rule that a minority is impotent."""

from __future__ import annotations

from typing import Protocol

from steerd.model.fleet import Fleet
from steerd.sim.kernel import Kernel
from steerd.sim.kinds import PLACES
from steerd.sim.network import Network
from steerd.sim.scenario import Fault

__all__ = ["Trouble"]

_LINGERS_S = 240.0
"""A fault may be concluded from this long after it ended: the longest window of looks (the gray band's 180 s) and some."""


class _Scene(Protocol):
    fleet: Fleet
    kernel: Kernel
    network: Network


class Trouble:
    """Keeps the times of faults; `zones(endpoint)` answers for now."""

    def __init__(self, scene: _Scene) -> None:
        self._scene = scene
        self._faults: tuple[Fault, ...] = ()

    def schedule(self, faults: tuple[Fault, ...]) -> None:
        """All that will happen."""
        self._faults = faults

    def zones(self, endpoint: str) -> set[str]:
        """Vantage zones one of whose agents met a fault on its way to `endpoint`, or lies, now or lately."""
        now, found = self._scene.kernel.now, set[str]()
        for fault in self._faults:
            if fault.at <= now and (fault.until is None or now <= fault.until + _LINGERS_S):
                found |= self._by(fault, endpoint)
        return found

    def _by(self, fault: Fault, endpoint: str) -> set[str]:
        network, fleet = self._scene.network, self._scene.fleet
        everybody = {a.zone for a in fleet.agents}
        if fault.on in PLACES:
            return everybody if endpoint in network.selects(fault.target) and fault.kind != "version" else set()
        if fault.on == "dependency":
            service = fleet.endpoint_by_name[endpoint].service
            mine = fleet.service_by_name[service].depends_on
            return everybody if fault.target.partition("@")[0] in mine and fault.kind != "lag" else set()
        if fault.on == "agent":
            liar = fleet.agent_by_name.get(fault.target)
            return {liar.zone} if liar is not None else set()  # another config has no such agent
        if fault.on == "link":
            source, to = network.selects(fault.args["from"]), network.selects(fault.args["to"])
            return {
                a.zone
                for a in fleet.agents
                if (a.name in source and endpoint in to) or (a.name in to and endpoint in source)
            }
        return set()
