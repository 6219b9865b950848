"""Frames of the agent stream, as msgpack: a tag and the dataclass of `steerd.model.vote`.

Up: `Ballot`, `Heartbeat`. Down: `Welcome`, `Confirm`. Frames are bounded by `MAX_FRAME`; unknown fields are ignored, so that
versions can differ by one during a rollout.
"""

from __future__ import annotations

import msgspec

from steerd.model.vote import Ballot, Confirm, Heartbeat, Welcome

__all__ = ["MAX_FRAME", "BadFrame", "Frame", "decode", "encode"]

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
    """Msgpack of [tag, frame]."""
    return _ENCODER.encode((_TAGS[type(frame)], frame))


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
