"""packaging/gcp grants exactly what the providers call, and the examples in the READMEs are configs that parse."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from steerd import config
from steerd.providers import registry
from tests.providers.aws.test_readmes import ENDPOINTS, FLEET
from tests.support.cloud.clouddns import LocalCloudDns
from tests.support.cloud.compute import LocalCompute, group_url
from tests.support.cloud.google import GoogleServer, give_credentials
from tests.support.cloud.steer import build, deadline, fence, route, write
from tests.support.configs import parse
from tests.support.tree import ROOT

NEEDS = {
    "dns.changes.create": {"dns.changes.create", "dns.resourceRecordSets.create", "dns.resourceRecordSets.delete"},
    "dns.changes.get": {"dns.changes.get"},
    "dns.managedZones.get": {"dns.managedZones.get"},
    "dns.resourceRecordSets.list": {"dns.resourceRecordSets.list"},
    "compute.backendServices.get": {"compute.backendServices.get", "compute.regionBackendServices.get"},
    "compute.backendServices.patch": {
        "compute.backendServices.update",
        "compute.regionBackendServices.update",
        "compute.instanceGroups.use",
        "compute.networkEndpointGroups.use",
    },
    "compute.globalOperations.get": {"compute.globalOperations.get", "compute.regionOperations.get"},
}
"""API method -> permissions, by Google's IAM pages of Cloud DNS and Compute Engine; the regional twin beside each."""


async def clouddns_calls(server: LocalCloudDns) -> None:
    server.visibility = "private"  # its name servers are not asked
    made = build("clouddns", {"project": "acme", "managed_zone": "main", "endpoint_url": server.url})
    of = route("chat.acme.example")
    for n in (1, 2):
        change = await write(made, of, {"za": n, "zb": 2, "zc": 0}, fence(1, n))
    assert (await made.verify(of, change, deadline())).in_sync
    await made.close()


async def backend_calls(server: LocalCompute) -> None:
    server.add("chat", {"za": 100, "zb": 100, "zc": 100})
    made = build("gcp-backend", {"project": "acme", "endpoint_url": server.url})
    of = replace(route("chat"), types=(), settings={"groups": {z: group_url(z) for z in ("za", "zb", "zc")}})
    change = await write(made, of, {"za": 100, "zb": 50, "zc": 0}, fence())
    assert (await made.verify(of, change, deadline())).in_sync
    await made.close()


@pytest.mark.parametrize("kind", ["clouddns", "gcp-backend"])
async def test_a_role_grants_what_is_called_and_no_more(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server: GoogleServer = LocalCloudDns() if kind == "clouddns" else LocalCompute()
    server.start()
    try:
        give_credentials(monkeypatch, tmp_path, server)
        await (clouddns_calls(server) if isinstance(server, LocalCloudDns) else backend_calls(server))
    finally:
        server.stop()
    called = set(server.called) - {"token"}
    granted = yaml.safe_load((ROOT / "packaging" / "gcp" / f"steerd-{kind}.yaml").read_text())["includedPermissions"]
    assert set(granted) == set().union(*(NEEDS[c] for c in called))
    assert granted == sorted(set(granted)) == sorted(r for named in registry.RIGHTS[kind].values() for r in named)


def test_the_condition_on_names_stays_within_what_iam_takes() -> None:
    """12 logical operators (IAM quotas and limits): as many names as the module takes, and the term for what has no name."""
    main, variables = ((ROOT / "packaging" / "gcp" / "terraform" / f).read_text() for f in ("main.tf", "variables.tf"))
    most = re.search(r"condition += length\(var\.backend_services\) <= (\d+)$", variables, re.MULTILINE)
    assert most
    joined = re.search(
        r'join\(" (\|\|) ", \[\n +for name in concat\(\[""\], sort\(tolist\(var\.(\w+)\)\)\) :\n(.*)', main
    )
    assert joined
    assert joined[2] == "backend_services"
    assert not re.search(r"&&|\|\||!", joined[3]), "a term has no operators of its own"
    terms = 1 + int(most[1])
    assert terms - 1 <= 12


@pytest.mark.parametrize(
    "folder", ["webhook", "gateway_api", "clouddns", "gcp_backend", "azure_trafficmanager", "cloudflare"]
)
def test_the_readme_s_example(folder: str) -> None:
    text = (ROOT / "steerd" / "providers" / folder / "README.md").read_text()
    found = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert found
    example = found[1].replace("  chat:\n", "  chat:\n" + textwrap.indent(ENDPOINTS.strip(), "    ") + "\n")
    fleet = parse(FLEET + example)
    assert config.parse(config.show(fleet), "shown", ROOT) == fleet
    assert fleet.services[0].routes
