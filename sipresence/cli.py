"""The command `sipresence`: parse, call, print, exit code; it decides nothing.

`serve`, `backup` and `check-config` read the configuration; `list`, `set`, `reset`, `watch` and `trace` talk to a
running server over its admin API; `phone` starts `sipresence.phone` in a process of its own and relays its lines,
because pjsua2 may abort the process it lives in. Exit codes: 0 done, 1 refused or failed, 2 wrong usage or
configuration.

Each command imports what it needs when it runs, so that `sipresence --help` is quick. What comes from the network is
printed as `Text`, never as markup, and without control characters: a User-Agent header must not steer the terminal.
"""

import asyncio
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from sipresence.build import build
from sipresence.errors import BackupFailed, ConfigError, SipresenceError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from sipresence.admin_client import AdminClient, ExtensionListing, LampState, Listing, Record, Subscriptions
    from sipresence.config.model import Config

_DEMO_URL = "http://127.0.0.1:8000"
_DEMO_TOKEN = "demo-token"  # noqa: S105 - it is printed in examples/office.toml
_DEMO_ACCOUNT = "0123456789abcdef0123456789abcdef"

_POLL_S = 0.5
_PIPE_WIDTH = 240  # of a table that goes to no terminal: wide enough that nothing is folded
_LAMP_STYLES = {"early": "blink bold yellow", "confirmed": "bold red", "terminated": "green"}

Answer = TypeVar("Answer")


class _Commands(click.Group):
    """The one place where errors become a line on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            result: object = super().invoke(ctx)
        except ConfigError as error:
            for finding in error.findings:
                click.echo(finding, err=True)
            ctx.exit(2)
        except SipresenceError as error:
            click.echo(f"sipresence: {_plain(str(error))}", err=True)
            ctx.exit(1)
        return result


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sipresence", message=f"%(prog)s %(version)s ({build()})")
def main() -> None:
    """A SIP presence server for busy lamp fields."""


def _pairs(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """Split `section.key=value`."""
    for text in texts:
        if "=" not in text:
            raise click.BadParameter(f"{text!r} is not section.key=value")
    return dict(text.split("=", 1) for text in texts)


def _configuration(file: Path | None, overrides: Mapping[str, str]) -> "Config":
    from sipresence.config import loader

    path = file or loader.default_path(Path.cwd())
    if path is None:
        raise ConfigError(["no configuration: neither ./sipresence.toml nor /etc/sipresence/sipresence.toml exists"])
    return loader.load(path, overrides, os.environ)


@main.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="Default: ./sipresence.toml, then /etc's.")
@click.option("--set", "overrides", metavar="SECTION.KEY=VALUE", multiple=True, callback=_pairs, help="Repeatable.")
def serve(file: Path | None, overrides: dict[str, str]) -> None:
    """Run the server until SIGTERM or SIGINT."""
    load = functools.partial(_configuration, file, overrides)
    configuration = load()
    from sipresence import app  # it brings the whole server, for which a wrong configuration need not wait

    sys.exit(app.run(configuration, load))


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
def check_config(file: Path) -> None:
    """Show every error of a configuration file at once."""
    from sipresence.config import loader

    loader.load(file, {}, {})
    click.echo(f"{file}: ok")


@main.command()
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--config", "file", type=click.Path(path_type=Path), help="The server's; default as for serve.")
@click.option("--set", "overrides", metavar="SECTION.KEY=VALUE", multiple=True, callback=_pairs, help="Repeatable.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def backup(target: Path, file: Path | None, overrides: dict[str, str], force: bool) -> None:
    """Copy the database to FILE while the server runs. To restore it, start a server with FILE as its store.

    FILE holds who watches whom and the key of the server's tags: keep it as safe as the database.
    """
    from sipresence.backends.backup import back_up

    database = _configuration(file, overrides).store.path
    if database is None:
        raise BackupFailed("store.url is memory: - there is nothing to copy")
    size_bytes = back_up(database, target, overwrite=force)
    click.echo(f"{target}: {size_bytes} bytes")


class _Api(NamedTuple):
    """Which server and account the command is about."""

    url: str
    token: str
    account: str

    def ask(self, questions: "Callable[[AdminClient], Coroutine[Any, Any, Answer]]") -> Answer:
        """Run `questions` with an open client."""
        from sipresence.admin_client import AdminClient

        async def run() -> Answer:
            async with AdminClient(self.url, token=self.token, account=self.account) as client:
                return await questions(client)

        return asyncio.run(run())


def _with_api(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which server is meant, and pass them as one `_Api`."""

    @click.option("--url", envvar="SIPRESENCE_URL", default=_DEMO_URL, show_default=True, show_envvar=True)
    @click.option("--token", envvar="SIPRESENCE_TOKEN", default=_DEMO_TOKEN, show_default=True, show_envvar=True)
    @click.option("--account", envvar="SIPRESENCE_ACCOUNT", default=_DEMO_ACCOUNT, show_default=True, show_envvar=True)
    @functools.wraps(command)
    def with_api(url: str, token: str, account: str, **arguments: Any) -> None:
        command(_Api(url, token, account), **arguments)

    return with_api


