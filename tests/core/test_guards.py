"""Each guard by itself: what it stops, whom it binds, and what stands when it is asked. Engine stories are in test_engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steerd.core.domains import Domains
from steerd.core.guards import Intent, Standing, check
from steerd.model.fleet import Routing
from steerd.model.plan import Cause, Drain, Freeze, Phase, Pin
from steerd.model.rules import Guards
from steerd.model.vote import Verdict
from tests.core.test_limits import warm, with_capacity, wrong
from tests.support.fleets import make_fleet

FLEET = make_fleet({"eu": 3, "us": 3, "ap": 2}, per_zone=2)
DOMAINS = Domains(FLEET)
SHARES = dict.fromkeys(FLEET.endpoint_by_name, 1 / 16)


def drain(name: str, kind: str, cause: Cause = Cause.DOWN, phase: Phase = Phase.HELD) -> Drain:
    return Drain(
        name=name, kind=kind, cause=cause, by="automatic", reason="", since=0.0, service="chat", phase=phase, fraction=1.0
    )  # type: ignore[arg-type]  # fmt: skip


def standing(*drains: Drain, **more: object) -> Standing:
    gone = {e for d in drains for e in DOMAINS.members("chat", d.name) if d.phase is Phase.HELD}
    shares = {e: 0.0 if e in gone else s for e, s in SHARES.items()}
    rules = Guards(min_in_rotation=0.0)
    return replace(Standing(DOMAINS, rules, shares, drains), **more)  # type: ignore[arg-type]


def asked(name: str, kind: str, stands: Standing, cause: Cause = Cause.DOWN, *, automatic: bool = True) -> str | None:
    intent = Intent("chat", name, kind, cause, DOMAINS.members("chat", name), automatic=automatic)  # type: ignore[arg-type]
    veto = check(intent, stands, 0.0)
    return veto.guard if veto is not None else None


@pytest.mark.parametrize(
    ("out", "kind", "name", "guard"),
    [
        (("eua",), "zone", "eub", "blast-radius"),
        (("eua",), "zone", "usa", None),
        (("eu",), "region", "us", "blast-radius"),
        ((), "region", "us", None),
        (("eua-1", "eub-1"), "endpoint", "euc-1", None),
        (("eua-1", "eub-1", "euc-1"), "endpoint", "usa-1", "max-ejected"),
    ],
)
def test_how_much_may_be_out_at_once(out: tuple[str, ...], kind: str, name: str, guard: str | None) -> None:
    stands = standing(*(drain(o, kind) for o in out))
    assert asked(name, kind, stands) == guard
    assert asked(name, kind, stands, Cause.DEAD) is None, "not the confirmed dead"
    assert asked(name, kind, stands, Cause.OPERATOR, automatic=False) is None, "nor operators"


@pytest.mark.parametrize(("phase", "cause"), [(Phase.RESTORING, Cause.DOWN), (Phase.HELD, Cause.NEW)])
def test_what_comes_back_or_was_never_in_does_not_count_as_out(phase: Phase, cause: Cause) -> None:
    assert asked("eub", "zone", standing(drain("eua", "zone", cause, phase))) is None
    three = (drain(f"{z}-1", "endpoint", cause, phase) for z in ("eua", "eub", "euc"))
    assert asked("usa-1", "endpoint", standing(*three)) is None


def test_zones_of_a_drained_region_do_not_count() -> None:
    assert asked("eub", "zone", standing(drain("eua", "zone"), drain("eu", "region"))) is None


@pytest.mark.parametrize(
    ("more", "guard", "binds_dead", "binds_operators"),
    [
        ({"everywhere": True}, "global", False, False),
        ({"freeze": Freeze(by="op", reason="r", since=0.0)}, "freeze", True, False),
        ({"pins": (Pin(name="eu", share=0.5, by="op", reason="r", since=0.0, until=9.0),)}, "pin", True, False),
        ({"only": {"dns/eu": ("eu",)}, "domain": "eu"}, "residency", True, True),
        ({"rules": Guards(min_in_rotation=0.95)}, "floor", False, False),
    ],
)
def test_whom_each_guard_binds(more: dict[str, object], guard: str, binds_dead: bool, binds_operators: bool) -> None:
    name = str(more.pop("domain", "eua"))
    kind = "region" if name == "eu" else "zone"
    stands = standing(**more)
    assert asked(name, kind, stands) == guard
    assert (asked(name, kind, stands, Cause.DEAD) == guard) is binds_dead
    assert (asked(name, kind, stands, Cause.OPERATOR, automatic=False) == guard) is binds_operators


def test_a_pin_of_a_part_leaves_the_rest_to_automation() -> None:
    pins = (Pin(name="eua-1", share=0.1, by="op", reason="r", since=0.0, until=9.0),)
    assert asked("eua", "zone", standing(pins=pins)) is None
    assert asked("eua-1", "endpoint", standing(pins=pins)) == "pin"


def test_what_stands_by_counts_as_left() -> None:
    everything_else = tuple(drain(r, "region", Cause.OPERATOR) for r in ("us", "ap"))
    assert asked("eu", "region", standing(*everything_else), Cause.DEAD) == "never-empty"
    ready = frozenset(DOMAINS.members("chat", "us"))
    assert asked("eu", "region", standing(*everything_else, standby=ready), Cause.DEAD) is None


# -- in the engine ------------------------------------------------------------------------------------------------------


def test_a_freeze_stops_a_ramp_half_way_and_it_goes_on_afterwards() -> None:
    bench = warm()
    bench.all_say(Verdict.DEGRADED, ["eub-1", "eub-2"])
    bench.run(15)
    out = bench.share("eub")
    bench.command("freeze", reason="release")
    bench.run(300)
    assert bench.share("eub") == out
    bench.command("unfreeze")
    bench.run(70)
    assert 0 < bench.share("eub") < out
    bench.all_say(Verdict.HEALTHY)
    bench.run(650)
    back = bench.share("eub")
    assert bench.drains() == ["eub 0.75 restoring gray"]
    bench.command("freeze", reason="release")
    bench.run(1000)
    assert bench.share("eub") == back, "nor does anything come back"


def test_a_domain_comes_back_to_what_it_can_carry_whatever_pins_and_preference_leave_to_it() -> None:
    """Pins leave most of the traffic to a preferred zone that is too small for it: the rest goes where there is room."""
    made = make_fleet({"eu": 2, "us": 2}, demand=300.0, routing=Routing(prefer={"eu": 0.9, "us": 0.1}))
    bench = warm(with_capacity(made, usb=1000.0))
    wrong(bench, "eua")
    bench.run(5)
    for name in ("eub", "usa"):
        assert bench.command("pin", name, share=0.05, reason="r", for_s=3600.0).result == "ok"
    assert bench.share("eua") == 0
    bench.all_say(Verdict.HEALTHY, ["eua-1", "eua-2"])
    bench.run(700)
    assert 0 < bench.share("eua") < 0.1, "in steps"
    bench.run(1000)
    assert bench.drains() == []
    assert bench.share("eua") * 300.0 <= 0.8 * 200.0 * 1.005, "but for the steps of a weight"
    assert bench.share("eub") == pytest.approx(0.05, abs=1e-3)
