"""The JSON Schema accepts what the reader accepts, and refuses unknown keys, as an editor would.

The check here knows the few keywords that the schema uses, and refuses a schema that uses others.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from steerd import config
from tests.support.configs import GOOD, ROOT

SCHEMA = config.schema()
KNOWN = {
    "$schema", "title", "$defs", "$ref", "type", "properties", "required", "additionalProperties", "propertyNames",
    "minProperties", "maxProperties", "items", "minItems", "maxItems", "anyOf", "enum", "pattern", "format", "minimum",
    "maximum", "exclusiveMinimum", "description", "default",
}  # fmt: skip
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "integer": (int,), "number": (int, float),
}  # fmt: skip


def has_type(value: Any, names: str | list[str]) -> bool:
    return any(
        isinstance(value, TYPES[n]) and not (isinstance(value, bool) and n in {"integer", "number"})
        for n in ([names] if isinstance(names, str) else names)
    )


def fits(value: Any, schema: dict[str, Any], path: str = "") -> str | None:
    """None when `value` fits, else where it does not."""
    assert set(schema) <= KNOWN, f"unknown keywords {set(schema) - KNOWN}"
    if "$ref" in schema:
        wrong = fits(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], path)
        if wrong:
            return wrong
    if "type" in schema and not has_type(value, schema["type"]):
        return f"{path}: not {schema['type']}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{path}: not in {schema['enum']}"
    if "anyOf" in schema:
        tried = [fits(value, one, path) for one in schema["anyOf"]]
        if all(tried):
            return max((t for t in tried if t), key=len)
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        return f"{path}: does not match {schema['pattern']}"
    if isinstance(value, (int, float)) and (
        value < schema.get("minimum", value)
        or value > schema.get("maximum", value)
        or ("exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"])
    ):
        return f"{path}: out of range"
    return _object(value, schema, path) if isinstance(value, dict) else _array(value, schema, path)


def _object(value: dict[str, Any], schema: dict[str, Any], path: str) -> str | None:
    for key in schema.get("required", ()):
        if key not in value:
            return f"{path}: {key} is missing"
    if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value)):
        return f"{path}: {len(value)} properties"
    for key, one in value.items():
        known = schema.get("properties", {}).get(key)
        rest = schema.get("additionalProperties", True)
        if known is None and rest is False:
            return f"{path}/{key}: unknown key"
        wrong = fits(key, schema.get("propertyNames", {}), f"{path}/{key}") if known is None else None
        wrong = wrong or fits(
            one, known if known is not None else rest if isinstance(rest, dict) else {}, f"{path}/{key}"
        )
        if wrong:
            return wrong
    return None


def _array(value: Any, schema: dict[str, Any], path: str) -> str | None:
    if not isinstance(value, list):
        return None
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return f"{path}: {len(value)} items"
    for i, one in enumerate(value):
        wrong = fits(one, schema.get("items", {}), f"{path}/{i}")
        if wrong:
            return wrong
    return None


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_the_examples_fit(path: Path) -> None:
    assert fits(yaml.safe_load(path.read_text()), SCHEMA) is None


def test_what_show_prints_fits() -> None:
    for path in (ROOT / "configs").glob("*.yaml"):
        assert fits(yaml.safe_load(config.show(config.load(path))), SCHEMA) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("quorum: {", "quorom: {"),
        ("class: interactive", "class: interactiv"),
        ("rto: 60s", "rto: 60"),
        ("{eu: 60%,", "{eu: 60,"),
        ("kind: rfc2136", "kind: rfc2163"),
        ("timeout: 2s}", "timout: 2s}"),
        ("per: zone}", "per: zones}"),
        ("fleet: acme\n", ""),
        ("{env: EU_DSN}", "hunter2"),
    ],
)
def test_mistakes_do_not_fit(old: str, new: str) -> None:
    assert fits(yaml.safe_load(GOOD), SCHEMA) is None
    assert GOOD.count(old) == 1
    assert fits(yaml.safe_load(GOOD.replace(old, new)), SCHEMA) is not None


def test_it_is_json_with_words_for_every_top_key() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"].endswith("2020-12/schema")
    assert SCHEMA["additionalProperties"] is False
    assert "description" in SCHEMA["properties"]["services"]
