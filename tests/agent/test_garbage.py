"""What a large config made is not gone through by the collector again, and is no leak when it goes."""

from __future__ import annotations

import gc
import weakref

from steerd.agent.garbage import Garbage


class Ring:
    """Garbage only for the collector."""

    def __init__(self) -> None:
        self.me = self


def test_what_was_settled_is_left_alone_until_it_is_released() -> None:
    garbage, ring = Garbage(), Ring()
    gone = weakref.ref(ring)
    before = gc.get_freeze_count()
    garbage.settle(10_000)
    try:
        assert gc.get_freeze_count() > before
        del ring
        gc.collect()
        assert gone() is not None
    finally:
        garbage.release()
    gc.collect()
    assert gone() is None
    garbage.release()  # nothing is left to do


def test_a_small_config_leaves_the_collector_as_it_is() -> None:
    garbage, before = Garbage(), gc.get_freeze_count()
    garbage.settle(999)
    assert gc.get_freeze_count() == before
    garbage.release()
