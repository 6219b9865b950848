"""What every AWS provider does about identities, errors, throttles and time, shown on Route 53."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steerd.providers.aws import account_of, retry_after_s
from steerd.providers.aws_client import THREADS
from steerd.providers.base import Denied, Misconfigured, Provider, ProviderError, Refused, Throttled, Unreachable
from steerd.providers.pace import Paces, urgent
from tests.support.aws.arc import CLUSTER, LocalCluster, control_arn
from tests.support.aws.elb import LocalElb, group_arn
from tests.support.aws.model import AwsError
from tests.support.aws.route53 import LocalRoute53
from tests.support.aws.server import LoseAnswer
from tests.support.aws.steer import build, deadline, fence, prepare, route, write
from tests.support.aws.sts import LocalSts
from tests.support.servers import free_port
from tests.support.wait import until

ROLE = "arn:aws:iam::123456789012:role/steerd"
CHAT = route("chat.acme.example")


@pytest.fixture
def zone() -> Iterator[LocalRoute53]:
    server = LocalRoute53()
    server.start()
    yield server
    server.stop()


def made(zone: LocalRoute53, paces: Paces | None = None, **settings: Any) -> Provider:
    given = {"hosted_zone": zone.zone_id, "endpoint_url": zone.url, "verify": [], **settings}
    return build("route53", given, paces)


async def failing(provider: Provider) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await provider.read(CHAT, deadline())
    await provider.close()
    return caught.value


@pytest.mark.parametrize(
    ("code", "message", "status", "kind", "action"),
    [
        ("Throttling", "Rate exceeded", 400, Throttled, "higher limit"),
        ("ThrottlingException", "Rate exceeded", 429, Throttled, "higher limit"),
        ("RequestLimitExceeded", "slow down", 503, Throttled, "higher limit"),
        ("AccessDenied", "not authorized", 403, Denied, "packaging/aws/policies/route53.json"),
        ("AccessDenied", "not authorized", 403, Denied, "route53:ListResourceRecordSets"),
        ("InvalidClientTokenId", "The security token included in the request is invalid", 403, Misconfigured, "renew"),
        ("ExpiredToken", "The security token included in the request is expired", 403, Misconfigured, "renew"),
        ("SignatureDoesNotMatch", "Signature expired: 2026 is now earlier than 2027", 403, Misconfigured, "NTP"),
        ("RequestExpired", "too old", 400, Misconfigured, "NTP"),
        ("ServiceUnavailable", "try again", 503, Unreachable, "health dashboard"),
        ("InternalFailure", "oops", 500, Unreachable, "health dashboard"),
        ("NoSuchHostedZone", "No hosted zone found with ID: Z0", 404, Misconfigured, "hosted_zone"),
        ("SomethingNew", "never heard of", 400, Refused, ""),
    ],
)
async def test_each_error_says_what_it_is_and_what_to_do(
    zone: LocalRoute53, code: str, message: str, status: int, kind: type[ProviderError], action: str
) -> None:
    zone.faults.append(("ListResourceRecordSets", AwsError(code, message, status=status)))
    error = await failing(made(zone))
    assert type(error) is kind
    assert message in error.text
    assert action in error.action
    assert "of-the-tests" not in f"{error.text}{error.action}"


async def test_the_sdk_never_retries_by_itself(zone: LocalRoute53) -> None:
    zone.faults.append(("ListResourceRecordSets", AwsError("InternalFailure", "oops", status=500)))
    await failing(made(zone))
    assert zone.operations == ["ListResourceRecordSets"]


async def test_a_retry_after_holds_the_whole_account_back(zone: LocalRoute53) -> None:
    paces = Paces()
    fault = AwsError("Throttling", "Rate exceeded", headers={"Retry-After": "7"})
    zone.faults.append(("ListResourceRecordSets", fault))
    error = await failing(made(zone, paces))
    assert error.retry_after_s == 7.0
    other = made(zone, paces)
    with pytest.raises(Throttled) as caught, urgent():
        await other.read(CHAT, deadline(0.5))
    assert 6.0 < (caught.value.retry_after_s or 0) <= 7.0
    assert len(zone.asked) == 1
    await other.close()


async def test_throttles_without_a_word_back_off_longer_each_time(zone: LocalRoute53) -> None:
    provider = made(zone)
    waits = []
    for _ in range(4):
        zone.faults.append(("ListResourceRecordSets", AwsError("Throttling", "Rate exceeded")))
        provider._api._pace(None)._paused_until = 0.0  # type: ignore[attr-defined]  # time passes
        with pytest.raises(Throttled) as caught:
            await provider.read(CHAT, deadline())
        waits.append(caught.value.retry_after_s or 0.0)
    for doubled, wait_s in enumerate(waits):
        assert 0.25 * 2**doubled <= wait_s <= 0.75 * 2**doubled
    assert len(set(waits)) == 4
    await provider.close()


async def test_reads_leave_a_share_of_the_account_s_calls_for_writes(zone: LocalRoute53) -> None:
    provider = made(zone, calls_per_s=2.0)
    change = await prepare(provider, CHAT, {"za": 1, "zb": 1, "zc": 1}, fence())
    with pytest.raises(Throttled):  # of 4 calls at once routine reads get 3, and two are used up
        await provider.read(CHAT, deadline(0.1))
    before = len(zone.asked)
    with urgent():
        await provider.apply(change, deadline(0.1))
    assert zone.operations[before:] == ["ChangeResourceRecordSets"]
    await provider.close()


async def test_entries_of_one_account_share_its_pace() -> None:
    assert account_of(ROLE, "route53") == account_of("arn:aws:iam::123456789012:role/other", "route53")
    assert account_of(None, "route53") != account_of(ROLE, "route53") != account_of(ROLE, "elbv2")


async def test_a_region_that_throttles_holds_back_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    balancer, paces = LocalElb(), Paces()
    balancer.start()
    rule = balancer.add_rule({"za": 1})
    of = route("lb", {"za": ()}, settings={"rule": rule, "target_groups": {"za": group_arn("za")}})
    fault = AwsError("Throttling", "Rate exceeded", headers={"Retry-After": "7"})
    balancer.faults.append(("DescribeRules", fault))
    places: tuple[dict[str, Any], ...] = ({"aws_region": "eu-west-1"}, {"aws_region": "us-east-2"}, {})
    throttled, healthy, by_chain = (build("elbv2", {"endpoint_url": balancer.url, **p}, paces) for p in places)
    with pytest.raises(Throttled):
        await throttled.read(of, deadline())
    assert (await healthy.read(of, deadline(0.5))).weights == {"za": 1}
    with pytest.raises(Throttled):
        await by_chain.read(of, deadline(0.5))
    for provider in (throttled, healthy, by_chain):
        await provider.close()
    balancer.stop()


async def test_a_service_of_one_endpoint_has_one_limit_whatever_its_region(zone: LocalRoute53) -> None:
    paces = Paces()
    fault = AwsError("Throttling", "Rate exceeded", headers={"Retry-After": "7"})
    zone.faults.append(("ListResourceRecordSets", fault))
    await failing(made(zone, paces, aws_region="us-east-1"))
    with pytest.raises(Throttled):
        await made(zone, paces).read(CHAT, deadline(0.5))
    assert len(zone.asked) == 1


async def test_a_lost_answer_is_unreachable_and_reading_back_shows_the_write(zone: LocalRoute53) -> None:
    provider = made(zone)
    change = await prepare(provider, CHAT, {"za": 1, "zb": 1, "zc": 0}, fence(3, 4))
    zone.faults.append(("ChangeResourceRecordSets", LoseAnswer()))
    with pytest.raises(Unreachable):
        await provider.apply(change, deadline())
    observed = await provider.read(CHAT, deadline())
    assert observed.fence == fence(3, 4)
    assert provider.translate(CHAT, change.desired, observed, fence(3, 4)).nothing
    await provider.close()


async def test_what_has_no_thread_by_its_deadline_is_never_sent(zone: LocalRoute53) -> None:
    """A hanging API must not let writes pile up that are sent when nobody waits for them any more."""
    provider = made(zone, timeout=20.0)
    change = await prepare(provider, CHAT, {"za": 1, "zb": 1, "zc": 0}, fence())
    before, gate = len(zone.asked), threading.Event()
    zone.faults.extend(("ListResourceRecordSets", lambda: gate.wait(20)) for _ in range(THREADS))
    hanging = [asyncio.create_task(provider.read(CHAT, deadline(20))) for _ in range(THREADS)]
    await until(lambda: len(zone.asked) == before + THREADS)
    with pytest.raises(Unreachable):
        await provider.apply(change, deadline(0.1))
    gate.set()
    await asyncio.gather(*hanging)
    assert "ChangeResourceRecordSets" not in zone.operations
    await provider.close()


async def test_credentials_that_come_too_late_send_nothing(zone: LocalRoute53, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is looked at again when all is signed, right before the request goes out."""
    gate = threading.Event()
    sts = LocalSts(ROLE)
    sts.faults.append(("AssumeRole", lambda: gate.wait(20)))
    sts.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
    provider = made(zone, role=ROLE, timeout=20.0)
    with pytest.raises(Unreachable):
        await provider.read(CHAT, deadline(0.3))
    assert sts.operations in ([], ["AssumeRole"])
    gate.set()
    await until(
        lambda: not [t for t in threading.enumerate() if t.name.startswith("steerd-route53") and _busy(provider)]
    )
    assert zone.asked == []
    await provider.close()
    sts.stop()


