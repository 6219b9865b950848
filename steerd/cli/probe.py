"""`steerd probe`: an endpoint's checks, once, from here. One look has no hysteresis: its verdict is its own."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import yaml
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from probes import stacks
from probes.kinds import Setting
from probes.outcome import Layer as ProbeLayer
from probes.outcome import Outcome, Status
from probes.probe import look_safely
from probes.registry import KINDS, make
from probes.target import Target
from probes.units import duration_s
from steerd.cli.durations import DURATION
from steerd.cli.errors import BadInput
from steerd.cli.options import print_json
from steerd.cli.probe_alone import of_dependency, of_kind
from steerd.cli.views.paint import console, grid, health, show
from steerd.config import ConfigError, load
from steerd.config.secrets import resolve
from steerd.model.fleet import Check, Endpoint, Fleet, Secret, Service
from steerd.model.sample import Layer
from steerd.model.vote import Verdict

__all__ = ["command", "verdict_of"]

_DEPENDENCY = "dependency:"
_INTERVAL_S = {Layer.USER_PATH: 30.0, Layer.PROGRESS: 10.0}
_TIMEOUT_S = {Layer.USER_PATH: 30.0}
_STYLES = {Status.PASS: "green", Status.FAIL: "bold red", Status.ERROR: "magenta"}


@dataclass(frozen=True, slots=True)
class _Job:
    check: Check
    target: Target


@dataclass(frozen=True, slots=True)
class _Done:
    """The last look of a check, how many there were, and how many of them did not pass."""

    check: Check
    outcome: Outcome
    looks: int
    bad: int


@click.command("probe")
@click.argument("endpoint", required=False)
@click.option("--config", "config", metavar="FILE", envvar="STEERD_CONFIG", help="The config that has ENDPOINT.")
@click.option("--url", metavar="URL", help="Look at this URL instead of a configured endpoint.")
@click.option("--stack", metavar="STACK", help="What serves --url: see `steerd stacks`.  [default: http]")
@click.option("--kind", metavar="KIND", help="One kind of look only, such as redis or postgres, instead of a stack's.")
@click.option("--model", metavar="ID", help="The model id that --url should serve.")
@click.option("--for", "for_s", type=DURATION, metavar="DURATION", help="Keep looking for this long.")
@click.option(
    "--set", "overrides", multiple=True, metavar="checks.NAME.KEY=VALUE", help="Override a setting of a check."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(
    endpoint: str | None,
    *,
    config: str | None,
    url: str | None,
    stack: str | None,
    kind: str | None,
    model: str | None,
    for_s: float | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run the checks of ENDPOINT (or of a dependency) once from here, with stages and reasons.

    \b
    Exit codes: 0 healthy, saturated or degraded; 1 unhealthy; 2 bad input, or nothing could
    be told (the reasons say what to fix here). With --for, each check's last look counts.

    \b
    Examples:
      steerd probe chat-euw1a-1 --config steerd.yaml
      steerd probe --url http://10.0.1.10:8000 --stack vllm --model llama-3.3-70b-instruct
      steerd probe --url https://api.example --stack openai --model m \\
        --set checks.readiness.api_key=env:KEY --set checks.user_path.api_key=env:KEY
      steerd probe chat-euw1a-1 --config steerd.yaml --for 20s --set checks.user_path.ttft=1s --json
      steerd probe vectors@eu-west-1 --config steerd.yaml
      steerd probe --kind redis --url redis://10.0.1.5:6379 --set checks.redis.password=env:PW
      steerd probe --kind postgres --set checks.postgres.dsn=env:VECTORS_DSN --json
    """
    if (endpoint is None) == (url is None and kind is None):
        raise BadInput("Name an ENDPOINT of a config, or give --url; not both.")
    if kind is not None and stack is not None:
        raise BadInput("Give --kind for one look, or --stack for all of a stack's; not both.")
    left_out: list[str]
    if endpoint is not None:
        if config is None:
            raise BadInput("Which config has the endpoint? Give --config FILE, or set STEERD_CONFIG.")
        jobs, left_out = _configured(config, endpoint)
        name = endpoint
    elif kind is not None:
        jobs, left_out = [_Job(*of_kind(kind, url, model))], []
        name = url or kind
    else:
        assert url is not None
        jobs, left_out = _bare(url, stack or "http", model)
        name = url
    jobs = _overridden(jobs, overrides)
    for check in left_out:
        click.echo(f"{check}: not built yet in this version; left out", err=True)
    if not jobs:
        raise BadInput("Nothing can be checked: none of the checks is built in this version.")
    with _waiting(name, for_s):
        done = asyncio.run(_look(jobs, for_s))
    verdict = verdict_of([one.outcome for one in done])
    if verdict is Verdict.DEGRADED and all(one.outcome.layer is ProbeLayer.DEPENDENCY for one in done):
        # Looked at by itself, a dependency that fails is down; only what rests on it is degraded.
        bad = any(one.outcome.status is Status.FAIL for one in done)
        verdict = Verdict.UNHEALTHY if bad else verdict
    if as_json:
        print_json(_facts(name, verdict, done))
    else:
        show(_render(name, verdict, done))
    if verdict is Verdict.UNHEALTHY:
        sys.exit(1)
    if verdict is Verdict.UNKNOWN:
        sys.exit(2)


