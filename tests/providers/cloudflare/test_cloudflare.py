"""The cloudflare provider against a local API that reads with the typed parameters of Cloudflare's own SDK."""

from __future__ import annotations

import json
from typing import Any

import cloudflare
import pytest
from cloudflare.types.load_balancers import LoadBalancer, LoadBalancerEditParams, Pool

from steerd.providers.base import Conflict, Incomplete, Provider, Refused
from steerd.providers.cloudflare import translate as pure
from tests.support.cloud.cloudflare import ACCOUNT, ZONE_ID, LocalCloudflare, _strict, check, cloudflare_error, pool_id
from tests.support.cloud.cloudflare_steer import ALL, NAME, made, of
from tests.support.cloud.http import HttpError
from tests.support.cloud.steer import deadline, fence, prepare, stands_common_faults, write


def patches(server: LocalCloudflare) -> list[tuple[str, Any]]:
    names = {p["id"]: p["name"] for p in server.pools.values()} | {
        b["id"]: b["name"] for b in server.balancers.values()
    }
    return [(names[a.path.rpartition("/")[2]], a.body.get("enabled")) for a in server.asked if a.method == "PATCH"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": 1},
        {"random_steering": {"pool_weights": {"a": "1"}}},
        {"random_steering": {"weights": {}}},
        {"description": None},
        {"default_pools": "a"},
        {"steering_policy": "weighted"},
    ],
)
def test_the_check_is_strict(wrong: dict[str, Any]) -> None:
    with pytest.raises(HttpError, match="400"):
        check(_strict(LoadBalancerEditParams), {"zone_id": ZONE_ID, **wrong})


def test_cloudflare_s_own_sdk_works_with_the_local_api(server: LocalCloudflare) -> None:
    """What the provider is tested on is what the SDK speaks: its paths, its envelope, documents of its models."""
    with cloudflare.Cloudflare(api_token=server.token, base_url=server.api, max_retries=0) as sdk:
        [balancer] = sdk.load_balancers.list(zone_id=ZONE_ID)
        assert balancer.name == NAME
        assert balancer.id is not None
        pools = list(sdk.load_balancers.pools.list(account_id=ACCOUNT))
        weights = {pool_id("za"): 0.25}
        edited = sdk.load_balancers.edit(balancer.id, zone_id=ZONE_ID, random_steering={"pool_weights": weights})
        assert edited is not None
        assert edited.random_steering is not None
        assert edited.random_steering.pool_weights == weights
        sdk.load_balancers.pools.edit(pool_id("zb"), account_id=ACCOUNT, enabled=False)
        assert server.percents(NAME) == {"za": 25, "zb": 0, "zc": 100}
        told = sdk.load_balancers.pools.references.get(pool_id("za"), account_id=ACCOUNT)
        assert [(r.resource_type, r.resource_name) for r in told] == [
            ("load_balancer", NAME),
            ("monitor", "login page"),
        ]
        verified = sdk.user.tokens.verify()
        assert verified is not None
        assert verified.status == "active"
    for model, documents in ((LoadBalancer, [*server.balancers.values()]), (Pool, [*server.pools.values()])):
        assert all(document.keys() <= model.model_fields.keys() for document in documents)
    assert len(pools) == 4


async def test_faults(server: LocalCloudflare, provider: Provider) -> None:
    await stands_common_faults(server, provider, of(), "PATCH")
    await provider.close()


async def test_weights_and_fence_are_one_call_and_everything_else_stays(
    server: LocalCloudflare, provider: Provider
) -> None:
    server.edit(NAME, {"elses": 0.37})
    server.balancer(NAME)["random_steering"]["default_weight"] = 0.4
    before = json.loads(json.dumps(server.balancer(NAME)))
    change = await write(provider, of(), {"za": 0, "zb": 60, "zc": 29}, fence(3, 4))
    assert change.summary == "za 100 -> 0; zb 100 -> 60; zc 0 -> 29"
    assert server.percents(NAME) == {"za": 0, "zb": 60, "zc": 29, "elses": 37}
    after = server.balancer(NAME)
    assert after["random_steering"]["pool_weights"][pool_id("elses")] == 0.37
    assert after["random_steering"]["default_weight"] == 0.4
    assert after["description"] == f"of the chat team [steerd {change.fence.text}]"
    changed = {"random_steering", "description", "modified_on"}
    assert {k: v for k, v in after.items() if k not in changed} == {k: v for k, v in before.items() if k not in changed}
    assert len(patches(server)) == 1
    assert (await provider.verify(of(), change, deadline())).in_sync
    again = await write(provider, of(), ALL, fence(3, 5))
    assert server.balancer(NAME)["description"].count("[steerd ") == 1
    assert server.balancer(NAME)["description"].endswith(f"[steerd {again.fence.text}]")
    await provider.close()