def _busy(provider: Any) -> bool:
    """Whether a thread of its pool still works."""
    pool = provider._api._pool
    return pool is not None and pool._idle_semaphore._value < len(pool._threads)


async def test_a_role_is_assumed_with_the_chain_s_own_identity(
    zone: LocalRoute53, monkeypatch: pytest.MonkeyPatch
) -> None:
    sts = LocalSts(ROLE)
    sts.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
    provider = made(zone, role=ROLE)
    await write(provider, CHAT, {"za": 1, "zb": 1, "zc": 1}, fence())
    assert [a.key for a in sts.asked] == ["AKIATESTS"], "once, by the environment's key"
    assert sts.asked[0].params["RoleSessionName"] == "steerd-acme"
    assert {a.key for a in zone.asked} == {"ASIATESTS0000001"}
    await provider.close()
    sts.stop()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("Throttling", Throttled),
        ("ServiceUnavailable", Unreachable),
        ("ExpiredToken", Misconfigured),
        ("AccessDenied", Misconfigured),
    ],
)
async def test_what_sts_says_is_told_as_what_it_is(
    zone: LocalRoute53, monkeypatch: pytest.MonkeyPatch, code: str, kind: type[ProviderError]
) -> None:
    sts = LocalSts(ROLE)
    sts.faults.append(("AssumeRole", AwsError(code, "said so")))
    sts.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
    error = await failing(made(zone, role=ROLE))
    assert type(error) is kind
    assert "said so" in error.text
    assert ("trust policy" in error.action) == (code == "AccessDenied")
    sts.stop()


