"""The JSON Schema of search spaces, for editors: ``python -m sweeper.space.schema`` prints it.

It is made from what checks a search space: the models of the document and the trial, and the
registries with the knobs of their techniques.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from sweeper.catalog import families
from sweeper.config import Slot, Trial
from sweeper.registry import Entry, Registry
from sweeper.space.compile import part_of, recommended, slot_of, wholly
from sweeper.space.document import Document

Schema = dict[str, Any]

RANGE = {
    "type": "array",
    "items": {"type": "number"},
    "minItems": 2,
    "maxItems": 2,
    "description": "The lowest and the highest value, both included.",
}
STEP = {"exclusiveMinimum": 0, "type": "number", "description": "Only every so many."}
RATIO_OF = {
    "type": "string",
    "description": "Search the ratio to the number at this path instead of the value itself.",
}
LEFT_OUT = {"const": False, "description": "Take away what was inherited."}


def schema() -> Schema:
    """The JSON Schema (2020-12) of a search space, or of a trial by itself."""
    trial = _model(Trial, required=False)
    document = _model(Document, required=False)
    document["properties"] |= {"trial": trial, "baselines": _baselines()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A search space of sweeper",
        **document,
        "$defs": {
            registry.family: _family(registry)
            for registry in vars(families).values()
            if isinstance(registry, Registry)
        },
    }


def _model(model: type[BaseModel], *, required: bool = True) -> Schema:
    """A mapping of fields. In a trial none is required: it may stand in what is extended."""
    needed = [name for name, field in model.model_fields.items() if field.is_required()]
    return {
        "type": "object",
        "description": _text(model),
        "properties": {name: _field(field) for name, field in model.model_fields.items()},
        "additionalProperties": False,
        **({"required": needed} if required and needed else {}),
    }


def _field(field: FieldInfo) -> Schema:
    slot, part = slot_of(field), part_of(field)
    if slot is not None:
        return _slot(slot)
    if part is None:
        return _knob(field)
    return _model(part, required=False)


def _slot(slot: Slot) -> Schema:
    """Techniques of a family: one by name, several by name, or a mapping to their knobs."""
    names = {"enum": list(slot.registry)}
    mapping: Schema = {"$ref": f"#/$defs/{slot.registry.family}"}
    written: list[Schema] = [names, mapping]
    if slot.holds == "many":
        written.append({"type": "array", "items": names})
    return _held(written, optional=slot.holds != "one")


def _held(written: list[Schema], *, optional: bool) -> Schema:
    """Something, a choice of it, and where it is optional, a maybe of it, or nothing."""
    inside: Schema = {"anyOf": [*written, *([{"const": False}] if optional else [])]}
    holes = [_hole("choice", {"type": "array", "items": inside, "minItems": 1})]
    if optional:
        holes += [_hole("maybe", {"anyOf": written}), LEFT_OUT]
    return {"anyOf": [*written, *holes]}


def _family(registry: Registry[Any]) -> Schema:
    """A mapping from techniques to their knobs."""
    return {
        "type": "object",
        "properties": {name: _technique(entry) for name, entry in registry.items()},
        "additionalProperties": False,
        "maxProperties": len(registry),
    }


def _technique(entry: Entry[Any]) -> Schema:
    knobs = _model(entry.knobs, required=False) | {"description": _text(entry.target)}
    written = [knobs, {"enum": [True, None]}]
    if any(entry.recommended(knob) for knob in entry.knobs.model_fields):
        written.append({"const": "auto", "description": "Search every recommended range."})
    return {"description": _text(entry.target)} | _held(written, optional=True)


def _knob(field: FieldInfo) -> Schema:
    """A value, or any hole that can be filled with one."""
    value = _value(field)
    options: list[Schema] = [
        value,
        _hole("choice", {"type": "array", "items": value, "minItems": 1}),
    ]
    kinds = {value.get("type"), *(part.get("type") for part in value.get("anyOf", []))}
    if kinds & {"integer", "number"}:
        options += [_hole("int", RANGE, step=STEP), _hole("logint", RANGE)]
    if "number" in kinds and not wholly(field):
        options += [
            _hole("uniform", RANGE, step=STEP, ratio_of=RATIO_OF),
            _hole("loguniform", RANGE, ratio_of=RATIO_OF),
        ]
    searched = recommended(field)
    if searched is not None:
        options.append({"const": "auto", "description": f"Search {json.dumps(searched)}."})
    default: Schema = {} if field.is_required() else {"default": field.default}
    return {"anyOf": options} | default


def _value(field: FieldInfo) -> Schema:
    annotated: Any = Annotated[field.annotation, "value", *field.metadata]
    adapter: TypeAdapter[Any] = TypeAdapter(annotated)
    return adapter.json_schema()


def _hole(kind: str, content: Mapping[str, Any], **modifiers: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {kind: content, **modifiers},
        "required": [kind],
        "additionalProperties": False,
    }


def _baselines() -> Schema:
    return {
        "type": "array",
        "items": {"type": "object", "properties": {"name": {"type": "string"}}},
        "description": "Trials that are always run to the full budget: values by dotted path.",
    }


def _text(documented: Any) -> str:
    return " ".join((inspect.getdoc(documented) or "").split())


def main() -> None:
    """Print the schema."""
    print(json.dumps(schema(), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
