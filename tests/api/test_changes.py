"""Commands: what reaches the coordinator, and who it is recorded for."""

from __future__ import annotations

import os
import pwd

ME = pwd.getpwuid(os.getuid()).pw_name


async def test_each_command_arrives_as_it_was_asked(api):
    asked = [
        ("POST", "/v1/drains", {"name": "z1", "reason": "r", "for_s": 3600, "now": True, "force": True}),
        ("DELETE", "/v1/drains/z1", None),
        ("DELETE", "/v1/drains/z1?now&force=true", None),
        ("POST", "/v1/pins", {"name": "z1", "share": 0.1, "reason": "canary", "for_s": 60.5}),
        ("DELETE", "/v1/pins/z%2F1", None),
        ("POST", "/v1/freeze", {"reason": "r"}),
        ("DELETE", "/v1/freeze", None),
    ]
    for method, path, body in asked:
        async with api.unix.request(method, path, json=body) as r:
            assert r.status == 200
            answer = await r.json()
            assert answer["result"] == "ok"
    got = [(c.verb, c.name, c.reason, c.for_s, c.share, c.now, c.force) for c in api.coordinator.commands]
    assert got == [
        ("drain", "z1", "r", 3600.0, None, True, True),
        ("restore", "z1", "", None, None, False, False),
        ("restore", "z1", "", None, None, True, True),
        ("pin", "z1", "canary", 60.5, 0.1, False, False),
        ("unpin", "z/1", "", None, None, False, False),
        ("freeze", "", "r", None, None, False, False),
        ("unfreeze", "", "", None, None, False, False),
    ]
    assert {c.by for c in api.coordinator.commands} == {ME}
    assert len({c.id for c in api.coordinator.commands}) == len(asked), "ids are never used twice"


async def test_the_loss_of_data_is_accepted_in_so_many_words(api):
    body = {"name": "r1", "reason": "lost", "accept_data_loss": True}
    for method, path, sent in (
        ("POST", "/v1/drains", body),
        ("POST", "/v1/drains", {**body, "force": True, "accept_data_loss": False}),
        ("DELETE", "/v1/drains/r1?accept_data_loss=true", None),
        ("DELETE", "/v1/drains/r1?force", None),
    ):
        async with api.unix.request(method, path, json=sent) as r:
            assert r.status == 200
    assert [c.accept_data_loss for c in api.coordinator.commands] == [True, False, True, False]


async def test_the_name_of_the_caller_is_not_taken_from_what_it_says(api):
    async with api.unix.post("/v1/drains", json={"name": "z1", "reason": "r", "by": "somebody"}) as r:
        assert r.status == 400
    assert not api.coordinator.commands


async def test_nothing_changes_over_tcp(api):
    for method, path in (
        ("POST", "/v1/drains"),
        ("DELETE", "/v1/drains/z1"),
        ("POST", "/v1/pins"),
        ("DELETE", "/v1/pins/z1"),
        ("POST", "/v1/freeze"),
        ("DELETE", "/v1/freeze"),
        ("POST", "/v1/config/accept"),
    ):
        headers = {"Authorization": "Bearer alpha-token"}
        async with api.tcp.request(method, path, json={"name": "z1", "reason": "r"}, headers=headers) as r:
            assert r.status == 403
            assert r.content_type == "application/problem+json"
            assert "Unix socket" in (await r.json(content_type=None))["detail"]
    assert not api.coordinator.commands
