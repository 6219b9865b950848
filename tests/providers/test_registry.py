from __future__ import annotations

import subprocess
import sys

import pytest

from steerd.config.record_values import DNS_KINDS
from steerd.model.fleet import Fleet, ProviderSpec, Secret
from steerd.providers import registry
from steerd.providers.base import Context, Misconfigured, Provider

NAMES = {
    "embedded", "rfc2136", "powerdns", "route53", "route53-arc", "aws-zonal-shift", "elbv2", "global-accelerator", "clouddns",
    "gcp-backend", "azure-trafficmanager", "cloudflare", "haproxy", "envoy", "gateway-api", "webhook", "beacon",
}  # fmt: skip

SETTINGS: dict[str, dict[str, object]] = {
    "embedded": {"zone": "acme.example"},
    "rfc2136": {"zone": "acme.example"},
    "powerdns": {"zone": "acme.example", "url": "http://127.0.0.1:8081", "api_key": Secret("env", "PDNS")},
    "haproxy": {"socket": "unix:/run/haproxy/admin.sock"},
    "envoy": {"listen": "127.0.0.1:0"},
    "beacon": {},
    "memory": {},
    "route53": {"hosted_zone": "Z0"},
    "route53-arc": {"cluster": "arn:aws:route53-recovery-control::123456789012:cluster/c"},
    "aws-zonal-shift": {"zone_ids": {"eu-west-1a": "euw1-az1"}},
    "elbv2": {},
    "global-accelerator": {},
    "gateway-api": {},
    "azure-trafficmanager": {"subscription": "s1", "resource_group": "rg"},
    "gcp-backend": {"project": "acme"},
    "clouddns": {"project": "acme", "managed_zone": "main"},
    "webhook": {"url": "http://127.0.0.1:1", "secret": Secret("env", "HOOK")},
    "cloudflare": {"zone_id": "z0", "account_id": "a0", "token": Secret("env", "CF")},
}


def context(kind: str, settings: dict[str, object] | None = None) -> Context:
    return Context(Fleet(name="acme"), ProviderSpec("r53", kind, settings=settings or {}), lambda _: "")


def test_every_provider_of_the_design_is_listed() -> None:
    assert set(registry.KINDS) == NAMES | {"memory"}
    assert registry.KINDS.keys() == registry.CAPABILITIES.keys()
    assert registry.ROUTE_SETTINGS.keys() <= registry.KINDS.keys()


def test_every_kind_builds() -> None:
    assert SETTINGS.keys() == registry.KINDS.keys()
    assert all(kind.built for kind in registry.KINDS.values())
    for kind, settings in SETTINGS.items():
        made = registry.build(context(kind, settings))
        assert isinstance(made, Provider)
        assert made.kind is registry.KINDS[kind]
        assert made.capabilities == registry.CAPABILITIES[kind]


def test_a_kind_whose_extra_is_missing_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_found", lambda module: not module.startswith("boto"))
    with pytest.raises(Misconfigured) as caught:
        registry.build(context("route53"))
    assert "providers.r53" in caught.value.text
    assert "install steerd with its 'aws' extra" in caught.value.text
    assert "embedded" in caught.value.action
    assert "elbv2" not in caught.value.action


def test_an_unknown_kind_lists_the_known() -> None:
    with pytest.raises(Misconfigured) as caught:
        registry.build(context("bind9"))
    assert "rfc2136" in caught.value.action


@pytest.mark.parametrize("name", sorted(NAMES | {"memory"}))
def test_capabilities_make_sense(name: str) -> None:
    capabilities = registry.CAPABILITIES[name]
    assert capabilities.weight_max == 1 if capabilities.membership else capabilities.weight_max > 1
    assert capabilities.compare_and_set or capabilities.fence_note, "no fence must be explained"
    assert 0 <= capabilities.minimum < 1


def test_kinds_that_write_addresses_are_those_whose_routes_have_some() -> None:
    """What is served is compared with the route's addresses for these only: others tell members by names of their own."""
    assert {k for k in NAMES if registry.CAPABILITIES[k].dns} == DNS_KINDS


