"""Published API schemas, made strict: what the vendor's document does not name is an error."""

from __future__ import annotations

from typing import Any

import jsonschema

__all__ = ["complaint", "strict"]


def strict(schema: Any) -> Any:
    """An OpenAPI 3.0 schema as JSON Schema, in which objects with named properties take no others."""
    if isinstance(schema, list):
        return [strict(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    made = {k: strict(v) for k, v in schema.items() if k not in ("nullable", "default")}
    named = schema.get("properties")
    if isinstance(named, dict) and "type" in schema:
        # `properties` may itself have members called default or nullable
        made["properties"] = {k: strict(v) for k, v in named.items()}
        made.setdefault("additionalProperties", False)
    if schema.get("nullable") and isinstance(schema.get("type"), str):
        made["type"] = [schema["type"], "null"]
        if "enum" in schema:
            made["enum"] = [*schema["enum"], None]
    return made


def complaint(validator: Any, document: Any) -> str | None:
    """The first thing wrong with a document, or None."""
    error = next(iter(validator.iter_errors(document)), None)
    return None if error is None else f"{'.'.join(map(str, error.absolute_path))}: {error.message}"[:300]


Validator = jsonschema.Draft202012Validator
