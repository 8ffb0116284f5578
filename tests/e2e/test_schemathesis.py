"""Schemathesis reads the description and asks a running server all that it allows, and more: no answer is a server
error, and every one is as described. Destructive requests are among them, since the token is an admin's.
"""

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from sipresence.http.openapi.operations import PATH
from tests.e2e.conftest import StartServer
from tests.e2e.server import ACCOUNT, TOKEN, Server
from tests.e2e.test_directory_api import call

pytestmark = pytest.mark.e2e

EXAMPLES = 10  # of each operation, besides those that follow from the description
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "allow_header_conformance",
    "unsupported_method",
)
PATIENCE_S = 300.0

DEVICE, USER = PATH["devices/{id}"][1], PATH["users/{id}"][1]
PEOPLE = f"""\
tokens = ["{TOKEN}"]
api_key = "{"0" * 64}"

[[accounts.users]]
id = "{USER}"
username = "alice"
password = "alice-demo-password"
presence_id = "101"

[[accounts.devices]]
id = "{DEVICE}"
name = "Alice's desk phone"
owner_id = "{USER}"
sip = {{ username = "alice", password = "alice-demo-secret" }}
"""
NEVER_DONE = {
    "GET /v2/websocket",  # by plain HTTP
    "DELETE /v2/token_auth",  # of a token of the configuration file
    "POST /v2/accounts/{account}/devices/{id}/presence/{extension}",
    "POST /v2/accounts/{account}/users/{id}/presence/{extension}",
}


@pytest.fixture
def office(start_server: StartServer) -> Server:
    """A server with the people of the description's examples, that has patience."""
    server = start_server()
    server.stop()
    patience = "request_rate = 1000\nrequest_burst = 100000\n[store]"
    server.configure((f'tokens = ["{TOKEN}"]\n', PEOPLE), ("[store]", patience))
    server.start()
    return server


def choices(server: Server) -> str:
    """Which ids to use, as schemathesis is configured: random ones exist nowhere.

    What is told to devices and users goes to some that are made for it, as others are to be deleted.
    """
    chosen = [("devices/[{]id[}]/", {"id": DEVICE}), ("users/[{]id[}]/", {"id": USER})]
    for noun, told in (("devices", {"name": "x"}), ("users", {"first_name": "x", "last_name": "y"})):
        for methods in ("GET|POST|PATCH", "DELETE"):
            made = call(server, "PUT", f"accounts/{ACCOUNT}/{noun}", told)[1]["data"]
            chosen.append((f"({methods}) .*/{noun}/[{{]id[}}]$", {"id": made["id"]}))
    return "\n".join(
        line
        for operations, values in (*chosen, ("", {}))  # the first that matches counts
        for line in (
            "[[operations]]",
            f"include-name-regex = '{operations}'",
            "[operations.parameters]",
            *(f'"path.{name}" = "{value}"' for name, value in {"account": ACCOUNT, **values}.items()),
        )
    )


def test_every_answer_is_as_described(office: Server, tmp_path: Path) -> None:
    configuration, report = tmp_path / "schemathesis.toml", tmp_path / "report.har"
    configuration.write_text(choices(office))
    program: list[str | Path] = [Path(sys.executable).with_name("st"), "--config-file", configuration, "run"]
    options = ["--generation-deterministic", "--continue-on-failure", "--max-examples", str(EXAMPLES), "--no-color"]
    asked = [f"{office.url}/v2/openapi.json", "--header", f"X-Auth-Token: {TOKEN}", "--checks", ",".join(CHECKS)]
    done = subprocess.run(
        [*program, *options, *asked, "--report", "har", "--report-har-path", report],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert never_done(office, json.loads(report.read_text())) == NEVER_DONE


def never_done(server: Server, report: Any) -> set[str]:
    """The operations that were never answered with success: nothing is known of what they answer."""
    with urlopen(f"{server.url}/v2/openapi.json") as answer:
        paths = json.load(answer)["paths"]
    statuses: dict[str, set[int]] = defaultdict(set)
    for entry in report["log"]["entries"]:
        path = entry["request"]["url"].removeprefix(server.url).partition("?")[0]
        matching = [one for one in paths if re.fullmatch(re.sub(r"{\w+}", "[^/]+", one), path)]
        if matching:
            best = min(matching, key=lambda one: one.count("{"))
            statuses[f"{entry['request']['method']} {best}"].add(entry["response"]["status"])
    operations = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    return {operation for operation in operations if not any(status < 300 for status in statuses[operation])}
