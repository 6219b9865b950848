"""Somebody else's alias in the weighted group answers with addresses that nobody here knows: that is no reason to doubt."""

from __future__ import annotations

from tests.support.aws.route53 import LocalRoute53, NameServer
from tests.support.aws.steer import build, deadline, fence, route, write

NAME = "chat.acme.example"
ALIAS = {
    "Name": f"{NAME}.",
    "Type": "A",
    "SetIdentifier": "theirs",
    "Weight": 255,
    "AliasTarget": {"HostedZoneId": "Z32O", "DNSName": "lb.example.net.", "EvaluateTargetHealth": False},
}


async def test_what_a_foreign_alias_answers_is_not_strange() -> None:
    zone = LocalRoute53()
    zone.start()
    names = NameServer(zone).start()
    zone.put(ALIAS)
    provider = build("route53", {"hosted_zone": zone.zone_id, "endpoint_url": zone.url, "verify": [names.address]})
    of = route(NAME)
    for seq in range(1, 6):
        change = await write(provider, of, {"za": seq, "zb": 1, "zc": 1}, fence(1, seq))
        verified = await provider.verify(of, change, deadline())
        assert verified.in_sync, verified.text
    assert change.payload.served == {"A": None}
    zone.put({**ALIAS, "Weight": 0})
    change = await write(provider, of, {"za": 1, "zb": 1, "zc": 0}, fence(1, 9))
    assert change.payload.served["A"] is not None, "an alias that is out answers nothing"
    await provider.close()
    names.stop()
    zone.stop()