def verdict_of(outcomes: Sequence[Outcome]) -> Verdict:
    """The worst that the looks say, as in decisions.md section 2. An ERROR leaves its check out; when that leaves no
    liveness and readiness check where there are some, or nothing at all, the verdict is unknown.
    """
    told = [one for one in outcomes if one.status is not Status.ERROR]
    if any(one.status is Status.FAIL and one.layer is not ProbeLayer.DEPENDENCY for one in told):
        return Verdict.UNHEALTHY
    if any(one.status is Status.SATURATED for one in told):
        return Verdict.SATURATED
    if any(one.status in (Status.SLOW, Status.FAIL) for one in told):
        return Verdict.DEGRADED
    basic = [one for one in outcomes if one.layer in (ProbeLayer.LIVENESS, ProbeLayer.READINESS)]
    needed = basic or list(outcomes)
    return Verdict.HEALTHY if any(one.status is Status.PASS for one in needed) else Verdict.UNKNOWN


# -- what to look at


def _configured(file: str, name: str) -> tuple[list[_Job], list[str]]:
    try:
        fleet = load(Path(file))
    except ConfigError as error:
        raise BadInput("\n".join(str(problem) for problem in error.problems)) from error
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror or error}") from error
    for service in fleet.services:
        for endpoint in service.endpoints:
            if endpoint.name == name:
                return _of_endpoint(fleet, service, endpoint)
    alone = [_Job(*one) for one in of_dependency(fleet, name)]
    if alone:
        built = [job for job in alone if KINDS[job.check.kind].built]
        return built, [job.check.name for job in alone if job not in built]
    known = ", ".join(sorted(e.name for s in fleet.services for e in s.endpoints)[:20]) or "none"
    others = ", ".join(sorted(d.name for d in fleet.dependencies)[:20])
    more = f"; its dependencies are: {others}" if others else ""
    raise BadInput(f"{file} has no endpoint {name!r}; its endpoints are: {known}{more}")


def _of_endpoint(fleet: Fleet, service: Service, endpoint: Endpoint) -> tuple[list[_Job], list[str]]:
    jobs, left_out = [], []
    region = fleet.zone_region.get(endpoint.zone, endpoint.zone)
    target = Target(endpoint.name, endpoint.url, model=service.model)
    for check in service.checks:
        if not KINDS[check.kind].built:
            left_out.append(check.name)
        elif not check.name.startswith(_DEPENDENCY):
            jobs.append(_Job(check, target))
        else:
            jobs += _of_dependency(fleet, check, region)
    return jobs, left_out


