"""The published JSON Schema of intents, and what it says of a document (workflow step 2)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from rear.documents import DocumentError, quoted
from rear.yaml_tree import Value

SCHEMA: Final = Path(__file__).parent / "intent.schema.json"
"""The schema, draft 2020-12; `docs/intent.schema.json` is the same file."""

MOST_ERRORS: Final = 1_000
"""Errors of one document that are looked at."""

UNKNOWN_KEY: Final = "additionalProperties"


def check_schema(document: Value) -> None:
    """Refuses what the schema does not allow. Raises DocumentError for the first error in the document's order.

    Of a mapping, a key that is unknown comes before one that is missing: often it is the same, mistyped.
    """
    errors = list(islice(_validator().iter_errors(document.plain_data()), MOST_ERRORS))
    if not errors:
        return
    values = dict(document.below())
    first = min(errors, key=lambda error: (values[tuple(error.absolute_path)].line, error.validator != UNKNOWN_KEY))
    raise _told(values[tuple(first.absolute_path)], first)


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))


def _told(value: Value, error: ValidationError) -> DocumentError:
    """What is wrong with a value, with its line and in the words of all documents."""
    if error.validator == UNKNOWN_KEY and not error.validator_value:
        known = error.schema["properties"]  # type: ignore[index]
        unknown = next(key for key in value.entries() if key not in known)
        return DocumentError(
            value.path,
            value.key_line(unknown),
            value.where,
            f"unknown key {quoted(unknown)}; known are: {', '.join(known)}",
        )
    return DocumentError(value.path, value.line, value.where, "; ".join(_problem(value, error)))


def _problem(value: Value, error: ValidationError) -> Iterator[str]:
    wanted: Any = error.validator_value
    match "propertyNames" if "propertyNames" in error.absolute_schema_path else error.validator:
        case "required":
            missing = next(key for key in wanted if key not in value.entries())
            yield f"has no `{missing}`"
            yield "add it"
            return
        case "anyOf":
            keys = [f"`{option['required'][0]}`" for option in wanted]
            yield f"has neither {' nor '.join(keys)}"
            yield "add one of them"
            return
        case "propertyNames":
            yield f"holds {quoted(str(error.instance))}"
        case "minimum" if value.is_scalar and wanted == 0:
            yield f"is {quoted(value.verbatim())}"
            yield "it must not be negative"
            return
        case "minItems" | "minProperties" | "minLength":
            yield "is empty"
        case "maxItems" | "maxProperties":
            yield f"has {len(error.instance)} entries"  # type: ignore[arg-type]
        case "maxLength":
            yield f"has {len(value.verbatim())} characters"
        case _:
            yield f"is {value.shown}"
    yield f"write {error.schema['description']}"  # type: ignore[index]
