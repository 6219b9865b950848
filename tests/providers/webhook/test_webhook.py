"""The webhook provider against a receiver that checks the signature and every message."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from steerd.model.fleet import Secret
from steerd.providers.base import Conflict, Misconfigured, Provider, Refused
from steerd.providers.webhook.client import signature
from tests.support.cloud.http import HttpError
from tests.support.cloud.receiver import Receiver
from tests.support.cloud.steer import build, deadline, fence, prepare, route, stands_common_faults, write


@pytest.fixture
def server() -> Iterator[Receiver]:
    made = Receiver()
    made.start()
    yield made
    made.stop()


def provider(server: Receiver, secret: str = "hunter2") -> Provider:
    return build("webhook", {"url": server.url, "secret": Secret("env", "HOOK")}, secret)


ALL = {"za": 5, "zb": 3, "zc": 2}


def test_the_signature_is_the_one_of_the_readme() -> None:
    # By hand: printf '1700000000.{}' | openssl dgst -sha256 -hmac key
    assert (
        signature("key", "1700000000", b"{}") == "v1=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae"
    )


async def test_faults(server: Receiver) -> None:
    made = provider(server)
    await stands_common_faults(server, made, route("chat"), "POST")
    await made.close()


async def test_a_wrong_key_says_what_to_compare(server: Receiver) -> None:
    made = provider(server, "other")
    with pytest.raises(Misconfigured) as caught:
        await made.read(route("chat"), deadline())
    await made.close()
    assert "secret" in caught.value.action
    assert "other" not in caught.value.text + caught.value.action


async def test_an_empty_key_is_not_used(server: Receiver) -> None:
    with pytest.raises(Misconfigured, match="is empty"):
        await provider(server, " ").open()
    assert not server.asked


async def test_a_paused_writer_is_refused_by_version_and_fence(server: Receiver) -> None:
    old, new = provider(server), provider(server)
    of = route("chat")
    await write(old, of, ALL, fence(1, 1))
    paused = await prepare(old, of, {"za": 1, "zb": 0, "zc": 0}, fence(1, 2))
    await write(new, of, {"za": 0, "zb": 1, "zc": 1}, fence(2, 1))
    with pytest.raises(Conflict):
        await old.apply(paused, deadline())
    # Even one that knows the version of now, by chance: its fence is older.
    paused.payload.message["if_version"] = server.state("chat")["version"]
    with pytest.raises(Conflict, match="newer fence"):
        await old.apply(paused, deadline())
    assert server.state("chat")["weights"] == {"za": 0, "zb": 1, "zc": 1}
    await old.close()
    await new.close()


async def test_a_message_played_again_changes_nothing(server: Receiver) -> None:
    made = provider(server)
    change = await write(made, route("chat"), ALL, fence(1, 1))
    with pytest.raises(Conflict):
        await made.apply(change, deadline())
    await made.close()


@pytest.mark.parametrize(
    "said",
    [
        [],
        None,
        {"v": 2, "version": "1", "exists": True, "weights": {}, "fence": None},
        {"v": 1, "version": 1, "exists": True, "weights": {}, "fence": None},
        {"v": 1, "version": "1", "exists": True, "weights": {"za": 0.5}, "fence": None},
        {"v": 1, "version": "1", "exists": True, "weights": {"za": True}, "fence": None},
        {"v": 1, "version": "1", "exists": True, "weights": {"za": -1}, "fence": None},
        {"v": 1, "version": "1", "exists": True, "weights": {}, "fence": {"fleet": "acme"}},
        {"v": 1, "version": "x" * 300, "exists": True, "weights": {}, "fence": None},
    ],
)
async def test_an_answer_that_is_none_is_refused(server: Receiver, said: object) -> None:
    made = provider(server)
    server.answer = lambda asked: said  # type: ignore[method-assign]
    with pytest.raises(Refused) as caught:
        await made.read(route("chat"), deadline())
    assert "README" in caught.value.action
    await made.close()


async def test_what_the_receiver_refuses_is_shown(server: Receiver) -> None:
    made = provider(server)
    change = await prepare(made, route("chat"), ALL, fence())
    server.faults.append(("POST", HttpError(422, {"error": "no room for zc"})))
    with pytest.raises(Refused, match="no room for zc"):
        await made.apply(change, deadline())
    await made.close()


async def test_a_record_of_another_fleet_is_left_alone(server: Receiver) -> None:
    made = provider(server)
    await write(made, route("chat"), ALL, fence())
    server.states["chat"]["fence"]["fleet"] = "other"
    with pytest.raises(Misconfigured, match="fleet 'other'"):
        await prepare(made, route("chat"), {"za": 1, "zb": 0, "zc": 0}, fence(9, 9))
    await made.close()
