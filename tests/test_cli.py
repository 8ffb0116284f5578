"""The command line against a small admin API on a real socket: exit codes, what is asked, what is printed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import ModuleType

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from sipresence import cli
from sipresence.errors import ConfigError, ListenError

ACCOUNT = "0123456789abcdef0123456789abcdef"
PRESENCE = f"/v2/accounts/{ACCOUNT}/presence"

RECORD = {
    "expires": 3600,
    "from": "bob@office.example.com",
    "timestamp": 63919238400,
    "version": 3,
    "notify": {"body": "<dialog-info/>", "reply": 200, "sequence": 4},
    "stalker": "BLF-node",
    "cseq": 7,
    "contact": "sip:bob@192.0.2.7:5060",
    "user_agent": "Phone [bold]1\x1b[31m",
    "profile": "door-station",
    "remaining": 1234,
}
SUBSCRIPTIONS = {"101": {"dialog": {"call-1": RECORD}}}


class FakeApi:
    """Answers as the server would, from `states`; `refusal` is what it answers instead."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, str, object]] = []
        self.states = {"101": {"state": "early", "since": 1_700_000_000}, "102": {"state": "terminated", "since": 0}}
        self.refusal: tuple[int, object] | None = None
        self.timelines: dict[str, object] = {}  # by extension or Call-ID

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.raw_path, body))
        if request.headers.get("X-Auth-Token") != "demo-token":
            return self._envelope({"message": "invalid credentials"}, status=401)
        if self.refusal is not None:
            status, data = self.refusal
            return self._envelope(data, status=status)
        if request.method == "POST":
            return self._envelope("command sent", status=202)
        if request.path.endswith("/timeline"):
            return self._envelope(self._timeline(request))
        extension = request.raw_path.removeprefix(PRESENCE).strip("/")
        if extension.startswith("?"):
            return self._envelope({"subscriptions": SUBSCRIPTIONS, "states": self.states})
        idle = {"state": "terminated", "since": 0}
        found = {name: events for name, events in SUBSCRIPTIONS.items() if name == extension}
        return self._envelope({"subscriptions": found, **self.states.get(extension, idle)})

    def _timeline(self, request: web.Request) -> object:
        if "call_id" in request.query:
            found = self.timelines.get(request.query["call_id"])
            return [] if found is None else [found]
        extension = request.path.removeprefix(PRESENCE).split("/")[1]
        nothing = {"extension": extension, "state": "terminated", "since": 0, "phones": [], "timeline": []}
        return self.timelines.get(extension, nothing)

    def _envelope(self, data: object, status: int = 200) -> web.Response:
        return web.json_response({"data": data, "status": "success"}, status=status)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """A fake API in a thread of its own, since the commands run their own event loop."""
    fake = FakeApi()
    started = threading.Event()
    loop = asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", fake.answer)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    def serve() -> None:
        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert started.wait(5)
    monkeypatch.setenv("SIPRESENCE_URL", fake.url)
    yield fake
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments)


def test_list_shows_lamps_and_subscriptions(api: FakeApi) -> None:
    result = run("list")
    assert result.exit_code == 0
    for shown in ("101", "early", "102", "terminated", "bob@office.example.com", "sip:bob@192.0.2.7:5060", "1234 s"):
        assert shown in result.stdout
    assert "200 (CSeq 4)" in result.stdout
    assert api.requests == [("GET", f"{PRESENCE}?format=records&include=state", None)]


def test_what_comes_from_the_network_is_neither_markup_nor_steers_the_terminal(api: FakeApi) -> None:
    output = run("list").stdout
    assert "Phone [bold]1?[31m" in output
    assert "\x1b" not in output


def test_list_of_one_extension(api: FakeApi) -> None:
    result = run("list", "101")
    assert result.exit_code == 0
    assert "early" in result.stdout
    assert "102" not in result.stdout
    assert api.requests == [("GET", f"{PRESENCE}/101", None)]


