"""The agent's voice: what was seen goes into the ballot box, and frames come out of it to every coordinator.

Deltas are coalesced for 50 ms, suspects go at once, a heartbeat every 2 s. Doubt of the agent in itself is decided here
too, because it changes what may be said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from steerd.agent.observer import AgentObserver
from steerd.agent.stream import CoordinatorStream
from steerd.core.ballot_box import COALESCE_S, HEARTBEAT_S, BallotBox
from steerd.core.doubt import SelfDoubt
from steerd.core.verdict import Observation
from steerd.model.sample import Sample
from steerd.model.vote import Ballot, Heartbeat
from steerd.wire import encode_what_can_be

__all__ = ["Voter"]


class Voter:
    """Ballot box, self-doubt and the streams they speak through."""

    def __init__(self, box: BallotBox, doubt: SelfDoubt, observer: AgentObserver) -> None:
        self.box = box
        self.doubt = doubt
        self._observer = observer
        self._streams: tuple[CoordinatorStream, ...] = ()
        self._unsent: set[str] = set()
        self._changed = asyncio.Event()
        self._urgent = asyncio.Event()

    def set_streams(self, streams: Iterable[CoordinatorStream]) -> None:
        """Who to speak to."""
        self._streams = tuple(streams)

    def observe(self, sample: Sample, now: float) -> Observation:
        """Takes one look; sends what it changed."""
        seen = self.box.observe(sample, now)
        if seen.urgent:
            self._urgent.set()
        if seen.changed:
            self._changed.set()
        self.reconsider(now)
        return seen

    def doubt_endpoint(self, endpoint: str, check: str) -> None:
        """A look ran out of time and it is not known yet whether the endpoint is busy or hung: suspect, and said at once."""
        if self.box.doubt(endpoint, check, asyncio.get_running_loop().time()):
            self._urgent.set()
            self._changed.set()

    def reconsider(self, now: float) -> None:
        """Abstains, or votes again, as the agent's doubt of itself says. Cheap: called after everything that may
        matter.
        """
        reason = self.doubt.reason(now)
        if reason == self.box.abstaining or not self.box.abstain(reason):
            return
        self._observer.on_abstain(reason)
        if reason is None:
            self.ask_full()
        else:
            self._urgent.set()
            self._changed.set()

    def full(self) -> bytes:
        """A full ballot now, as a frame."""
        return self._encoded(self.box.full(asyncio.get_running_loop().time()))

    def outrank(self, seen: int) -> None:
        """Starts above the incarnation a coordinator knows, where ours is older (this host's clock was set back)."""
        if self.box.outrank(seen):
            self.ask_full()

    def ask_full(self) -> None:
        """Every coordinator gets a full ballot next."""
        for stream in self._streams:
            stream.ask_full()

    async def run_deltas(self) -> None:
        """Sends deltas as votes change, until cancelled."""
        while True:
            await self._changed.wait()
            try:
                async with asyncio.timeout(COALESCE_S):
                    await self._urgent.wait()
            except TimeoutError:
                pass  # nothing urgent came: what gathered meanwhile goes in one frame
            self._changed.clear()
            self._urgent.clear()
            self._send(self._encoded(self.box.delta(asyncio.get_running_loop().time())))

    async def run_heartbeats(self) -> None:
        """Refreshes all votes every 2 s, until cancelled."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            now = asyncio.get_running_loop().time()
            self.box.refresh()
            if self.box.dirty:
                self._send(self._encoded(self.box.delta(now)))
            self._send(self._encoded(self.box.heartbeat(now)))

    def _send(self, data: bytes) -> None:
        for stream in self._streams:
            stream.offer(data)

    def _encoded(self, frame: Ballot | Heartbeat) -> bytes:
        data, left = encode_what_can_be(frame)
        news = [words for words in left if words not in self._unsent]
        if news:
            self._unsent.update(news)
            self._observer.on_unsendable(", ".join(news))
        return data
