"""Zonal shifts: one at a time, always with an end, renewed while wanted. The contract's points, for what a shift can express."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from steerd.model.route import Fence, Observed, Route
from steerd.providers.base import Conflict, Misconfigured, Provider, Refused, Unreachable
from steerd.providers.zonal_shift.translate import Seen, expires_text
from tests.support.aws.model import AwsError
from tests.support.aws.server import LoseAnswer
from tests.support.aws.shift import LocalZonalShift, resource_arn
from tests.support.aws.steer import build, deadline, desired, fence, prepare, route, write

ZONE_IDS = {"za": "euw1-az1", "zb": "euw1-az2", "zc": "euw1-az3"}
ALL = {"za": 1, "zb": 1, "zc": 1}
WITHOUT_A = {"za": 0, "zb": 1, "zc": 1}
WITHOUT_B = {"za": 1, "zb": 0, "zc": 1}


@pytest.fixture
def shifts() -> Iterator[LocalZonalShift]:
    server = LocalZonalShift()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def arn(shifts: LocalZonalShift) -> str:
    return shifts.add_resource("lb", tuple(ZONE_IDS.values()))


@pytest.fixture
def of(arn: str) -> Route:
    return route("lb", dict.fromkeys(ZONE_IDS, ()), settings={"resource": arn})


def made(shifts: LocalZonalShift, **settings: Any) -> Provider:
    given = {"zone_ids": ZONE_IDS, "endpoint_url": shifts.url, "aws_region": "eu-west-1", "expires": 7200.0}
    return build("aws-zonal-shift", {**given, **settings})


@pytest.fixture
async def provider(shifts: LocalZonalShift) -> Any:
    one = made(shifts)
    yield one
    await one.close()


async def test_out_and_in_and_the_same_again(shifts: LocalZonalShift, arn: str, of: Route, provider: Provider) -> None:
    assert (await prepare(provider, of, ALL, fence(1, 1))).nothing
    for seq, weights in enumerate((WITHOUT_A, ALL, WITHOUT_B), 1):
        change = await write(provider, of, weights, fence(1, seq))
        assert shifts.out(arn) == {ZONE_IDS[z] for z, w in weights.items() if not w}
        assert (await provider.read(of, deadline())).weights == weights
        verified = await provider.verify(of, change, deadline())
        assert verified.in_sync, verified.text
        assert (await prepare(provider, of, weights, fence(1, seq))).nothing


async def test_a_shift_always_ends(shifts: LocalZonalShift, of: Route, provider: Provider) -> None:
    await write(provider, of, WITHOUT_A, fence(1, 1))
    started = next(a for a in shifts.asked if a.operation == "StartZonalShift")
    assert started.params["expiresIn"] == "120m"
    assert started.params["awayFrom"] == "euw1-az1", "the zone's id: names differ from account to account"
    assert Fence.parse(started.params["comment"]) == fence(1, 1)


async def test_from_one_zone_to_another_traffic_comes_back_first(
    shifts: LocalZonalShift, arn: str, of: Route, provider: Provider
) -> None:
    await write(provider, of, WITHOUT_A, fence(1, 1))
    change = await write(provider, of, WITHOUT_B, fence(1, 2))
    assert shifts.operations[-2:] == ["CancelZonalShift", "StartZonalShift"]
    assert change.summary == "cancel the shift away from euw1-az1; start the shift away from euw1-az2"
    assert shifts.out(arn) == {"euw1-az2"}


async def test_one_that_is_soon_over_is_renewed_while_it_holds(
    shifts: LocalZonalShift, arn: str, of: Route, provider: Provider
) -> None:
    await write(provider, of, WITHOUT_A, fence(1, 1))
    shifts.clock = timedelta(minutes=85)
    assert (await provider.read(of, deadline())).weights == WITHOUT_A
    shifts.clock = timedelta(minutes=95)  # a quarter of two hours is left, less five minutes
    observed = await provider.read(of, deadline())
    assert observed.weights == ALL, "told in time, as a difference that is reconciled"
    assert shifts.out(arn) == {"euw1-az1"}
    change = await write(provider, of, WITHOUT_A, fence(1, 2))
    assert shifts.operations[-1] == "UpdateZonalShift"
    shifts.clock = timedelta(minutes=150)
    assert shifts.out(arn) == {"euw1-az1"}
    assert (await provider.verify(of, change, deadline())).in_sync


async def test_one_that_ended_is_started_again(
    shifts: LocalZonalShift, arn: str, of: Route, provider: Provider
) -> None:
    await write(provider, of, WITHOUT_A, fence(1, 1))
    shifts.clock = timedelta(hours=3)
    assert shifts.out(arn) == set()
    await write(provider, of, WITHOUT_A, fence(1, 2))
    assert shifts.out(arn) == {"euw1-az1"}


async def test_never_empty_and_never_two(of: Route, provider: Provider) -> None:
    with pytest.raises(ValueError, match="never written"):
        await prepare(provider, of, dict.fromkeys(ALL, 0), fence())
    with pytest.raises(Refused, match="one zonal shift at a time") as caught:
        await prepare(provider, of, {"za": 0, "zb": 0, "zc": 1}, fence())
    assert "drain the region" in caught.value.action


async def test_the_only_zone_of_a_resource(shifts: LocalZonalShift, provider: Provider) -> None:
    single = shifts.add_resource("single", ("euw1-az1",))
    of = route("single", dict.fromkeys(ZONE_IDS, ()), settings={"resource": single})
    with pytest.raises(Refused, match="only zone"):
        await prepare(provider, of, WITHOUT_A, fence())
    assert (await prepare(provider, of, WITHOUT_B, fence())).nothing, "a zone it is not in has nothing to shift"


async def test_a_paused_writer_is_refused(shifts: LocalZonalShift, arn: str, of: Route, provider: Provider) -> None:
    paused = await prepare(provider, of, WITHOUT_A, fence(1, 2))
    other = made(shifts)
    await write(other, of, WITHOUT_B, fence(2, 1))
    with pytest.raises(Conflict, match="newer than"):
        await provider.apply(paused, deadline())
    assert shifts.out(arn) == {"euw1-az2"}
    await other.close()


async def test_the_system_itself_refuses_a_second_shift(
    shifts: LocalZonalShift, arn: str, of: Route, provider: Provider
) -> None:
    """A writer paused between its comparison and its call."""
    paused = await prepare(provider, of, WITHOUT_A, fence(1, 2))
    other = made(shifts)
    change = await prepare(other, of, WITHOUT_B, fence(2, 1))
    loop = asyncio.get_running_loop()

    def meanwhile() -> None:
        asyncio.run_coroutine_threadsafe(other.apply(change, loop.time() + 5), loop).result(10)

    shifts.faults.append(("StartZonalShift", meanwhile))
    with pytest.raises(Conflict, match="ZonalShiftAlreadyExists"):
        await provider.apply(paused, deadline())
    assert shifts.out(arn) == {"euw1-az2"}
    await other.close()


async def test_the_first_write_of_an_epoch_moves_the_fence(of: Route, provider: Provider) -> None:
    await write(provider, of, WITHOUT_A, fence(3, 1))
    paused = await prepare(provider, of, ALL, fence(3, 2))
    superseding = await prepare(provider, of, WITHOUT_A, fence(4, 1))
    assert not superseding.nothing
    await provider.apply(superseding, deadline())
    with pytest.raises(Conflict):
        await provider.apply(paused, deadline())
    assert (await provider.read(of, deadline())).fence == fence(4, 1)


async def test_shifts_of_others_are_not_ended(shifts: LocalZonalShift, arn: str, of: Route, provider: Provider) -> None:
    theirs = shifts.add(arn, "euw1-az2", "maintenance, Ada")
    observed = await provider.read(of, deadline())
    assert observed.weights == WITHOUT_B
    assert observed.foreign == (f"shift {theirs} away from euw1-az2: maintenance, Ada",)
    for weights in (ALL, WITHOUT_A):
        with pytest.raises(Refused, match="started by somebody else") as caught:
            await prepare(provider, of, weights, fence())
        assert "cancel-zonal-shift" in caught.value.action
    assert (await prepare(provider, of, WITHOUT_B, fence())).nothing, "what is wanted is so already"


async def test_another_fleet_s_shift(shifts: LocalZonalShift, arn: str, of: Route, provider: Provider) -> None:
    shifts.add(arn, "euw1-az2", Fence("other", 1, 1, "p").text)
    with pytest.raises(Misconfigured, match="steered by fleet 'other'"):
        await prepare(provider, of, ALL, fence())


async def test_ours_takes_precedence_over_a_practice_run(
    shifts: LocalZonalShift, arn: str, of: Route, provider: Provider
) -> None:
    shifts.add(arn, "euw1-az3", "", kind="PRACTICE_RUN")
    change = await write(provider, of, WITHOUT_A, fence())
    assert shifts.out(arn) == {"euw1-az1"}
    assert (await provider.verify(of, change, deadline())).in_sync


async def test_a_shift_that_is_not_in_effect_is_told(shifts: LocalZonalShift, of: Route, provider: Provider) -> None:
    change = await write(provider, of, WITHOUT_A, fence())
    for shift in shifts.shifts.values():
        shift["appliedStatus"] = "NOT_APPLIED"
    verified = await provider.verify(of, change, deadline())
    assert not verified.in_sync
    assert "is not in effect" in verified.text
    assert "za is in, not out" in verified.text


async def test_a_lost_answer_is_read_back(shifts: LocalZonalShift, of: Route, provider: Provider) -> None:
    change = await prepare(provider, of, WITHOUT_A, fence(1, 1))
    shifts.faults.append(("StartZonalShift", LoseAnswer()))
    with pytest.raises(Unreachable):
        await provider.apply(change, deadline())
    observed = await provider.read(of, deadline())
    assert observed.fence == fence(1, 1)
    assert provider.translate(of, change.desired, observed, fence(1, 1)).nothing


async def test_what_is_wrong_says_what_to_do(shifts: LocalZonalShift, of: Route, provider: Provider) -> None:
    unknown = route("lb", {"zx": (), "zb": ()}, settings={"resource": of.settings["resource"]})
    with pytest.raises(Misconfigured, match="id of zx is not known") as caught:
        await prepare(provider, unknown, {"zx": 0, "zb": 1}, fence())
    assert "describe-availability-zones" in caught.value.action
    missing = route("lb", {"za": ()}, settings={"resource": resource_arn("nowhere")})
    assert not (await provider.read(missing, deadline())).exists
    with pytest.raises(Misconfigured, match="no resource that zones can be shifted away from"):
        await prepare(provider, missing, {"za": 1}, fence())
    with pytest.raises(Misconfigured, match="is no ARN"):
        await provider.read(route("lb", {"za": ()}, settings={"resource": "lb"}), deadline())
    shifts.faults.append(("StartZonalShift", AwsError("ValidationException", "not now", reason="InvalidExpiresIn")))
    with pytest.raises(Refused, match="not now"):
        await write(provider, of, WITHOUT_A, fence())


def test_a_fence_that_does_not_fit_into_a_comment() -> None:
    provider = build("aws-zonal-shift", {"zone_ids": ZONE_IDS})
    long = Fence("f" * 120, 1, 1, "p")
    of = route("lb", dict.fromkeys(ZONE_IDS, ()), settings={"resource": resource_arn("lb")})
    seen = Seen(resource_arn("lb"), dict.fromkeys(ZONE_IDS.values(), 1.0), ())
    with pytest.raises(Misconfigured, match="longer than the 128 characters"):
        provider.translate(of, desired(of, WITHOUT_A), Observed({}, token=seen), long)
    assert (expires_text(30), expires_text(7200), expires_text(3 * 86400)) == ("1m", "120m", "4320m")