def _of_dependency(fleet: Fleet, check: Check, region: str) -> Iterator[_Job]:
    name = check.name.removeprefix(_DEPENDENCY)
    for dependency in fleet.dependencies:
        if dependency.name != name or (dependency.instances and region not in dependency.instances):
            continue
        settings = {**dependency.settings, **dependency.instances.get(region, {}), **check.settings}
        for key in ("interval", "timeout"):
            settings.pop(key, None)
        url = settings.get("url")
        yield _Job(replace(check, settings=settings), Target(name, url if isinstance(url, str) else ""))


def _bare(url: str, stack: str, model: str | None) -> tuple[list[_Job], list[str]]:
    if stack not in stacks.names():
        raise BadInput(f"No stack is called {stack!r}; known are {', '.join(stacks.names())}.")
    found = stacks.load(stack)
    if not found.built:
        raise BadInput(f"The stack {stack!r} is not built yet; use http, or another that `steerd stacks` lists.")
    target = Target(url, url, model=model)
    jobs, left_out = [], []
    for one in found.checks:
        if not KINDS[one.kind].built:
            left_out.append(one.name)
            continue
        layer = Layer(one.layer)
        interval_s = one.interval_s or _INTERVAL_S.get(layer, 5.0)
        timeout_s = one.timeout_s or _TIMEOUT_S.get(layer, 2.0)
        jobs.append(_Job(Check(one.name, layer, one.kind, interval_s, timeout_s, dict(one.settings)), target))
    return jobs, left_out


# -- overrides


def _overridden(jobs: list[_Job], overrides: Sequence[str]) -> list[_Job]:
    found = {job.check.name: job for job in jobs}
    for override in overrides:
        where, equals, value = override.partition("=")
        parts = where.split(".")
        if not equals or len(parts) != 3 or parts[0] != "checks":
            raise BadInput(f"--set {override}: write checks.NAME.KEY=VALUE, for example checks.liveness.timeout=1s")
        _, name, key = parts
        if name not in found:
            raise BadInput(f"--set {override}: there is no check {name!r}; checks here are {', '.join(found)}")
        job = found[name]
        try:
            found[name] = replace(job, check=_with(job.check, key, value))
        except (ValueError, yaml.YAMLError) as error:
            raise BadInput(f"--set {override}: {error}") from error
    return list(found.values())


def _with(check: Check, key: str, value: str) -> Check:
    """`check` with one setting replaced. Raises ValueError with what would be right."""
    if key in ("interval", "timeout"):
        seconds = duration_s(value)
        if seconds <= 0:
            raise ValueError(f"{key} must be longer than 0")
        return replace(check, interval_s=seconds) if key == "interval" else replace(check, timeout_s=seconds)
    kind = KINDS[check.kind]
    setting = kind.setting(key)
    if setting is None:
        known = ", ".join(["interval", "timeout", *(s.name for s in kind.settings)])
        raise ValueError(f"{check.kind} has no setting {key!r}; it has {known}")
    return replace(check, settings={**check.settings, key: _read(setting, value)})


def _read(setting: Setting, value: str) -> Any:
    if setting.choices and setting.type != "url" and value not in setting.choices:
        raise ValueError(f"{value!r} is none of {', '.join(setting.choices)}")
    match setting.type:
        case "duration":
            return duration_s(value)
        case "secret":
            source, _, ref = value.partition(":")
            if source == "env" and ref:
                return Secret("env", ref)
            if source == "file" and ref:
                return Secret("file", ref)
            raise ValueError("secrets go by reference: write env:NAME or file:PATH")
        case "int":
            return int(value)
        case "float" | "fraction":
            return float(value)
        case "bool":
            if value not in ("true", "false"):
                raise ValueError(f"{value!r} is neither true nor false")
            return value == "true"
        case "strings":
            return [item.strip() for item in value.split(",")]
        case "map" | "any":
            return yaml.safe_load(value)
    return value


# -- looking


