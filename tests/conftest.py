"""What all tests share."""

import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest


def need(tool: str) -> str:
    """Return the path of a program that a test runs; skip the test where it is missing.

    With SIPRESENCE_REQUIRE_TOOLS=1 (CI) the test fails instead: a skip that nobody reads is no test.
    """
    path = shutil.which(tool)
    if path is None:
        _missing(tool)
    return path


def need_phone() -> None:
    """Skip the test, or fail as above, where the extra `phone` is not installed though there is a wheel of it."""
    if importlib.util.find_spec("pjsua2") is not None:
        return
    if sys.platform != "linux" or platform.machine() != "x86_64" or sys.version_info >= (3, 13):
        pytest.skip("pjsua2-python has a wheel for Linux on x86-64 and Python before 3.13 only")
    _missing("pjsua2-python")


def need_atheris() -> None:
    """The same for the extra `fuzz`."""
    if importlib.util.find_spec("atheris") is not None:
        return
    if sys.platform != "linux" or platform.machine() != "x86_64" or sys.version_info >= (3, 14):
        pytest.skip("atheris has wheels for Linux on x86-64 and Python before 3.14 only")
    _missing("atheris")


def need_node_modules(folder: Path) -> str:
    """Return the path of node; skip the test, or fail as above, where `npm ci` did not run in this folder."""
    node = need("node")
    if not (folder / "node_modules").is_dir():
        _missing(f"what {folder.name}/package.json names")
    return node


def _missing(what: str) -> NoReturn:
    if os.environ.get("SIPRESENCE_REQUIRE_TOOLS") == "1":
        pytest.fail(f"{what} is not installed, and SIPRESENCE_REQUIRE_TOOLS=1 asks for it")
    pytest.skip(f"{what} is not installed")
