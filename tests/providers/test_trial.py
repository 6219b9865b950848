"""`steerd providers test`: a round trip through real BIND and HAProxy, and what it says when something is missing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.text import Text

from steerd.cli.main import cli
from steerd.model.route import Fence, Member, Route
from steerd.providers.base import Change, Receipt, Refused, Unreachable, Untold
from steerd.providers.memory import Fault, Memory, Record, System
from steerd.providers.scratch import scratch_backend, scratch_record
from steerd.providers.trial import Step, trial, write_trial
from tests.support.configs import GOOD
from tests.support.haproxy import HAProxy
from tests.support.named import Named
from tests.support.virtual_loop import run_virtual


@pytest.fixture(scope="module")
def haproxy() -> Iterator[HAProxy]:
    servers = {f"s{n}": (f"127.0.0.1:{9300 + n}", 10) for n in (1, 2)}
    with (
        tempfile.TemporaryDirectory(prefix="ha") as directory,
        HAProxy(
            Path(directory),
            {"chat": servers, "scratch": servers, "wide-scratch": {**servers, "s3": ("127.0.0.1:9303", 1)}},
        ) as made,
    ):
        yield made


def config_for(named: Named, haproxy: HAProxy, folder: Path) -> str:
    dns = f'{{kind: rfc2136, server: "{named.server}", zone: {named.zone}, key: {named.key}, secret: {{env: TSIG}}}}'
    text = GOOD.replace('{kind: rfc2136, server: "127.0.0.1:5300", zone: example.net}', dns)
    text = text.replace("unix:/run/haproxy.sock", f"unix:{haproxy.admin}").replace("chat.example.net", "t.acme.example")
    path = folder / "steerd.yaml"
    path.write_text(text)
    return str(path)


def run(*args: str, secret: str = "") -> Result:
    return CliRunner(env={"TSIG": secret}).invoke(cli, ["providers", *args])


def test_a_scratch_record_on_bind_goes_out_and_comes_back(named: Named, haproxy: HAProxy, tmp_path: Path) -> None:
    config = config_for(named, haproxy, tmp_path)
    before = named.query("bystander.acme.example")
    result = run("test", "dns", "--config", config, "--write", "scratch.acme.example", secret=named.secret)
    assert result.exit_code == 0, result.output
    assert "steerd-a out, steerd-b in" in " ".join(result.output.split())
    told = " ".join(result.output.split())
    assert "scratch.acme.example stays with steerd-a, steerd-b" in told
    assert "TXT at _steerd.scratch.acme.example → delete both" in told
    assert set(named.query("scratch.acme.example")) == {"192.0.2.1", "192.0.2.2"}
    assert not named.query("t.acme.example")  # the route of the fleet was read only
    assert named.query("bystander.acme.example") == before


def test_a_name_that_serves_people_by_another_type_is_no_scratch(
    named: Named, haproxy: HAProxy, tmp_path: Path
) -> None:
    named.add("scratch-six.acme.example", "AAAA", "2001:db8::7")
    config = config_for(named, haproxy, tmp_path)
    result = run("test", "dns", "--config", config, "--write", "scratch-six.acme.example", secret=named.secret)
    assert result.exit_code == 1
    assert "others stand there too (2001:db8::7)" in " ".join(result.output.split())
    assert named.query("scratch-six.acme.example") == []


def test_a_key_that_may_not_write_is_found_out_before_3_am(named: Named, haproxy: HAProxy, tmp_path: Path) -> None:
    config = config_for(named, haproxy, tmp_path)
    text = Path(config).read_text().replace(f"key: {named.key}", "key: reader")
    Path(config).write_text(text)
    for more in ((), ("--write", "scratch2.acme.example")):
        result = run("test", "dns", "--config", config, "--json", *more, secret=named.secret)
        assert result.exit_code == 1
        told = [step for step in json.loads(result.output) if not step["ok"]]
        assert [step["step"] for step in told] == ["rights", "rights"], "with no write at all"
        assert "update of t.acme.example A" in told[0]["text"]
        assert "_steerd.t.acme.example TXT" in told[1]["text"]
        assert all(step["action"] for step in told)
    assert named.query("scratch2.acme.example") == []


def test_a_scratch_backend_of_haproxy_goes_out_and_comes_back(named: Named, haproxy: HAProxy, tmp_path: Path) -> None:
    config = config_for(named, haproxy, tmp_path)
    result = run("test", "edge", "--config", config, "--write", "scratch", "--servers", "s1,s2")
    assert result.exit_code == 0, result.output
    assert haproxy.weights("chat") == {"s1": 10, "s2": 10}
    assert haproxy.weights("scratch") == {"s1": 10, "s2": 10}  # as it was
    shared = run("test", "edge", "--config", config, "--write", "wide-scratch", "--servers", "s1,s2")
    assert shared.exit_code == 1
    assert "others stand there too" in " ".join(shared.output.split())
    missing = run("test", "edge", "--config", config, "--write", "no-scratch", "--servers", "s1,s2")
    assert missing.exit_code == 1
    assert "no-scratch" in missing.output


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("test", "nope"), "it has: dns, edge"),
        (("test", "edge", "--write", "chat", "--servers", "a,b"), "is a route of service 'chat'"),
        (("test", "edge", "--write", "scratch"), "--servers A,B"),
        (("test", "edge", "--write", "chat-2", "--servers", "a,b"), "does not say `scratch`"),
        (("test", "dns", "--write", "x.example.net", "--servers", "a,b"), "--servers is for load balancers"),
        (("test", "dns", "--write", "shop.example.net"), "does not say `scratch`"),
        (("test", "dns", "--write", "shop.scratch.example.net"), "does not say `scratch`"),
        (("show", "haprxy"), "did you mean `haproxy`?"),
    ],
)
def test_bad_input_says_what_instead(args: tuple[str, ...], words: str, tmp_path: Path) -> None:
    path = tmp_path / "steerd.yaml"
    path.write_text(GOOD)
    more = ("--config", str(path)) if args[0] == "test" else ()
    result = run(*args, *more)
    assert result.exit_code == 2
    assert words in result.output


def test_a_config_that_is_missing_or_wrong_is_told(tmp_path: Path) -> None:
    assert "No such file" in run("test", "dns", "--config", str(tmp_path / "no.yaml")).output
    path = tmp_path / "steerd.yaml"
    path.write_text(GOOD.replace("fleet: acme", "flet: acme"))
    result = run("test", "dns", "--config", str(path))
    assert result.exit_code == 2
    assert "flet" in result.output


def test_every_kind_is_listed_with_what_it_can_express() -> None:
    listed = run()
    assert listed.exit_code == 0
    assert "compare-and-set" in listed.output
    facts = {kind["kind"]: kind for kind in json.loads(run("--json").output)}
    assert facts["rfc2136"]["capabilities"]["membership"]
    assert facts["haproxy"]["usable"]
    assert "route53:ChangeResourceRecordSets" in facts["route53"]["rights"]["records"]
    assert "rights on records" in run("show", "route53").output
    shown = run("show", "haproxy")
    assert "narrows the window without closing it" in " ".join(shown.output.split())


class Judge(Memory):
    """Tells which rights are missing."""

    lacking: Sequence[str] = ()

    async def missing_rights(self, routes: Sequence[Route], deadline: float) -> Sequence[str]:
        del routes, deadline
        return self.lacking


def steps(provider: Memory, *routes: Route, write: bool = False) -> list[Step]:
    found: list[Step] = []

    async def main() -> None:
        if write:
            await write_trial(provider, routes[0], "acme", found.append)
        else:
            found.extend([step async for step in trial(provider, routes, "acme")])

    run_virtual(main())
    return found


def scratch(name: str = "scratch") -> Route:
    return scratch_record("dns", name)


def record(*others: str, plan: str = "test", value: str = "192.0.2.1") -> Record:
    members = {key: Member(key, 1, (value,)) for key in ("steerd-a", "steerd-b")}
    return Record({**members, **{o: Member(o, 1, ()) for o in others}}, 30.0, Fence("acme", 7, 3, plan))


def test_what_stands_there_is_told_and_rights_that_lack_are_named() -> None:
    judge = Judge(System(records={"scratch": record("else")}))
    told = steps(judge, scratch(), scratch("new-scratch"))
    assert [step.ok for step in told] == [True] * 5
    assert "serves steerd-a 1, steerd-b 1; left alone, as it is nobody's target: else" in told[1].text
    assert "this fleet, epoch 7" in told[1].text
    assert "the first write makes it" in told[3].text
    judge.lacking = ("route53:ChangeResourceRecordSets",)
    last = steps(judge, scratch())[-1]
    assert (last.ok, last.text) == (False, "route53:ChangeResourceRecordSets is missing")
    judge.lacking = (Untold("this takes a right of its own"),)
    last = steps(judge, scratch())[-1]
    assert (last.ok, last.text) == (True, "cannot be told: this takes a right of its own"), "not known is not lacking"
    judge.lacking = ("dns.changes.create", Untold("the rest"))
    assert [s.ok for s in steps(judge, scratch())[-2:]] == [False, True]


def test_without_a_route_there_is_no_right_to_ask_for() -> None:
    [_, last] = steps(Judge(System()))
    assert (last.what, last.ok) == ("rights", True)
    assert "nothing to ask rights for" in last.text


@pytest.mark.parametrize(
    ("stood", "words"),
    [
        (record(plan="p7"), "traffic is steered by it"),
        (record("else"), "others stand there too (else)"),
        (record(value="198.51.100.7"), "it serves 198.51.100.7"),
    ],
)
def test_what_serves_somebody_is_never_a_scratch_record(stood: Record, words: str) -> None:
    system = System(records={"scratch": stood})
    last = steps(Memory(system), scratch(), write=True)[-1]
    assert not last.ok
    assert words in last.text
    assert not system.log


@pytest.mark.parametrize("name", ["chat.example.net.", "CHAT.example.net", "Chat.Example.Net."])
def test_a_route_of_the_fleet_is_known_in_any_spelling(name: str, tmp_path: Path) -> None:
    path = tmp_path / "steerd.yaml"
    path.write_text(GOOD)
    result = run("test", "dns", "--config", str(path), "--write", name)
    assert result.exit_code == 2
    assert "is a route of service 'chat'" in result.output


@pytest.mark.parametrize(
    ("reads", "writes", "where"),
    [
        ([Fault(Unreachable("no route", "look at the network"))], [], "read scratch"),
        ([], [Fault(Refused("not yours", "ask for rights"))], "write scratch"),
    ],
)
def test_the_first_error_ends_the_trial_with_what_to_do(reads: list[Any], writes: list[Any], where: str) -> None:
    system = System()
    system.reads.extend(reads)
    system.writes.extend(writes)
    [failed] = [step for step in steps(Memory(system), scratch(), write=True) if not step.ok]
    assert failed.what == where
    assert failed.action
    assert not system.log


def test_each_write_is_fenced_above_what_stands_there() -> None:
    system = System(records={"scratch": record()})
    told = steps(Memory(system), scratch(), write=True)
    assert all(step.ok for step in told), told
    numbers = [r.fence.seq for _, r in system.log if r.fence]
    assert numbers == sorted({3, *numbers} - {3})
    assert [{k: m.weight for k, m in r.members.items()} for _, r in system.log] == [
        {"steerd-a": 100, "steerd-b": 100},
        {"steerd-a": 0, "steerd-b": 100},
        {"steerd-a": 100, "steerd-b": 100},
    ]


BACKEND = scratch_backend("edge", "haproxy", "scratch", ("s1", "s2"))


def backend(s1: int = 10, s2: int = 30) -> System:
    return System(records={"scratch": Record({"s1": Member("s1", s1), "s2": Member("s2", s2)}, BACKEND.ttl_s)})


def weights(system: System) -> dict[str, int]:
    return {key: member.weight for key, member in system.records["scratch"].members.items()}


class Breaking(Memory):
    """Write number `after` is carried out, its answer is lost, and the system is down for `for_s`; then a write may be refused."""

    def __init__(self, system: System, after: int, for_s: float = 0.0) -> None:
        super().__init__(system)
        self._after, self._for_s = after, for_s

    async def apply(self, change: Change, deadline: float) -> Receipt:
        receipt = await super().apply(change, deadline)
        if len(self.system.log) == self._after:
            self.system.down = bool(self._for_s)
            asyncio.get_running_loop().call_later(self._for_s, setattr, self.system, "down", False)
            raise Unreachable("the answer was lost", "look at the network")
        return receipt


@pytest.mark.parametrize("after", [1, 2])
@pytest.mark.parametrize("for_s", [0.0, 1.5])
def test_a_write_that_fails_midway_is_put_back(after: int, for_s: float) -> None:
    system = backend()
    told = steps(Breaking(system, after, for_s), BACKEND, write=True)
    assert weights(system) == {"s1": 10, "s2": 30}
    assert [s.text for s in told if not s.ok] == ["the answer was lost"]
    assert told[-1].ok


def test_a_write_that_was_refused_leaves_nothing_to_put_back() -> None:
    system = backend()
    system.writes.append(Fault(Refused("not yours", "ask for rights")))
    told = steps(Memory(system), BACKEND, write=True)
    assert (told[-1].what, told[-1].text) == ("put back scratch", "stands as it began")
    assert not system.log


def test_what_cannot_be_put_back_is_said() -> None:
    system = backend()
    last = steps(Breaking(system, after=2, for_s=1e6), BACKEND, write=True)[-1]
    assert weights(system) == {"s1": 0, "s2": 100}
    assert (last.what, last.ok) == ("put back scratch", False)
    assert last.text.startswith("left: s1 out, s2 100 (it began with s1 10, s2 30):")
    assert "by hand" in last.action


class Slow(Memory):
    """A write takes a second and is not given up when its caller is: as those that run in threads."""

    async def apply(self, change: Change, deadline: float) -> Receipt:
        await asyncio.sleep(1.0)
        return await super().apply(change, deadline)


@pytest.mark.parametrize("at_s", [0.5, 1.5, 2.5])
def test_what_is_stopped_is_put_back_first(at_s: float) -> None:
    system, found = backend(), list[Step]()

    async def main() -> None:
        task = asyncio.create_task(write_trial(Slow(system), BACKEND, "acme", found.append))
        await asyncio.sleep(at_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())
    assert system.log
    assert weights(system) == {"s1": 10, "s2": 30}
    assert "stopped: it is put back first" in [s.text for s in found if not s.ok]


def test_ctrl_c_puts_a_backend_of_haproxy_back(
    haproxy: HAProxy, named: Named, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(named, haproxy, tmp_path)

    def told(self: Step) -> Any:
        if "s1 out" in self.text and "accepted" in self.text:
            assert haproxy.weights("scratch")["s1"] == 0
            os.kill(os.getpid(), signal.SIGINT)
        return Text(self.text)

    monkeypatch.setattr("steerd.cli.providers._line", told)
    result = run("test", "edge", "--config", config, "--write", "scratch", "--servers", "s1,s2")
    assert result.exit_code == 1, result.output
    assert "stopped: it is put back first" in result.output
    assert haproxy.weights("scratch") == {"s1": 10, "s2": 10}