def test_what_forgets_is_reconciled() -> None:
    """HAProxy after a reload, the embedded server without its state file, a shift that ended: that is nobody's edit, and not to
    be kept like one."""
    volatile = [name for name in sorted(NAMES) if registry.CAPABILITIES[name].volatile]
    assert volatile == ["aws-zonal-shift", "beacon", "embedded", "envoy", "haproxy"]


@pytest.mark.parametrize("name", sorted(NAMES | {"memory"}))
def test_settings_are_unique_and_defaults_fit(name: str) -> None:
    settings = (*registry.KINDS[name].settings, *registry.ROUTE_SETTINGS.get(name, ()))
    assert len({s.name for s in settings}) == len(settings)
    for setting in settings:
        assert setting.help
        assert not (setting.required and setting.default is not None)
        if setting.choices:
            assert setting.default is None or setting.default in setting.choices


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("embedded", {}, "providers.r53.zone: is required"),
        ("embedded", {"zone": "acme..example"}, "makes no DNS zone"),
        ("embedded", {"zone": "acme.example", "listen": "127.0.0.1:dns"}, "is not HOST or HOST:PORT"),
        ("embedded", {"zone": "acme.example", "answers": 0}, "providers.r53.answers: must be from 1 to 64"),
        ("rfc2136", {}, "providers.r53.zone: is required"),
        ("rfc2136", {"zone": "acme..example"}, "is no DNS name"),
        ("rfc2136", {"zone": "acme.example", "server": "a:b:c"}, "is not HOST or HOST:PORT"),
        ("rfc2136", {"zone": "acme.example", "key": "steerd"}, "come together"),
        ("rfc2136", {"zone": "acme.example", "key": "k", "secret": "hunter2"}, "must be a reference"),
        ("rfc2136", {"zone": "acme.example", "timeout": 0}, "providers.r53.timeout"),
        ("haproxy", {}, "providers.r53.socket: is required"),
        ("route53", {}, "providers.r53.hosted_zone: is required"),
        ("route53", {"hosted_zone": "Z0", "calls_per_s": 0}, "providers.r53.calls_per_s: must be from"),
        ("route53", {"hosted_zone": "Z0", "verify": ["a:b:c"]}, "is not HOST or HOST:PORT"),
        ("route53-arc", {}, "providers.r53.cluster: is required"),
        ("route53-arc", {"cluster": "arn", "endpoints": ["https://x"]}, "is not URL=REGION"),
        ("aws-zonal-shift", {}, "providers.r53.zone_ids: is required"),
        ("aws-zonal-shift", {"zone_ids": {"a": "b"}, "expires": 10}, "providers.r53.expires: must be from"),
        ("elbv2", {"timeout": 0}, "providers.r53.timeout"),
        ("global-accelerator", {"calls_per_s": -1}, "providers.r53.calls_per_s"),
        ("haproxy", {"socket": "localhost"}, "is no socket"),
        ("cloudflare", {"zone_id": "z0"}, "providers.r53.account_id: is required"),
        ("cloudflare", {"zone_id": "z0", "account_id": "a0"}, "providers.r53.token: is required"),
        ("cloudflare", {"zone_id": "z0", "account_id": "a0", "token": "hunter2"}, "must be a reference"),
    ],
)
def test_wrong_settings_name_the_key(kind: str, settings: dict[str, object], words: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        registry.build(context(kind, settings))
    assert words in caught.value.text
    assert "hunter2" not in f"{caught.value.text} {caught.value.action}"


def test_reading_the_list_imports_no_client() -> None:
    """The config is checked where no SDK is installed."""
    code = (
        "import sys; import steerd.providers.registry;"
        "sdks = ('dns', 'boto3', 'botocore', 'google', 'azure', 'kubernetes_asyncio');"
        "print([m for m in sys.modules if m.endswith('.client') or m.split('.')[0] in sdks])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"
