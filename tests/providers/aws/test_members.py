"""Targets known by names in the route's settings: one that leaves the config loses its traffic, and none is two at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from steerd.core.fleetchange import with_retired
from steerd.model.route import Route, Target
from steerd.providers.base import Misconfigured, Provider
from tests.support.aws.accelerator import LocalAccelerator
from tests.support.aws.arc import CLUSTER, LocalCluster, control_arn
from tests.support.aws.elb import LocalElb, group_arn
from tests.support.aws.shift import LocalZonalShift
from tests.support.aws.steer import build, deadline, fence, prepare, route, write

ZONES = ("za", "zb", "zc")
ALL = dict.fromkeys(ZONES, 1)
RETIRING = {"za": 0, "zb": 1, "zc": 1}


@dataclass
class Bench:
    """One provider with a route of three zones; `setting` names them, `server` tells what they carry."""

    provider: Provider
    server: Any
    setting: str
    of: Route
    place: str

    def carried(self) -> Mapping[str, int]:
        if isinstance(self.server, LocalCluster):
            return {z: int(s == "On") for z, s in self.server.states().items()}
        weights: Mapping[str, int] = self.server.weights(self.place)
        return weights

    def less(self) -> Route:
        """The route of the next config, without za."""
        names = self.of.settings[self.setting]
        settings = {**self.of.settings, self.setting: {z: n for z, n in names.items() if z != "za"}}
        return replace(self.of, targets=self.of.targets[1:], settings=settings)


@pytest.fixture(params=["elbv2", "global-accelerator", "route53-arc"])
async def bench(request: pytest.FixtureRequest) -> Any:
    more: dict[str, Any]
    server: Any
    place = ""
    if request.param == "elbv2":
        server, setting, names = LocalElb(), "target_groups", {z: group_arn(z) for z in ZONES}
        place = server.add_rule(ALL)
        given, more = {"aws_region": "eu-west-1"}, {"rule": place}
    elif request.param == "global-accelerator":
        server, setting, names = LocalAccelerator(), "endpoints", {z: z for z in ZONES}
        place = server.add_group(ALL)
        given, more = {"endpoint_group": place}, {}
    else:
        server, setting, names = LocalCluster(), "controls", {z: control_arn(z) for z in ZONES}
        given, more = {"cluster": CLUSTER}, {}
    server.start()
    if isinstance(server, LocalCluster):
        server.put(dict.fromkeys(names.values(), "On"))
        provider = build(request.param, {**given, "endpoints": server.listed})
    else:
        provider = build(request.param, {**given, "endpoint_url": server.url})
    of = route("r", dict.fromkeys(ZONES, ()), settings={setting: names, **more}, types=())
    # As the config builds it: what a target is called is among its values.
    of = replace(of, targets=tuple(Target(z, (f"e-{z}",), {z: (names[z],)}) for z in ZONES))
    yield Bench(provider, server, setting, of, place)
    await provider.close()
    server.stop()


async def test_a_target_that_leaves_the_config_loses_its_traffic(bench: Bench) -> None:
    after = with_retired(bench.less(), bench.of.targets, bench.of.settings)
    observed = await bench.provider.read(after, deadline())
    assert observed.weights["za"] == 1, "seen, and not somebody else's"
    assert observed.foreign == ()
    change = await write(bench.provider, after, RETIRING, fence())
    assert bench.carried() == RETIRING
    assert (await bench.provider.verify(after, change, deadline())).in_sync


async def test_verify_tells_of_a_retired_target_that_still_has_traffic(bench: Bench) -> None:
    after = with_retired(bench.less(), bench.of.targets, bench.of.settings)
    change = await prepare(bench.provider, after, RETIRING, fence())
    verified = await bench.provider.verify(after, change, deadline())
    assert not verified.in_sync
    assert "za" in verified.text


async def test_so_it_does_where_the_coordinator_was_restarted_with_the_new_config(bench: Bench) -> None:
    """What is left of the old config then is the decision that was stored."""
    stored = [Target(t.key, (), {t.key: t.values[t.key]}) for t in bench.of.targets]
    await write(bench.provider, with_retired(bench.less(), stored), RETIRING, fence())
    assert bench.carried() == RETIRING


async def test_a_target_that_is_renamed_keeps_its_traffic(bench: Bench) -> None:
    name = bench.of.settings[bench.setting]["za"]
    less = bench.less()
    settings = {**less.settings, bench.setting: {**less.settings[bench.setting], "zx": name}}
    for values in ({"zx": (name,)}, {}):
        renamed = replace(less, targets=(*less.targets, Target("zx", ("e-za",), values)), settings=settings)
        after = with_retired(renamed, bench.of.targets, bench.of.settings)
        weights = {**{t.key: 0 for t in after.targets}, "zb": 1, "zc": 1, "zx": 1}
        change = await prepare(bench.provider, after, weights, fence())
        assert change.nothing, change.summary


async def test_two_targets_of_one_name_are_refused(bench: Bench) -> None:
    names = bench.of.settings[bench.setting]
    twice = replace(bench.of, settings={**bench.of.settings, bench.setting: {**names, "zb": names["za"]}})
    with pytest.raises(Misconfigured, match="za and zb are both"):
        await prepare(bench.provider, twice, {"za": 1, "zb": 0, "zc": 1}, fence())


def test_the_attachment_of_a_retired_endpoint_is_kept() -> None:
    before = route(
        "ga", {"za": (), "zb": ()}, settings={"endpoints": {"za": "a", "zb": "b"}, "attachments": {"za": "x"}}
    )
    less = replace(before, targets=before.targets[1:], settings={"endpoints": {"zb": "b"}})
    after = with_retired(less, before.targets, before.settings)
    assert after.settings == {"endpoints": {"za": "a", "zb": "b"}, "attachments": {"za": "x"}}


@pytest.fixture
def shifts() -> Iterator[LocalZonalShift]:
    server = LocalZonalShift()
    server.start()
    yield server
    server.stop()


async def test_a_retired_zone_whose_id_went_with_it_blocks_no_write(shifts: LocalZonalShift) -> None:
    arn = shifts.add_resource("lb", ("z-1", "z-2", "z-3"))
    ids = {"zb": "z-2", "zc": "z-3"}
    provider = build("aws-zonal-shift", {"zone_ids": ids, "endpoint_url": shifts.url, "aws_region": "eu-west-1"})
    of = route("lb", dict.fromkeys(ZONES, ()), settings={"resource": arn})
    after = with_retired(replace(of, targets=of.targets[1:]), of.targets, of.settings)
    change = await write(provider, after, {"za": 0, "zb": 0, "zc": 1}, fence())
    assert shifts.out(arn) == {"z-2"}
    assert (await provider.verify(after, change, deadline())).in_sync
    with pytest.raises(Misconfigured, match="zone id of za is not known"):
        await prepare(provider, of, {"za": 0, "zb": 1, "zc": 1}, fence())
    await provider.close()


async def test_a_shift_of_another_fleet_is_told_by_its_id(shifts: LocalZonalShift) -> None:
    """There is no TXT to delete."""
    arn = shifts.add_resource("lb", ("z-1", "z-2", "z-3"))
    ids = {"za": "z-1", "zb": "z-2", "zc": "z-3"}
    provider = build("aws-zonal-shift", {"zone_ids": ids, "endpoint_url": shifts.url, "aws_region": "eu-west-1"})
    of = route("lb", dict.fromkeys(ZONES, ()), settings={"resource": arn})
    await write(provider, of, RETIRING, replace(fence(), fleet="others"))
    with pytest.raises(Misconfigured, match="steered by fleet 'others'") as caught:
        await prepare(provider, of, ALL, fence())
    observed = await provider.read(of, deadline())
    assert "TXT" not in caught.value.action
    assert f"cancel-zonal-shift --zonal-shift-id {observed.token.own.id}" in caught.value.action
    await provider.close()
