"""SIGHUP: what changes at once, what is named, what is refused; and no subscription is lost."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.certificates import Authority
from tests.e2e.conftest import StartServer
from tests.e2e.fleet import Fleet
from tests.e2e.server import ACCOUNT, MIN_EXPIRES, PROGRAM, TOKEN, Server

SECOND = "fedcba9876543210fedcba9876543210"


def lines(log: str) -> Iterator[dict[str, object]]:
    yield from (json.loads(line) for line in log.splitlines() if line.startswith("{"))


def status_with(server: Server, token: str) -> int:
    request = Request(f"{server.url}/v2/accounts/{ACCOUNT}/presence/101", headers={"X-Auth-Token": token})
    try:
        with urlopen(request) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


async def test_what_changes_at_once(server: Server) -> None:
    async with Fleet(("127.0.0.1", server.sip_port)) as fleet:
        old, new = fleet.add("101"), fleet.add("102")
        assert await fleet.subscribe(old) == 200
        log = server.reload(
            (f"min_expires = {MIN_EXPIRES}", 'min_expires = 90\nunknown_resources = "reject"'),
            (TOKEN, "another-token"),
            ('level = "info"', 'level = "debug"'),
        )
        (told,) = (line for line in lines(log) if line["event"] == "configuration reloaded")
        assert told["changed"] == ["sip.min_expires", "sip.unknown_resources", "log.level", "accounts"]
        assert "needs a restart" not in log
        assert await fleet.subscribe(new) == 404
        assert await fleet.subscribe(old, expires=60) == 423
        assert await fleet.subscribe(old) == 200, "what lives stays"
        assert [status_with(server, token) for token in (TOKEN, "another-token")] == [401, 200]
        assert '"level": "debug"' in server.log
        server.reload(('level = "debug"', 'level = "info"'), ("another-token", TOKEN))
        before = server.log
        assert await fleet.subscribe(old) == 200
        assert server.log == before, "nothing at level debug any more"
        assert fleet.faults == []


async def test_trust_is_taken_in(server: Server) -> None:
    async with Fleet(("127.0.0.1", server.sip_port)) as fleet:
        phone = fleet.add("101")
        assert await fleet.subscribe(phone) == 200
        server.reload(("[http]", 'trusted_networks = ["192.0.2.0/24"]\n[http]'))
        assert await fleet.subscribe(phone) == 401
        server.reload(('trusted_networks = ["192.0.2.0/24"]\n', ""))
        assert await fleet.subscribe(phone) == 200


async def test_what_needs_a_restart_is_named_each_time_and_stays(server: Server) -> None:
    log = server.reload(("[http]", "t1_ms = 600\ncompact_headers = true\n[http]"))
    assert "needs a restart: sip.t1_ms, sip.compact_headers" in log
    assert "needs a restart: sip.t1_ms, sip.compact_headers" in server.reload()
    server.stop()
    server.start()
    assert "needs a restart" not in server.reload()


async def test_a_file_with_errors_is_refused_whole(server: Server) -> None:
    async with Fleet(("127.0.0.1", server.sip_port)) as fleet:
        phone = fleet.add("101")
        assert await fleet.subscribe(phone) == 200
        log = server.reload(
            (f"min_expires = {MIN_EXPIRES}", "min_expires = 90\nmax_expiries = 1"), ('level = "info"', 'level = "loud"')
        )
        (refused,) = (line for line in lines(log) if line["level"] == "error")
        assert refused["event"] == "configuration not reloaded, the old one stays"
        assert isinstance(refused["findings"], list)
        assert {finding.partition(":")[0] for finding in refused["findings"]} == {"sip.max_expiries", "log.level"}
        assert await fleet.subscribe(phone, expires=MIN_EXPIRES) == 200
    server.log_file.write_text("")


async def test_certificates_that_are_not_there_refuse_the_whole_file(start_server: StartServer, tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("office", "IP:127.0.0.1")
    sip = {"tls_certificate": str(pair.certificate), "tls_private_key": str(pair.private_key)}
    server = start_server(sip=sip, listen=["tls://127.0.0.1:0"])
    log = server.reload(
        (f'"{sip["tls_certificate"]}"', '"missing.pem"'), (f"min_expires = {MIN_EXPIRES}", "min_expires = 90")
    )
    assert "missing.pem for TLS: No such file" in log
    async with Fleet(("127.0.0.1", server.sip_port)) as fleet:
        assert await fleet.subscribe(fleet.add("101"), expires=MIN_EXPIRES) == 200
    server.log_file.write_text("")


async def test_the_subscriptions_of_an_account_that_is_gone_end(start_server: StartServer) -> None:
    server = start_server(sip={"drain_seconds": 0.5})
    second = f'[[accounts]]\nid = "{SECOND}"\nrealm = "second.example.com"\n'
    async with Fleet(("127.0.0.1", server.sip_port)) as fleet:
        phones = [fleet.add("101") for _ in range(3)]
        await fleet.subscribe_all(phones)
        assert await fleet.settled(lambda: all(phone.notifies for phone in phones), within=3)
        server.reload(("[[accounts]]", f"{second}[[accounts]]"))
        assert await fleet.subscribe(phones[0]) == 200
        log = server.reload((f'id = "{ACCOUNT}"', f'id = "{"a" * 32}"'))
        assert '"subscriptions": 3' in log
        assert await fleet.settled(lambda: all(phone.ended for phone in phones), within=3)
        assert {phone.ended for phone in phones} == {"terminated;reason=deactivated"}
        assert fleet.faults == []


def test_a_terminal_that_closes_ends_the_server(server: Server, tmp_path: Path) -> None:
    server.stop()
    ours, its = pty.openpty()
    config = next(tmp_path.rglob("sipresence.toml"))
    child = subprocess.Popen(
        [*PROGRAM, "serve", "--config", str(config)],
        stdin=its,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(its)
    try:
        while not server._serves():
            assert child.poll() is None
        child.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.5)
        os.close(ours)
        assert child.wait(10) == 0
    finally:
        child.kill()
        child.wait()