async def test_a_pool_that_is_given_no_weight_has_the_default(server: LocalCloudflare, provider: Provider) -> None:
    server.balancer(NAME)["random_steering"] = {"default_weight": 0.2, "pool_weights": {pool_id("zb"): 0.004}}
    assert (await provider.read(of(), deadline())).weights == {"za": 20, "zb": 1, "zc": 20}, "a little is not nothing"
    server.balancer(NAME)["random_steering"] = {}
    assert (await provider.read(of(), deadline())).weights == {"za": 100, "zb": 100, "zc": 100}
    await write(provider, of(), ALL, fence())
    assert server.percents(NAME) == ALL
    await provider.close()


async def test_drains_and_returns_step_by_step(server: LocalCloudflare, provider: Provider) -> None:
    steps = [{"za": w, "zb": 30, "zc": 20} for w in (50, 25, 10, 1, 0, 1, 10, 25, 50)]
    for n, step in enumerate(steps, 1):
        change = await write(provider, of(), step, fence(1, n))
        assert server.percents(NAME) == step
        assert (await provider.verify(of(), change, deadline())).in_sync
    assert {name for name, _ in patches(server)} == {NAME}, "pools are left alone"
    await provider.close()


async def test_a_disabled_pool_takes_nothing_and_comes_in_by_being_enabled(
    server: LocalCloudflare, provider: Provider
) -> None:
    await write(provider, of(), ALL, fence(1, 1))
    server.pools[pool_id("za")]["enabled"] = False
    observed = await provider.read(of(), deadline())
    assert observed.weights == {"za": 0, "zb": 30, "zc": 20}
    server.asked.clear()
    await write(provider, of(), {"za": 10, "zb": 30, "zc": 20}, fence(1, 2))
    assert server.percents(NAME) == {"za": 10, "zb": 30, "zc": 20}
    assert patches(server) == [(NAME, None), ("za", True)], "it would take its former 50% for a moment"
    await provider.close()


async def test_a_pool_comes_in_before_another_gives_up_its_weight(server: LocalCloudflare, provider: Provider) -> None:
    await write(provider, of(), {"za": 0, "zb": 50, "zc": 0}, fence(1, 1))
    server.pools[pool_id("za")]["enabled"] = False
    server.asked.clear()
    await write(provider, of(), {"za": 100, "zb": 0, "zc": 0}, fence(1, 2))
    assert patches(server) == [(NAME, None), ("za", True), (NAME, None)]
    assert server.percents(NAME) == {"za": 100, "zb": 0, "zc": 0}
    await provider.close()


async def test_a_weight_left_on_a_disabled_pool_is_taken_away(server: LocalCloudflare, provider: Provider) -> None:
    """Whoever enables it again gets what was decided, not what once was."""
    server.pools[pool_id("za")]["enabled"] = False
    change = await write(provider, of(), {"za": 0, "zb": 100, "zc": 0}, fence())
    assert "za 100 -> 0 while its pool is disabled" in change.summary
    server.pools[pool_id("za")]["enabled"] = True
    assert server.percents(NAME) == {"za": 0, "zb": 100, "zc": 0}
    await provider.close()


async def test_pools_are_disabled_where_the_route_says_so(server: LocalCloudflare, provider: Provider) -> None:
    told = of(disable_pools=True)
    server.edit(NAME, {"elses": 0})
    change = await write(provider, told, {"za": 0, "zb": 60, "zc": 40}, fence(1, 1))
    assert "the pool of za is disabled" in change.summary
    assert patches(server) == [(NAME, None), ("za", False)], "last of all"
    assert server.pools[pool_id("elses")]["enabled"], "only what is the route's own"
    assert (await provider.verify(told, change, deadline())).in_sync
    server.pools[pool_id("za")]["enabled"] = True
    verified = await provider.verify(told, change, deadline())
    assert verified.text == "the pool of za is not disabled"
    again = await write(provider, told, {"za": 0, "zb": 60, "zc": 40}, fence(1, 2))
    assert not again.nothing
    await write(provider, told, ALL, fence(1, 3))
    assert server.percents(NAME) == ALL | {"elses": 0}
    await provider.close()


