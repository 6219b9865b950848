"""packaging/cloudflare grants what the calls need and no more, and `missing_rights` tells what lacks, or that it is not told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import cloudflare
import pytest
from cloudflare.types.shared import Token

from steerd.providers import registry
from steerd.providers.base import ChecksRights, Denied, Incomplete, Misconfigured, Untold
from steerd.providers.cloudflare import RIGHTS
from tests.support.cloud.cloudflare import (
    ACCOUNT,
    BALANCERS_READ,
    BALANCERS_WRITE,
    GROUPS,
    POOLS_READ,
    POOLS_WRITE,
    ZONE_ID,
    LocalCloudflare,
    cloudflare_error,
    pool_id,
)
from tests.support.cloud.cloudflare_steer import NAME, made, of
from tests.support.cloud.steer import deadline, fence, write
from tests.support.tree import ROOT

FOLDER = ROOT / "packaging" / "cloudflare"
EVERY = {"com.cloudflare.api.account.zone.*": "*"}
ON_ZONE, ON_ACCOUNT = f"{BALANCERS_WRITE} on zone {ZONE_ID}", f"{POOLS_WRITE} on account {ACCOUNT}"
ZONE, ACCOUNTS = f"com.cloudflare.api.account.zone.{ZONE_ID}", f"com.cloudflare.api.account.{ACCOUNT}"


def granted(pools: str = "Write") -> dict[str, list[str]]:
    """What the Terraform module grants, by what it is granted on."""
    main = (FOLDER / "terraform" / "main.tf").read_text()
    found = {}
    for kind, resource in (("zone", "com.cloudflare.api.account.zone"), ("account", "com.cloudflare.api.account")):
        [names] = re.findall(rf"^  {kind}_groups +=\s+\[(.*)\]$", main, re.MULTILINE)
        found[kind] = re.findall(r'"([^"]+)"', names.replace("${var.pools}", pools))
        policy = re.search(rf"for name in local.{kind}_groups .*\n +resources += (.*)", main)
        assert policy
        assert policy[1] == f'jsonencode({{ "{resource}.${{var.{kind}_id}}" = "*" }})'
        assert f'one(local.found["{resource}"][name])' in policy[0]
    assert main.count('effect            = "allow"') == 2
    return found


async def calls(server: LocalCloudflare, epoch: int = 1, **settings: Any) -> None:
    """Everything the provider does: read, write, enable, disable, verify."""
    provider = made(server)
    server.pools[pool_id("za")]["enabled"] = "disable_pools" not in settings
    try:
        await write(provider, of(**settings), {"za": 50, "zb": 50, "zc": 0}, fence(epoch, 1))
        change = await write(provider, of(**settings), {"za": 0, "zb": 50, "zc": 0}, fence(epoch, 2))
        assert (await provider.verify(of(**settings), change, deadline())).in_sync
    finally:
        await provider.close()


async def test_the_token_grants_what_is_called_and_no_more(server: LocalCloudflare) -> None:
    assert {kind: tuple(names) for kind, names in granted().items()} == RIGHTS == registry.RIGHTS["cloudflare"]
    names = {name for listed in granted().values() for name in listed}
    server.granted = set(names)
    await calls(server, disable_pools=True)
    assert set(server.called) == GROUPS.keys(), "each kind of call was made"
    for name in names:
        server.granted = names - {name}
        with pytest.raises(Denied) as caught:
            await calls(server, disable_pools=True)
        assert "packaging/cloudflare" in caught.value.action


async def test_reading_pools_is_enough_where_none_is_enabled_or_disabled(server: LocalCloudflare) -> None:
    server.granted = {name for listed in granted("Read").values() for name in listed}
    assert server.granted == {BALANCERS_WRITE, POOLS_READ}
    await calls(server)
    server.pools[pool_id("za")]["enabled"] = False
    before = server.percents(NAME)
    with pytest.raises(Incomplete, match="not written: enabling the pool of za") as caught:
        await calls(server, 2, disable_pools=True)
    assert (caught.value.result, "packaging/cloudflare" in caught.value.action) == ("misconfigured", True)
    assert server.percents(NAME) == before, "nobody gave up weight for a pool that did not come"


def test_the_module_is_whole() -> None:
    main, variables = ((FOLDER / "terraform" / name).read_text() for name in ("main.tf", "variables.tf"))
    declared = set(re.findall(r'^variable "(\w+)"', variables, re.MULTILINE))
    assert declared == set(re.findall(r"\bvar\.(\w+)", main))
    readme = (FOLDER / "README.md").read_text()
    example = re.search(r"```hcl\n(.*?)```", readme, re.DOTALL)
    assert example
    assert set(re.findall(r"^  (\w+) +=", example[1], re.MULTILINE)) - {"source"} <= declared
    assert all(f"`{name}`" in readme for listed in granted().values() for name in listed)
    assert all(text.count(a) == text.count(b) for text in (main, variables) for a, b in ("{}", "[]", "()"))
    assert re.search(r'output "token" \{.*?sensitive += true', main, re.DOTALL)


async def missing(server: LocalCloudflare) -> Sequence[str]:
    provider = made(server)
    assert isinstance(provider, ChecksRights)
    try:
        return await provider.missing_rights([of()], deadline())
    finally:
        await provider.close()


def policy(*names: str, on: dict[str, Any], effect: str = "allow") -> dict[str, Any]:
    groups = [{"id": pool_id(name), "name": name} for name in names]
    return {"id": pool_id(repr(on)), "effect": effect, "permission_groups": groups, "resources": on}


LEAST = [policy(BALANCERS_WRITE, on={ZONE: "*"}), policy(POOLS_WRITE, on={ACCOUNTS: "*"})]


@pytest.mark.parametrize("owner", ["user", "account"])
async def test_what_a_token_does_not_tell_is_said(server: LocalCloudflare, owner: str) -> None:
    """The least token may not read itself: reads show that it reads, and nothing shows whether it writes."""
    server.owner = owner
    [told] = await missing(server)
    assert isinstance(told, Untold)
    assert "API Tokens Read" in told
    server.granted = {BALANCERS_READ}
    found = await missing(server)
    assert [f for f in found if not isinstance(f, Untold)] == [ON_ACCOUNT]
    assert len(found) == 2
    assert not [a for a in server.asked if a.method != "GET"], "nothing was written"


@pytest.mark.parametrize("owner", ["user", "account"])
@pytest.mark.parametrize(
    ("policies", "lacks"),
    [
        (LEAST, []),
        (LEAST[:1], [ON_ACCOUNT]),
        (LEAST[1:], [ON_ZONE]),
        ([policy(BALANCERS_READ, on={ZONE: "*"}), LEAST[1]], [ON_ZONE]),
        ([policy(BALANCERS_WRITE, on={"com.cloudflare.api.account.zone.other": "*"}), LEAST[1]], [ON_ZONE]),
        ([policy(BALANCERS_WRITE, on=EVERY), LEAST[1]], []),
        ([policy(BALANCERS_WRITE, on={ACCOUNTS: EVERY}), LEAST[1]], []),
        ([policy(BALANCERS_WRITE, on={"com.cloudflare.api.account.other": EVERY})], [ON_ZONE, ON_ACCOUNT]),
        ([LEAST[0], policy(POOLS_WRITE, on={"com.cloudflare.api.account.*": "*"})], []),
        ([*LEAST, policy(POOLS_WRITE, on={ACCOUNTS: "*"}, effect="deny")], [ON_ACCOUNT]),
        ([*LEAST, policy(POOLS_WRITE, on={"com.cloudflare.api.account.other": "*"}, effect="deny")], []),
        ([], [ON_ZONE, ON_ACCOUNT]),
    ],
)  # fmt: skip
async def test_a_token_that_may_read_itself_tells(
    server: LocalCloudflare, owner: str, policies: list[dict[str, Any]], lacks: list[str]
) -> None:
    server.owner, server.policies = owner, policies
    for each in policies:
        Token.model_validate({"policies": [each]})
    assert await missing(server) == lacks


@pytest.mark.parametrize("words", ["Cannot use the access token from location: 192.0.2.99", "Invalid access token"])
async def test_a_token_that_is_refused_as_such_lacks_no_right(server: LocalCloudflare, words: str) -> None:
    """Nobody is sent to grant what has been granted."""
    server.faults.append(("GET", cloudflare_error(403, 9109, words)))
    with pytest.raises(Misconfigured, match=words) as caught:
        await missing(server)
    assert not isinstance(caught.value, Denied)
    assert "permission groups" not in caught.value.action


async def test_the_sdk_reads_the_token_as_the_provider_does(server: LocalCloudflare) -> None:
    server.policies = LEAST
    with cloudflare.Cloudflare(api_token=server.token, base_url=server.api, max_retries=0) as sdk:
        told = sdk.user.tokens.get(server.token_id)
    assert told is not None
    assert told.policies is not None
    assert [g.name for p in told.policies for g in p.permission_groups] == [BALANCERS_WRITE, POOLS_WRITE]


async def test_what_reading_showed_to_lack_is_told_beside_the_policies(server: LocalCloudflare) -> None:
    """A policy may name what the account has not: what was tried counts, and is told once."""
    server.policies, server.granted = LEAST, {BALANCERS_WRITE}
    assert await missing(server) == [ON_ACCOUNT]
    server.policies = LEAST[:1]
    assert await missing(server) == [ON_ACCOUNT]
    server.policies = LEAST[1:]
    assert await missing(server) == [ON_ACCOUNT, ON_ZONE]


CONDITION = {"condition": {"request_ip": {"in": ["192.0.2.0/24"]}}}


@pytest.mark.parametrize(
    ("policies", "lacks", "untold"),
    [
        ([LEAST[0], LEAST[1] | CONDITION], [], [ON_ACCOUNT]),
        ([*LEAST, LEAST[1] | CONDITION], [], []),
        ([*LEAST, LEAST[0] | CONDITION | {"effect": "deny"}], [], [ON_ZONE]),
        ([LEAST[0] | CONDITION, LEAST[0] | {"effect": "deny"}, LEAST[1]], [ON_ZONE], []),
    ],
)
async def test_what_depends_on_a_condition_cannot_be_told(
    server: LocalCloudflare, policies: list[dict[str, Any]], lacks: list[str], untold: list[str]
) -> None:
    server.policies = policies
    found = await missing(server)
    assert [f for f in found if not isinstance(f, Untold)] == lacks
    assert [f.partition(": a policy")[0] for f in found if isinstance(f, Untold)] == untold


async def test_a_token_that_is_not_active(server: LocalCloudflare) -> None:
    server.token_status = "disabled"
    with pytest.raises(Misconfigured, match="disabled"):
        await missing(server)
    server.token_status = "expired"
    with pytest.raises(Misconfigured, match="1000"):
        await missing(server)
