"""What an agent looks at, from the config."""

from __future__ import annotations

from steerd.agent.references import reference_urls
from steerd.agent.watchlist import watchlist, watchlists
from steerd.model.fleet import Agent, Check, Coordinator, Dependency, Endpoint, Fleet, Region, Service
from steerd.model.sample import Layer

LIVE = Check("liveness", Layer.LIVENESS, "http", 5.0, 2.0)
ASK = Check("user_path", Layer.USER_PATH, "openai-chat", 30.0, 10.0)


def make(**more: object) -> Fleet:
    fields: dict[str, object] = {
        "name": "f",
        "regions": (Region("eu", ("eu-a", "eu-b")), Region("us", ("us-a",))),
        "agents": (Agent("a1", "eu-a"), Agent("a2", "us-a"), Agent("out", "fra", sees=("chat", "e-us"))),
        "services": (
            Service(
                name="chat",
                model="m",
                checks=(LIVE, ASK),
                depends_on=("vectors",),
                endpoints=(
                    Endpoint("c-eu", "chat", "eu-a", "http://10.0.0.1", 1.0, public_url="https://c-eu.example"),
                    Endpoint("c-us", "chat", "us-a", "http://10.1.0.1", 1.0),
                ),
            ),
            Service(
                name="embed",
                checks=(LIVE,),
                endpoints=(
                    Endpoint("e-eu", "embed", "eu-a", "http://10.0.0.2", 1.0),
                    Endpoint("e-us", "embed", "us-a", "http://10.1.0.2", 1.0),
                ),
            ),
        ),
        "dependencies": (
            Dependency(
                "vectors",
                "http",
                settings={"path": "/ready"},
                instances={"eu": {"url": "http://v.eu"}, "us": {"url": "http://v.us", "interval": 20.0}},
            ),
        ),
    }
    return Fleet(**{**fields, **more})  # type: ignore[arg-type]  # fields of Fleet by name


def test_an_agent_looks_at_everything_unless_told_otherwise() -> None:
    keys = {w.key for w in watchlist(make(), "a1").watches}
    assert keys == {
        *((e, "liveness") for e in ("c-eu", "c-us", "e-eu", "e-us")),
        *((e, "user_path") for e in ("c-eu", "c-us")),
        ("vectors@eu", "dependency:vectors"),
        ("vectors@us", "dependency:vectors"),
    }


def test_sees_narrows_by_service_or_endpoint() -> None:
    found = watchlist(make(), "out")
    assert [s.endpoint for s in found.subjects] == ["c-eu", "c-us", "e-us"]


def test_agents_outside_regions_use_the_public_url_where_there_is_one() -> None:
    fleet = make()
    outside = {w.subject: w.url for w in watchlist(fleet, "out").watches if w.check is LIVE}
    inside = {w.subject: w.url for w in watchlist(fleet, "a1").watches if w.check is LIVE}
    assert (outside["c-eu"], outside["c-us"]) == ("https://c-eu.example", "http://10.1.0.1")
    assert inside["c-eu"] == "http://10.0.0.1"


def test_only_agents_that_see_an_endpoint_share_its_interval() -> None:
    by_key = {w.key: w for w in watchlist(make(), "a1").watches}
    assert by_key["c-eu", "user_path"].cadence.period_s == 3 * 30.0
    assert by_key["c-eu", "user_path"].rule.interval_s == 30.0
    phases = sorted(
        next(w for w in watchlist(make(), name).watches if w.key == ("e-eu", "liveness")).cadence.phase_s
        for name in ("a1", "a2")
    )
    assert round(phases[1] - phases[0], 6) == 2.5


def test_each_endpoint_depends_on_the_instance_of_its_region() -> None:
    found = watchlist(make(), "a1")
    behind = {s.endpoint: dict(s.dependencies) for s in found.subjects}
    assert behind == {
        "c-eu": {"dependency:vectors": "vectors@eu"},
        "c-us": {"dependency:vectors": "vectors@us"},
        "e-eu": {},
        "e-us": {},
    }
    by_subject = {w.subject: w for w in found.watches}
    assert by_subject["vectors@eu"].url == "http://v.eu"
    assert by_subject["vectors@eu"].check.settings == {"path": "/ready", "url": "http://v.eu"}
    assert by_subject["vectors@us"].check.interval_s == 20.0
    assert set(found.shared) == {"vectors@eu", "vectors@us"}


def test_a_service_may_set_the_pace_of_its_dependency_check() -> None:
    fleet = make()
    own = Check("dependency:vectors", Layer.DEPENDENCY, "http", 7.0, 3.0, {"slow": 1.0})
    chat = fleet.services[0]
    services = (Service(name="chat", checks=(LIVE, own), depends_on=("vectors",), endpoints=chat.endpoints),)
    found = watchlist(make(services=services), "a1")
    shared = {w.subject: w.check for w in found.watches if w.check.layer is Layer.DEPENDENCY}
    assert (shared["vectors@us"].interval_s, shared["vectors@us"].timeout_s) == (7.0, 3.0)
    assert shared["vectors@us"].settings == {"path": "/ready", "url": "http://v.us", "slow": 1.0}
    assert ("c-eu", "dependency:vectors") not in {w.key for w in found.watches}


def test_one_instance_for_everybody() -> None:
    fleet = make(dependencies=(Dependency("vectors", "tcp", settings={"host": "v", "port": 1}),))
    found = watchlist(fleet, "a1")
    assert {d for s in found.subjects for d in s.dependencies.values()} == {"vectors"}
    assert len([w for w in found.watches if w.subject == "vectors"]) == 1


def test_references_are_the_coordinators_outside_ones_own_region_where_enough() -> None:
    def coordinators(*regions: str) -> Fleet:
        return make(coordinators=tuple(Coordinator(f"co{n}", r, f"http://co{n}/") for n, r in enumerate(regions)))

    assert reference_urls(coordinators("eu", "us"), "a1") == ("http://co0/livez", "http://co1/livez")
    assert reference_urls(coordinators("eu", "us", "ap"), "a1") == ("http://co1/livez", "http://co2/livez")
    assert reference_urls(coordinators("eu", "us"), "out") == ("http://co0/livez", "http://co1/livez")
    assert reference_urls(make(references=("http://one",)), "a1") == ("http://one",)


def test_several_agents_at_once_get_what_each_gets_alone() -> None:
    fleet = make()
    found = watchlists(fleet, ("a1", "out", "ghost"))
    assert found == {name: watchlist(fleet, name) for name in ("a1", "out")}
    assert found["a1"].subjects[0].checks[0] is found["a1"].subjects[1].checks[0]  # a large fleet holds a rule once
