"""docs/reference/http.md: the calls of the OpenAPI document, what they take and what they
answer.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.web.app import build_app
from tools.reference.markdown import code, page, prose, table

Node = Mapping[str, Any]

_HEAD = """\
Each field of each answer is described in [openapi.yaml](../../openapi.yaml). Every answer that is
not a success is a problem as RFC 9457 has it: `type`, `title`, `status`, `detail` and, of wrong
input, the fields. HTTP has no authentication yet, so the service listens on loopback addresses
only."""
_SUCCESS = "Successful Response"
"""The description that FastAPI gives where a call has none of its own."""
_SHOWN = 8
_SCHEMAS = "#/components/schemas/"


def http_page() -> str:
    """The page."""
    document = build_app().openapi()
    calls = [
        (f"{method.upper()} {path}", call)
        for path, calls in document["paths"].items()
        for method, call in calls.items()
    ]
    common = _common([call for _, call in calls])
    rows = [[f"[{code(name)}](#{_anchor(name)})", call["summary"]] for name, call in calls]
    answers = table(
        ("answer of nearly each call", "when"), [[code(status), text] for status, text in common]
    )
    parts = [_call(name, call, document["components"]["schemas"], common) for name, call in calls]
    return page("HTTP", _HEAD, table(("call", "what it does"), rows), answers, *parts)


def _common(calls: list[Node]) -> list[tuple[str, str]]:
    """Answers that most calls have alike: told once."""
    told = [
        (status, answer["description"])
        for call in calls
        for status, answer in call["responses"].items()
    ]
    counts = Counter((status, text) for status, text in told if status.startswith("5"))
    return sorted(each for each, count in counts.items() if 2 * count > len(calls))


def _anchor(name: str) -> str:
    return "".join(
        each for each in name.lower().replace(" ", "-") if each.isalnum() or each in "-_"
    )


def _call(name: str, call: Node, schemas: Node, common: list[tuple[str, str]]) -> str:
    parts = [
        f"## {code(name)}",
        prose(f"{call['summary'].rstrip('.')}. {call.get('description', '')}"),
    ]
    taken = [*_parameters(call, schemas), *_body(call, schemas)]
    if taken:
        parts.append(table(("takes", "in", "values", "meaning"), taken))
    answers = [
        [code(status), _told(answer) + _headers(answer)]
        for status, answer in call["responses"].items()
        if (status, answer["description"]) not in common
    ]
    parts.append(table(("answers", "when"), answers))
    return "\n\n".join(part.rstrip("\n") for part in parts)


def _told(answer: Node) -> str:
    """When a call answers so; of a success, what the answer holds."""
    if answer["description"] != _SUCCESS:
        return str(answer["description"])
    [content] = answer["content"].values()
    return ", ".join(code(each) for each in _references(content["schema"])) or "Text."


def _headers(answer: Node) -> str:
    names = ", ".join(code(name) for name in answer.get("headers", {}))
    return f" (header {names})" if names else ""


def _parameters(call: Node, schemas: Node) -> Iterator[list[str]]:
    for each in call.get("parameters", ()):
        yield [
            code(each["name"]),
            each["in"],
            _values(each["schema"], schemas),
            each.get("description", ""),
        ]


def _body(call: Node, schemas: Node) -> Iterator[list[str]]:
    if "requestBody" not in call:
        return
    [content] = call["requestBody"]["content"].values()
    for reference in _references(content["schema"]):
        schema = schemas[reference]
        for name, field in schema["properties"].items():
            yield [code(name), "body", _values(field, schemas), field.get("description", "")]


def _references(schema: Node) -> Iterator[str]:
    if "$ref" in schema:
        yield schema["$ref"].removeprefix(_SCHEMAS)
    for each in schema.get("anyOf", ()):
        yield from _references(each)


def _choice(values: Sequence[str]) -> str:
    """The values that a choice has; a long list stands in openapi.yaml."""
    return (
        ", ".join(code(each) for each in values)
        if len(values) <= _SHOWN
        else f"one of {len(values)}"
    )


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _values(schema: Node, schemas: Node) -> str:
    """What a parameter or field may hold, in short."""
    if "$ref" in schema:
        text = _values(schemas[schema["$ref"].removeprefix(_SCHEMAS)], schemas)
    elif "anyOf" in schema:
        text = " or ".join(
            _values(each, schemas) for each in schema["anyOf"] if each.get("type") != "null"
        )
    elif "enum" in schema:
        text = _choice(schema["enum"])
    elif schema.get("type") == "array":
        text = f"list of {_values(schema['items'], schemas)}"
    else:
        text = str(schema.get("format", schema.get("type", "")))
    bounds = [
        f"{word} {_number(schema[key])}"
        for key, word in (("minimum", "from"), ("maximum", "to"))
        if key in schema
    ]
    bounds += [
        f"at most {schema[key]} {what}"
        for key, what in (("maxLength", "characters"), ("maxItems", "items"))
        if key in schema
    ]
    default = schema.get("default")
    shown = (
        []
        if default is None
        else [f"default {str(default).lower() if isinstance(default, bool) else default}"]
    )
    return ", ".join([text, *bounds, *shown])
