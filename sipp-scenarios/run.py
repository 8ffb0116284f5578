"""Run the SIPp scenarios of this folder against a running server.

SIPp plays the phone: it sends, receives in the order of its scenario, and asserts on what it received. What it cannot
do is press the admin's buttons. This runner does so over the HTTP API at the right moment: a step waits until the API
shows that the NOTIFY with a certain CSeq was answered with 200, so that nothing depends on how fast anything is.
Every scenario has an extension, a Call-ID and a port of its own and leaves no subscription behind, which is checked:
all of them run at the same time, also on a server that is in use.

    python sipp-scenarios/run.py                      all scenarios but those played by name, on the demo office
    python sipp-scenarios/run.py refresh tcp          these two

Needs only the standard library and `sipp`.
"""

import argparse
import contextlib
import json
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypedDict, cast
from urllib.parse import quote, unquote
from urllib.request import Request, urlopen

FOLDER = Path(__file__).resolve().parent
POLL_S = 0.05
PATIENCE_S = 8  # for one message or one change in the API: UDP retransmissions at 0.5, 1.5 and 3.5 s fit in
VOICEMAIL = "*98"  # voicemail_prefix of the account
AT_ONCE = 12  # scenarios that run at the same time; nearly all of their time they wait


class ScenarioFailed(Exception):
    """The server did not do what the scenario asserts; the message says what was missing."""


class Notified(TypedDict):
    """CSeq of the last NOTIFY and the final status of its answer."""

    sequence: int
    reply: int


class Subscription(TypedDict):
    """What the runner reads of a subscription in the API."""

    notify: Notified


class Extension(TypedDict, total=False):
    """What the runner reads of an extension in the API, as far as anything is known."""

    mwi: dict[str, int]
    dnd: bool


Subscriptions = dict[str, dict[str, dict[str, Subscription]]]  # extension -> event package -> Call-ID


@dataclass(frozen=True, slots=True)
class Admin:
    """The admin API of one account."""

    url: str
    account: str
    token: str

    def subscriptions(self, extension: str) -> dict[str, Subscription]:
        """Return the subscriptions of an extension by Call-ID, from the list of the whole account."""
        _, body = self._call("", None)
        subscriptions = cast(Subscriptions, json.loads(body)["data"]["subscriptions"])
        packages = subscriptions.get(extension, {}).values()
        return {call_id: subscription for package in packages for call_id, subscription in package.items()}

    def extension(self, extension: str) -> Extension:
        """Return what the API shows of one extension."""
        _, body = self._call(_path(extension), None)
        return cast(Extension, json.loads(body)["data"])

    def command(self, extension: str, **data: str | bool | dict[str, int]) -> None:
        """Send a `reset` or a `set`."""
        status, _ = self._call(_path(extension), json.dumps({"data": data}).encode())
        if status != 202:
            raise ScenarioFailed(f"POST {data} for {extension} was answered {status}, not 202")

    def _call(self, path: str, body: bytes | None) -> tuple[int, bytes]:
        headers = {"X-Auth-Token": self.token, "Content-Type": "application/json"}
        request = Request(f"{self.url}/v2/accounts/{self.account}/presence{path}", body, headers)
        with urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read()


def _path(extension: str) -> str:
    return f"/{quote(extension, safe='')}"


Action = Callable[[Admin, str], None]


def setting(**data: str | bool | dict[str, int]) -> Action:
    """Set something of an extension."""

    def act(api: Admin, extension: str) -> None:
        api.command(extension, action="set", **data)

    return act


def setting_mailbox(**mwi: int) -> Action:
    """Set how many messages wait for the extension whose mailbox the watched one, `*98…`, stands for."""

    def act(api: Admin, lamp: str) -> None:
        api.command(lamp.removeprefix(VOICEMAIL), action="set", mwi=mwi)

    return act


def showing(wanted: Extension) -> Action:
    """Assert that the API shows this of an extension."""

    def act(api: Admin, extension: str) -> None:
        shown = api.extension(extension)
        if {key: shown.get(key) for key in wanted} != wanted:
            raise ScenarioFailed(f"the API shows {shown}, not {wanted}")

    return act