@pytest.mark.parametrize(
    ("more", "elsewhere", "whom"),
    [
        ({"fallback_pool": pool_id("za")}, None, "its own fallback"),
        ({}, {"default_pools": [pool_id("za")]}, "load balancer other.acme.example"),
        ({}, {"region_pools": {"WEU": [pool_id("za")]}}, "load balancer other.acme.example"),
        ({}, {"fallback_pool": pool_id("za")}, "load balancer other.acme.example"),
    ],
)
@pytest.mark.parametrize("zone", ["same", "another"])
async def test_a_pool_that_somebody_else_needs_is_not_disabled(
    server: LocalCloudflare, provider: Provider, zone: str, more: dict[str, Any], elsewhere: Any, whom: str
) -> None:
    """Their load balancer would be left with nothing, or ours with no fallback. The weights are written all the same."""
    told = of(disable_pools=True)
    server.balancer(NAME).update(more)
    if elsewhere is not None:
        other = server.add("other.acme.example", {"zx": 1}, **elsewhere)
        if zone == "another":
            server.elsewhere[other] = server.balancers.pop(other)
    change = await prepare(provider, told, {"za": 0, "zb": 60, "zc": 40}, fence(1, 1))
    with pytest.raises(Incomplete, match=f"not written: disabling the pool of za: .*{whom}: ") as caught:
        await provider.apply(change, deadline())
    assert caught.value.result == "misconfigured"
    assert "disable_pools" in caught.value.action
    assert server.pools[pool_id("za")]["enabled"]
    assert server.percents(NAME) == {"za": 0, "zb": 60, "zc": 40}
    await provider.close()


async def test_what_stopped_half_way_is_finished_by_the_next_write(server: LocalCloudflare, provider: Provider) -> None:
    told = of(disable_pools=True)
    change = await prepare(provider, told, {"za": 0, "zb": 60, "zc": 40}, fence(1, 1))

    def no_more() -> None:
        server.faults.append(("PATCH", cloudflare_error(500, 1000, "internal error")))

    server.faults.append(("PATCH", no_more))
    with pytest.raises(
        Incomplete, match=r"written: .*the weights of za, zb, zc; not written: disabling the pool of za: "
    ):
        await provider.apply(change, deadline())
    assert server.pools[pool_id("za")]["enabled"]
    assert server.percents(NAME) == {"za": 0, "zb": 60, "zc": 40}, "the weights were written before"
    rest = await write(provider, told, {"za": 0, "zb": 60, "zc": 40}, fence(1, 2))
    assert (await provider.verify(told, rest, deadline())).in_sync
    await provider.close()


async def test_a_writer_paused_before_its_write_is_noticed_and_repaired(
    server: LocalCloudflare, provider: Provider
) -> None:
    """There is no compare-and-set: one paused after its comparison gets through, and its write does not go unnoticed."""
    paused = await prepare(provider, of(), {"za": 1, "zb": 0, "zc": 0}, fence(1, 1))
    current = await prepare(provider, of(), ALL, fence(2, 1))
    await provider.apply(current, deadline())
    with pytest.raises(Conflict, match="newer"):
        await provider.apply(paused, deadline())
    assert server.percents(NAME) == ALL
    [call] = paused.payload.calls
    server.ask("PATCH", f"/client/v4{call.path}", dict(call.body))  # it had compared before
    found = await provider.verify(of(), current, deadline())
    assert not found.in_sync
    assert "the fence there is not ours" in found.text
    repaired = await write(provider, of(), ALL, fence(2, 2))
    assert (await provider.verify(of(), repaired, deadline())).in_sync
    await provider.close()


