"""`dcgm` on pages in dcgm-exporter's own format."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from probes.outcome import Outcome, Status
from probes.registry import make
from tests.support.looking import Look
from tests.support.servers import free_port

Scrape = Callable[..., Awaitable[Outcome]]

PAGE = """
# HELP DCGM_FI_DEV_SM_CLOCK SM clock frequency (in MHz).
# TYPE DCGM_FI_DEV_SM_CLOCK gauge
DCGM_FI_DEV_SM_CLOCK{{gpu="0",UUID="GPU-a",device="nvidia0",modelName="NVIDIA H100 80GB HBM3",Hostname="n1"}} 1980
# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{{gpu="0",UUID="GPU-a",device="nvidia0",modelName="NVIDIA H100 80GB HBM3",Hostname="n1"}} {busy0}
DCGM_FI_DEV_GPU_UTIL{{gpu="1",UUID="GPU-b",device="nvidia1",modelName="NVIDIA H100 80GB HBM3",Hostname="n1"}} {busy1}
# HELP DCGM_FI_DEV_POWER_USAGE Power draw (in W).
# TYPE DCGM_FI_DEV_POWER_USAGE gauge
DCGM_FI_DEV_POWER_USAGE{{gpu="0",UUID="GPU-a",device="nvidia0",modelName="NVIDIA H100 80GB HBM3",Hostname="n1"}} {power0}
DCGM_FI_DEV_POWER_USAGE{{gpu="1",UUID="GPU-b",device="nvidia1",modelName="NVIDIA H100 80GB HBM3",Hostname="n1"}} {power1}
# HELP DCGM_FI_DEV_XID_ERRORS Value of the last XID error encountered.
# TYPE DCGM_FI_DEV_XID_ERRORS gauge
DCGM_FI_DEV_XID_ERRORS{{gpu="0",UUID="GPU-a",device="nvidia0",err_code="0",err_msg="a, \\"b\\"",Hostname="n1"}} {xid0}
DCGM_FI_DEV_XID_ERRORS{{gpu="1",UUID="GPU-b",device="nvidia1",err_code="0",err_msg="No Error",Hostname="n1"}} {xid1}
{more}
"""
LIMIT = 'DCGM_FI_DEV_POWER_MGMT_LIMIT{gpu="0",UUID="GPU-a"} 700'
COUNT = 'DCGM_EXP_XID_ERRORS_COUNT{{gpu="1",UUID="GPU-b",window_size_in_ms="300000",xid="{xid}"}} {count}'


@pytest.fixture
async def scrape(look: Look, site: Callable[..., Any]) -> Scrape:
    """`await scrape({...settings}, xid0=79)`: the page with these values, looked at by the same probe as before."""
    now: dict[str, Any] = {}

    async def page(_: web.Request) -> web.Response:
        values = {"busy0": 50, "busy1": 70, "power0": 400, "power1": 500, "xid0": 0, "xid1": 0, "more": ""}
        return web.Response(text=PAGE.format(**{**values, **now}))

    url = await site({"/metrics": page})

    async def once(settings: dict[str, Any] | None = None, **values: Any) -> Outcome:
        now.clear()
        now.update(values)
        return await look("dcgm", url, settings or {})

    return once


async def test_well_gpus(scrape: Scrape) -> None:
    outcome = await scrape()
    assert outcome.status is Status.PASS, outcome
    assert outcome.readings == {"gpus": 2, "gpu_busy_ratio": pytest.approx(0.6), "gpu_power_w": 900}


async def test_a_new_xid_fails_and_an_old_one_does_not(scrape: Scrape) -> None:
    outcome = await scrape(xid0=79)
    assert (outcome.status, "GPU 0: XID 79" in (outcome.detail or "")) == (Status.PASS, True), outcome
    assert (await scrape(xid0=79)).status is Status.PASS
    outcome = await scrape(xid0=79, xid1=48)
    assert (outcome.status, outcome.reason) == (Status.FAIL, "XID 48: double-bit memory error"), outcome
    assert "GPU 1" in (outcome.detail or "")
    assert (await scrape(xid0=79, xid1=48)).status is Status.FAIL  # it stands until it changes, or `hold` is over
    assert (await scrape(xid0=0, xid1=0)).status is Status.PASS  # the exporter was restarted
    assert (await scrape(xid0=79)).status is Status.FAIL
    assert (await scrape(xid0=31)).status is Status.PASS  # an application's fault


async def test_which_xids_gpus_and_how_long(scrape: Scrape) -> None:
    for settings in ({"xids": (13,)}, {"gpus": ["GPU-b"]}, {"gpus": ["1"]}):
        await scrape(settings)
        assert (await scrape(settings, xid0=79)).status is Status.PASS, settings
    await scrape({"xids": 13})
    assert (await scrape({"xids": 13}, xid0=13)).reason == "XID 13"
    short = {"hold": 0.001}
    await scrape(short)
    assert (await scrape(short, xid0=79)).status is Status.FAIL
    statuses = [(await scrape(short, xid0=79)).status for _ in range(50)]
    assert statuses[-1] is Status.PASS
    assert (await scrape({"gpus": ["7"]})).status is Status.ERROR


async def test_the_exporters_own_count_needs_no_memory(scrape: Scrape) -> None:
    outcome = await scrape(more=COUNT.format(xid=79, count=2))
    assert (outcome.status, outcome.reason) == (Status.FAIL, "XID 79: GPU has fallen off the bus"), outcome
    assert (await scrape(more=COUNT.format(xid=79, count=0))).status is Status.PASS
    assert (await scrape(more=COUNT.format(xid=31, count=5))).status is Status.PASS


async def test_busy_without_power_is_a_hang(scrape: Scrape) -> None:
    for settings, values in (
        ({"stall": 0.05}, {"more": LIMIT, "busy0": 100, "power0": 120}),
        ({"stall": 0.05, "low_power": 150.0}, {"busy1": 100, "power1": 120}),
    ):
        assert (await scrape(settings, **values)).status is Status.PASS  # not for long enough yet
        for _ in range(1000):
            outcome = await scrape(settings, **values)
            if outcome.status is not Status.PASS:
                break
        assert (outcome.status, outcome.reason) == (Status.FAIL, "a GPU is busy without drawing power: hung"), outcome
        assert (await scrape(settings, **{**values, "power0": 500, "power1": 500})).status is Status.PASS
    # Neither a limit on the page nor one of the check: power alone says nothing.
    for _ in range(2):
        assert (await scrape({"stall": 1e-9}, busy0=100, power0=90)).status is Status.PASS


async def test_a_blind_instrument_blames_nobody(
    look: Look, site: Callable[..., Any], serve: Callable[..., Any]
) -> None:
    async def broken(_: web.Request) -> web.Response:
        return web.Response(text='DCGM_FI_DEV_GPU_UTIL{gpu="0} x\n')

    async def other(_: web.Request) -> web.Response:
        return web.Response(text="up 1\n")

    async def long(_: web.Request) -> web.Response:
        return web.Response(text="# long\n" * 200_000)

    async def silent(reader: Any, _: Any) -> None:
        await reader.read()

    url = await site({"/broken": broken, "/other": other, "/long": long})
    for where, settings, needle in (
        (f"http://127.0.0.1:{free_port()}", {}, "the exporter cannot be asked: connection refused"),
        (f"http://127.0.0.1:{await serve(silent)}", {}, "the exporter cannot be asked: no answer in time"),
        (url, {}, "HTTP 404"),
        (url, {"path": "/broken"}, "cannot be read"),
        (url, {"path": "/other"}, "no metrics of DCGM"),
        (url, {"path": "/long"}, "too long"),
    ):
        outcome = await look("dcgm", where, settings, within_s=1)
        assert (outcome.status, needle in (outcome.reason or "")) == (Status.ERROR, True), outcome


def test_xids_that_are_none() -> None:
    with pytest.raises(ValueError, match="xids"):
        make("dcgm", "dependency", {"xids": ("seventy-nine",)}, str)
