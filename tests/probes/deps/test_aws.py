"""`sqs` and `s3` against moto's server; signatures and refusals against a server that says what AWS says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from probes.outcome import Outcome, Status
from probes.registry import make
from tests.support.looking import Look
from tests.support.moto_server import KEYS, Moto
from tests.support.servers import free_port


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with Moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


async def ask(look: Look, kind: str, at: str, /, within_s: float = 5.0, **settings: Any) -> Outcome:
    settings = {**KEYS, "secret_key": ("ref",), "endpoint_url": at, **settings}
    return await look(kind, "", settings, within_s=within_s, resolve=lambda _: KEYS["secret_key"])


async def test_sqs_depth_and_dead_letters(look: Look, moto: Moto) -> None:
    sqs = moto.client("sqs")
    queue, dead = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("jobs", "dead"))
    settings = {"queue": "jobs", "dead_letters": "dead", "max_depth": 2, "dead_letters_for": 60.0}
    outcome = await ask(look, "sqs", moto.url, **settings)
    assert (outcome.status, outcome.readings) == (Status.PASS, {"depth": 0, "oldest_age_s": 0, "dead_letters": 0}), (
        outcome
    )
    for _ in range(3):
        sqs.send_message(QueueUrl=queue, MessageBody="x")
    sqs.receive_message(QueueUrl=queue)  # in flight counts too
    outcome = await ask(look, "sqs", moto.url, **settings)
    assert (outcome.status, outcome.readings["depth"]) == (Status.SATURATED, 3), outcome
    assert (await ask(look, "sqs", moto.url, url=queue)).readings["depth"] == 3
    sqs.send_message(QueueUrl=dead, MessageBody="x")
    outcome = await ask(look, "sqs", moto.url, **settings)
    assert (outcome.status, outcome.reason) == (Status.FAIL, "dead letters grow"), outcome
    sqs.purge_queue(QueueUrl=queue)


async def test_sqs_age_of_the_oldest_message(look: Look, moto: Moto) -> None:
    sqs, cloudwatch = moto.client("sqs"), moto.client("cloudwatch")
    queue = sqs.create_queue(QueueName="aged")["QueueUrl"]
    settings = {"queue": "aged", "max_age": 300.0}
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    outcome = await ask(look, "sqs", moto.url, **settings)
    assert (outcome.status, "oldest_age_s" in outcome.readings) == (Status.PASS, False), outcome  # nobody knows yet
    now = dt.datetime.now(dt.UTC)
    for age_s, ago_s in ((50, 200), (400, 60)):
        point = {
            "MetricName": "ApproximateAgeOfOldestMessage",
            "Dimensions": [{"Name": "QueueName", "Value": "aged"}],
            "Timestamp": now - dt.timedelta(seconds=ago_s),
            "Value": age_s,
        }
        cloudwatch.put_metric_data(Namespace="AWS/SQS", MetricData=[point])
    outcome = await ask(look, "sqs", moto.url, **settings)
    assert (outcome.status, outcome.reason) == (Status.FAIL, "the oldest message waits too long"), outcome
    assert outcome.readings["oldest_age_s"] == 400


async def test_sqs_a_queue_that_never_was_and_one_that_is_gone(look: Look, moto: Moto) -> None:
    outcome = await ask(look, "sqs", moto.url, queue="gone")
    assert (outcome.status, outcome.reason) == (Status.ERROR, "there is no queue 'gone'"), outcome
    sqs = moto.client("sqs")
    queue = sqs.create_queue(QueueName="gone")["QueueUrl"]
    assert (await ask(look, "sqs", moto.url, queue="gone")).status is Status.PASS
    sqs.delete_queue(QueueUrl=queue)
    outcome = await ask(look, "sqs", moto.url, queue="gone")
    assert (outcome.status, outcome.reason) == (Status.FAIL, "queue 'gone' is gone"), outcome


async def test_s3_a_canary_and_the_newest_under_a_prefix(look: Look, moto: Moto) -> None:
    outcome = await ask(look, "s3", moto.url, bucket="models", object="canary")
    assert (outcome.status, outcome.reason) == (Status.ERROR, "there is no bucket 'models'"), outcome
    s3 = moto.client("s3")
    s3.create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": KEYS["region"]})
    outcome = await ask(look, "s3", moto.url, bucket="models", object="a b/ü+canary")
    assert (outcome.status, outcome.reason) == (Status.ERROR, "there is no object 'a b/ü+canary'"), outcome
    s3.put_object(Bucket="models", Key="a b/ü+canary", Body=b"x" * 100)
    assert (await ask(look, "s3", moto.url, bucket="models", object="a b/ü+canary")).status is Status.PASS
    checkpoints = {"bucket": "models", "prefix": "checkpoints/ü+ ", "max_age": 3600.0}
    outcome = await ask(look, "s3", moto.url, **checkpoints)
    assert (outcome.status, outcome.reason) == (Status.FAIL, "no object under the prefix"), outcome
    for number in range(3):
        s3.put_object(Bucket="models", Key=f"checkpoints/ü+ {number}", Body=b"x")
    outcome = await ask(look, "s3", moto.url, **checkpoints)
    assert (outcome.status, outcome.readings["objects"]) == (Status.PASS, 3), outcome
    assert 0 <= outcome.readings["newest_age_s"] < 60
    s3.delete_object(Bucket="models", Key="a b/ü+canary")
    outcome = await ask(look, "s3", moto.url, bucket="models", object="a b/ü+canary")
    assert (outcome.status, outcome.reason) == (Status.FAIL, "object 'a b/ü+canary' is gone"), outcome


async def test_s3_pages(look: Look, site: Callable[..., Any]) -> None:
    """The newest is on the last page; the server's clock counts, and its tokens go back as they came."""
    asked: list[str] = []

    async def bucket(request: web.Request) -> web.Response:
        asked.append(request.query_string)
        page = int(request.query.get("continuation-token", "0 /+=&").split(" ")[0])
        stamp = f"2024-01-0{page + 1}T00:00:00.000Z"
        more = f"<NextContinuationToken>{page + 1} /+=&amp;</NextContinuationToken>" if page < 2 else ""
        text = f"<ListBucketResult><Contents><LastModified>{stamp}</LastModified></Contents>{more}</ListBucketResult>"
        return web.Response(text=text, headers={"Date": "Wed, 03 Jan 2024 00:01:40 GMT"})

    url = await site({"/b/": bucket})
    outcome = await ask(look, "s3", url, bucket="b", prefix="p", max_age=60.0)
    assert (outcome.status, outcome.reason) == (Status.FAIL, "the newest object is too old"), outcome
    assert outcome.readings == {"objects": 3, "newest_age_s": 100}
    assert len(asked) == 3


