"""The contract of steerd/providers/base.py, held by every provider against its real system."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from steerd.model.route import Desired, Fence, Member, Route
from steerd.providers.base import Change, Conflict, Provider, Unreachable
from tests.providers.contract.rigs import ZONES, Rig


def deadline(within_s: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + within_s


async def prepare(
    provider: Provider, rig: Rig, route: Route, weights: dict[str, int], fence: Fence | None = None
) -> Change:
    observed = await provider.read(route, deadline())
    return provider.translate(route, rig.desired(route, weights), observed, fence or rig.fence())


async def write(
    provider: Provider, rig: Rig, route: Route, weights: dict[str, int], fence: Fence | None = None
) -> Change:
    change = await prepare(provider, rig, route, weights, fence)
    await provider.apply(change, deadline())
    return change


async def serving(rig: Rig, route: Route) -> set[str]:
    """Asked from a thread: the embedded server answers on this very loop."""
    return await asyncio.to_thread(rig.serving, route)


ALL = {"za": 40, "zb": 30, "zc": 30}
WITHOUT_A = {"za": 0, "zb": 50, "zc": 50}


async def test_a_write_is_served_read_back_and_verified(rig: Rig, provider: Provider) -> None:
    route = rig.route()
    for weights in (ALL, WITHOUT_A, ALL):
        change = await write(provider, rig, route, weights)
        assert not change.nothing
        assert change.summary
        assert await serving(rig, route) == {z for z, w in weights.items() if w}
        observed = await provider.read(route, deadline())
        assert observed.exists
        assert observed.weights == change.desired.weights
        verified = await provider.verify(route, change, deadline())
        assert verified.in_sync, verified.text
        assert verified.observed.weights == change.desired.weights


async def test_the_same_again_changes_nothing(rig: Rig, provider: Provider) -> None:
    route = rig.route()
    await write(provider, rig, route, ALL)
    again = await prepare(provider, rig, route, ALL)
    assert again.nothing
    assert (await provider.verify(route, again, deadline())).in_sync


async def test_an_empty_state_is_never_written(rig: Rig, provider: Provider) -> None:
    route = rig.route()
    observed = await provider.read(route, deadline())
    for desired in (Desired(()), rig.desired(route, dict.fromkeys(ZONES, 0))):
        with pytest.raises(ValueError, match="never written"):
            provider.translate(route, desired, observed, rig.fence())


async def test_translate_is_pure(rig: Rig, provider: Provider) -> None:
    route = rig.route()
    await write(provider, rig, route, ALL)
    observed = await provider.read(route, deadline())
    fence = rig.fence()
    first, second = (provider.translate(route, rig.desired(route, WITHOUT_A), observed, fence) for _ in range(2))
    assert first == second
    assert await serving(rig, route) == set(ZONES)


async def test_an_older_fence_is_refused(rig: Rig, provider: Provider) -> None:
    route = rig.route()
    await write(provider, rig, route, ALL, Fence("acme", 7, 1, "p"))
    stale = await prepare(provider, rig, route, WITHOUT_A, Fence("acme", 6, 999, "p"))
    assert not stale.nothing
    with pytest.raises(Conflict):
        await provider.apply(stale, deadline())
    assert await serving(rig, route) == set(ZONES)


async def test_a_write_between_read_and_apply_is_noticed(rig: Rig, provider: Provider) -> None:
    route = rig.route()
    await write(provider, rig, route, ALL)
    paused = await prepare(provider, rig, route, {"za": 100, "zb": 0, "zc": 0}, rig.fence(epoch=2))
    await write(provider, rig, route, WITHOUT_A, rig.fence(epoch=2))
    with pytest.raises(Conflict):
        await provider.apply(paused, deadline())
    assert await serving(rig, route) == {"zb", "zc"}


async def test_another_provider_of_a_newer_epoch_fences_a_paused_one(rig: Rig, provider: Provider) -> None:
    """The takeover: the new leader writes what stands already, only to move the fence; the old write then fails."""
    if not rig.capabilities.compare_and_set:
        pytest.skip(f"{rig.kind} has no compare-and-set: {rig.capabilities.fence_note}")
    route = rig.route()
    await write(provider, rig, route, ALL, rig.fence(epoch=3))
    paused = await prepare(provider, rig, route, WITHOUT_A, rig.fence(epoch=3))
    superseding = await prepare(provider, rig, route, ALL, rig.fence(epoch=4))
    assert not superseding.nothing, "the first write of an epoch moves the fence"
    await provider.apply(superseding, deadline())
    with pytest.raises(Conflict):
        await provider.apply(paused, deadline())
    assert await serving(rig, route) == set(ZONES)
    assert (await provider.read(route, deadline())).fence == superseding.fence


async def test_what_belongs_to_others_stays(rig: Rig, provider: Provider) -> None:
    if not rig.shared:
        pytest.skip("nobody else can write there")
    route = rig.route()
    await write(provider, rig, route, ALL)
    rig.add_foreign(route)
    await write(provider, rig, route, WITHOUT_A)
    assert rig.has_foreign(route)
    observed = await provider.read(route, deadline())
    assert len(observed.foreign) == 1
    await write(provider, rig, route, ALL)
    assert rig.has_foreign(route)


async def test_an_edit_behind_our_back_shows(rig: Rig, provider: Provider) -> None:
    if not rig.shared:
        pytest.skip("nobody else can write there")
    route = rig.route()
    change = await write(provider, rig, route, ALL)
    rig.outsider_removes(route, "zb")
    verified = await provider.verify(route, change, deadline())
    assert not verified.in_sync
    assert verified.text
    assert verified.observed.weights["zb"] == 0
    repaired = await write(provider, rig, route, ALL)
    assert (await provider.verify(route, repaired, deadline())).in_sync


async def test_a_write_not_carried_out_is_not_in_sync(rig: Rig, provider: Provider) -> None:
    route = rig.route()
    await write(provider, rig, route, ALL)
    never_sent = await prepare(provider, rig, route, WITHOUT_A)
    verified = await provider.verify(route, never_sent, deadline())
    assert not verified.in_sync
    assert verified.text


async def test_a_target_that_left_the_config_is_taken_out_by_naming_it(rig: Rig, provider: Provider) -> None:
    route = rig.route()
    await write(provider, rig, route, ALL)
    smaller = replace(route, targets=route.targets[1:])
    observed = await provider.read(smaller, deadline())
    gone = Member("za", 0, tuple(v for vs in route.target("za").values.values() for v in vs))
    desired = Desired((gone, *rig.desired(smaller, {"zb": 50, "zc": 50}).members))
    change = provider.translate(smaller, desired, observed, rig.fence())
    await provider.apply(change, deadline())
    assert await serving(rig, route) == {"zb", "zc"}


async def test_no_answer_is_unreachable_within_the_deadline(rig: Rig) -> None:
    if rig.kind == "beacon":
        pytest.skip("there is no system that could be silent")
    with rig.mute() as provider:
        async with asyncio.timeout(4):
            with pytest.raises(Unreachable) as caught:
                await provider.read(rig.route(), deadline(0.3))
            await provider.close()
    assert caught.value.text


async def test_a_deadline_that_has_passed_sends_nothing(rig: Rig, provider: Provider) -> None:
    if rig.kind == "memory":
        pytest.skip("a call to memory takes no time")
    route = rig.route()
    await write(provider, rig, route, ALL)
    change = await prepare(provider, rig, route, WITHOUT_A)
    with pytest.raises(Unreachable):
        await provider.apply(change, deadline(-1))
    assert await serving(rig, route) == set(ZONES)


async def test_opened_and_closed_twice(rig: Rig) -> None:
    provider = rig.provider()
    await provider.open()
    await provider.close()
    await provider.close()
    await provider.open()
    await provider.close()


async def test_a_route_without_a_record_reads_as_out(rig: Rig, provider: Provider) -> None:
    observed = await provider.read(rig.missing(), deadline())
    assert not observed.exists
    assert observed.weights == {"za": 0}


states = st.dictionaries(st.sampled_from(ZONES), st.sampled_from([0, 1, 25, 100]), min_size=3, max_size=3).filter(
    lambda weights: any(weights.values())
)


PHASES = (Phase.explicit, Phase.generate)
"""No shrinking: every example talks to a real server."""


@pytest.mark.slow
@settings(max_examples=12, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequence=st.lists(states, min_size=1, max_size=5))
def test_any_sequence_ends_as_desired_and_is_never_empty(rig: Rig, sequence: list[dict[str, int]]) -> None:
    asyncio.run(_carry_out(rig, sequence))


def test_it_runs_on_uvloop_too(rig: Rig) -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_carry_out(rig, [ALL, WITHOUT_A, ALL]))


_SHARED: dict[int, Route] = {}


async def _carry_out(rig: Rig, sequence: list[dict[str, int]]) -> None:
    provider = rig.provider()
    await provider.open()
    route = _SHARED.setdefault(id(rig), rig.route()) if rig.kind == "haproxy" else rig.route()
    try:
        await write(provider, rig, route, sequence[0])
        done = asyncio.Event()
        watching = asyncio.create_task(_watch(rig, route, done))
        for weights in sequence[1:]:
            change = await prepare(provider, rig, route, weights)
            if not change.nothing:
                await provider.apply(change, deadline())
            verified = await provider.verify(route, change, deadline())
            assert verified.in_sync, verified.text
            assert verified.observed.weights == change.desired.weights
        done.set()
        looks = await watching
        assert looks
        assert all(looks), "an answer without any target was given"
        assert looks[-1] == {z for z, w in sequence[-1].items() if w}
    finally:
        await provider.close()


async def _watch(rig: Rig, route: Route, done: asyncio.Event) -> list[set[str]]:
    """Ask the system over and over, and once more at the end."""
    looks = []
    while not done.is_set():
        looks.append(await serving(rig, route))
    looks.append(await serving(rig, route))
    return looks
