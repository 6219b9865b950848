"""Writes as the coordinator makes them: what it makes of lost answers, throttles and paused writers where nothing is refused."""

from __future__ import annotations

import pytest

from steerd.coordinator.calls import Calls
from steerd.coordinator.clock import SystemClock
from steerd.core.effects import Apply, Verify
from steerd.core.steer import differs
from steerd.providers.base import Provider
from tests.support.cloud.cloudflare import LocalCloudflare, cloudflare_error, pool_id
from tests.support.cloud.cloudflare_steer import ALL, NAME, made, of
from tests.support.cloud.http import LoseAnswer
from tests.support.cloud.steer import deadline, desired, fence, prepare

OUT = {"za": 0, "zb": 60, "zc": 40}


def calls(provider: Provider) -> Calls:
    return Calls({"it": provider}.__getitem__, lambda: 10.0, SystemClock())


def apply(weights: dict[str, int], epoch: int = 1, seq: int = 1) -> Apply:
    return Apply(of().key, f"{epoch}.{seq}", desired(of(), weights), fence(epoch, seq))


def verify(weights: dict[str, int], epoch: int = 1, seq: int = 1) -> Verify:
    return Verify(of().key, f"{epoch}.{seq}", desired(of(), weights), fence(epoch, seq))


async def test_applied_verified_and_unchanged_after(server: LocalCloudflare, provider: Provider) -> None:
    caller = calls(provider)
    for seq, weights in enumerate((ALL, OUT, ALL), 1):
        assert (await caller.apply(of(), apply(weights, seq=seq))).result == "applied"
        verified = await caller.verify(of(), verify(weights, seq=seq))
        assert verified.in_sync, verified.text
        assert not differs(desired(of(), weights), await provider.read(of(), deadline()), provider.capabilities)
    assert (await caller.apply(of(), apply(ALL, seq=4))).result == "unchanged"
    await provider.close()


@pytest.mark.parametrize("lost", [1, 2])
async def test_after_a_lost_answer_what_lacks_is_written(
    server: LocalCloudflare, provider: Provider, lost: int
) -> None:
    """Of the two calls of one write, the weights' and the pool's, either answer is lost."""
    told = of(disable_pools=True)

    def again() -> None:
        server.faults.append(("PATCH", LoseAnswer()))

    server.faults.append(("PATCH", LoseAnswer() if lost == 1 else again))
    first = await calls(provider).apply(told, apply(OUT))
    assert server.percents(NAME) == OUT
    assert first.result == ("unreachable" if lost == 1 else "applied"), first
    second = await calls(provider).apply(told, apply(OUT, seq=2))
    assert second.result == ("applied" if lost == 1 else "unchanged")
    assert not server.pools[pool_id("za")]["enabled"]
    await provider.close()


async def test_a_throttle_says_when_to_come_again_and_nothing_has_changed(
    server: LocalCloudflare, provider: Provider
) -> None:
    fault = cloudflare_error(429, 971, "Please wait and consider throttling your request speed", Retry_After="240")
    server.faults.append(("PATCH", fault))
    done = await calls(provider).apply(of(), apply(OUT))
    assert (done.result, done.retry_after_s) == ("throttled", 240.0)
    assert server.percents(NAME) == {"za": 100, "zb": 100, "zc": 0}
    asked = len(server.asked)
    assert (await calls(provider).apply(of(), apply(OUT, seq=2))).result == "throttled"
    assert len(server.asked) == asked, "or all calls of the account stop"
    await provider.close()


async def test_a_paused_leader_s_write_is_seen_and_set_back(server: LocalCloudflare, provider: Provider) -> None:
    """It had compared, and its PATCH comes after the new leader's: nothing refuses it."""
    paused = made(server)
    change = await prepare(paused, of(), {"za": 100, "zb": 0, "zc": 0}, fence(1, 7))
    assert (await calls(provider).apply(of(), apply(ALL, epoch=2))).result == "applied"
    for call in change.payload.calls:
        server.ask("PATCH", f"/client/v4{call.path}", dict(call.body))
    verified = await calls(provider).verify(of(), verify(ALL, epoch=2))
    assert not verified.in_sync
    assert "the fence there is not ours" in verified.text
    assert (await calls(provider).apply(of(), apply(ALL, epoch=2, seq=2))).result == "applied"
    assert (await calls(provider).verify(of(), verify(ALL, epoch=2, seq=2))).in_sync
    assert server.percents(NAME) == ALL
    assert provider.capabilities.fence_note, "status says so"
    await provider.close()
    await paused.close()