def test_list_as_json_is_the_data_of_the_answer(api: FakeApi) -> None:
    assert json.loads(run("list", "--json").stdout) == {"subscriptions": SUBSCRIPTIONS, "states": api.states}
    assert json.loads(run("list", "101", "--json").stdout) == {"subscriptions": SUBSCRIPTIONS, **api.states["101"]}


def test_list_shows_a_record_without_a_user_agent(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(RECORD, "user_agent")
    assert run("list").exit_code == 0


def test_list_shows_which_profile_a_subscription_runs_under(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    head, *rows = run("list", "101").stdout.splitlines()[1:]
    assert [head.split("┃")[-2].strip(), rows[1].split("│")[-2].strip()] == ["Profile", "door-station"]
    monkeypatch.delitem(RECORD, "profile")
    assert run("list").exit_code == 0


AT = datetime(2026, 5, 4, 10, 0, 1, 250_000).timestamp()
PHONE = {
    "call_id": "call-1", "from": "bob@office.example.com", "contact": "sip:bob@192.0.2.7:5060", "user_agent": "",
    "told": "early", "believes": "confirmed",
}  # fmt: skip
TIMELINE = {
    "extension": "101",
    "state": "early",
    "since": int(AT),
    "phones": [
        PHONE,
        {**PHONE, "call_id": "call-2", "believes": None, "user_agent": "Phone\x1b[31m"},
        {**PHONE, "call_id": "call-3", "believes": "early", "user_agent": "Phone"},
    ],
    "timeline": [
        {"at": AT, "event": "restored", "expires": 3600, "call_id": "call-1"},
        {"at": AT, "event": "state", "source": "manual", "state": "early", "lamp": "early", "by": "boss"},
        {"at": AT, "event": "reset", "lamp": "terminated", "by": ""},
        {"at": AT, "event": "refreshed", "expires": 3600, "call_id": "call-1"},
        {"at": AT, "event": "moved", "before": "UDP 192.0.2.7:5060", "call_id": "call-1"},
        {"at": AT, "event": "notify", "cseq": 4, "version": 3, "state": "early", "final": False, "status": 200,
         "rtt": 0.00213, "call_id": "call-1"},
        {"at": AT, "event": "notify", "cseq": 5, "version": 4, "state": "early", "final": True, "status": 0,
         "call_id": "call-1"},
        {"at": AT, "event": "ended", "reason": "expired", "call_id": "call-1"},
        {"at": AT, "event": "from a later version", "call_id": "call-1"},
    ],
}  # fmt: skip
CLOCK = "2026-05-04 10:00:01.250"
STORY = f"""\
101: early since 2026-05-04 10:00:01
  call-1  bob@office.example.com (no User-Agent) believes: confirmed, which is wrong
  call-2  bob@office.example.com (Phone?[31m) believes: nothing yet
  call-3  bob@office.example.com (Phone) believes: early
{CLOCK}  call-1  found in the store at a start
{CLOCK}  manual by boss: early; the lamp shows early
{CLOCK}  reset
{CLOCK}  call-1  refreshed for 3600 s
{CLOCK}  call-1  moved away from UDP 192.0.2.7:5060
{CLOCK}  call-1  NOTIFY 4, version 3: early -> 200 after 2.1 ms
{CLOCK}  call-1  NOTIFY 5, version 4: early, the last one -> no answer
{CLOCK}  call-1  ended: expired
{CLOCK}  call-1  from a later version
"""


def test_trace_tells_the_story_of_an_extension(api: FakeApi) -> None:
    api.timelines["101"] = TIMELINE
    result = run("trace", "101")
    assert (result.exit_code, result.stdout) == (0, STORY)
    assert api.requests == [("GET", f"{PRESENCE}/101/timeline?include=body", None)]


def test_trace_finds_a_call_id(api: FakeApi) -> None:
    api.timelines["a/b@c"] = TIMELINE
    assert run("trace", "a/b@c").stdout == STORY
    assert [path for _, path, _ in api.requests] == [
        f"{PRESENCE}/a%2Fb%40c/timeline?include=body",
        f"{PRESENCE.removesuffix('presence')}timeline?include=body&call_id=a%2Fb%40c",
    ]


def test_trace_of_what_nobody_knows(api: FakeApi) -> None:
    assert run("trace", "999").stdout == "999: terminated\n  nothing is known of it\n"


def test_trace_as_json_is_a_list_of_timelines(api: FakeApi) -> None:
    api.timelines["101"] = TIMELINE
    assert json.loads(run("trace", "101", "--json").stdout) == [TIMELINE]


def test_set_sends_the_command(api: FakeApi) -> None:
    result = run("set", "101", "confirmed")
    assert (result.exit_code, result.stdout) == (0, "101: set confirmed\n")
    assert api.requests == [("POST", f"{PRESENCE}/101", {"data": {"action": "set", "state": "confirmed"}})]


def test_set_with_expires(api: FakeApi) -> None:
    assert run("set", "101", "early", "--expires", "60").exit_code == 0
    assert api.requests[0][2] == {"data": {"action": "set", "state": "early", "expires": 60}}


@pytest.mark.parametrize(
    ("extension", "quoted"), [("*3101", "%2A3101"), ("a/b", "a%2Fb"), ("+1 é", "%2B1%20%C3%A9"), ("%2A1", "%252A1")]
)
def test_an_extension_is_percent_encoded(api: FakeApi, extension: str, quoted: str) -> None:
    assert run("reset", extension).exit_code == 0
    assert api.requests == [("POST", f"{PRESENCE}/{quoted}", {"data": {"action": "reset"}})]


@pytest.mark.parametrize(
    "arguments",
    [
        ("set", "101", "ringing"),
        ("set", "101"),
        ("set", "101", "early", "--expires", "0"),
        ("reset",),
        ("serve", "--set", "no-value"),
        ("phone",),
        ("phone", "101"),
        ("phone", "sip:101@127.0.0.1", "--transport", "sctp"),
        ("frobnicate",),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    # A process: `phone` leaves its signal handlers behind, and its output is that of a child.
    assert command(*arguments).wait(20) == 2


@pytest.mark.parametrize(
    ("status", "data", "line"),
    [
        (404, {"message": "bad identifier", "cause": "12"}, "404: bad identifier (12)"),
        (400, {"state": {"enum": {"message": "Value not found", "value": "x"}}}, "400: state: Value not found"),
        (500, {"message": "two\nlines \x1b[2J"}, "500: two lines ?[2J"),
        (503, None, "503: no reason given"),
    ],
)
def test_a_refusal_is_one_line_and_1(api: FakeApi, status: int, data: object, line: str) -> None:
    api.refusal = (status, data)
    result = run("set", "101", "early")
    assert (result.exit_code, result.stderr) == (1, f"sipresence: {line}\n")


def test_a_refused_token(api: FakeApi) -> None:
    result = run("list", "--token", "wrong")
    assert result.exit_code == 1
    assert "refuses the token" in result.stderr


def test_an_empty_extension_is_refused(api: FakeApi) -> None:
    assert run("list", "").exit_code == 1
    assert api.requests == []


def test_an_answer_from_something_else(api: FakeApi) -> None:
    api.refusal = (200, ["no", "listing"])
    result = run("list")
    assert result.exit_code == 1
    assert "is not the admin API" in result.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "no url", "http://127.0.0.1:99999", "ftp://127.0.0.1"])
def test_no_server(url: str) -> None:
    result = run("list", "--url", url)
    assert result.exit_code == 1
    assert url in result.stderr
    assert "is `sipresence serve` running?" in result.stderr
    assert result.stderr.count("\n") == 1


def test_watch_prints_a_line_per_change(api: FakeApi) -> None:
    def change() -> None:
        time.sleep(0.25)
        api.states = {"102": {"state": "confirmed", "since": 1_700_000_000}}  # 101 is forgotten: idle

    thread = threading.Thread(target=change)
    thread.start()
    result = run("watch", "--seconds", "1.2")
    thread.join()
    assert result.exit_code == 0
    lines = [line.split()[1:] for line in result.stdout.splitlines()]
    assert lines == [["101", "early"], ["102", "terminated"], ["101", "terminated"], ["102", "confirmed"]]


def test_watch_asks_only_for_the_named_extensions(api: FakeApi) -> None:
    result = run("watch", "101", "*3101", "--seconds", "0.1")
    assert [line.split()[1:] for line in result.stdout.splitlines()] == [["*3101", "terminated"], ["101", "early"]]
    assert sorted(path for _, path, _ in api.requests) == [f"{PRESENCE}/%2A3101", f"{PRESENCE}/101"]


def test_watch_on_a_terminal_shows_a_table(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.openpty()
    child = command("watch", "--seconds", "0.1", stdout=write_end)
    assert child.wait(20) == 0
    os.close(write_end)
    shown = os.read(read_end, 65536).decode()
    os.close(read_end)
    assert "Extension" in shown
    assert "early" in shown


def command(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start a command that hears Ctrl-C: what runs in the background of a shell is started with SIGINT ignored."""
    return subprocess.Popen(
        [sys.executable, "-m", "sipresence", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_ctrl_c_ends_watch_in_peace(api: FakeApi) -> None:
    child = command("watch")
    assert child.stdout is not None
    assert "101" in child.stdout.readline()
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=20)
    assert (child.returncode, errors) == (0, "")


def test_a_broken_pipe_gives_no_traceback(api: FakeApi) -> None:
    child = command("watch")
    assert child.stdout is not None
    child.stdout.readline()
    child.stdout.close()
    api.states = {}  # so that there is something to write
    assert child.wait(20) == 1
    assert child.stderr is not None
    assert child.stderr.read() == ""
    child.stderr.close()


class FakeServer(ModuleType):
    """`sipresence.app`, as far as `serve` knows it."""

    def __init__(self) -> None:
        super().__init__("sipresence.app")
        self.configurations: list[object] = []

    def run(self, configuration: object, load: Callable[[], object]) -> int:
        assert load() == configuration
        self.configurations.append(configuration)
        if configuration == "port in use":
            raise ListenError("udp://127.0.0.1:5060: address in use")
        return 0


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake = FakeServer()
    monkeypatch.setitem(sys.modules, "sipresence.app", fake)
    monkeypatch.setattr("sipresence.app", fake, raising=False)
    return fake


def test_serve_loads_the_file_with_its_overrides(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[tuple[Path, dict[str, str], Mapping[str, str]]] = []

    def load(*arguments: object) -> str:
        loads.append(arguments)  # type: ignore[arg-type]
        return "loaded"

    monkeypatch.setattr("sipresence.config.loader.load", load)
    result = run("serve", "--config", "a.toml", "--set", "sip.min_expires=60", "--set", "http.listen=127.0.0.1:1=2")
    assert result.exit_code == 0
    once = (Path("a.toml"), {"sip.min_expires": "60", "http.listen": "127.0.0.1:1=2"}, os.environ)
    assert loads == [once, once], "at the start, and at a reload"
    assert server.configurations == ["loaded"]


def test_serve_that_cannot_listen_is_1(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipresence.config.loader.load", lambda *_: "port in use")
    result = run("serve", "--config", "a.toml")
    assert (result.exit_code, result.stderr) == (1, "sipresence: udp://127.0.0.1:5060: address in use\n")


def test_serve_without_a_configuration_is_2(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipresence.config.loader.default_path", lambda _: None)
    result = run("serve")
    assert result.exit_code == 2
    assert "/etc/sipresence/sipresence.toml" in result.stderr


def test_check_config_prints_every_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise ConfigError(["sip.foo: unknown key", "sip.listen: must not be empty"])

    monkeypatch.setattr("sipresence.config.loader.load", load)
    result = run("check-config", "a.toml")
    assert (result.exit_code, result.stderr) == (2, "sip.foo: unknown key\nsip.listen: must not be empty\n")


def test_check_config_of_a_good_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipresence.config.loader.load", lambda *_: None)
    result = run("check-config", "a.toml")
    assert (result.exit_code, result.stdout) == (0, "a.toml: ok\n")


def test_help_imports_nothing_heavy() -> None:
    names = "{'aiohttp', 'rich', 'pydantic', 'uvloop', 'pjsua2'}"
    check = f"import sys, sipresence.cli; assert not {names} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
