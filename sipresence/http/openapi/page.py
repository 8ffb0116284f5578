"""The description as a page for people: the document of description.py -> HTML, with a curl line for each operation.

It is whole in itself: no script, and nothing from elsewhere.
"""

import json
import shlex
from collections.abc import Iterator
from html import escape
from typing import Any
from urllib.parse import quote

from sipresence.http.openapi.description import REFUSED

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h2 { border-bottom: 1px solid #ccc; margin-top: 3rem; } h3 { margin-top: 2.5rem; }
pre { background: #f4f4f4; padding: .6rem; white-space: pre-wrap; overflow-wrap: anywhere; }
code, pre { font: 14px/1.5 ui-monospace, monospace; }
table { border-collapse: collapse; } td, th { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; }
nav li { list-style: none; } .method { display: inline-block; min-width: 4.5rem; font-weight: bold; }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd; } pre { background: #262626; }
a { color: #8ab4f8; } }
"""
_SETTING = """U=http://127.0.0.1:8000
T='X-Auth-Token: demo-token'"""

Node = dict[str, Any]
"""A part of the document."""


def render(document: Node) -> str:
    """Write the page."""
    info, schemas = document["info"], document["components"]["schemas"]
    parts = [
        f"<h1>{escape(info['title'])}</h1>",
        *(f"<p>{_text(paragraph)}</p>" for paragraph in info["description"].split("\n\n")),
        '<p>The same for programs: <a href="/v2/openapi.json">OpenAPI</a>. Lines below are for the demo office:</p>',
        f"<pre>{escape(_SETTING)}</pre>",
        f"<nav>{''.join(_contents(document))}</nav>",
    ]
    for tag in document["tags"]:
        parts.append(f"<h2>{escape(tag['name'])}</h2>")
        for path, method, operation in _operations(document):
            if tag["name"] in operation["tags"]:
                parts += _operation(path, method, operation)
    parts += _errors(document)
    parts.append("<h2>What things look like</h2><p>Fields that are not marked with * may be absent.</p>")
    parts += (part for name in sorted(schemas) for part in _model(name, schemas[name]))
    title = f"<title>{escape(info['title'])}: the API</title>"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">{title}<style>{_STYLE}</style>'
    return "\n".join(('<!doctype html><html lang="en"><head>', head, "</head><body>", *parts, "</body></html>\n"))


def curl(path: str, method: str, operation: Node) -> str:
    """Write the line that asks for this, with the examples of the document; $U and $T are set before."""
    query = []
    for parameter in operation["parameters"]:
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(parameter["example"]))
        elif parameter.get("required"):
            query.append(f"{parameter['name']}={quote(parameter['example'])}")
    words = ["curl"] if operation.get("security") == [] else ["curl", "-H", '"$T"']
    words.append(f'"$U{path}?{"&".join(query)}"' if query else f"$U{path}")
    body = operation.get("requestBody")
    if method != ("GET" if body is None else "POST"):
        words += ["-X", method]
    if body is not None:
        words += ["-d", shlex.quote(json.dumps(body["content"]["application/json"]["example"]))]
    return " ".join(words)


def _operations(document: Node) -> Iterator[tuple[str, str, Node]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def _contents(document: Node) -> Iterator[str]:
    for tag in document["tags"]:
        yield f"<p>{escape(tag['name'])}</p><ul>"
        for path, method, operation in _operations(document):
            if tag["name"] in operation["tags"]:
                summary = _text(operation["summary"])
                link = f'<a href="#{operation["operationId"]}"><code>{escape(path)}</code></a>'
                yield f'<li><code class="method">{method}</code> {link} {summary}</li>'
        yield "</ul>"


def _operation(path: str, method: str, operation: Node) -> Iterator[str]:
    yield f'<h3 id="{operation["operationId"]}"><code>{method} {escape(path)}</code></h3>'
    open_ = " Needs no token." if operation.get("security") == [] else ""
    yield f"<p>{_text(operation['summary'])}{open_}</p><pre>{escape(curl(path, method, operation))}</pre>"
    parameters = [
        (_mark(one["name"], one.get("required")), _type(one["schema"]), _text(one["description"]))
        for one in operation["parameters"]
    ]
    yield _table("Parameters", parameters)
    if "requestBody" in operation:
        data = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]["data"]
        yield f"<p>Body: <code>data</code> is {_type(data)}.</p>"
    answers = operation["responses"].items()
    yield _table("Answers", [(status, "", _answer(one)) for status, one in answers if "$ref" not in one])
    errors = ", ".join(status for status, one in answers if "$ref" in one)
    yield f'<p>Errors: <a href="#errors">{errors}</a></p>' if errors else ""


def _answer(response: Node) -> str:
    for media, content in response.get("content", {}).items():
        schema = content["schema"]
        if "allOf" in schema:
            return f"<code>data</code> is {_type(schema['allOf'][1]['properties']['data'])}"
        return _type(schema) if media == "application/json" else escape(media)
    return ""


def _errors(document: Node) -> Iterator[str]:
    yield '<h2 id="errors">Errors</h2>'
    responses = document["components"]["responses"].items()
    yield _table("", [(name.removeprefix(REFUSED), "", _text(one["description"])) for name, one in responses])


def _model(name: str, schema: Node) -> Iterator[str]:
    yield f'<h3 id="{name}">{name}</h3><p>{_text(schema.get("description", ""))}</p>'
    required = schema.get("required", ())
    fields = schema.get("properties", {}).items()
    rows = [(_mark(field, field in required), _type(one), _text(one.get("description", ""))) for field, one in fields]
    yield _table("", rows) if rows else f"<p>{_type(schema)}</p>"


def _type(schema: Node) -> str:
    """Say what a value has to be."""
    match schema:
        case {"$ref": reference}:
            name = reference.rpartition("/")[2]
            return f'<a href="#{name}">{name}</a>'
        case {"anyOf": choices}:
            return " or ".join(map(_type, choices))
        case {"const": word}:
            return f"<code>{escape(json.dumps(word))}</code>"
        case {"enum": words}:
            return " or ".join(f"<code>{escape(json.dumps(word))}</code>" for word in words)
        case {"type": "array", "items": item}:
            return f"a list of {_type(item)}"
        case {"type": "object", "additionalProperties": dict(item)}:
            return f"an object of {_type(item)}"
        case _:
            return f"{schema.get('type', 'anything')}{_limits(schema)}"


def _limits(schema: Node) -> str:
    words = (("minimum", "at least {}"), ("maximum", "at most {}"), ("maxLength", "at most {} characters"))
    limits = [text.format(schema[word]) for word, text in words if word in schema]
    return f" ({', '.join(limits)})" if limits else ""


def _mark(name: str, required: bool | None) -> str:
    return f"<code>{escape(name)}</code>{'*' if required else ''}"


def _table(title: str, rows: list[tuple[str, str, str]]) -> str:
    if not rows:
        return ""
    caption = f"<tr><th colspan=3>{title}</th></tr>" if title else ""
    lines = (f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{caption}{''.join(lines)}</table>"


def _text(text: str) -> str:
    """Text with `code` in it."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))