@pytest.mark.parametrize("chain", [None, "eu-north-1"])
async def test_a_role_is_asked_for_in_the_region_of_the_sdk_s_chain(
    monkeypatch: pytest.MonkeyPatch, chain: str | None
) -> None:
    cluster = LocalCluster().start()
    cluster.put({control_arn("za"): "On"})
    sts = LocalSts(ROLE)
    sts.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
    if chain:
        monkeypatch.setenv("AWS_DEFAULT_REGION", chain)
    provider = build("route53-arc", {"cluster": CLUSTER, "endpoints": cluster.listed, "role": ROLE})
    await provider.read(route("chat", {"za": ()}, settings={"controls": {"za": control_arn("za")}}), deadline())
    assert [a.region for a in sts.asked] == [chain or cluster.endpoints[0].region]
    await provider.close()
    sts.stop()
    cluster.stop()


async def test_a_role_that_may_not_be_assumed(zone: LocalRoute53, monkeypatch: pytest.MonkeyPatch) -> None:
    sts = LocalSts()
    sts.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
    error = await failing(made(zone, role=ROLE))
    assert isinstance(error, Misconfigured)
    assert ROLE in error.text
    assert "trust policy" in error.action
    sts.stop()


async def test_no_identity(zone: LocalRoute53, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    for settings in ({}, {"role": ROLE}):
        error = await failing(made(zone, **settings))
        assert isinstance(error, Misconfigured)
        assert "aws sts get-caller-identity" in error.action
    assert zone.asked == []


async def test_an_identity_that_comes_later_is_found(zone: LocalRoute53, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's role may be attached after the start: nobody should have to restart anything for it."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    provider = made(zone)
    with pytest.raises(Misconfigured):
        await provider.read(CHAT, deadline())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIALATER")
    await provider.read(CHAT, deadline())
    assert zone.asked[-1].key == "AKIALATER"
    await provider.close()


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidClientTokenId"])
async def test_credentials_that_were_renewed_are_read_again(
    zone: LocalRoute53, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str
) -> None:
    file = tmp_path / "credentials"
    text = "[default]\naws_access_key_id = {}\naws_secret_access_key = of-the-tests\n"
    file.write_text(text.format("AKIAOLD"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    provider = made(zone)
    await provider.read(CHAT, deadline())
    file.write_text(text.format("AKIANEW"))
    zone.faults.append(("ListResourceRecordSets", AwsError(code, "no longer", status=403)))
    with pytest.raises(Misconfigured):
        await provider.read(CHAT, deadline())
    await provider.read(CHAT, deadline())
    assert zone.asked[0].key == "AKIAOLD"
    assert zone.asked[-1].key == "AKIANEW"
    await provider.close()


async def test_a_profile_that_does_not_exist(zone: LocalRoute53, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    error = await failing(made(zone))
    assert isinstance(error, Misconfigured)
    assert "nobody" in error.text


async def test_no_region_where_one_is_needed() -> None:
    provider = build("elbv2", {})
    rule = "arn:aws:elasticloadbalancing:eu-west-1:1:listener-rule/app/lb/1/2/3"
    with pytest.raises(Misconfigured, match=r"no AWS region") as caught:
        await provider.read(route("lb", settings={"rule": rule}), deadline())
    assert "aws_region" in caught.value.action
    await provider.close()


async def test_nobody_listens() -> None:
    provider = build("route53", {"hosted_zone": "Z0", "endpoint_url": f"http://127.0.0.1:{free_port()}"})
    error = await failing(provider)
    assert isinstance(error, Unreachable)
    assert "proxy" in error.action


@pytest.mark.parametrize(
    ("response", "wait_s"),
    [
        ({"ResponseMetadata": {"HTTPHeaders": {"retry-after": "3"}}}, 3.0),
        ({"ResponseMetadata": {"HTTPHeaders": {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}}}, None),
        ({"ResponseMetadata": {"HTTPHeaders": {}}, "retryAfterSeconds": 2}, 2.0),
        ({"ResponseMetadata": {"HTTPHeaders": {"retry-after": "-5"}}}, 0.0),
        ({"ResponseMetadata": {"HTTPHeaders": {"retry-after": "999999"}}}, 300.0),
        ({}, None),
    ],
)
def test_how_long_to_stay_away(response: dict[str, Any], wait_s: float | None) -> None:
    assert retry_after_s(response) == wait_s
