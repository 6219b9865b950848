"""`prometheus` against a real one that scrapes itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from probes.outcome import Status
from probes.registry import make
from tests.support.looking import Look
from tests.support.prometheus_server import Prometheus
from tests.support.servers import free_port

pytestmark = pytest.mark.server("prometheus")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with Prometheus(tmp_path_factory.mktemp("prometheus")) as server:
        yield server


@pytest.mark.parametrize(
    ("settings", "status", "needle"),
    [
        ({"query": "up"}, Status.PASS, ""),
        ({"query": "up", "below": 1, "above": 1}, Status.PASS, ""),
        ({"query": "up", "above": 0.5}, Status.FAIL, "a value is above 0.5"),
        ({"query": "up - 3", "below": -1.5}, Status.FAIL, "a value is below -1.5"),
        ({"query": "up - 3", "above": -2.5}, Status.FAIL, "a value is above -2.5"),
        ({"query": "scalar(up)", "below": 2}, Status.FAIL, "below 2"),
        ({"query": "up", "slow": 1e-9}, Status.SLOW, "slower"),
        ({"query": "up > 5"}, Status.ERROR, "no data"),
        ({"query": "up / 0 * 0"}, Status.ERROR, "no data"),
        ({"query": "up > 5", "empty": "pass"}, Status.PASS, ""),
        ({"query": "up > 5", "empty": "fail"}, Status.FAIL, "no data"),
        ({"query": "up["}, Status.ERROR, "cannot carry out"),
        ({"query": "up[1m]"}, Status.ERROR, "no data"),
    ],
)
async def test_queries(
    look: Look, prometheus: Prometheus, settings: dict[str, object], status: Status, needle: str
) -> None:
    outcome = await look("prometheus", prometheus.url, settings)
    assert outcome.status is status, outcome
    assert needle in (outcome.reason or "")


async def test_what_it_says_of_the_worst(look: Look, prometheus: Prometheus) -> None:
    query = 'label_replace(up, "gpu", "1", "", "") * 5 or label_replace(up, "gpu", "2", "", "") * 9'
    outcome = await look("prometheus", prometheus.url, {"query": query, "above": 4})
    assert outcome.readings == {"value": 9.0, "series": 2.0}
    assert 'gpu="2"' in (outcome.detail or "")
    assert "2 of 2" in (outcome.detail or "")


async def test_a_blind_instrument_blames_nobody(look: Look, prometheus: Prometheus) -> None:
    outcome = await look("prometheus", f"http://127.0.0.1:{free_port()}", {"query": "up"})
    assert (outcome.status, outcome.reason) == (Status.ERROR, "Prometheus cannot be asked: connection refused")
    assert not outcome.host_error
    with prometheus.process.paused():
        outcome = await look("prometheus", prometheus.url, {"query": "up"}, within_s=0.3)
        assert (outcome.status, outcome.reason) == (Status.ERROR, "Prometheus cannot be asked: no answer in time")
    assert (await look("prometheus", prometheus.url, {"query": "up"})).status is Status.PASS
    outcome = await look("prometheus", f"{prometheus.url}/elsewhere", {"query": "up"})
    assert (outcome.status, "HTTP 404" in (outcome.reason or "")) == (Status.ERROR, True), outcome


def test_thresholds_that_cannot_be() -> None:
    for settings, needle in (
        ({"query": "up", "above": 1, "below": 2}, "above"),
        ({"query": " "}, "query"),
        ({"query": "up", "above": "1"}, "above"),
    ):
        with pytest.raises(ValueError, match=needle):
            make("prometheus", "dependency", settings, str)