async def _look(jobs: Sequence[_Job], for_s: float | None) -> list[_Done]:
    return await asyncio.gather(*(_look_at(job, for_s) for job in jobs))


async def _look_at(job: _Job, for_s: float | None) -> _Done:
    """Look once, or at the check's own interval until `for_s` is over."""
    loop = asyncio.get_running_loop()
    check = job.check
    try:
        probe = make(check.kind, check.layer.value, check.settings, resolve)
    except ValueError as error:
        raise BadInput(f"checks.{check.name}: {error}") from error
    end = loop.time() + (for_s or 0.0)
    looks = bad = 0
    try:
        while True:
            began = loop.time()
            outcome = await look_safely(probe, job.target, began + check.timeout_s)
            looks += 1
            bad += outcome.status is not Status.PASS
            due = began + check.interval_s
            if due > end:
                return _Done(check, outcome, looks, bad)
            await asyncio.sleep(max(0.0, due - loop.time()))
    finally:
        await probe.close()


# -- showing


@contextlib.contextmanager
def _waiting(name: str, for_s: float | None) -> Iterator[None]:
    """A sign of life on a terminal: a user path may take longer than a second."""
    if not sys.stderr.isatty():
        yield
        return
    text = f"looking at {name}" + ("" if for_s is None else f" for {for_s:g} s")
    with console(sys.stderr).status(text):
        yield


def _facts(name: str, verdict: Verdict, done: Sequence[_Done]) -> Mapping[str, Any]:
    return {
        "target": name,
        "verdict": verdict.value,
        "checks": [
            {
                "name": one.check.name,
                "layer": one.outcome.layer.value,
                "kind": one.check.kind,
                "status": one.outcome.status.value,
                "reason": one.outcome.reason,
                "duration_s": round(one.outcome.duration_s, 6),
                "stages": _stages(one.outcome),
                **_readings(one.outcome),
            }
            for one in done
        ],
    }


def _readings(outcome: Outcome) -> dict[str, dict[str, float]]:
    """What a dependency measured: lag, depth, age. Other layers' readings are for the engine."""
    shown = outcome.readings and outcome.layer is ProbeLayer.DEPENDENCY
    return {"readings": dict(outcome.readings)} if shown else {}


def _stages(outcome: Outcome) -> dict[str, float]:
    return {name: round(value, 6) for name, value in outcome.stages.known().items() if name != "total_s"}


def _render(name: str, verdict: Verdict, done: Sequence[_Done]) -> RenderableType:
    word = "down" if verdict is Verdict.UNHEALTHY else verdict.value
    table = grid("check", "layer", "result", "took", "stages", right=("took",))
    notes: list[RenderableType] = []
    for one in done:
        outcome = one.outcome
        status = Text(outcome.status.value, style=_STYLES.get(outcome.status, "yellow"))
        stages = "  ".join(f"{key.removesuffix('_s')} {_ms(value)}" for key, value in _stages(outcome).items())
        table.add_row(one.check.name, outcome.layer.value, status, _ms(outcome.duration_s), stages)
        notes += _notes(one)
    head = Text.assemble((name, "bold"), "   ", health(word, text=verdict.value))
    return Group(head, "", table, *([""] if notes else []), *notes)


def _notes(one: _Done) -> Iterator[RenderableType]:
    outcome = one.outcome
    if outcome.reason is not None:
        yield Text.assemble((f"{one.check.name}: ", "bold"), outcome.reason)
    if outcome.detail is not None:
        lead = "" if outcome.reason is not None else f"{one.check.name}: "
        yield Padding(Text(lead + outcome.detail, style="dim"), (0, 0, 0, 2))
    if _readings(outcome):
        values = "  ".join(f"{name} {value:g}" for name, value in sorted(outcome.readings.items()))
        yield Text.assemble((f"{one.check.name}: ", "bold"), values, style="dim")
    if one.looks > 1:
        yield Text(f"{one.check.name}: {one.looks} looks, {one.bad} of them did not pass", style="dim")


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