@main.command("list")
@click.argument("extension", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the data of the API's answer.")
@_with_api
def list_(api: _Api, extension: str | None, as_json: bool) -> None:
    """Show subscriptions and lamps, of all extensions or of one."""
    data: Listing | ExtensionListing
    states: Mapping[str, LampState]
    if extension is None:
        data = listing = api.ask(lambda client: client.list())
        states = listing["states"]
    else:
        data = found = api.ask(lambda client: client.get(extension))
        states = {next(iter(found["subscriptions"]), extension): found}
    if as_json:
        click.echo(json.dumps(data, indent=2))
    else:
        _console().print(_subscription_table(data["subscriptions"], states))


@main.command("set")
@click.argument("extension")
@click.argument("state", type=click.Choice(["early", "confirmed", "terminated"]))
@click.option("--expires", type=click.IntRange(min=1), metavar="SECONDS", help="Default: until further notice.")
@_with_api
def set_(api: _Api, extension: str, state: str, expires: int | None) -> None:
    """Set the lamp of an extension."""
    api.ask(lambda client: client.set(extension, state, expires=expires))
    click.echo(f"{_plain(extension)}: set {state}")


@main.command()
@click.argument("extension")
@_with_api
def reset(api: _Api, extension: str) -> None:
    """Forget the state of an extension and tell all its subscribers."""
    api.ask(lambda client: client.reset(extension))
    click.echo(f"{_plain(extension)}: reset")


@main.command()
@click.argument("extensions", metavar="[EXTENSION]...", nargs=-1)
@click.option("--seconds", type=float, default=float("inf"), help="Stop after so long.")
@_with_api
def watch(api: _Api, extensions: tuple[str, ...], seconds: float) -> None:
    """Follow lamps live, until Ctrl-C; where stdout is no terminal, as one line per change."""
    with contextlib.suppress(KeyboardInterrupt), _live_view() as show:
        api.ask(lambda client: _watch(client, extensions, seconds=seconds, show=show))


@main.command()
@click.argument("name", metavar="EXTENSION|CALL-ID")
@click.option("--json", "as_json", is_flag=True, help="Print the data of the API's answer, with bodies.")
@_with_api
def trace(api: _Api, name: str, as_json: bool) -> None:
    """Show what happened to a lamp or a subscription, and what each phone believes now."""
    from sipresence.narration import narrate

    timelines = api.ask(lambda client: client.trace(name))
    if as_json:
        click.echo(json.dumps(timelines, indent=2))
        return
    for timeline in timelines:
        for line in narrate(timeline):
            click.echo(_plain(line))


@main.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", metavar="URI...", nargs=-1, type=click.UNPROCESSED)
def phone(arguments: tuple[str, ...]) -> None:
    """Be a phone: subscribe with pjsua2 and show what a lamp would show."""
    # Its options are those of sipresence/phone.py, which parses them; its output is ours.
    child = subprocess.Popen([sys.executable, "-m", "sipresence.phone", *arguments])
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True
        child.terminate()

    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, stop)
    status = child.wait()  # while it says good-bye
    if status < 0 and not stopped:
        raise click.ClickException(f"the phone died of {signal.Signals(-status).name}")
    sys.exit(max(status, 0))


