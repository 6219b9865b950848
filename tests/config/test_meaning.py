"""What a right config means: presets, checks, targets, defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from steerd import config
from steerd.model.fleet import Check, Secret
from steerd.model.sample import Layer
from tests.support.configs import GOOD, parse, problems


def check(text: str, name: str) -> Check:
    return next(c for c in parse(text).services[0].checks if c.name == name)


@pytest.mark.parametrize(
    ("cls", "liveness_s", "user_path_s", "rto_s", "restore_after_s", "shortfall"),
    [
        ("interactive", 5.0, 30.0, 60.0, 600.0, "spread"),
        ("batch", 15.0, 300.0, 900.0, 1200.0, "shed"),
        ("training", 30.0, None, 3600.0, 1800.0, "shed"),
        ("internal", 10.0, 120.0, 600.0, 600.0, "spread"),
    ],
)
def test_classes(
    cls: str, liveness_s: float, user_path_s: float | None, rto_s: float, restore_after_s: float, shortfall: str
) -> None:
    text = GOOD.replace("class: interactive", f"class: {cls}").replace("ramp: {restore_after: 5m}\n", "")
    text = text.replace("rto: 60s, ", "")
    text = text.replace(
        "      liveness: {interval: 5s, timeout: 2s}\n      user_path: {kind: openai-chat, interval: 30s}\n",
        "      liveness: {}\n",
    )
    service = parse(text).services[0]
    by_name = {c.name: c for c in service.checks}
    assert by_name["liveness"].interval_s == liveness_s
    assert by_name["liveness"].timeout_s == 2.0
    assert (by_name["user_path"].interval_s if "user_path" in by_name else None) == user_path_s
    assert service.objectives.rto_s == rto_s
    assert service.ramp.restore_after_s == restore_after_s
    assert service.shortfall == shortfall


def test_a_ramp_is_the_services_over_the_fleets_over_the_classs() -> None:
    assert parse(GOOD).services[0].ramp.restore_after_s == 300.0
    own = GOOD.replace("    demand: 100", "    ramp: {restore_after: 1m, drain_step_every: 7s}\n    demand: 100")
    ramp = parse(own).services[0].ramp
    assert (ramp.restore_after_s, ramp.drain_step_every_s, ramp.restore_step_every_s) == (60.0, 7.0, 300.0)


def test_what_flows_into_a_user_path() -> None:
    user_path = check(GOOD, "user_path")
    assert user_path.layer is Layer.USER_PATH
    assert user_path.settings["model"] == "big-70b"
    assert user_path.settings["ttft"] == 2.0
    assert user_path.settings["prompts"][0]["ask"]
    own = GOOD.replace("{kind: openai-chat, interval: 30s}", "{ttft: 1s, model: other, api_key: {file: /k}}")
    settings = check(own, "user_path").settings
    assert (settings["ttft"], settings["model"], settings["api_key"]) == (1.0, "other", Secret("file", "/k"))


def test_another_kind_leaves_the_stacks_settings_behind() -> None:
    text = GOOD.replace("liveness: {interval: 5s, timeout: 2s}", "liveness: {kind: tcp, port: 9000}")
    liveness = check(text, "liveness")
    assert (liveness.kind, liveness.layer, dict(liveness.settings)) == ("tcp", Layer.LIVENESS, {"port": 9000})


@pytest.mark.parametrize("off", ["null", "{off: true}", ""])
def test_a_check_switched_off(off: str) -> None:
    text = GOOD.replace("{kind: openai-chat, interval: 30s}", off)
    assert "user_path" not in {c.name for c in parse(text).services[0].checks}


def test_a_check_of_the_stack_takes_what_the_config_says() -> None:
    named = GOOD.replace("      liveness: {", "      progress: {stall: 30s, interval: 20s}\n      liveness: {")
    progress = check(named, "progress")
    assert (progress.kind, progress.interval_s, progress.settings["stall"]) == ("progress", 20.0, 30.0)
    assert progress.settings["sample"] == 20.0  # readings further apart than the interval were missed


def test_an_optional_check_of_the_stack_is_made_once_it_is_named() -> None:
    sglang = GOOD.replace("stack: vllm", "stack: sglang")
    assert "generate" not in {c.name for c in parse(sglang).services[0].checks}
    named = sglang.replace("      liveness: {", "      generate: {}\n      liveness: {")
    generate = check(named, "generate")
    assert (generate.layer, generate.interval_s, generate.timeout_s) == (Layer.USER_PATH, 60.0, 30.0)


OWN = """stacks:
  mine:
    extends: vllm
    help: ours
    checks:
      liveness: {settings: {path: /livez}, timeout: 500ms}
      progress: null
      extra: {layer: readiness, kind: http, interval: 30s, settings: {path: /extra}, why: because}
  vllm: {extends: vllm, checks: {liveness: {settings: {path: /proxied/health}}}}
