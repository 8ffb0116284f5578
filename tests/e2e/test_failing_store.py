"""A store that fails: what is new is refused, what is there lives on, nothing goes back, and mending it is enough.

While nothing can be committed, SUBSCRIBEs and refreshes get 500 with Retry-After and commands an error; a subscription
lives until its old expiry. NOTIFYs go on, if need be above the numbers that are reserved in the store: a process that
is killed meanwhile cannot have written them down, and yet the next one goes on above them.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import aiohttp
import pytest

from sipresence.backends.sqlite import CHECKPOINT_ROWS
from tests.e2e.fleet import Fleet, Phone
from tests.e2e.server import ACCOUNT, TOKEN, Server
from tests.e2e.trouble import Trouble, error_on_disk, full_disk, locked_database, make_read_only, make_writable

BLOCKS = 140  # more than the first block of numbers and the next
PATIENCE_S = 10.0
UNDER_WAY_S = 0.2
REFUSED_WITHIN_S = 3.0  # 2 s for a database that is locked, and some for a slow machine
EXTENSIONS = ("1000", "1001")
PHONES = 4

pytestmark = pytest.mark.e2e


def server_on(folder: Path, tmp_path: Path) -> Server:
    """A server, not yet started, of which nothing but the database is in this folder."""
    store = f"sqlite://{folder}/presence.db"
    server = Server(tmp_path, store=store, sip={"restore_spread": 0, "notify_rate": 0, "notify_window": 0})
    runtime = tmp_path / "run"
    runtime.mkdir(exist_ok=True)
    server.environment = {"RUNTIME_DIRECTORY": str(runtime)}
    return server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a small disk is mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


@contextlib.contextmanager
def serving(server: Server) -> Iterator[None]:
    """Run it; in the end kill whatever runs, and fail on a traceback: the trouble itself may be in the log."""
    server.start()
    try:
        yield
    finally:
        with contextlib.suppress(AssertionError):  # none runs
            server.kill()
    assert "Traceback" not in server.log


class Office:
    """A server, some phones, and an admin."""

    def __init__(self, server: Server, fleet: Fleet, api: aiohttp.ClientSession) -> None:
        self.server = server
        self.fleet = fleet
        self._api = api
        self._url = f"{server.url}/v2/accounts/{ACCOUNT}/presence"
        self.phones = [fleet.add(EXTENSIONS[number % 2]) for number in range(PHONES)]

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, server: Server) -> AsyncIterator["Office"]:
        async with (
            Fleet(("127.0.0.1", server.sip_port)) as fleet,
            aiohttp.ClientSession(headers={"X-Auth-Token": TOKEN}) as api,
        ):
            office = cls(server, fleet, api)
            await office.subscribe(office.phones)
            yield office
            assert fleet.faults == []

    async def subscribe(self, phones: list[Phone], *, status: int = 200, expires: int = 3600) -> None:
        """SUBSCRIBE, or refresh; each gets this status, and each that it fits a NOTIFY."""
        told = {phone.call_id: phone.notifies for phone in phones}
        await self.fleet.subscribe_all(phones, expires=expires)
        assert {phone.status for phone in phones} == {status}
        assert {phone.retry_after > 0 for phone in phones} == {status != 200}
        if status == 200:
            await self.until(lambda: all(phone.notifies > told[phone.call_id] for phone in phones))

    async def set_lamp(self, extension: str, state: str, *, status: int = 202) -> None:
        data = {"action": "set", "state": state}
        async with self._api.post(f"{self._url}/{extension}", json={"data": data}) as answer:
            text = await answer.text()
            assert answer.status == status, text
            assert "presence.db" not in text, "where the database is concerns no client"
            assert ("Retry-After" in answer.headers) == (status != 202)

    async def listed(self) -> set[str]:
        """The Call-IDs of all subscriptions."""
        async with self._api.get(self._url) as answer:
            extensions = (await answer.json())["data"]["subscriptions"].values()
        return {call_id for events in extensions for records in events.values() for call_id in records}

    async def until(self, holds: Callable[[], bool]) -> None:
        assert await self.fleet.settled(holds, within=PATIENCE_S)

    async def shown(self, extension: str, state: str) -> None:
        """Every phone that is subscribed to this extension shows this."""
        phones = [phone for phone in self.phones if phone.extension == extension]
        await self.until(lambda: {phone.lamp for phone in phones} == {state})

    async def restart(self, *, mend: Callable[[], None]) -> None:
        """kill -9, and once all is well again start; the phones hear of it by themselves."""
        await asyncio.to_thread(self.server.kill)
        mend()
        told = {phone.call_id: phone.notifies for phone in self.phones}
        self.fleet.gaps_allowed = True
        await asyncio.to_thread(self.server.start)
        await self.until(lambda: all(phone.notifies > told[phone.call_id] for phone in self.phones))


# While it fails


@pytest.mark.parametrize(
    ("befall", "brief_s"), [pytest.param(full_disk, 2, id="full"), pytest.param(locked_database, 4, id="locked")]
)
async def test_what_is_new_is_refused_and_what_is_there_lives_on(
    befall: Callable[[Path], AbstractContextManager[Trouble]], brief_s: int, folder: Path, tmp_path: Path
) -> None:
    with befall(folder) as trouble, serving(server := server_on(folder, tmp_path)):
        async with Office.of(server) as office:
            await office.set_lamp("1000", "early")
            await office.shown("1000", "early")
            brief, stranger = office.fleet.add("1000"), office.fleet.add("1000")
            await office.subscribe([brief], expires=brief_s)
            expires_at = time.monotonic() + brief_s

            trouble.fail()
            begun = time.monotonic()
            await asyncio.gather(
                office.subscribe([stranger], status=500),
                office.subscribe([brief, *office.phones], status=500),
                office.set_lamp("1000", "confirmed", status=500),
                office.set_lamp("1001", "early", status=500),
            )
            refused_after = time.monotonic() - begun
            print(f"refused after {refused_after:.2f} s")
            assert refused_after < REFUSED_WITHIN_S
            await office.shown("1000", "early")
            await office.shown("1001", "terminated")
            assert stranger.notifies == 0
            assert stranger.call_id not in await office.listed()

            await office.until(lambda: bool(brief.ended))
            assert brief.ended == "terminated;reason=timeout"
            assert -0.5 < time.monotonic() - expires_at < 3, "at its old expiry"
            assert {phone.call_id for phone in office.phones} == await office.listed()

            trouble.mend()
            await office.subscribe([stranger, *office.phones])
            await office.set_lamp("1000", "confirmed")
            await office.shown("1000", "confirmed")
            assert stranger.lamp == "confirmed"
            await office.restart(mend=lambda: None)
            assert {phone.call_id for phone in (stranger, *office.phones)} == await office.listed()


async def test_a_refused_refresh_promises_no_more_than_before(folder: Path, tmp_path: Path) -> None:
    """For a phone it is Subscription-State that says when its subscription ends (RFC 6665 section 4.1.3)."""
    with full_disk(folder) as trouble, serving(server := server_on(folder, tmp_path)):
        async with Office.of(server) as office:
            await office.subscribe(office.phones, expires=60)
            trouble.fail()
            await office.subscribe(office.phones, status=500)
            await asyncio.sleep(UNDER_WAY_S)
            assert max(phone.remaining for phone in office.phones) <= 60


async def pass_the_ceiling(office: Office) -> None:
    """Refresh, in vain, until every phone was told more than any block of numbers holds."""
    first = {phone.call_id: phone.notify_cseq for phone in office.phones}
    while min(phone.notify_cseq - first[phone.call_id] for phone in office.phones) < BLOCKS:
        await office.subscribe(office.phones, status=500)
    await asyncio.sleep(UNDER_WAY_S)


@pytest.mark.parametrize("befall", [pytest.param(full_disk, id="full"), pytest.param(error_on_disk, id="read-only")])
async def test_no_number_goes_back_after_a_crash_meanwhile(
    befall: Callable[[Path], AbstractContextManager[Trouble]], folder: Path, tmp_path: Path
) -> None:
    with befall(folder) as trouble, serving(server := server_on(folder, tmp_path)):
        async with Office.of(server) as office:
            trouble.fail()
            await pass_the_ceiling(office)
            before = {phone.call_id: phone.notify_cseq for phone in office.phones}
            await office.restart(mend=trouble.mend)
            for phone in office.phones:
                print(f"CSeq {before[phone.call_id]}, after the restart {phone.notify_cseq}")
            await office.set_lamp("1000", "early")
            await office.shown("1000", "early")


async def test_no_number_goes_back_after_a_crash_soon_after(folder: Path, tmp_path: Path) -> None:
    """What one phone's refresh writes after the trouble says nothing of the numbers of the others.

    Nor does one crash after another, nor a stop that cannot write the exact numbers, and says so.
    """
    with full_disk(folder) as trouble, serving(server := server_on(folder, tmp_path)):
        async with Office.of(server) as office:
            trouble.fail()
            await pass_the_ceiling(office)
            trouble.mend()
            await office.subscribe(office.phones[:1])
            await office.restart(mend=lambda: None)

            trouble.fail()
            await pass_the_ceiling(office)
            server.process.terminate()
            assert await asyncio.to_thread(server.process.wait, PATIENCE_S) == 1
            assert server.log.splitlines()[-1] == f"sipresence: {folder}/presence.db: database or disk is full"
            await office.restart(mend=trouble.mend)


async def test_a_full_disk_has_room_for_what_is_written_over(folder: Path, tmp_path: Path) -> None:
    """The log cannot grow any more, but one that is moved into the database to its end starts anew."""
    with full_disk(folder) as disk, serving(server := server_on(folder, tmp_path)):
        async with Office.of(server) as office:
            await asyncio.to_thread(server.stop)  # which moves the log: the database has room for these rows
            await asyncio.to_thread(server.start)
            await office.subscribe(office.phones)

            disk.fill()
            begun, refusals = time.monotonic(), 0
            while {phone.status for phone in office.phones} != {200} or not refusals:
                assert time.monotonic() - begun < PATIENCE_S
                await office.fleet.subscribe_all(office.phones)
                refusals += sum(phone.status == 500 for phone in office.phones)
            print(f"{refusals} refused, all accepted after {time.monotonic() - begun:.2f} s")
            assert refusals < CHECKPOINT_ROWS / 2, "long before as much is written as makes a checkpoint due"


# At start


def corrupt(database: Path) -> None:
    database.write_bytes(b"no database, but as long as one" * 1000)


def check_refused(server: Server, reason: str) -> None:
    """It does not start: one clear line, which names the database, and exit status 1."""
    with pytest.raises(AssertionError):
        server.start()
    assert server.process.returncode == 1
    server.kill()  # of no effect, but that it may be started again
    (line,) = server.log.splitlines()
    assert re.fullmatch(rf"sipresence: /.*/presence\.db: {reason}", line)
    server.log_file.unlink()


def test_a_corrupt_database_is_refused_at_start(folder: Path, tmp_path: Path) -> None:
    corrupt(folder / "presence.db")
    check_refused(server_on(folder, tmp_path), "file is not a database")


async def test_a_store_that_fails_is_refused_at_start_and_none_the_worse(folder: Path, tmp_path: Path) -> None:
    with full_disk(folder) as disk, locked_database(folder) as lock, serving(server := server_on(folder, tmp_path)):
        async with Office.of(server) as office:
            await asyncio.to_thread(server.stop)
            server.log_file.unlink()

            disk.fail()
            check_refused(server, "the disk is full")
            disk.mend()
            lock.fail()
            check_refused(server, "database is locked")
            lock.mend()
            make_read_only(folder)
            check_refused(server, ".*Read-only file system.*")
            make_writable(folder)

            await asyncio.to_thread(server.start)
            await office.subscribe(office.phones)
