"""The translation for any plan and any record that stands there: pure, a thousand plans."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from steerd.model.route import Desired, Fence, Member, Route, Target
from steerd.providers.powerdns import lua
from steerd.providers.powerdns.lua import CHUNK_BYTES, Group
from steerd.providers.powerdns.translate import Patch, RRset, Seen, observed_from, read_rrsets, served, translate

NAME = "chat.acme.example"
VALUES = {
    "za": ("192.0.2.1", "192.0.2.11", "2001:db8::1"),
    "zb": ("192.0.2.2", "2001:db8::2"),
    "zc": ("192.0.2.3", "2001:db8::3"),
}
FOREIGN = ("198.51.100.1", "198.51.100.2")

plans = st.fixed_dictionaries({z: st.sampled_from([0, 0, 1, 7, 2500, 10_000]) for z in VALUES}).filter(
    lambda w: any(w.values())
)
fences = st.builds(Fence, st.just("acme"), st.integers(1, 3), st.integers(1, 9), st.just("p"))
others = st.lists(st.builds(Group, st.integers(1, 99), st.sampled_from([(v,) for v in FOREIGN])), max_size=2)


def route(types: tuple[str, ...]) -> Route:
    targets = tuple(Target(z, (f"e-{z}",), {f"e-{z}": v}) for z, v in VALUES.items())
    return Route(key="it/chat", service="chat", provider="it", name=NAME, per="zone", targets=targets, types=types)


def desired(weights: dict[str, int], top: int) -> Desired:
    return Desired(tuple(Member(z, min(w, top), VALUES[z] if w else ()) for z, w in weights.items()))


def carried_out(seen: Seen, patch: Patch) -> Seen:
    """What PowerDNS makes of a PATCH."""
    rows: dict[tuple[str, str], Any] = {(f"{NAME}.", t): _row(r) for t, r in seen.rrsets.items()}
    if seen.txt is not None:
        rows[f"_steerd.{NAME}.", "TXT"] = _row(seen.txt)
    for row in patch.rrsets:
        place = (row["name"], row["type"])
        assert row["changetype"] == "DELETE" or row["records"], "an empty REPLACE deletes"
        if row["changetype"] == "DELETE":
            del rows[place]
        else:
            rows[place] = {"ttl": row["ttl"], "records": row["records"]}
    all_rows = [{"name": n, "type": t, **body} for (n, t), body in rows.items()]
    return Seen(read_rrsets(all_rows, NAME), read_rrsets(all_rows, f"_steerd.{NAME}").get("TXT"))


def _row(rrset: RRset) -> dict[str, Any]:
    return {"ttl": rrset.ttl_s, "records": [{"content": t, "disabled": d} for t, d in rrset.records]}


@settings(max_examples=1000, deadline=None)
@given(
    sequence=st.lists(plans, min_size=1, max_size=4),
    fence=fences,
    foreign=others,
    weighted=st.booleans(),
    both=st.booleans(),
)
def test_any_plans_in_a_row(
    sequence: list[dict[str, int]], fence: Fence, foreign: list[Group], weighted: bool, both: bool
) -> None:
    where = route(("A", "AAAA") if both else ("A",))
    seen = Seen()
    if foreign:  # somebody else's addresses stand there first
        rows = [(lua.content("A", foreign), False)] if weighted else [(v, False) for g in foreign for v in g.values]
        seen = Seen({"LUA" if weighted else "A": RRset(30, tuple(sorted(set(rows))))})
    for weights in sequence:
        wanted = desired(weights, 10_000 if weighted else 1)
        before = observed_from(where, seen, weighted=weighted)
        change = translate(where, wanted, before, fence, weighted=weighted)
        assert change == translate(where, wanted, before, fence, weighted=weighted)
        seen = seen if change.nothing else carried_out(seen, change.payload)
        after = observed_from(where, seen, weighted=weighted)
        assert after.weights == wanted.weights, "exact: no quantization is left to the provider"
        assert after.foreign == tuple(sorted({v for g in foreign for v in g.values}))
        assert all(served(seen)[t] for t in where.types)
        assert translate(where, wanted, after, fence, weighted=weighted).nothing
        newer = Fence("acme", fence.epoch + 1, 1, "p")
        assert not translate(where, wanted, after, newer, weighted=weighted).nothing, "a new epoch moves the fence"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.builds(
            Group,
            st.integers(1, 10_000),
            st.lists(st.ip_addresses(v=4).map(str), min_size=1, max_size=40, unique=True).map(
                lambda v: tuple(sorted(v))
            ),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_any_script_reads_back_and_is_cut_where_a_blank_does_no_harm(groups: list[Group]) -> None:
    text = lua.content("A", groups)
    assert lua.parse(text) == tuple(groups)
    strings = text.removeprefix('A "').removesuffix('"').split('" "')
    assert all(len(s) <= CHUNK_BYTES for s in strings)
    joined = 'A "' + " ".join(strings) + '"'  # as a secondary joins them
    assert lua.parse(joined) == tuple(groups)
    assert "' " not in joined.replace("', ", "',").replace("' }", "'}").replace("' ,", "',")
