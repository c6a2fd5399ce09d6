"""The JSON Schema of search spaces, for editors: ``python -m sweeper.space.schema`` prints it.

It is made from what checks a search space: the models of the document and the trial, and the
registries with the knobs of their techniques.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from sweeper.catalog import families
from sweeper.config import Slot, Trial, show
from sweeper.registry import Entry, Registry
from sweeper.space.compile import kinds, part_of, recommended, slot_of
from sweeper.space.document import Document
from sweeper.space.laws import FIXED

Schema = dict[str, Any]

RANGE: Schema = {
    "type": "array",
    "items": {"type": "number"},
    "minItems": 2,
    "maxItems": 2,
    "description": "The lowest and the highest value, both included.",
}
STEP: Schema = {"type": "number", "exclusiveMinimum": 0, "description": "Only every so many."}
RATIO_OF: Schema = {
    "type": "string",
    "description": "Search the ratio to the number at this path instead of the value itself.",
}
BASELINES: Schema = {
    "type": "array",
    "items": {"type": "object", "properties": {"name": {"type": "string"}}},
    "description": "Trials that are always run to the full budget: values by dotted path.",
}


def schema() -> Schema:
    """The JSON Schema (2020-12) of a search space."""
    document, trial = _model(Document, _value), _model(Trial, _field)
    trial["properties"] |= {name: _fixed(Trial.model_fields[name]) for name in FIXED}
    document["properties"] |= {"trial": trial, "baselines": BASELINES}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A search space of sweeper",
        **document,
        "$defs": {"range": RANGE, "step": STEP, "ratio_of": RATIO_OF} | _techniques(),
    }


def _model(model: type[BaseModel], write: Callable[[FieldInfo], Schema]) -> Schema:
    """A mapping of fields. None is required: it may stand in what is extended."""
    fields = {
        name: write(field) if part is None else _model(part, write)
        for name, field in model.model_fields.items()
        for part in [part_of(field)]
    }
    return _mapping(fields, description=_text(model))


def _mapping(fields: Mapping[str, Schema], **more: Any) -> Schema:
    return {"type": "object", **more, "properties": fields, "additionalProperties": False}


def _techniques() -> dict[str, Schema]:
    """Every family, a mapping from techniques to knobs, and the knobs of every technique."""
    found: dict[str, Schema] = {}
    for registry in vars(families).values():
        if isinstance(registry, Registry):
            found[registry.family] = _mapping(dict(map(_technique, registry.values())))
            found |= {
                _knobs(entry): _model(entry.knobs, _field) | {"description": _text(entry.target)}
                for entry in registry.values()
            }
    return found


def _knobs(entry: Entry[Any]) -> str:
    return f"{entry.family}.{entry.name}"


def _technique(entry: Entry[Any]) -> tuple[str, Schema]:
    """Its knobs, a hole with them inside, or nothing but whether it is there."""
    knobs, words = _ref(_knobs(entry)), Schema(enum=[True, False, None])
    if any(map(entry.recommended, entry.knobs.model_fields)):
        words["enum"].append("auto")
    holes = [_hole("choice", _list(knobs)), _hole("maybe", {"anyOf": [knobs, words]})]
    return entry.name, {"description": _text(entry.target), "anyOf": [knobs, words, *holes]}


def _field(field: FieldInfo) -> Schema:
    """What may stand in a place of a trial: something, or a hole with it inside."""
    slot = slot_of(field)
    return _knob(field) if slot is None else _slot(slot)


def _slot(slot: Slot) -> Schema:
    """Techniques of a family by name, in a mapping to their knobs, or in a hole."""
    written = _written(slot)
    if slot.holds == "one":
        return {"anyOf": [*written, _hole("choice", _list({"anyOf": written}))]}
    options = {"anyOf": [*written, {"const": False}]}
    holes = [_hole("choice", _list(options)), _hole("maybe", {"anyOf": written})]
    return {"anyOf": [*written, {"const": False}, *holes]}


def _written(slot: Slot) -> list[Schema]:
    """Techniques of a family as they are written without a hole."""
    names = {"enum": list(slot.registry)}
    several = [{"type": "array", "items": names}] if slot.several else []
    return [names, _ref(slot.registry.family), *several]


def _knob(field: FieldInfo) -> Schema:
    value, searched = _value(field), recommended(field)
    options = [value, _hole("choice", _list(value))]
    if kinds(field) & {int, float}:
        options += [_hole("same_as", _ref("ratio_of"))]
        options += [_hole("int", _ref("range"), step=_ref("step")), _hole("logint", _ref("range"))]
    if float in kinds(field):
        of = _ref("ratio_of")
        options += [
            _hole("uniform", _ref("range"), step=_ref("step"), ratio_of=of),
            _hole("loguniform", _ref("range"), ratio_of=of),
        ]
    if searched is not None:
        options.append({"const": "auto", "description": f"Search {show(searched)}."})
    default = {} if field.is_required() else {"default": field.default}
    return {"anyOf": options, **default}


def _fixed(field: FieldInfo) -> Schema:
    """A part of the trial that is not searched."""
    slot, part = slot_of(field), part_of(field)
    if slot is not None:
        return {"anyOf": _written(slot)}
    return _value(field) if part is None else _model(part, _fixed)


def _value(field: FieldInfo) -> Schema:
    annotated: Any = Annotated[field.annotation, "value", *field.metadata]
    adapter: TypeAdapter[Any] = TypeAdapter(annotated)
    schema = adapter.json_schema()
    return Schema(_inlined(schema, schema.pop("$defs", {})))


def _inlined(node: Any, models: Mapping[str, Any]) -> Any:
    """A schema with what it refers to in its place: its own definitions are not the whole's."""
    match node:
        case {"$ref": str(name), **others}:
            return _inlined(models[name.rpartition("/")[2]], models) | others
        case dict():
            return {key: _inlined(child, models) for key, child in node.items()}
        case list():
            return [_inlined(child, models) for child in node]
    return node


def _hole(kind: str, content: Schema, **modifiers: Schema) -> Schema:
    return _mapping({kind: content, **modifiers}, required=[kind])


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item, "minItems": 1}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _text(documented: Any) -> str:
    return " ".join((inspect.getdoc(documented) or "").split())


def main() -> None:
    """Print the schema."""
    print(json.dumps(schema(), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