async def _watch(
    client: "AdminClient",
    extensions: Sequence[str],
    *,
    seconds: float,
    show: "Callable[[Mapping[str, LampState]], None]",
) -> None:
    until = time.monotonic() + seconds
    while True:
        show(await _lamps(client, extensions))
        if time.monotonic() + _POLL_S > until:
            return
        await asyncio.sleep(_POLL_S)


async def _lamps(client: "AdminClient", extensions: Sequence[str]) -> "Mapping[str, LampState]":
    """The lamps of `extensions`, or of all that the server knows of."""
    if not extensions:
        return (await client.list())["states"]
    found = await asyncio.gather(*(client.get(extension) for extension in extensions))
    return dict(zip(extensions, found, strict=True))


@contextlib.contextmanager
def _live_view() -> "Iterator[Callable[[Mapping[str, LampState]], None]]":
    """Yield what shows the lamps of one look: a table that is redrawn, or lines."""
    if not sys.stdout.isatty():
        yield _ChangeLines().show
        return
    from rich.live import Live

    with Live(console=_console()) as live:
        yield lambda lamps: live.update(_lamp_table(lamps))


class _ChangeLines:
    """Prints a line for each lamp that is not as it was at the last look; at the first look, for each."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}

    def show(self, lamps: "Mapping[str, LampState]") -> None:
        clock = datetime.now().strftime("%H:%M:%S")
        for extension in sorted({*self._states, *lamps}):
            # The server forgets an idle extension that nobody asks for.
            state = lamps[extension]["state"] if extension in lamps else "terminated"
            if self._states.get(extension) != state:
                self._states[extension] = state
                click.echo(f"{clock}  {_plain(extension)}  {_plain(state)}")


def _console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def _lamp_table(lamps: "Mapping[str, LampState]") -> "Table":
    from rich.table import Table

    table = Table("Extension", "Lamp", "Since")
    for extension, lamp in sorted(lamps.items()):
        table.add_row(*_lamp_cells(extension, lamp))
    return table


def _subscription_table(subscriptions: "Subscriptions", states: "Mapping[str, LampState]") -> "Table":
    """One row per subscription; an extension without one has a row of its own."""
    from rich.table import Table

    table = Table("Extension", "Lamp", "Since", "Subscriber")
    table.add_column("Contact", overflow="fold")
    for heading in ("Remaining", "CSeq", "Version"):
        table.add_column(heading, justify="right")
    table.add_column("Last NOTIFY")
    table.add_column("User agent", overflow="fold")
    table.add_column("Profile")
    for extension in sorted({*subscriptions, *states}):
        lamp = _lamp_cells(extension, states.get(extension, {"state": "terminated", "since": 0}))
        records = [record for calls in subscriptions.get(extension, {}).values() for record in calls.values()]
        if not records:
            table.add_row(*lamp)
        for record in records:
            table.add_row(*lamp, *_record_cells(record))
    return table


def _lamp_cells(extension: str, lamp: "LampState") -> "list[Text]":
    state = lamp["state"]
    since = datetime.fromtimestamp(lamp["since"]).strftime("%Y-%m-%d %H:%M:%S") if lamp["since"] else "-"
    return [_text(extension), _text(state, _LAMP_STYLES.get(state, "yellow")), _text(since)]


def _record_cells(record: "Record") -> "list[Text]":
    notify = record["notify"]
    answer = f"{notify['reply'] or 'no answer yet'} (CSeq {notify['sequence']})" if notify["sequence"] else "none sent"
    return [
        _text(record["from"]),
        _text(record["contact"]),
        _text(f"{record['remaining']} s"),
        _text(record["cseq"]),
        _text(record["version"]),
        _text(answer),
        _text(record.get("user_agent", "")),
        _text(record.get("profile", "")),
    ]


def _text(value: object, style: str = "") -> "Text":
    from rich.text import Text

    return Text(_plain(str(value)), style)


def _plain(text: str) -> str:
    """Replace what a terminal would obey rather than show."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
