"""The description of the API: it is OpenAPI, it is complete, and what is answered is as it says.

The answers are those of the golden files. They are held against stricter schemas than those that are published, in
which an object has no field that is not described, unless it may have any.
"""

import json
import re
import shlex
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from aiohttp import web
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from yarl import URL

from sipresence.http.openapi.description import describe, routes
from sipresence.http.openapi.operations import PATH, REFUSALS, SECTIONS
from sipresence.http.openapi.page import curl
from tests.http.conftest import Client
from tests.http.test_golden import GOLDEN

EXCHANGES = {path.stem: json.loads(path.read_text()) for path in sorted(GOLDEN.glob("*.json"))}
STAND_INS = {"<hex>": "0" * 32, "<time>": "2023-11-14T22:13:20Z", "<token>": "eyJ"}
PLACEHOLDER = re.compile("|".join(STAND_INS))
OTHERS = "additionalProperties"


@pytest.fixture
def document(application: web.Application) -> Any:
    return json.loads(json.dumps(describe(application)))


def errors(schema: Any, instance: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in OAS31Validator(schema).iter_errors(instance)]


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def strict(schema: Any) -> Any:
    """The same schema, but no object may have what is not described."""
    if isinstance(schema, list):
        return list(map(strict, schema))
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(one) for name, one in schema.items()}
    if "allOf" in closed:
        parts = [{name: one for name, one in part.items() if name != OTHERS} for part in closed["allOf"]]
        return {**closed, "allOf": parts, "unevaluatedProperties": False}
    return {OTHERS: False, **closed} if isinstance(closed.get("properties"), dict) else closed


def strict_schemas(document: Any) -> Any:
    """All models, of which those that others are added to stay open."""
    schemas = strict(document["components"]["schemas"])
    for name in ("Success", "PageOfSuccess"):
        del schemas[name][OTHERS]
    return schemas


def test_it_is_openapi(document: Any) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    for name, schema in document["components"]["schemas"].items():
        OAS31Validator.check_schema(schema)
        assert "__" not in name, "two models of one name"


def test_every_route_is_described_and_nothing_else_is(application: web.Application) -> None:
    described = [key for table in SECTIONS.values() for key in table]
    assert len(described) == len(set(described))
    assert {str(route) for route in routes(application)} == set(described)
    assert len(described) > 40


def test_what_is_said_of_paths_and_refusals_is_used(document: Any) -> None:
    text = json.dumps(document["paths"])
    assert [place for place in PATH if f"/{place}" not in text] == []
    assert [status for status in REFUSALS if f"Refused{status}" not in text] == []


async def test_who_needs_no_token_is_described(application: web.Application, client: Client, document: Any) -> None:
    for path, method, operation in operations(document):
        if path in ("/v2/user_auth", "/v2/api_auth"):
            continue  # what has no token there gets 401 for its password, or 400
        response = await client.request(method, re.sub(r"{\w+}", "1", path))
        assert (response.status == 401) == ("security" not in operation), (path, method, response.status)


def test_golden_answers_are_as_described(document: Any) -> None:
    schemas = strict_schemas(document)
    for name, golden in EXCHANGES.items():
        if not isinstance(golden["body"], dict):
            continue
        body = json.loads(PLACEHOLDER.sub(lambda found: STAND_INS[found[0]], json.dumps(golden["body"])))
        response = _response(document, golden["request"], golden["status"])
        schema = strict(response["content"]["application/json"]["schema"])
        assert errors({**schema, "components": {"schemas": schemas}}, body) == [], name


def _response(document: Any, request: Any, status: int) -> Any:
    """What is described as the answer."""
    operation = _operation(document, request)
    if operation is None:
        assert status in (401, 403, 404, 405, 410), request  # of no operation
        return document["components"]["responses"]["Refused404"]
    response = operation["responses"][str(status)]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return response


def _operation(document: Any, request: Any) -> Any:
    """The operation that a request is, if it is one."""
    path = request["path"].partition("?")[0].rstrip("/") or "/"
    path = path.replace("/v2/account/", f"/v2/accounts/{'0' * 32}/").replace("/device/", "/devices/")
    matching = [one for one in document["paths"] if re.fullmatch(re.sub(r"{\w+}", "[^/]+", one), path)]
    best = min(matching, key=lambda one: one.count("{"), default="")
    return document["paths"].get(best, {}).get(request["method"].lower())


def test_golden_requests_that_are_accepted_are_as_described(document: Any) -> None:
    seen = 0
    for name, golden in EXCHANGES.items():
        operation, body = _operation(document, golden["request"]), golden["request"].get("body")
        if golden["status"] < 300 and operation is not None and "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            body = json.loads(body) if isinstance(body, str) else body
            assert errors({**schema, "components": document["components"]}, body) == [], name
            seen += 1
    assert seen > 30


def test_examples_are_as_described(document: Any) -> None:
    for path, method, operation in operations(document):
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]["application/json"]
            schema = {**content["schema"], "components": document["components"]}
            assert errors(schema, content["example"]) == [], (path, method)


async def test_both_are_served_to_strangers(client: Client, document: Any) -> None:
    response = await client.get("/v2/openapi.json")
    assert (response.status, response.content_type) == (200, "application/json")
    assert await response.json() == document
    assert "9.9.9" not in await response.text()
    response = await client.get("/v2/docs/")
    assert (response.status, response.content_type) == (200, "text/html")


class _Page(HTMLParser):
    """Collects what a page links to and holds, and whether its elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: list[str] = []
        self.tags: list[str] = []
        self.lines: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        self.links |= {str(named[name]) for name in ("href", "src") if name in named}
        self.anchors += [str(named["id"])] if "id" in named else []
        if tag != "meta":
            self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.tags.pop() == tag

    def handle_data(self, text: str) -> None:
        if self.tags and self.tags[-1] == "pre" and text.startswith("curl "):
            self.lines.append(text)


async def test_the_page_is_whole(client: Client, document: Any) -> None:
    page = _Page()
    page.feed(await (await client.get("/v2/docs")).text())
    assert page.tags == []
    assert page.links - {f"#{anchor}" for anchor in page.anchors} == {"/v2/openapi.json"}
    assert len(page.anchors) == len(set(page.anchors))
    assert len(page.lines) == len(list(operations(document)))


async def test_curl_lines_ask_what_they_should(client: Client, document: Any) -> None:
    for path, method, operation in operations(document):
        words = shlex.split(curl(path, method, operation).replace("$U", "").replace("$T", "X-Auth-Token: demo-token"))
        headers = {"X-Auth-Token": "demo-token"} if "-H" in words else {}
        body = words[words.index("-d") + 1] if "-d" in words else None
        asked = words[words.index("-X") + 1] if "-X" in words else ("POST" if body else "GET")
        target = next(word for word in words if word.startswith("/"))
        assert asked == method
        url = URL(str(client.make_url("/"))[:-1] + target, encoded=True)
        response = await client.session.request(method, url, headers=headers, data=body)
        assert str(response.status) in operation["responses"], (path, method, response.status)
        assert response.status not in (400, 405, 500), (path, method, await response.text())