async def test_s3_without_end_is_told(look: Look, site: Callable[..., Any]) -> None:
    async def endless(_: web.Request) -> web.Response:
        return web.Response(text="<NextContinuationToken>x</NextContinuationToken>")

    outcome = await ask(look, "s3", await site({"/b/": endless}), bucket="b", prefix="p", max_age=60.0)
    assert (outcome.status, "too many objects" in (outcome.reason or "")) == (Status.ERROR, True), outcome


@pytest.mark.parametrize(
    ("kind", "status", "body", "wanted", "needle"),
    [
        (
            "s3",
            403,
            "<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>",
            Status.ERROR,
            "credentials",
        ),
        ("s3", 403, "<Error><Code>AccessDenied</Code></Error>", Status.ERROR, "credentials"),
        ("s3", 301, "<Error><Code>PermanentRedirect</Code></Error>", Status.ERROR, "another region"),
        ("s3", 503, "<Error><Code>SlowDown</Code></Error>", Status.SATURATED, "throttled"),
        ("s3", 500, "<Error><Code>InternalError</Code></Error>", Status.FAIL, "HTTP 500"),
        ("sqs", 403, '{"__type": "com.amazon#AccessDeniedException"}', Status.ERROR, "credentials"),
        ("sqs", 400, '{"__type": "x#InvalidClientTokenId", "message": "of-the-tests"}', Status.ERROR, "credentials"),
        ("sqs", 400, '{"__type": "x#RequestThrottled"}', Status.SATURATED, "throttled"),
        ("sqs", 500, "oops", Status.FAIL, "HTTP 500"),
        ("sqs", 200, "oops", Status.FAIL, "HTTP 200"),
    ],
)
async def test_what_aws_says(
    look: Look, site: Callable[..., Any], kind: str, status: int, body: str, wanted: Status, needle: str
) -> None:
    async def says(request: web.Request) -> web.Response:
        assert "Credential=AKIATESTS/" in request.headers["Authorization"]
        return web.Response(status=status, text=body)

    url = await site({"/{any:.*}": says})
    settings = {"bucket": "b", "object": "o"} if kind == "s3" else {"queue": "q"}
    outcome = await ask(look, kind, url, **settings)
    assert outcome.status is wanted, outcome
    assert needle in (outcome.reason or "")
    assert KEYS["secret_key"] not in f"{outcome.reason} {outcome.detail}"


