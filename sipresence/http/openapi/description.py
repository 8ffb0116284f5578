"""The OpenAPI 3.1 document: routes of the application + operations.py + models -> JSON.

Paths and methods are those that the router has, bodies are the models that read them. What follows from a path and a
method is found out here: what is refused, and who may ask. Some routes are other spellings of the same, for clients of
Kazoo; they are described once.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from aiohttp import web
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from sipresence.http.openapi.answers import PageOfSuccess, Refused, Success
from sipresence.http.openapi.operations import PATH, REFUSALS, SECTIONS, Operation, Query
from sipresence.objects import Json, JsonObject

_VERSION = "2"  # of the API, which is not that of the product: strangers learn no version
_ABOUT = """\
Kazoo's presence API, and what it lacks. Every answer below `/v2` is an envelope with `data`, and so is the body of a
request, whose content type does not matter. A path may end with a slash. `/v2/account/…` is the account of the token,
and `device` may be written for `devices` before `/presence`.

A token is sent as `X-Auth-Token`, as `Authorization: Bearer`, or as `auth_token` in the query or the body. It opens its
account and those below it. One for readers may GET.
"""
_OTHER_SPELLINGS = (("/v2/account/", "/v2/accounts/{account}/"), ("/device/{id}", "/devices/{id}"))

REFUSED = "Refused"
"""With the status after it, the name of an error."""

_PARAMETER = re.compile(r"([^/]+/\{(\w+)\})")
_REF = "#/components/schemas/{model}"


class Route(NamedTuple):
    """A method, and a path as it is described."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def routes(application: web.Application) -> Iterator[Route]:
    """Every route, but those for all methods, which are no operations."""
    for route in application.router.routes():
        if route.resource is None or route.method in ("*", "HEAD"):
            continue
        path = route.resource.canonical.removesuffix("{slash}")
        for spelling, usual in _OTHER_SPELLINGS:
            path = path.replace(spelling, usual)
        yield Route(route.method, path)


def describe(application: web.Application) -> JsonObject:
    """Describe an application whose routes have all been added. Raises KeyError for a route without an operation."""
    sections = {key: section for section, operations in SECTIONS.items() for key in operations}
    found = {str(route): route for route in routes(application)}
    operations = {route: SECTIONS[sections[key]][key] for key, route in found.items()}
    schemas = _Schemas(operations)
    order = list(sections)
    paths: dict[str, dict[str, Json]] = {}
    for route, operation in sorted(operations.items(), key=lambda item: order.index(str(item[0]))):
        described = _describe(route, operation, schemas)
        paths.setdefault(route.path, {})[route.method.lower()] = {"tags": [sections[str(route)]], **described}
    return {
        "openapi": "3.1.0",
        "info": {"title": "sipresence", "version": _VERSION, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{name: []} for name in _SECURITY],
        "tags": [{"name": section} for section in SECTIONS],
        "paths": paths,
        "components": {
            "securitySchemes": _SECURITY,
            "responses": {_name(status): _refusal(status) for status in REFUSALS},
            "schemas": schemas.models,
        },
    }


_SECURITY: dict[str, JsonObject] = {
    "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
    "bearer": {"type": "http", "scheme": "bearer"},
    "query": {"type": "apiKey", "in": "query", "name": "auth_token"},
}


class _Generator(GenerateJsonSchema):
    """A default of nothing says no more than that a field may be absent, and titles repeat names."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        described = super().enum_schema(schema)
        described.pop("description", None)  # where the enum is compiled it is one of mypyc's
        return described

    def field_title_should_be_set(self, schema: CoreSchema | Any) -> bool:
        return False


class _Schemas:
    """The schemas of all types, and of the models that they refer to."""

    def __init__(self, operations: dict[Route, Operation]) -> None:
        types: dict[str, Any] = {model.__name__: model for model in (Success, PageOfSuccess, Refused)}
        for route, operation in operations.items():
            types |= {f"answer of {route}": operation.answer, f"body of {route}": operation.body}
        inputs: list[Any] = [(key, "validation", TypeAdapter[Any](type_)) for key, type_ in types.items()]
        found, models = TypeAdapter.json_schemas(inputs, ref_template=_REF, schema_generator=_Generator)
        self._found = {key: schema for (key, _), schema in found.items()}
        self.models: Json = models["$defs"]

    def answer(self, route: Route) -> Json:
        """That of what is answered."""
        return self._found[f"answer of {route}"]

    def body(self, route: Route) -> Json:
        """That of what is told."""
        return self._found[f"body of {route}"]


def _describe(route: Route, operation: Operation, schemas: _Schemas) -> JsonObject:
    description: JsonObject = {
        "summary": operation.summary,
        "operationId": _operation_id(route),
        "parameters": [*_path_parameters(route.path), *map(_query_parameter, operation.query)],
    }
    if operation.body is not None:
        description["requestBody"] = _request(schemas.body(route), operation.example)
    success = _success(schemas.answer(route), operation)
    answers = {str(status): success for status in operation.statuses}
    refusals = {str(status): _response_ref(status) for status in sorted(_refusals(route, operation))}
    description["responses"] = {**answers, **refusals}
    return {**description, "security": []} if operation.open else description


def _operation_id(route: Route) -> str:
    words = re.findall(r"\w+", route.path.removeprefix("/v2"))
    return "_".join((route.method.lower(), *words))


def _path_parameters(path: str) -> Iterator[JsonObject]:
    for place, name in _PARAMETER.findall(path):
        text, example = PATH[place]
        schema: JsonObject = {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "description": text, "schema": schema, "example": example}


def _query_parameter(query: Query) -> JsonObject:
    schema = TypeAdapter[Any](query.type).json_schema(schema_generator=_Generator)
    described: JsonObject = {"name": query.name, "in": "query", "description": query.description, "schema": schema}
    return {**described, "required": True, "example": query.example} if query.required else described


def _request(data: Json, example: Json) -> JsonObject:
    schema: JsonObject = {"type": "object", "properties": {"data": data}, "required": ["data"]}
    content: JsonObject = {"application/json": {"schema": schema, "example": {"data": example}}}
    return {"required": True, "content": content}


def _success(data: Json, operation: Operation) -> JsonObject:
    schema = data
    if operation.enveloped:
        envelope = PageOfSuccess if operation.paged else Success
        with_data: JsonObject = {"type": "object", "properties": {"data": data}, "required": ["data"]}
        schema = {"allOf": [{"$ref": _REF.format(model=envelope.__name__)}, with_data]}
    content: JsonObject = {} if operation.answer is None else {"content": {operation.media: {"schema": schema}}}
    return {"description": "Done.", **content}


def _refusals(route: Route, operation: Operation) -> set[int]:
    """What is refused, where there is an envelope to say so."""
    refusals = set(operation.refusals)
    if not operation.enveloped:
        return refusals
    if not operation.open:
        refusals |= {401, 429, 500}
    if "{account}" in route.path or (route.method != "GET" and not operation.open):
        refusals.add(403)
    if "{" in route.path:
        refusals.add(404)
    if operation.body is not None:
        refusals |= {400, 429, 500}
    return refusals


def _name(status: int) -> str:
    return f"{REFUSED}{status}"


def _response_ref(status: int) -> JsonObject:
    return {"$ref": f"#/components/responses/{_name(status)}"}


def _refusal(status: int) -> JsonObject:
    content: JsonObject = {"application/json": {"schema": {"$ref": _REF.format(model=Refused.__name__)}}}
    return {"description": REFUSALS[status], "content": content}
