"""`steerd probe`: an endpoint's checks, once, from here. One look has no hysteresis: its verdict is its own."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Sequence

import click

from probes.busy import Moves, busy_or_hung
from probes.outcome import Layer, Outcome, Status
from probes.probe import Probe, look_safely
from probes.registry import make
from steerd.cli.durations import DURATION
from steerd.cli.errors import BadInput
from steerd.cli.options import print_json
from steerd.cli.probe_alone import of_kind
from steerd.cli.probe_jobs import Done, Job, bare, configured
from steerd.cli.probe_set import overridden
from steerd.cli.stacks import configured as own_stacks
from steerd.cli.views.paint import console, show
from steerd.cli.views.probe import facts, render
from steerd.config.secrets import resolve
from steerd.model.vote import Verdict

__all__ = ["command", "verdict_of"]


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
        jobs, left_out = configured(config, endpoint)
        name = endpoint
    elif kind is not None:
        jobs, left_out = [Job(*of_kind(kind, url, model))], []
        name = url or kind
    else:
        assert url is not None
        named = {where.split(".")[1] for where in overrides if where.count(".") >= 2}
        jobs, left_out = bare(url, stack or "http", model, own_stacks(config), named)
        name = url
    jobs = overridden(jobs, overrides)
    for line in left_out:
        click.echo(line, err=True)
    if not jobs:
        raise BadInput("Nothing can be checked: no check has a kind that can be used here.")
    with _waiting(name, for_s):
        done = asyncio.run(_look(jobs, for_s))
    verdict = verdict_of([one.outcome for one in done])
    if verdict is Verdict.DEGRADED and all(one.outcome.layer is Layer.DEPENDENCY for one in done):
        # Looked at by itself, a dependency that fails is down; only what rests on it is degraded.
        bad = any(one.outcome.status is Status.FAIL for one in done)
        verdict = Verdict.UNHEALTHY if bad else verdict
    if as_json:
        print_json(facts(name, verdict, done))
    else:
        show(render(name, verdict, done))
    if verdict is Verdict.UNHEALTHY:
        sys.exit(1)
    if verdict is Verdict.UNKNOWN:
        sys.exit(2)


def verdict_of(outcomes: Sequence[Outcome]) -> Verdict:
    """The worst that the looks say, as in decisions.md section 2. An ERROR leaves its check out; when that leaves no
    liveness and readiness check where there are some, or nothing at all, the verdict is unknown.
    """
    told = [one for one in outcomes if one.status is not Status.ERROR]
    if any(one.status is Status.FAIL and one.layer is not Layer.DEPENDENCY for one in told):
        return Verdict.UNHEALTHY
    if any(one.status is Status.SATURATED for one in told):
        return Verdict.SATURATED
    if any(one.status in (Status.SLOW, Status.FAIL) for one in told):
        return Verdict.DEGRADED
    basic = [one for one in outcomes if one.layer in (Layer.LIVENESS, Layer.READINESS)]
    needed = basic or list(outcomes)
    return Verdict.HEALTHY if any(one.status is Status.PASS for one in needed) else Verdict.UNKNOWN


@contextlib.contextmanager
def _waiting(name: str, for_s: float | None) -> Iterator[None]:
    """A sign of life on a terminal: a user path may take longer than a second."""
    if not sys.stderr.isatty():
        yield
        return
    text = f"looking at {name}" + ("" if for_s is None else f" for {for_s:g} s")
    with console(sys.stderr).status(text):
        yield


async def _look(jobs: Sequence[Job], for_s: float | None) -> list[Done]:
    probes: list[Probe] = []
    try:
        for job in jobs:
            try:
                probes.append(make(job.check.kind, job.check.layer.value, job.check.settings, resolve))
            except ValueError as error:
                raise BadInput(f"checks.{job.check.name}: {error}") from error
        pairs = list(zip(jobs, probes, strict=True))
        movers = {job.target: probe for job, probe in pairs if isinstance(probe, Moves)}
        return await asyncio.gather(
            *(
                _look_at(job, probe, None if isinstance(probe, Moves) else movers.get(job.target), for_s)
                for job, probe in pairs
            )
        )
    finally:
        for probe in probes:
            await probe.close()


async def _look_at(job: Job, probe: Probe, mover: Moves | None, for_s: float | None) -> Done:
    """Look once, or at the check's own interval until `for_s` is over. `mover` tells busy from hung."""
    loop = asyncio.get_running_loop()
    check = job.check
    end = loop.time() + (for_s or 0.0)
    looks = bad = 0
    while True:
        began = loop.time()
        outcome = await look_safely(probe, job.target, began + check.timeout_s)
        if mover is not None:
            outcome = await busy_or_hung(outcome, mover, job.target)
        looks += 1
        bad += outcome.status is not Status.PASS
        due = began + check.interval_s
        if due > end:
            return Done(check, outcome, looks, bad)
        await asyncio.sleep(max(0.0, due - loop.time()))