async def test_a_writer_paused_before_it_disables_a_pool_does_not_disable_it(
    server: LocalCloudflare, provider: Provider
) -> None:
    told, other = of(disable_pools=True), made(server)
    change = await prepare(provider, told, {"za": 0, "zb": 60, "zc": 40}, fence(1, 1))
    newer: list[Any] = []

    def overtaken() -> None:
        """After the paused writer's weights another leader brings za in again."""
        standing = server.balancer(NAME)
        standing["description"] = f"of the chat team [steerd {fence(2, 1).text}]"
        newer.append(standing["random_steering"]["pool_weights"].update({pool_id("za"): 0.5}))

    def then() -> None:
        server.faults.append(("GET", overtaken))

    server.faults.append(("PATCH", then))
    with pytest.raises(Incomplete, match="epoch=2") as caught:
        await provider.apply(change, deadline())
    assert caught.value.result == "conflict"
    assert newer
    assert server.pools[pool_id("za")]["enabled"]
    await provider.close()
    await other.close()


async def test_somebody_s_edit_in_between_is_a_conflict(server: LocalCloudflare, provider: Provider) -> None:
    for edit in (
        lambda: server.edit(NAME, {"zb": 0.7}),
        lambda: server.pools[pool_id("zb")].update(enabled=False),
        lambda: server.balancer(NAME).update(steering_policy="off"),
        server.balancers.clear,
    ):
        server.add(NAME, {"za": 1, "zb": 1, "zc": 0})
        change = await prepare(provider, of(), ALL, fence())
        server.pools[pool_id("zb")]["minimum_origins"] += 1  # no matter
        edit()
        with pytest.raises(Conflict, match="changed since"):
            await provider.apply(change, deadline())
    assert not patches(server)
    await provider.close()


@pytest.mark.parametrize(
    ("untold", "last"),
    [
        (set(), []),
        ({"total_pages"}, []),
        ({"total_pages", "total_count"}, ["4"]),
        ({"total_pages", "total_count", "count"}, ["4"]),
    ],
)
@pytest.mark.parametrize("others", [7, 8])
async def test_lists_go_on_over_pages(
    server: LocalCloudflare, provider: Provider, others: int, untold: set[str], last: list[str]
) -> None:
    """However little of the pages is told: where a full one may be the last, one more is asked for."""
    server.untold = untold
    server.balancers.clear()
    for n in range(others):
        server.add(f"other{n}.acme.example", {f"pool{n}": 1})
    balancer = server.add(NAME, {"za": 1, "zb": 1, "zc": 0})
    server.pools[pool_id("zc")]["enabled"] = False
    server.page_size = 3
    for name in (NAME, balancer):
        observed = await provider.read(of(name), deadline())
        assert observed.weights == {"za": 100, "zb": 100, "zc": 0}
    pages = [a.query.get("page") for a in server.asked if a.path.endswith(f"{ZONE_ID}/load_balancers")]
    assert pages == [None, "2", "3", *(last if others == 8 else [])] * 2
    await provider.close()


async def test_a_list_that_tells_nothing_of_pages_is_whole(server: LocalCloudflare, provider: Provider) -> None:
    server.untold = {"page", "per_page", "count", "total_count", "total_pages"}
    assert (await provider.read(of(), deadline())).weights == {"za": 100, "zb": 100, "zc": 0}
    assert [a.query.get("page") for a in server.asked] == [None, None]
    await provider.close()


async def test_a_list_without_end_is_not_read_for_ever(server: LocalCloudflare, provider: Provider) -> None:
    """Pages that are told to be many and have nothing new, or nothing; and a list longer than any is."""
    server.untold = {"total_pages"}
    original = server._list

    def again(standing: Any, what: str, owner: Any, query: Any) -> Any:
        told = original(standing, what, owner, {})
        told["result_info"]["total_pages"] = 10**9
        return told

    server._list = again  # type: ignore[method-assign]
    assert (await provider.read(of(), deadline())).weights == {"za": 100, "zb": 100, "zc": 0}
    assert len(server.asked) == 4, "the second page of each list had nothing new"
    server._list = original  # type: ignore[method-assign]
    server.page_size = 5000
    for n in range(10_001):
        server.add_pool(f"pool{n}")
    with pytest.raises(Refused, match="10000"):
        await provider.read(of(), deadline(20.0))
    await provider.close()


def test_steps_of_a_hundredth() -> None:
    """Every weight goes out and comes back as the same number."""
    for percent in range(101):
        weights = {"p": json.loads(json.dumps(percent / 100))}
        seen = pure.seen_from("/x", {"default_pools": ["p"], "random_steering": {"pool_weights": weights}}, ())
        assert seen.weights == {"p": percent}
