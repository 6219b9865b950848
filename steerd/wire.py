"""Frames of the agent stream, as msgpack: a tag and the dataclass of `steerd.model.vote`.

Up: `Ballot`, `Heartbeat`. Down: `Welcome`, `Confirm`. Frames are bounded by `MAX_FRAME`; unknown fields are ignored, so that
versions can differ by one during a rollout.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from steerd.model.sample import Reading
from steerd.model.vote import Ballot, Confirm, Heartbeat, Vote, Welcome

__all__ = ["MAX_FRAME", "BadFrame", "Frame", "decode", "encode", "encode_what_can_be"]

MAX_FRAME = 16 * 1024 * 1024
"""Bytes. A full ballot of 10 000 endpoints is about 1.5 MiB."""

Frame = Ballot | Heartbeat | Welcome | Confirm

_TYPES: dict[str, type[Frame]] = {"ballot": Ballot, "heartbeat": Heartbeat, "welcome": Welcome, "confirm": Confirm}
_TAGS = {cls: tag for tag, cls in _TYPES.items()}
_DECODERS = {tag: msgspec.msgpack.Decoder(cls) for tag, cls in _TYPES.items()}
_ENCODER = msgspec.msgpack.Encoder()
_ENVELOPE = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])


class BadFrame(ValueError):
    """The bytes are not a frame of ours."""


def encode(frame: Frame) -> bytes:
    """Msgpack of [tag, frame]. Raises UnicodeEncodeError for a text that is none (a lone surrogate)."""
    return _ENCODER.encode((_TAGS[type(frame)], frame))


def encode_what_can_be(frame: Ballot | Heartbeat) -> tuple[bytes, tuple[str, ...]]:
    """As `encode`, and never raises for what a frame says: (bytes, what was left out of it, in words).

    One text that cannot be sent must not cost the other votes. A vote keeps its verdict and loses its texts; one that cannot be
    sent even so, and a reading, are left out.
    """
    try:
        return encode(frame), ()
    except UnicodeEncodeError:
        pass
    left: list[str] = []
    readings = tuple(r for r in frame.readings if _goes(r, f"reading {r.name!a} of {r.subject!a}", left))
    abstaining = frame.abstaining and frame.abstaining.encode("utf-8", "replace").decode()
    if isinstance(frame, Heartbeat):
        stale = tuple(name for name in frame.stale if _goes(name, f"stale endpoint {name!a}", left))
        return encode(replace(frame, stale=stale, readings=readings, abstaining=abstaining)), tuple(left)
    votes = []
    for vote in frame.votes:
        if _goes(vote, f"texts of the vote on {vote.endpoint!a}", left):
            votes.append(vote)
        elif _goes(bare := replace(vote, reason=None, version=None, errors=()), f"vote on {vote.endpoint!a}", left):
            votes.append(bare)
    return encode(replace(frame, votes=tuple(votes), readings=readings, abstaining=abstaining)), tuple(left)


def _goes(part: Vote | Reading | str, words: str, left: list[str]) -> bool:
    try:
        _ENCODER.encode(part)
    except UnicodeEncodeError:
        left.append(words)
        return False
    return True


def decode(data: bytes) -> Frame:
    """The frame in `data`. Raises `BadFrame`, never anything else, whatever the bytes are."""
    if len(data) > MAX_FRAME:
        raise BadFrame(f"frame of {len(data)} bytes is over the limit of {MAX_FRAME}")
    try:
        tag, body = _ENVELOPE.decode(data)
        return _DECODERS[tag].decode(body)
    except KeyError:
        raise BadFrame("unknown frame tag") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame(str(error)[:200]) from None