early, confirmed, terminated = (setting(state=state) for state in ("early", "confirmed", "terminated"))
wants_no_calls, wants_calls = setting(dnd=True), setting(dnd=False)


def reset(api: Admin, extension: str) -> None:
    """Flush all that is known of the extension."""
    api.command(extension, action="reset")


def only_one(api: Admin, extension: str) -> None:
    """Assert that the extension has exactly one subscription, and that one NOTIFY was sent."""
    sequences = [subscription["notify"]["sequence"] for subscription in api.subscriptions(extension).values()]
    if sequences != [1]:
        raise ScenarioFailed(f"subscriptions with last CSeq {sequences} in the list, not one with 1")


class Step(NamedTuple):
    """What the runner does once the server has the 200 to the NOTIFY with this CSeq; 0: before SIPp starts."""

    after: int
    act: Action


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario file and what belongs to it: SIPp's options, and the steps of the runner. `tcp`: only over that."""

    name: str
    steps: tuple[Step, ...] = ()
    tcp: bool = False
    options: tuple[str, ...] = ()
    user: str = "{}"  # how the phone writes the extension
    waits_for_expiry: bool = False
    by_name: bool = False  # plays only when it is named, on a server configured as README.md says


NO_RETRANSMISSIONS = ("-nr",)  # SIPp then also shows the scenario those that it receives, instead of hiding them

SCENARIOS = (
    Scenario("subscribe"),
    Scenario("refresh"),
    Scenario("unsubscribe"),
    Scenario("fetch"),
    Scenario("expiry", waits_for_expiry=True),
    Scenario("expires-lowered"),
    Scenario("interval-too-brief"),
    Scenario("refresh-too-brief", steps=(Step(1, early),)),
    Scenario("state-before", steps=(Step(0, confirmed), Step(1, reset))),
    Scenario("state-change", steps=(Step(1, early), Step(2, confirmed), Step(3, reset))),
    Scenario("reset-idle", steps=(Step(1, reset),)),
    Scenario("notify-481", steps=(Step(1, early),)),
    Scenario("tcp", tcp=True, steps=(Step(1, early),)),
    Scenario("retransmission", options=NO_RETRANSMISSIONS, steps=(Step(1, only_one), Step(1, early))),
    Scenario("cseq"),
    Scenario("escaped", user="%2A{}", steps=(Step(1, early),)),
    Scenario("alias", steps=(Step(1, confirmed),)),
    Scenario("compact"),
    Scenario("no-accept"),
    Scenario("event-parameter"),
    Scenario("event-id"),
    Scenario("no-event"),
    Scenario("bad-event"),
    Scenario("unknown-dialog"),
    Scenario("not-acceptable"),
    Scenario("require"),
    Scenario("bad-scheme"),
    Scenario("no-user"),
    Scenario("max-forwards"),
    Scenario("options-user"),
    Scenario("options-host"),
    Scenario("invite", options=NO_RETRANSMISSIONS),
    Scenario("cancel"),
    Scenario("unknown-method"),
    Scenario("register"),
    Scenario("register-refusals"),
    Scenario("max-rate"),
    Scenario("suppress-if-match"),
    Scenario("publish"),
    Scenario("publish-remove"),
    Scenario("publish-refusals"),
    Scenario("publish-lamp"),
    Scenario("publish-presence"),
    Scenario("publish-presence-refusals"),
    Scenario("presence", steps=(Step(1, early), Step(2, confirmed), Step(3, terminated))),
    Scenario("presence-no-accept", steps=(Step(1, confirmed),)),
    Scenario("presence-not-acceptable"),
    Scenario("list", steps=(Step(1, early), Step(2, terminated))),
    Scenario("list-refusals"),
    Scenario("xpidf", steps=(Step(1, early), Step(2, reset))),
    Scenario(
        "do-not-disturb",
        steps=(
            Step(1, wants_no_calls),
            Step(2, showing({"dnd": True})),
            Step(2, early),
            Step(3, terminated),
            Step(4, wants_calls),
        ),
    ),
    Scenario(
        "message-summary",
        steps=(
            Step(1, setting(mwi={"new": 2, "saved": 5})),
            Step(2, showing({"mwi": {"new": 2, "saved": 5, "urgent": 0, "urgent_saved": 0}})),
            Step(2, setting(mwi={"new": 0, "saved": 7})),
        ),
    ),
    Scenario(
        "voicemail-lamp",
        steps=(Step(1, setting_mailbox(new=1, saved=2)), Step(2, setting_mailbox(new=0, saved=3))),
        user=f"{quote(VOICEMAIL, safe='')}{{}}",
    ),
    Scenario("coalescing", by_name=True),
    Scenario("withheld-callers", by_name=True),
    Scenario("digest", by_name=True),
    Scenario("register-digest", by_name=True),
)


