"""Writes of several calls that stop between two of them: what served goes on serving, and what was written is said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from click.testing import CliRunner

from steerd.cli.main import cli
from steerd.coordinator.calls import Calls
from steerd.coordinator.clock import SystemClock
from steerd.core.effects import Apply
from steerd.providers.base import Conflict, Incomplete, Provider, ProviderError, Throttled
from tests.support.cloud.cloudflare import LocalCloudflare, cloudflare_error, pool_id
from tests.support.cloud.cloudflare_steer import NAME, made, of
from tests.support.cloud.http import HttpError, LoseAnswer
from tests.support.cloud.steer import deadline, desired, fence, prepare, write

START, WANTED = {"za": 50, "zb": 0, "zc": 1}, {"za": 0, "zb": 99, "zc": 1}
THROTTLE = cloudflare_error(429, 971, "Please wait", Retry_After="240")


async def begin(server: LocalCloudflare, provider: Provider) -> None:
    """za carries nearly all, zc a sliver, and the pool of zb is disabled with the weight it once had."""
    await write(provider, of(), {**START, "zb": 50}, fence(1, 1))
    server.pools[pool_id("zb")]["enabled"] = False
    assert server.percents(NAME) == START


def at(server: LocalCloudflare, method: str, nth: int, what: HttpError | LoseAnswer | Callable[[], object]) -> None:
    """Of the calls by `method`, what goes wrong with the `nth` (from 1)."""

    def later() -> None:
        at(server, method, nth - 1, what)

    server.faults.append((method, what if nth == 1 else later))


@pytest.mark.parametrize(
    ("nth", "stands"),
    [(1, START), (2, START), (3, {"za": 50, "zb": 99, "zc": 1})],
)
@pytest.mark.parametrize("fault", [THROTTLE, cloudflare_error(403, 10000, "Authentication error")])
async def test_a_drain_that_stops_anywhere_leaves_what_served(
    server: LocalCloudflare, provider: Provider, nth: int, stands: dict[str, int], fault: HttpError
) -> None:
    await begin(server, provider)
    change = await prepare(provider, of(), WANTED, fence(1, 2))
    at(server, "PATCH", nth, fault)
    with pytest.raises(ProviderError):
        await provider.apply(change, deadline())
    assert not server.faults
    assert server.percents(NAME) == stands, "everything on zc, which is for 1%, is what must not be"
    await provider.close()
    other = made(server)
    await write(other, of(), WANTED, fence(1, 3))
    assert server.percents(NAME) == WANTED
    await other.close()


async def test_our_own_pace_between_two_calls_leaves_what_served(server: LocalCloudflare, provider: Provider) -> None:
    await begin(server, provider)
    change = await prepare(provider, of(), WANTED, fence(1, 2))
    loop, inside = asyncio.get_running_loop(), cast("Any", provider)
    at(server, "PATCH", 1, lambda: loop.call_soon_threadsafe(inside._rest._pace.pause, 60.0))
    with pytest.raises(
        Incomplete, match=r"written: .*the weights of zb; not written: enabling the pool of zb, "
    ) as caught:
        await provider.apply(change, deadline())
    assert (caught.value.result, server.percents(NAME)) == ("throttled", START)
    await provider.close()


async def test_nobody_s_edit_between_two_calls_is_written_over(server: LocalCloudflare, provider: Provider) -> None:
    """Each later call compares again: another leader's fence, or anybody's weights, end the write where it is."""

    def overtaken() -> None:
        server.balancer(NAME)["description"] = f"of the chat team [steerd {fence(2, 1).text}]"

    for edit, words in ((overtaken, "epoch=2"), (lambda: server.edit(NAME, {"za": 0.4}), "changed since our first")):
        server.balancer(NAME)["description"] = ""
        writer = made(server)
        await begin(server, writer)
        change = await prepare(writer, of(), WANTED, fence(1, 2))
        at(server, "PATCH", 1, lambda edit=edit: at(server, "GET", 2, edit))  # type: ignore[misc]  # the pool is enabled by then
        with pytest.raises(
            Incomplete, match=f"enabling the pool of zb; not written: the weights of za: .*{words}"
        ) as caught:
            await writer.apply(change, deadline())
        assert caught.value.result == "conflict"
        assert server.percents(NAME)["za"] > 0
        await writer.close()
    await provider.close()


async def test_what_was_written_in_part_is_read_back_and_told(server: LocalCloudflare, provider: Provider) -> None:
    await begin(server, provider)
    at(server, "PATCH", 3, THROTTLE)
    calls = Calls({"it": provider}.__getitem__, lambda: 10.0, SystemClock())
    effect = Apply(of().key, "1.2", desired(of(), WANTED), fence(1, 2))
    done = await calls.apply(of(), effect)
    assert (done.result, done.retry_after_s) == ("throttled", 240.0)
    assert "written: " in done.text
    assert "enabling the pool of zb; not written: the weights of za" in done.text
    await provider.close()


async def test_what_stands_is_told_where_reading_back_is_possible(server: LocalCloudflare, provider: Provider) -> None:
    await begin(server, provider)
    at(server, "PATCH", 2, cloudflare_error(403, 10000, "Authentication error"))
    calls = Calls({"it": provider}.__getitem__, lambda: 10.0, SystemClock())
    done = await calls.apply(of(), Apply(of().key, "1.2", desired(of(), WANTED), fence(1, 2)))
    assert done.result == "misconfigured"
    assert done.observed is not None
    assert done.observed.fence == fence(1, 2), "read after the write, not before"
    at(server, "PATCH", 3, LoseAnswer())
    done = await calls.apply(of(), Apply(of().key, "1.3", desired(of(), WANTED), fence(1, 3)))
    assert (done.result, server.percents(NAME)) == ("applied", WANTED)
    await provider.close()


def test_what_takes_several_calls_is_not_told_to_be_one() -> None:
    shown = CliRunner().invoke(cli, ["providers", "show", "cloudflare"])
    assert "added before taken out" in shown.output


async def test_a_first_call_that_fails_has_changed_nothing(server: LocalCloudflare, provider: Provider) -> None:
    await begin(server, provider)
    change = await prepare(provider, of(), WANTED, fence(1, 2))
    at(server, "PATCH", 1, THROTTLE)
    with pytest.raises(Throttled):
        await provider.apply(change, deadline())
    await provider.close()


async def test_a_fence_that_was_edited_away_still_shuts_out_older_writes_of_this_process(
    server: LocalCloudflare, provider: Provider
) -> None:
    await write(provider, of(), WANTED, fence(2, 1))
    server.balancer(NAME)["description"] = "edited by hand"
    stale = await prepare(provider, of(), START, fence(1, 9))
    with pytest.raises(Conflict, match="was written already"):
        await provider.apply(stale, deadline())
    assert server.percents(NAME) == WANTED
    await write(provider, of(), START, fence(2, 2))
    await provider.close()
