"""`steerd demo`: a whole small world on this machine."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType

import click

from steerd.cli.client import Client, Place
from steerd.demo.layout import plan_layout
from steerd.demo.processes import Crew
from steerd.demo.screen import Screen
from steerd.demo.story import Story, StoryError

__all__ = ["command"]

_EPILOG = """\b
Examples:
  steerd demo             the story once, then everything is gone again
  steerd demo --once      the same; exit 0 only if traffic moved as it should
  steerd demo --keep      the fleet stays up afterwards, to try things by hand
"""


@click.command(epilog=_EPILOG)
@click.option("--once", is_flag=True, help="End by itself; exit 0 only if traffic moved as it should (the default).")
@click.option(
    "--keep", is_flag=True, help="Stay up after the story until Ctrl-C, for `steerd status`, `dig` and `curl`."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep config, database and logs here instead of in a temporary folder.",
)
def command(*, once: bool, keep: bool, folder: Path | None) -> None:
    """A whole world on loopback, under a minute: model servers in five zones of two regions, probe agents, a coordinator and its
    DNS server. A zone loses power; traffic leaves it and comes back; the times are printed.

    Nothing outside this machine is touched, and nothing is left behind.
    """
    if once and keep:
        raise click.UsageError("--once ends by itself, --keep stays up: give one of them.")
    signal.signal(signal.SIGTERM, _interrupt)
    if folder is not None:
        sys.exit(_play(folder.resolve(), keep=keep))
    with tempfile.TemporaryDirectory(prefix="steerd-demo-") as temporary:
        sys.exit(_play(Path(temporary), keep=keep))


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """SIGTERM ends the demo the way Ctrl-C does: in order, with every process gone."""
    del signum, frame
    raise KeyboardInterrupt


def _play(folder: Path, *, keep: bool) -> int:
    screen = Screen()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        layout = plan_layout(folder)
    except OSError as error:
        raise click.ClickException(str(error)) from error
    with Crew(folder) as crew:
        story = Story(layout, crew, screen, Client(Place("the demo", socket=str(layout.socket))))
        try:
            moved = story.play()
        except StoryError as error:
            screen.note(str(error), "bold red")
            return 1
        except KeyboardInterrupt:
            _end_undisturbed()
            screen.note("interrupted: ending every process")
            return 130
        if keep:
            screen.text(_by_hand(layout.dns_port, str(layout.socket), layout.config, layout.port))
            _wait_for_interrupt()
            _end_undisturbed()
            screen.note("ending every process")
    if not keep:
        screen.text(_next())
    return 0 if moved else 1


def _end_undisturbed() -> None:
    """From here on everything ends by itself within seconds: a second Ctrl-C must not leave half of it behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _wait_for_interrupt() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


def _program() -> str:
    """How this steerd is called from the reader's shell: by its name where that finds it, else by its path."""
    started = Path(sys.argv[0]).absolute()
    found = shutil.which("steerd")
    if started.name != "steerd" or (found is not None and Path(found).samefile(started)):
        return "steerd"
    here = Path.cwd()
    return str(started.relative_to(here) if started.is_relative_to(here) else started)


def _next() -> str:
    steerd = _program()
    return f"""
What next:
  {steerd} demo --keep
      the same world, left up to try `steerd status`, `steerd drain`, dig and curl
  {steerd} config check configs/single-machine.yaml
      an annotated config to start from
  README.md
      from here to your own fleet
"""


def _by_hand(dns_port: int, socket: str, config: Path, port: int) -> str:
    steerd = _program()
    return f"""
The fleet stays up until Ctrl-C. In another terminal, in this folder:

  export STEERD_SOCKET={socket}
  {steerd} status                                   the fleet at a glance
  {steerd} drain us-east-1 --reason "trying it"     and `{steerd} restore us-east-1`
  {steerd} explain eu-west-1a
  {steerd} history
  dig +short @127.0.0.1 -p {dns_port} chat.demo.test
  curl -d '{{"mode": "stall"}}' http://127.0.10.2:{port}/control      make one hang; also crash, slow, garbage, cut, ...
  {steerd} probe chat-eu-west-1b --config {config}
"""
