"""What the documents say of the code is true: tests, scenarios, phones, keys and modules that they name exist."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from sipresence.config.model import Config

ROOT = Path(__file__).parents[1]
CONFORMANCE = (ROOT / "docs" / "conformance.md").read_text()
PHONES = (ROOT / "docs" / "phones.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
OFFICE = (ROOT / "examples" / "office.toml").read_text()
SOURCES = sorted((ROOT / "sipresence").rglob("*.py"))
MODULES = [file for file in SOURCES if file.name != "__init__.py"]

_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_SCENARIO = re.compile(r"`sipp-scenarios/([\w-]+)`")
_ROW = re.compile(r"^\| (\d+) \|", re.MULTILINE)
_PHONE = re.compile(r"phones\.md[\s#]+(\d+(?:,[\s#]+\d+)*)")
_HEADER = re.compile(r"^\[+([\w.]+)\]+", re.MULTILINE)
_KEY = re.compile(r"(?:^|[{,#])[ \t]*(\w+) = ", re.MULTILINE)


@cache
def functions(file: str) -> frozenset[str]:
    """The names of the functions at the top level of a test module, or of none where there is no such file."""
    path = ROOT / file
    tree = ast.parse(path.read_text() if path.exists() else "")
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def rows(document: str) -> list[list[str]]:
    """The cells of every row of every table, heads and rulers included."""
    return [line.strip("| ").split(" | ") for line in document.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("document", [CONFORMANCE, PHONES], ids=["conformance", "phones"])
def test_every_test_that_is_named_exists(document: str) -> None:
    named = _TEST.findall(document)
    assert named
    assert [f"{file}::{name}" for file, name in named if name not in functions(file)] == []
    assert document.count("::") == len(named), "a test that is not written as `tests/….py::name`"


@pytest.mark.parametrize("document", [CONFORMANCE, PHONES], ids=["conformance", "phones"])
def test_every_scenario_that_is_named_exists(document: str) -> None:
    named = _SCENARIO.findall(document)
    assert [name for name in named if not (ROOT / "sipp-scenarios" / f"{name}.xml").exists()] == []
    assert document.count("`sipp-scenarios/") == len(named)


def test_every_clause_has_a_level_and_a_test() -> None:
    clauses = [row for row in rows(CONFORMANCE) if len(row) == 4 and row[0] != "clause" and set(row[0]) != {"-"}]
    assert len(clauses) > 50
    assert [row for row in clauses if row[1] not in ("MUST", "SHOULD", "MAY", "-")] == []
    assert [row for row in clauses if not (_TEST.search(row[3]) or _SCENARIO.search(row[3]))] == []


def test_every_phone_that_the_code_names_has_a_row_with_a_test() -> None:
    named = {
        int(number)
        for file in (*SOURCES, *sorted((ROOT / "tests").rglob("*.py")))
        for numbers in _PHONE.findall(file.read_text())
        for number in numbers.replace("#", "").split(",")
    }
    listed = [int(number) for number in _ROW.findall(PHONES)]
    assert named <= set(listed)
    assert listed == sorted(set(listed))
    assert [row for row in rows(PHONES) if row[0].isdigit() and not _TEST.search(row[4])] == []


def models(annotation: object) -> Iterator[type[BaseModel]]:
    """The models inside an annotation such as `Annotated[tuple[ListConfig, ...], …]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models(argument)


def keys(model: type[BaseModel], table: str, tables: set[str]) -> Iterator[tuple[str, str]]:
    """Each key of the configuration, with the table of the file that has to show it."""
    for name, field in model.model_fields.items():
        own = f"{table}.{name}".removeprefix(".")
        if own not in tables:
            yield table, name
        for inner in models(field.annotation):
            yield from keys(inner, own if own in tables else table, tables)


def test_every_key_is_in_the_demo_office() -> None:
    _, *parts = _HEADER.split(OFFICE)
    shown = {(table, key) for table, text in zip(parts[::2], parts[1::2], strict=True) for key in _KEY.findall(text)}
    wanted = set(keys(Config, "", set(parts[::2])))
    assert ("sip", "min_expires") in wanted
    assert ("accounts.lists", "label") in wanted
    assert wanted - shown == set()
    assert shown - wanted == set(), "a key that the configuration does not have"


def test_the_plan_of_the_house_is_complete() -> None:
    named = set(re.findall(r"\b(\w+\.py)\b", ARCHITECTURE))
    assert {module.name for module in MODULES} - named == set()
    assert named - {module.name for module in MODULES} == set()
    folders = {str(module.parent.relative_to(ROOT / "sipresence")) for module in MODULES} - {"."}
    assert [folder for folder in sorted(folders) if f"{folder}/" not in ARCHITECTURE] == []
