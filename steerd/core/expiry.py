"""Expiry: pins and freezes end at their time.

While an operator's freeze stands nothing moves by itself: a pin that is over waits for the end of the freeze.
"""

from __future__ import annotations

from steerd.core.world import World

__all__ = ["expire", "released", "waits"]


def expire(world: World, now: float) -> None:
    """Ends what is over: the freeze first, then pins, unless a freeze holds them."""
    freeze = world.freeze
    if freeze is not None and freeze.until is not None and freeze.until <= now:
        text = f"the freeze by {freeze.by} expired"
        world.record("operator", world.fleet.name, text, now, by="automatic", verb="unfreeze")
        world.freeze = None
        world.state_changed = True
        for service in world.services:
            world.touch(service)
    for name in [n for n, p in world.pins.items() if p.until <= now]:
        pin = world.pins[name]
        if world.freeze is not None:
            world.alerts.set("restore-held", _of(name), f"the pin of {name} by {pin.by} expired: {waits(world)}", now)
            continue
        del world.pins[name]
        released(world, name)
        world.record("operator", name, f"the pin by {pin.by} expired", now, by="automatic", verb="unpin")
        for service in world.domains.services_in(name):
            world.touch(service)
        world.state_changed = True
    ends = [p.until for p in world.pins.values() if p.until > now]
    if world.freeze is not None and world.freeze.until is not None:
        ends.append(world.freeze.until)
    for until in ends:
        world.timers.at(until, "pins", "")


def released(world: World, name: str) -> None:
    """The pin of `name` is gone, or new."""
    world.alerts.clear("restore-held", _of(name))


def waits(world: World) -> str:
    """What an expiry waits for while automation is frozen."""
    assert world.freeze is not None
    return f"frozen by {world.freeze.by} ({world.freeze.reason}), it waits for `steerd unfreeze`"


def _of(name: str) -> str:
    return f"{name}/pin"
