"""A small OpenAI-compatible model server that can be told to fail, as a process of its own.

    python -m steerd.demo.model_server --port 0 --model demo-7b --name z1
    listening 127.0.0.1:40123

    curl -d '{"mode": "stall"}' http://127.0.0.1:40123/control

It is the fixture of the demo and of the tests, and nothing else: no weights, no keys, loopback unless told otherwise, and
control from loopback only. Modes: `steerd.demo.model_modes`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

from aiohttp import web

from steerd.demo.engine_link import EngineLink
from steerd.demo.model_api import ModelApi
from steerd.demo.model_stacks import FACES

__all__ = ["main", "serve"]

_SHUTDOWN_S = 0.2
"""How long requests in flight may take to end after SIGTERM. Hung ones are cut: hanging is what they are for."""


async def serve(api: ModelApi, host: str, port: int, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Prints `listening HOST:PORT` once connections are taken."""
    runner = web.AppRunner(
        api.app(), access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_S, keepalive_timeout=75.0
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=512, reuse_address=True)
        await site.start()
        address = runner.addresses[0]
        print(f"listening {address[0]}:{address[1]}", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and serve until SIGTERM, SIGINT or, where asked for, the end of standard input."""
    parser = argparse.ArgumentParser(prog="model_server", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--model", default="demo-7b", help="model id to serve (default: %(default)s)")
    parser.add_argument("--name", default="model", help="name shown at /control")
    parser.add_argument("--version-label", default="v1", help="value of the X-Model-Version header")
    parser.add_argument("--stack", default="vllm", choices=sorted(FACES), help="whose URLs and metric names to speak")
    parser.add_argument("--engine-process", action="store_true", help="make tokens in a process of their own")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when standard input ends (with the parent)")
    asked = parser.parse_args(argv)
    try:
        asyncio.run(_run(asked))
    except OSError as error:
        print(f"cannot listen on {asked.host}:{asked.port}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


async def _run(asked: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    api = ModelApi(asked.name, asked.model, version=asked.version_label, stack=asked.stack)
    link = EngineLink() if asked.engine_process else None
    if link is not None:
        api.engine.step, api.engine_pid = link.step, await link.start()
    try:
        await _serve(asked, api, stop)
    finally:
        if link is not None:
            await link.stop()


async def _serve(asked: argparse.Namespace, api: ModelApi, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    if asked.exit_with_stdin:
        transport, _ = await loop.connect_read_pipe(lambda: _UntilEof(stop), sys.stdin)
        try:
            await serve(api, asked.host, asked.port, stop)
        finally:
            transport.close()
    else:
        await serve(api, asked.host, asked.port, stop)


class _UntilEof(asyncio.Protocol):
    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._stop.set()


if __name__ == "__main__":
    raise SystemExit(main())