async def test_cloudwatch_that_refuses_blames_nobody(look: Look, moto: Moto, site: Callable[..., Any]) -> None:
    async def denied(_: web.Request) -> web.Response:
        return web.Response(status=403, text='{"__type": "x#AccessDenied"}')

    queue = moto.client("sqs").create_queue(QueueName="watched")["QueueUrl"]
    moto.client("sqs").send_message(QueueUrl=queue, MessageBody="x")
    url = await site({"/{any:.*}": denied})
    outcome = await ask(look, "sqs", moto.url, queue="watched", max_age=60.0, cloudwatch_url=url)
    assert (outcome.status, "CloudWatch" in (outcome.reason or "")) == (Status.ERROR, True), outcome


async def test_nobody_there_and_nobody_answering(look: Look, moto: Moto) -> None:
    for kind, settings in (("s3", {"bucket": "b", "object": "o"}), ("sqs", {"queue": "q"})):
        outcome = await ask(look, kind, f"http://127.0.0.1:{free_port()}", **settings)
        assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "connection refused", True)
        with moto.process.paused():
            outcome = await ask(look, kind, moto.url, within_s=0.3, **settings)
            assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "no answer in time", True)


async def test_credentials_that_cannot_be_had(look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    common = {"bucket": "b", "object": "o", "endpoint_url": f"http://127.0.0.1:{free_port()}"}
    outcome = await look("s3", "", {**common, "region": "eu-west-1"}, within_s=5)
    assert (outcome.status, "no AWS credentials" in (outcome.detail or "")) == (Status.ERROR, True), outcome
    outcome = await look("s3", "", {**common, "region": "eu-west-1", "profile": "nobody"}, within_s=5)
    assert (outcome.status, "nobody" in (outcome.detail or "")) == (Status.ERROR, True), outcome
    (tmp_path / "keys").write_text("[default]\naws_access_key_id = A\naws_secret_access_key = B\n")
    outcome = await look("s3", "", common, within_s=5)
    assert (outcome.status, "no AWS region" in (outcome.detail or "")) == (Status.ERROR, True), outcome
    outcome = await look("s3", "", {**common, "region": "us-east-1"}, within_s=5)
    assert (outcome.status, outcome.reason) == (Status.FAIL, "connection refused"), outcome


async def test_credentials_that_are_slow_to_come_blame_nobody_and_are_not_asked_for_twice(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = '{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "B"}'
    program, asked = tmp_path / "keys.sh", tmp_path / "asked"
    program.write_text(f"echo x >> {asked}\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.02; done\necho '{keys}'\n")
    (tmp_path / "config").write_text(f"[profile slow]\nregion = eu-west-1\ncredential_process = sh {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    settings = {"bucket": "b", "object": "o", "profile": "slow", "endpoint_url": f"http://127.0.0.1:{free_port()}"}
    for _ in range(2):
        outcome = await look("s3", "", settings, within_s=5)
        assert (outcome.status, "slow to come" in (outcome.reason or "")) == (Status.ERROR, True), outcome
    (tmp_path / "go").touch()
    outcome = await look("s3", "", settings, within_s=5)
    assert (outcome.status, outcome.reason) == (Status.FAIL, "connection refused"), outcome
    assert asked.read_text() == "x\n"


@pytest.mark.parametrize(
    ("kind", "settings", "needle"),
    [
        ("s3", {"bucket": "b"}, "object"),
        ("s3", {"object": "o"}, "bucket"),
        ("s3", {"bucket": "b", "prefix": "p"}, "max_age"),
        ("s3", {"bucket": "b", "object": "o", "max_age": 5.0}, "prefix"),
        ("s3", {"bucket": "b", "object": "o", "access_key": "A"}, "secret_key"),
        ("sqs", {}, "queue"),
        ("sqs", {"queue": "q", "max_depth": -1}, "max_depth"),
    ],
)
def test_settings_that_cannot_be(kind: str, settings: dict[str, object], needle: str) -> None:
    with pytest.raises(ValueError, match=needle):
        make(kind, "dependency", settings, str)
