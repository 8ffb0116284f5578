"""Every scenario of sipp-scenarios/, played by the real SIPp against a real server process.

The runner plays all of them at the same time, once per store; each test then looks up its own scenario, so that a
report names what failed.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import need
from tests.e2e.conftest import StartServer
from tests.e2e.server import ACCOUNT, MIN_EXPIRES, TOKEN, Server, running

FOLDER = Path(__file__).parents[2] / "sipp-scenarios"
NAMES = sorted(file.stem for file in FOLDER.glob("*.xml"))
# By name, each on a server configured for it.
CHALLENGED = ("digest", "register-digest", "withheld-callers", "coalescing")
PLAY_S = 120.0

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Played:
    """What the runner said: its exit code, all of its output, and the verdict on each scenario."""

    exit_code: int
    output: str
    verdicts: dict[str, str]


def play(server: Server, names: Sequence[str] = (), *options: str, sip: str = "") -> Played:
    """Run the runner as a user would; `sip` is another address of the server than its own."""
    need("sipp")
    command = [
        *(sys.executable, str(FOLDER / "run.py"), "--sip", sip or server.sip, "--api", server.url, *options),
        *("--token", TOKEN, "--account", ACCOUNT, "--min-expires", str(MIN_EXPIRES), *names),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PLAY_S)
    verdicts = dict(re.findall(r"^(\S+) +(passed|FAILED) ", done.stdout, re.MULTILINE))
    return Played(done.returncode, done.stdout, verdicts)


@pytest.fixture(scope="module", params=["sqlite:presence.db", "memory:"], ids=["sqlite", "memory"])
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """All scenarios, played; the server's log was clean and it stopped in good order."""
    need("sipp")
    with running(tmp_path_factory.mktemp("server"), store=request.param) as server:
        return play(server)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in CHALLENGED])
def test_scenario(played: Played, name: str) -> None:
    assert played.verdicts.get(name) == "passed", played.output


def test_exit_code(played: Played) -> None:
    assert played.exit_code == 0, played.output


def test_scenario_with_a_password(start_server: StartServer) -> None:
    server = start_server(sip={"trusted_networks": [], "digest_algorithms": ["MD5"]})
    done = play(server, ["digest", "register-digest"])
    assert done.exit_code == 0, done.output


def test_scenario_with_caller_rules(server: Server) -> None:
    """The rule is that of the demo office."""
    tokens = f'tokens = ["{TOKEN}"]'
    rule = 'caller_rules = [{ subscriber = "lobby.*", resource = ".*", action = "withhold" }]'
    reloaded(server, "withheld-callers", (tokens, f"{tokens}\n{rule}"))


def test_scenario_with_a_long_window(start_server: StartServer) -> None:
    server = start_server(sip={"coalesce_ms": 0})
    reloaded(server, "coalescing", ("coalesce_ms = 0", "coalesce_ms = 1000"))


def reloaded(server: Server, name: str, change: tuple[str, str]) -> None:
    """A scenario fails before a change of the configuration, and passes after it has been taken in."""
    before = play(server, [name])
    server.reload(change)
    after = play(server, [name])
    assert (before.exit_code, after.exit_code) == (1, 0), before.output + after.output


def test_after_kill_and_restart(server: Server) -> None:
    """A server that was killed serves again on the same ports, with the database that it left."""
    before = play(server, ["subscribe"])
    server.kill()
    server.start()
    after = play(server, ["state-change", "tcp"])
    assert (before.exit_code, after.exit_code) == (0, 0), before.output + after.output


def test_runner_reports_failure(server: Server) -> None:
    """The runner's exit code is 1 when a scenario fails: here the server's least interval is not the asserted one."""
    need("sipp")
    command = [sys.executable, str(FOLDER / "run.py"), "--sip", server.sip, "--api", server.url, "interval-too-brief"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=PLAY_S)
    assert done.returncode == 1
    assert "interval-too-brief         FAILED" in done.stdout


def test_readme_lists_every_scenario() -> None:
    listed = re.findall(r"^\| `([a-z0-9-]+)` \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == NAMES
