"""Dependencies as users and agents meet them: `steerd probe` of one alone, and an agent that looks once for everybody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from probes.outcome import Status
from steerd import config
from steerd.agent.looker import Looker
from steerd.agent.scheduler import Due
from steerd.agent.watchlist import watchlist
from steerd.cli.probe import command
from steerd.config.secrets import resolve
from tests.support.redis_server import RedisServer
from tests.support.servers import free_port

pytestmark = pytest.mark.server("redis-server")

FLEET = """
fleet: small
regions: {{eu: {{zones: [eu-a]}}, us: {{zones: [us-a]}}}}
agents: {{one: {{zone: eu-a}}}}
coordinators: {{main: {{region: eu, url: "http://127.0.0.1:7443"}}}}
dependencies:
  cache: {{kind: redis, url: "redis://127.0.0.1:{port}", slow: 10s}}
  state:
    kind: redis
    instances: {{eu: {{url: "redis://127.0.0.1:{port}/1"}}, us: {{url: "redis://127.0.0.1:{dead}/1"}}}}
  unused: {{kind: tcp, url: "tcp://127.0.0.1:1"}}
quorum: {{voices: 1, vantage_regions: 1}}
services:
  chat:
    stack: http
    demand: 1
    depends_on: [cache, state]
    endpoints:
      a: {{zone: eu-a, url: "http://127.0.0.1:1", address: 203.0.113.1, capacity: 1}}
      b: {{zone: us-a, url: "http://127.0.0.2:1", address: 203.0.113.2, capacity: 1}}
  search:
    stack: http
    demand: 1
    depends_on: [cache]
    endpoints: {{c: {{zone: eu-a, url: "http://127.0.0.3:1", address: 203.0.113.3, capacity: 1}}}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as one:
        yield one


@pytest.fixture
def file(server: RedisServer, tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET.format(port=server.port, dead=free_port()))
    return path


def probe(*arguments: str, **env: str) -> Result:
    done = CliRunner().invoke(command, list(arguments), env=env, prog_name="steerd")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done


def test_a_dependency_of_a_config(file: Path) -> None:
    for name, code, verdict in (("cache", 0, "healthy"), ("state@eu", 0, "healthy"), ("state@us", 1, "unhealthy")):
        done = probe(name, "--config", str(file), "--json")
        assert done.exit_code == code, done.output
        answer = json.loads(done.stdout)
        assert (answer["target"], answer["verdict"], len(answer["checks"])) == (name, verdict, 1)
        assert answer["checks"][0]["layer"] == "dependency"
    both = json.loads(probe("state", "--config", str(file), "--json").stdout)
    assert [check["name"] for check in both["checks"]] == ["state@eu", "state@us"]
    assert both["checks"][0]["readings"] == {"lag_s": 0.0}
    assert "readings" not in both["checks"][1]
    assert "lag_s 0" in probe("cache", "--config", str(file)).stdout


def test_a_kind_by_itself(server: RedisServer) -> None:
    assert probe("--kind", "redis", "--url", server.url).exit_code == 0
    host = ("--set", "checks.redis.host=127.0.0.1", "--set", f"checks.redis.port={server.port}")
    assert probe("--kind", "redis", *host).exit_code == 0
    dsn = ("--set", "checks.redis.dsn=env:CACHE_DSN")
    assert probe("--kind", "redis", *dsn, CACHE_DSN=server.url).exit_code == 0
    wrong = probe("--kind", "redis", *dsn, CACHE_DSN=f"redis://:hide-me@127.0.0.1:{server.port}")
    assert wrong.exit_code == 2, wrong.output  # Redis knows no password: the check's fault
    assert "hide-me" not in wrong.output


@pytest.mark.parametrize(
    ("arguments", "needle"),
    [
        (["--kind", "reddis", "--url", "redis://h"], "redis"),
        (["--kind", "exec"], "exec"),
        (["--kind", "redis", "--stack", "vllm", "--url", "redis://h"], "not both"),
        (["--kind", "redis", "e1"], "not both"),
        (["--kind", "kafka"], "broker"),
        (["--kind", "s3"], "bucket"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_message(arguments: list[str], needle: str) -> None:
    done = probe(*arguments)
    assert done.exit_code == 2, done.output
    assert needle in done.output
    assert "Traceback" not in done.output


def test_names_of_a_config(file: Path) -> None:
    for name, needle in (("cashe", "cache, state, unused"), ("state@asia", "endpoint")):
        done = probe(name, "--config", str(file))
        assert done.exit_code == 2, done.output
        assert needle in done.output


async def test_an_agent_looks_once_however_many_rest_on_it(file: Path, server: RedisServer) -> None:
    watches = [w for w in watchlist(config.load(file), "one").watches if w.subject == "cache"]
    assert len(watches) == 1  # for three endpoints of two services

    def clients() -> int:
        text = server.command("INFO", "stats")
        return int(text.partition("total_connections_received:")[2].split()[0])

    looker = Looker(resolve, lambda _: None)
    looker.set_watches(watches)
    before = clients()
    outcome = await looker.look(Due(watches[0], 0.0), 2.0)
    assert outcome.status is Status.PASS, outcome
    after = clients()
    await looker.look(Due(watches[0], 1.0), 2.0)
    assert clients() - after == after - before  # nothing is kept open, nothing grows
    await looker.close()