@dataclass(frozen=True, slots=True)
class Target:
    """The server under test, and the two of its settings that scenarios assert, in seconds."""

    sip: str
    api: Admin
    min_expires: int
    max_expires: int
    local: str  # the address that SIPp sends from
    tcp: bool  # all of them over TCP


class Result(NamedTuple):
    """How a scenario went; `failure` is None where it passed."""

    name: str
    duration_s: float
    failure: str | None


class Run:
    """One run of one scenario: SIPp, and the steps beside it. What SIPp writes goes to `folder`."""

    def __init__(self, scenario: Scenario, target: Target, folder: Path) -> None:
        self._scenario = scenario
        self._target = target
        self._folder = folder
        self._call_id = f"{scenario.name}-{secrets.token_hex(8)}@{target.local}"
        self._user = scenario.user.format(f"7{secrets.randbelow(10**9):09}")  # no two runs meet on one server
        self._extension = unquote(self._user)

    def play(self) -> Result:
        """Play the scenario to its end."""
        started = time.monotonic()
        try:
            self._play()
            failure = None
        except (ScenarioFailed, OSError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
            # OSError: the API cannot be reached, or refuses. ValueError, KeyError: what it answers is not its list.
            failure = f"{error}\n{self._trace()}"
        return Result(self._scenario.name, time.monotonic() - started, failure)

    def _play(self) -> None:
        try:
            self._act(0)
            with subprocess.Popen(
                self._command(),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as sipp:
                try:
                    self._accompany(sipp)
                finally:
                    sipp.kill()  # of no effect once it has ended
            self._wait("the subscription still stands in the list", lambda: self._subscription() is None)
        finally:
            if self._scenario.steps:
                reset(self._target.api, self._extension)

    def _accompany(self, sipp: "subprocess.Popen[bytes]") -> None:
        """Take the steps while SIPp plays, then see how it ended."""
        for cseq in sorted({step.after for step in self._scenario.steps} - {0}):
            self._await_answer(cseq, sipp)
            if sipp.poll() is None:
                self._act(cseq)
        if sipp.wait(self._limit_s) != 0:
            raise ScenarioFailed(f"sipp ended with status {sipp.returncode}")

    def _await_answer(self, cseq: int, sipp: "subprocess.Popen[bytes]") -> None:
        self._wait(
            f"the list never showed NOTIFY {cseq} as answered with 200",
            lambda: sipp.poll() is not None or self._answered(cseq),
        )

    def _act(self, after: int) -> None:
        for step in self._scenario.steps:
            if step.after == after:
                step.act(self._target.api, self._extension)

    def _subscription(self) -> Subscription | None:
        return self._target.api.subscriptions(self._extension).get(self._call_id)

    def _answered(self, cseq: int) -> bool:
        subscription = self._subscription()
        if subscription is None:
            return False
        notified = subscription["notify"]
        return notified["sequence"] == cseq and notified["reply"] == 200

    def _wait(self, otherwise: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise ScenarioFailed(otherwise)
            time.sleep(POLL_S)

    @property
    def _recv_timeout_s(self) -> int:
        return PATIENCE_S + (self._target.min_expires if self._scenario.waits_for_expiry else 0)

    @property
    def _limit_s(self) -> int:
        return 2 * PATIENCE_S + self._recv_timeout_s

    def _command(self) -> list[str]:
        target, scenario = self._target, self._scenario
        keys = {
            "min_expires": target.min_expires,
            "max_expires": target.max_expires,
            "too_brief": target.min_expires - 1,
        }
        return [
            *("sipp", target.sip, "-sf", str(FOLDER / f"{scenario.name}.xml"), "-m", "1", "-nostdin"),
            *("-t", "t1" if scenario.tcp or target.tcp else "u1"),
            *("-i", target.local, "-p", str(_free_port(target.local))),
            *("-s", self._user, "-cid_str", self._call_id, *scenario.options),
            *(word for key, value in keys.items() for word in ("-key", key, str(value))),
            *("-recv_timeout", f"{self._recv_timeout_s}s", "-timeout", f"{self._limit_s}s", "-timeout_error"),
            *("-default_behaviors", "all,-bye"),  # there is no call to hang up
            *("-trace_err", "-error_file", "errors", "-trace_msg", "-message_file", "messages"),
        ]

    def _trace(self) -> str:
        """What SIPp has to say, and the messages."""
        files = (self._folder / "errors", self._folder / "messages")
        return "\n".join(file.read_text(errors="replace") for file in files if file.exists())


def _free_port(host: str) -> int:
    """Find a port that is free for UDP and TCP. The kernel picks at random, so that runs at one time do not collide."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        with socket.socket(family, socket.SOCK_STREAM) as tcp, socket.socket(family, socket.SOCK_DGRAM) as udp:
            tcp.bind((host, 0))
            port: int = tcp.getsockname()[1]
            with contextlib.suppress(OSError):  # taken for UDP: another one
                udp.bind((host, port))
                return port


def run(scenarios: Sequence[Scenario], target: Target) -> list[Result]:
    """Play `scenarios`, many at one time; return their results in the same order."""
    with tempfile.TemporaryDirectory(prefix="sipp-") as folder, ThreadPoolExecutor(AT_ONCE) as pool:

        def play(scenario: Scenario) -> Result:
            own = Path(folder, scenario.name)
            own.mkdir()
            return Run(scenario, target, own).play()

        return list(pool.map(play, scenarios))


def _parse(arguments: Sequence[str]) -> tuple[list[Scenario], Target]:
    known = {scenario.name: scenario for scenario in SCENARIOS}
    parser = argparse.ArgumentParser(description="Run SIPp scenarios against a running sipresence server.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="scenarios to run; without it all but those by name")
    parser.add_argument("--sip", metavar="HOST:PORT", default="127.0.0.1:5060", help="default: %(default)s")
    parser.add_argument("--local", metavar="ADDRESS", default="127.0.0.1", help="of the phones; default: %(default)s")
    parser.add_argument("--tcp", action="store_true", help="all scenarios over TCP, not only `tcp`")
    parser.add_argument("--api", metavar="URL", default="http://127.0.0.1:8000", help="default: %(default)s")
    parser.add_argument("--token", default="demo-token", help="an admin token; default: %(default)s")
    parser.add_argument("--account", default="0123456789abcdef0123456789abcdef", help="default: %(default)s")
    parser.add_argument(
        "--min-expires", type=int, default=60, help="sip.min_expires of the server, 2 or more; default: %(default)s"
    )
    parser.add_argument(
        "--max-expires", type=int, default=7200, help="sip.max_expires of the server; default: %(default)s"
    )
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are: {', '.join(known)}")
    if options.min_expires < 2:
        parser.error("--min-expires must be 2 or more: with 1 no interval is too brief, since 0 ends a subscription")
    api = Admin(options.api, options.account, options.token)
    target = Target(options.sip, api, options.min_expires, options.max_expires, options.local, options.tcp)
    wanted = options.names or [name for name, scenario in known.items() if not scenario.by_name]
    return [known[name] for name in wanted], target


def main(arguments: Sequence[str]) -> int:
    """Run what the command line asks for, print a table, then what failed; return the exit code."""
    results = run(*_parse(arguments))
    for result in results:
        print(f"{result.name:26} {'passed' if result.failure is None else 'FAILED'} {result.duration_s:6.1f} s")
    failed = [result for result in results if result.failure is not None]
    for result in failed:
        print(f"\n--- {result.name}: {result.failure}")
    print(f"\n{len(results) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
