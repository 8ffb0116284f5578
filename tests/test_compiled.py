"""Which build is under test: with SIPRESENCE_COMPILED (`make test-compiled` sets it) the compiled one, else our source.

Were it another than it seems, all other tests would pass for nothing: a compiled module that stayed in the checkout
hides its source, and a checkout in front of the installed package hides that.
"""

import os
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import sipresence

COMPILED = "SIPRESENCE_COMPILED" in os.environ

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
HOOK = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
PACKAGE = Path(sipresence.__path__[0])
FILES = [f"/{path.relative_to(PACKAGE.parent).as_posix()}" for path in sorted(PACKAGE.rglob("[!_]*.py"))]
HOT = [file for file in FILES if any(fnmatch(file, pattern) for pattern in HOOK["include"])]


def module_name(file: str) -> str:
    return file.strip("/").removesuffix(".py").replace("/", ".")


def is_compiled(origin: str | None) -> bool:
    return origin is not None and origin.endswith(tuple(EXTENSION_SUFFIXES))


@pytest.mark.parametrize("file", FILES)
def test_a_module_is_compiled_if_it_is_hot_and_the_build_says_so(file: str) -> None:
    assert is_compiled(import_module(module_name(file)).__file__) == (COMPILED and file in HOT)


@pytest.mark.parametrize("pattern", HOOK["include"])
def test_what_is_to_be_compiled_exists(pattern: str) -> None:
    assert any(fnmatch(file, pattern) for file in HOT)


def test_a_process_that_a_test_starts_runs_the_same_build() -> None:
    ask = "import sipresence.sip.message as module; print(module.__file__)"
    told = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True).stdout
    assert is_compiled(told.strip()) == COMPILED


def test_the_command_says_which_build_it_is() -> None:
    said = subprocess.run([sys.executable, "-m", "sipresence", "--version"], check=True, capture_output=True, text=True)
    assert said.stdout.rstrip().endswith(f"({'compiled' if COMPILED else 'pure'})")
