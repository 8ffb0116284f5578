"""Phones that register at our server, with a password, before they subscribe: baresip, Linphone and pjsua2."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.builders import request
from tests.conftest import need_phone
from tests.e2e import wire
from tests.e2e.conftest import StartServer
from tests.e2e.server import DEVICES, Server
from tests.e2e.softphones import PATIENCE_S, POLL_S, Account, Baresip, Direct, Linphone, Softphone
from tests.e2e.test_phone_lamp import PhoneProcess
from tests.events.registering import register

ALICE, BOBS = "101", "bob-desk"
WITH_PASSWORD = Account(BOBS, DEVICES[BOBS])
PASSWORDS = {"trusted_networks": [], "digest_algorithms": ["MD5"]}  # baresip gives up where SHA-256 is offered, too

MakePhone: TypeAlias = Callable[[Server, Path], AbstractAsyncContextManager[Softphone]]

pytestmark = pytest.mark.e2e


@pytest.fixture
def server(start_server: StartServer) -> Server:
    return start_server(sip=PASSWORDS)


def contacts(server: Server) -> list[tuple[str, str]]:
    """Who is registered, and where, as the database has it."""
    with closing(sqlite3.connect(f"file:{server.log_file.parent}/presence.db?mode=ro", uri=True)) as db:
        return list(db.execute("SELECT user, contact FROM bindings ORDER BY id"))


async def are_registered(server: Server, *users: str) -> None:
    """Wait until these are, and nobody else."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while (there := [user for user, _ in contacts(server)]) != list(users):
        assert asyncio.get_running_loop().time() < deadline, there
        await asyncio.sleep(POLL_S)


@asynccontextmanager
async def baresip(server: Server, folder: Path) -> AsyncIterator[Softphone]:
    home = folder / "baresip"
    home.mkdir()
    phone = Baresip(home, WITH_PASSWORD, server=server.sip_port, knows=ALICE, registers=600)
    async with phone.running():
        yield phone


@asynccontextmanager
async def linphone(server: Server, folder: Path) -> AsyncIterator[Softphone]:
    home = folder / "linphone"
    home.mkdir()
    phone = Linphone(home, WITH_PASSWORD, registrar=Direct(server.sip_port), knows=ALICE)
    async with phone.running():
        yield phone


@pytest.mark.parametrize(("make", "busy"), [(baresip, "Busy"), (linphone, "On the phone")])
async def test_a_softphone_registers_and_sees_a_call(
    server: Server, tmp_path: Path, make: MakePhone, busy: str
) -> None:
    async with make(server, tmp_path) as phone:
        await phone.shows(ALICE, "Online")
        await are_registered(server, BOBS)
        server.command(ALICE, action="set", state="confirmed")
        await phone.shows(ALICE, busy)
    await are_registered(server)  # it unregisters as it leaves


async def test_a_restart_in_between_loses_nothing(server: Server, tmp_path: Path) -> None:
    async with baresip(server, tmp_path) as phone:
        await phone.shows(ALICE, "Online")
        before = contacts(server)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        assert contacts(server) == before
        server.command(ALICE, action="set", state="confirmed")
        await phone.shows(ALICE, "Busy")
    await are_registered(server)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_the_pjsua2_phone_registers_and_its_lamp_follows(
    start_server: StartServer, tmp_path: Path, transport: str
) -> None:
    need_phone()
    server = start_server(sip={"trusted_networks": []})
    process = pjsua2(server, transport, DEVICES[BOBS])
    try:
        phone = PhoneProcess(process)
        assert await asyncio.to_thread(phone.lamp) == "terminated"
        await are_registered(server, BOBS)
        if transport == "udp":  # else its connection is gone, and it is told nothing until it has another
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        assert [user for user, _ in contacts(server)] == [BOBS]
        server.command(ALICE, action="set", state="early")
        assert await asyncio.to_thread(phone.lamp) == "early"
        process.terminate()
        assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0
        await are_registered(server)
    finally:
        process.kill()
        process.wait()


async def test_a_phone_with_a_wrong_password_says_why(start_server: StartServer) -> None:
    need_phone()
    server = start_server(sip={"trusted_networks": []})
    process = pjsua2(server, "udp", "wrong")
    _, said = await asyncio.to_thread(process.communicate, None, PATIENCE_S)
    assert process.returncode == 1
    assert said.startswith("sipresence phone: not registered: 40")
    assert contacts(server) == []


def pjsua2(server: Server, transport: str, password: str) -> "subprocess.Popen[str]":
    """Bob's pjsua2 phone, with a lamp for Alice."""
    command = [sys.executable, "-m", "sipresence.phone", f"sip:{ALICE}@{server.sip}", "--json", "--register"]
    command += ["--id", f"sip:{BOBS}@{server.sip}", "--username", BOBS, "--password", password]
    return subprocess.Popen(
        [*command, "--transport", transport], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


async def test_the_wire(start_server: StartServer) -> None:
    """A REGISTER, its retransmission, one that was overtaken, and a call that goes nowhere."""
    server = start_server()
    reader = asyncio.Queue[wire.Message]()

    class Phone(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            reader.put_nowait(wire.read(data))

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Phone, remote_addr=("127.0.0.1", server.sip_port))
    port = transport.get_extra_info("sockname")[1]

    async def ask(message: bytes) -> wire.Message:
        transport.sendto(message)
        return await asyncio.wait_for(reader.get(), PATIENCE_S)

    def ours(cseq: int, *, branch: str = "", **fields: object) -> bytes:
        told = {"via": f"SIP/2.0/UDP 127.0.0.1:{port};rport;branch=z9hG4bK{branch or cseq}", "cseq": cseq, **fields}
        return register(f"<sip:{BOBS}@127.0.0.1:{port}>", to=f"<sip:{BOBS}@127.0.0.1>", **told)  # type: ignore[arg-type]

    with closing(transport):
        granted = await ask(ours(2))
        assert granted.status == 200
        assert granted.get("contact") == f"<sip:{BOBS}@127.0.0.1:{port}>;expires=3600"
        again = await ask(ours(2))
        assert again == granted, "a retransmission gets the same answer"
        assert (await ask(ours(1))).status == 500
        assert (await ask(ours(2, branch="other"))).status == 482, "merged"
        brief = await ask(ours(3, expires=1))
        assert (brief.status, brief.get("min-expires")) == (423, "60")
        call = await ask(request("INVITE", via=f"SIP/2.0/UDP 127.0.0.1:{port};rport;branch=z9hG4bKcall"))
        assert call.status == 405
        assert "routes no calls" in call.get("warning")
        assert "REGISTER" in call.all("allow")
        transport.sendto(request("ACK", via=f"SIP/2.0/UDP 127.0.0.1:{port};rport;branch=z9hG4bKcall"))
        assert (await ask(ours(4, expires=0))).get("contact") == ""
