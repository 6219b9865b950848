"""What goes wrong at Cloudflare, or in the config, comes out typed, with what to do, and without the token."""

from __future__ import annotations

import ssl

import pytest
import trustme

from steerd.providers.base import Misconfigured, Provider, ProviderError, Refused, Unreachable
from tests.support.cloud.cloudflare import LocalCloudflare, cloudflare_error, pool_id
from tests.support.cloud.cloudflare_steer import ALL, NAME, made, of
from tests.support.cloud.http import HttpError
from tests.support.cloud.steer import deadline, desired, fence, prepare, write


@pytest.mark.parametrize(
    ("fault", "kind", "words", "action"),
    [
        (cloudflare_error(401, 1000, "Invalid API Token"), Misconfigured, "1000", "expired"),
        (cloudflare_error(403, 9109, "Unauthorized"), Misconfigured, "9109", "packaging/cloudflare"),
        (
            cloudflare_error(403, 9109, "Cannot use the access token from location: 192.0.2.99"),
            Misconfigured,
            "192.0.2.99",
            "other addresses",
        ),
        (cloudflare_error(403, 9109, "Invalid access token"), Misconfigured, "9109", "another one"),
        (cloudflare_error(403, 10000, "Authentication error"), Misconfigured, "10000", "packaging/cloudflare"),
        (cloudflare_error(400, 7003, "Could not route to /zones/x"), Misconfigured, "7003", "zone_id"),
        (cloudflare_error(400, 1002, "validation failed"), Refused, "1002", "versions"),
        (cloudflare_error(200, 1002, "validation failed"), Refused, "without success", "reference"),
        (
            cloudflare_error(200, 10000, "Authentication error"),
            Misconfigured,
            "without success",
            "packaging/cloudflare",
        ),
        (HttpError(200, "<html>"), Unreachable, "without JSON", "proxy"),
        (HttpError(429, None, Retry_After="120"), ProviderError, "429", "1200 calls"),
        (
            cloudflare_error(400, 1000, "Invalid request headers", [{"code": 6111, "message": "Invalid format"}]),
            Misconfigured,
            "headers",
            "whole",
        ),
    ],
)
async def test_errors_in_the_envelope(
    server: LocalCloudflare, provider: Provider, fault: HttpError, kind: type[ProviderError], words: str, action: str
) -> None:
    for method in ("GET", "PATCH"):
        change = await prepare(provider, of(), {"za": 10, "zb": 1, "zc": 1}, fence())
        server.faults.append((method, fault))
        with pytest.raises(kind) as caught:
            await provider.apply(change, deadline())
        assert words in caught.value.text
        assert action in caught.value.action
        assert server.token not in f"{caught.value.text} {caught.value.action}"
        if fault.status == 429:
            assert caught.value.retry_after_s == 120
            break
    assert server.percents(NAME) == {"za": 100, "zb": 100, "zc": 0}
    await provider.close()


async def test_a_zone_or_an_account_that_is_another(server: LocalCloudflare) -> None:
    for wrong in ({"zone_id": "d" * 32}, {"account_id": "d" * 32}):
        provider = made(server, **wrong)
        with pytest.raises(Misconfigured) as caught:
            await provider.read(of(), deadline())
        assert next(iter(wrong)) in caught.value.action
        await provider.close()


@pytest.mark.parametrize("policy", ["off", "geo", "", "proximity"])
async def test_a_load_balancer_that_does_not_weigh(server: LocalCloudflare, provider: Provider, policy: str) -> None:
    server.balancer(NAME)["steering_policy"] = policy
    with pytest.raises(Misconfigured, match=policy or "off") as caught:
        await provider.read(of(), deadline())
    assert "random" in caught.value.action
    await provider.close()


async def test_a_load_balancer_that_is_disabled_is_not_in_sync(server: LocalCloudflare, provider: Provider) -> None:
    change = await write(provider, of(), ALL, fence())
    server.balancer(NAME)["enabled"] = False
    assert "is disabled" in (await provider.verify(of(), change, deadline())).text
    await provider.close()


async def test_pools_that_lack_or_are_named_twice(server: LocalCloudflare, provider: Provider) -> None:
    observed = await provider.read(of(), deadline())
    for pools, words in (
        ({"za": pool_id("za"), "zb": pool_id("zb")}, "zc is not in"),
        ({"za": pool_id("za"), "zb": pool_id("zb"), "zc": pool_id("new")}, "zc is not in"),
        ({"za": pool_id("za"), "zb": pool_id("zb"), "zc": pool_id("zb")}, "are both"),
    ):
        wrong = of(pools=pools)
        with pytest.raises(Misconfigured, match=words):
            provider.translate(wrong, desired(wrong, ALL), observed, fence())
    out = of(pools={"za": pool_id("za"), "zb": pool_id("zb")})
    assert provider.translate(out, desired(out, {"za": 1, "zb": 1, "zc": 0}), observed, fence()).summary
    await provider.close()


async def test_another_fleet_s(server: LocalCloudflare, provider: Provider) -> None:
    server.balancer(NAME)["description"] = "[steerd v=1 fleet=other epoch=1 seq=1 plan=p]"
    with pytest.raises(Misconfigured, match="other"):
        await prepare(provider, of(), ALL, fence())
    await provider.close()


@pytest.mark.parametrize("token", ["two words", "tab\tbed", "ünicode"])
async def test_a_token_that_is_none(server: LocalCloudflare, token: str) -> None:
    server.token = token
    provider = made(server)
    with pytest.raises(Misconfigured) as caught:
        await provider.open()
    assert "providers.it" in caught.value.text
    assert token not in f"{caught.value.text} {caught.value.action}"
    assert not server.asked
    await provider.close()


async def test_a_token_is_read_anew_at_each_call(server: LocalCloudflare) -> None:
    provider = made(server)
    await provider.read(of(), deadline())
    server.token = "another"
    with pytest.raises(Misconfigured):
        await provider.read(of(), deadline())
    await provider.close()


async def test_certificates_are_verified(server: LocalCloudflare) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    assert server._http is not None
    server._http.socket = context.wrap_socket(server._http.socket, server_side=True)
    provider = made(server, endpoint_url=server.api.replace("http:", "https:"))
    with pytest.raises(Unreachable, match="certificate"):
        await provider.read(of(), deadline())
    assert not server.asked, "no token was sent"
    await provider.close()
