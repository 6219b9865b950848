"""The example in each provider's README is a config that parses, and whose route the provider takes."""

from __future__ import annotations

import re
import textwrap

import pytest

from steerd import config
from steerd.model.fleet import ProviderSpec
from steerd.providers import registry
from steerd.providers.base import Context, ProviderError
from tests.support.aws.steer import deadline
from tests.support.configs import parse
from tests.support.servers import free_port
from tests.support.tree import ROOT

FOLDERS = ("route53", "route53_arc", "zonal_shift", "elbv2", "global_accelerator")

FLEET = """
fleet: acme
regions:
  eu-west-1: {zones: [eu-west-1a, eu-west-1b]}
  us-east-1: {zones: [us-east-1a]}
agents:
  a: {zone: eu-west-1a}
  b: {zone: eu-west-1b}
  c: {zone: us-east-1a}
coordinators:
  euw1: {region: eu-west-1, url: "https://127.0.0.1:7443"}
"""
ENDPOINTS = """
stack: http
endpoints:
  e1: {zone: eu-west-1a, url: "http://10.0.1.10:8000", address: 203.0.113.10, address6: "2001:db8::1", capacity: 1}
  e2: {zone: eu-west-1b, url: "http://10.0.2.10:8000", address: 203.0.113.20, address6: "2001:db8::2", capacity: 1}
  e3: {zone: us-east-1a, url: "http://10.1.1.10:8000", address: 198.51.100.10, address6: "2001:db8::3", capacity: 1}
"""


@pytest.mark.parametrize("folder", FOLDERS)
async def test_the_readme_s_example(folder: str) -> None:
    text = (ROOT / "steerd" / "providers" / folder / "README.md").read_text()
    found = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert found
    example = found[1].replace("  chat:\n", "  chat:\n" + textwrap.indent(ENDPOINTS.strip(), "    ") + "\n")
    fleet = parse(FLEET + example)
    assert config.parse(config.show(fleet), "shown", ROOT) == fleet
    (route,) = fleet.services[0].routes
    (spec,) = fleet.providers
    # The same provider, with nobody at its address: the route is understood, and nothing answers.
    settings = {**spec.settings, "endpoint_url": f"http://127.0.0.1:{free_port()}", "timeout": 0.5, "role": None}
    if folder == "route53_arc":
        settings["endpoints"] = [f"http://127.0.0.1:{free_port()}=eu-west-1"]
    provider = registry.build(Context(fleet, ProviderSpec(spec.name, spec.kind, settings=settings), lambda _: ""))
    with pytest.raises(ProviderError) as caught:
        await provider.read(route, deadline(2.0))
    await provider.close()
    assert caught.value.result == "unreachable", caught.value.text