"""


def test_stacks_of_the_configs_own() -> None:
    mine = GOOD.replace("services:\n", OWN + "services:\n").replace("stack: vllm", "stack: mine")
    names = [c.name for c in parse(mine).services[0].checks if not c.name.startswith("dependency:")]
    assert names == ["liveness", "readiness", "user_path", "extra"]
    assert check(mine, "liveness").settings["path"] == "/livez"
    changed = GOOD.replace("services:\n", OWN + "services:\n")
    assert check(changed, "liveness").settings["path"] == "/proxied/health"
    assert "progress" in {c.name for c in parse(changed).services[0].checks}


@pytest.mark.parametrize(
    ("stack", "needle"),
    [
        ("{checks: {liveness: {kind: htp}}}", "'htp' is no probe kind"),
        ("{extends: vlm}", "there is no stack 'vlm'"),
        ("{extends: other}", "circle"),
        ("{extend: vllm}", "unknown key 'extend'"),
        ("{extends: vllm, checks: {liveness: {settings: {pth: /}}}}", "no setting 'pth'"),
        ("{extends: vllm, checks: {liveness: {interval: soon}}}", "duration"),
    ],
)
def test_a_stack_that_is_wrong_is_a_problem_where_it_stands(stack: str, needle: str) -> None:
    text = GOOD.replace("services:\n", f"stacks:\n  mine: {stack}\n  other: {{extends: mine}}\nservices:\n")
    line = text.split("  mine:")[0].count("\n") + 1
    found = problems(text)
    assert any(needle in p.text and p.line == line for p in found), found


@pytest.mark.parametrize(
    ("version", "name", "settings"),
    [
        ("{header: X-Version}", "liveness", {"version": {"header": "X-Version"}}),
        ("{metric: build_info, label: rev}", "progress", {"version": {"metric": "build_info", "label": "rev"}}),
        ("{url: /version, path: build.id}", "version", {"path": "/version", "json": "build.id"}),
    ],
)
def test_where_the_version_label_is_read(version: str, name: str, settings: dict[str, object]) -> None:
    text = GOOD.replace("    demand: 100", f"    version: {version}\n    demand: 100")
    found = check(text, name)
    assert settings.items() <= found.settings.items()
    without = text.replace("      user_path:", "      progress: null\n      user_path:")
    if name == "progress":
        own = check(without, "version")
        assert (own.kind, own.settings["path"], own.settings["metric"]) == ("version", "/metrics", "build_info")


def test_budgets_are_read() -> None:
    text = GOOD.replace("interval: 30s}", "interval: 30s, budget: {tokens_per_day: 200000}}")
    fleet = parse(text.replace("quorum: {", "budget: {tokens_per_day: 5000000}\nquorum: {"))
    assert fleet.tokens_per_day == 5_000_000
    for wrong in ("{tokens: 9}", "{tokens_per_day: many}", "{tokens_per_day: 0}", "{tokens_per_day: 9, stand_in: -1}"):
        assert any("budget is" in p.text for p in problems(text.replace("{tokens_per_day: 200000}", wrong)))


def test_an_endpoint_must_be_able_to_be_healthy() -> None:
    text = GOOD.replace("liveness: {interval: 5s, timeout: 2s}", "liveness: null\n      readiness: null")
    assert any("never be called healthy" in p.text for p in problems(text))


def test_a_dependency_is_a_check_of_its_services() -> None:
    dependency = check(GOOD, "dependency:embedder")
    assert (dependency.layer, dependency.kind, dependency.interval_s) == (Layer.DEPENDENCY, "http", 10.0)
    assert dependency.settings["url"] == "http://embedder.internal/ready"
    text = GOOD.replace("depends_on: [embedder]", "depends_on: [vectors]")
    fleet = parse(text)
    # Each instance has its own settings, so those of the shared check must not override them.
    assert check(text, "dependency:vectors").settings == {}
    vectors = next(d for d in fleet.dependencies if d.name == "vectors")
    assert vectors.instances == {"eu": {"dsn": Secret("env", "EU_DSN")}, "us": {"dsn": Secret("env", "US_DSN")}}
    assert vectors.stateful


def test_routes_and_their_targets() -> None:
    fleet = parse(GOOD)
    dns, edge = fleet.services[0].routes
    assert (dns.key, dns.types, dns.ttl_s, dns.per) == ("dns/chat.example.net", ("A",), 30.0, "zone")
    assert [t.key for t in dns.targets] == ["eu-a", "eu-b", "us-a"]
    assert dns.target("eu-a").values == {"chat-a": ("203.0.113.1",)}
    assert (edge.key, edge.scope, edge.types) == ("edge/chat", "eu", ())
    assert {t.key: t.server for t in edge.targets} == {"chat-a": "s1", "chat-b": "chat-b"}


def test_a_route_per_region_gathers_addresses_or_takes_targets() -> None:
    per_region = parse(GOOD.replace("per: zone}", "per: region}")).services[0].routes[0]
    assert per_region.target("eu").values == {"chat-a": ("203.0.113.1",), "chat-b": ("203.0.113.2",)}
    fixed = parse(GOOD.replace("per: zone}", "per: region, targets: {eu: 192.0.2.1}}")).services[0].routes[0]
    assert fixed.target("eu").values == {"eu": ("192.0.2.1",)}
    assert fixed.target("us").values == {"chat-c": ("203.0.113.3",)}


def test_both_families_in_one_route() -> None:
    text = GOOD.replace("type: A,", "type: [A, AAAA],")
    for i in (1, 2, 3):
        text = text.replace(f"address: 203.0.113.{i},", f"address: 203.0.113.{i}, address6: '2001:DB8::{i}',")
    assert parse(text).services[0].routes[0].target("eu-a").values == {"chat-a": ("203.0.113.1", "2001:db8::1")}


def test_residency_needs_no_addresses_elsewhere() -> None:
    text = GOOD.replace("per: zone}", "per: zone, only: [eu]}").replace("address: 203.0.113.3, ", "")
    route = parse(text).services[0].routes[0]
    assert [t.key for t in route.targets] == ["eu-a", "eu-b"]
    assert route.only == ("eu",)


def test_vantage_regions_default_to_what_there_is() -> None:
    assert parse(GOOD).quorum.vantage_regions == 2
    one = (
        GOOD.replace("  us: {zones: [us-a]}\n", "")
        .replace("zone: us-a", "zone: eu-b")
        .replace("{eu: 60%, us: 40%}", "{eu: 100%}")
    )
    one = one.replace("  probe-x: {zone: outside}\n", "").replace("{voices: 3}", "{voices: 2}")
    one = one.replace("us: {dsn: {env: US_DSN}}", "").replace("{env: EU_DSN}}, }", "{env: EU_DSN}}}")
    assert parse(one).quorum.vantage_regions == 1


def test_observing_a_fleet_observes_every_service() -> None:
    text = "mode: observe\n" + GOOD.replace("    demand: 100", "    mode: steer\n    demand: 100")
    assert parse(text).services[0].mode == "observe"
    assert parse(GOOD).services[0].mode == "steer"


def test_listen_overrides_only_what_they_name() -> None:
    text = GOOD.replace("probe-a: {zone: eu-a}", "probe-a: {zone: eu-a, listen: {port: 7444}}")
    fleet = parse(text + "listen: {host: 127.0.0.2, port: 7000}\n")
    own = fleet.agent_by_name["probe-a"].listen
    assert own is not None
    assert (own.host, own.port) == ("127.0.0.2", 7444)
    assert fleet.agent_by_name["probe-b"].listen is None


def test_anchors_and_merges() -> None:
    text = GOOD.replace("chat-a: {zone: eu-a,", "chat-a: &base {zone: eu-a,").replace(
        'chat-b: {zone: eu-b, url: "http://10.0.2.1:8000", address: 203.0.113.2, capacity: 100}',
        'chat-b: {<<: *base, zone: eu-b, url: "http://10.0.2.1:8000", address: 203.0.113.2}',
    )
    assert parse(text) == parse(GOOD)


def test_words_mean_what_is_written(tmp_path: Path) -> None:
    """YAML 1.1 would read these as a switch, a time of day and a date."""
    text = GOOD.replace("model: big-70b", "model: on").replace("fleet: acme", "fleet: 2024-01-01")
    fleet = config.parse(text, "x.yaml", tmp_path)
    assert (fleet.name, fleet.services[0].model) == ("2024-01-01", "on")


def test_envoy_routes_list_endpoints_by_address_and_port() -> None:
    text = GOOD.replace("  edge: {", '  mesh: {kind: envoy, listen: "127.0.0.1:18000"}\n  edge: {')
    text = text.replace(
        "      - {provider: dns,", "      - {provider: mesh, name: chat, per: zone}\n      - {provider: dns,"
    )
    text = text.replace("http://10.0.2.1:8000", "https://[2001:db8::7]/v1").replace(
        "//10.0.3.1:8000", "//c.internal:8000"
    )
    [route] = [r for r in parse(text).services[0].routes if r.provider == "mesh"]
    values = [v for t in route.targets for vs in t.values.values() for v in vs]
    assert values == ["10.0.1.1:8000", "[2001:db8::7]:443", "203.0.113.3:8000"]
    nowhere = text.replace(", address: 203.0.113.3", "").replace(
        "      - {provider: dns, name: chat.example.net, type: A, ttl: 30s, per: zone}\n", ""
    )
    assert any("'chat-c' has no address" in p.text for p in problems(nowhere)), problems(nowhere)
