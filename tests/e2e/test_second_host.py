"""A phone on another host: a network namespace of the test's own, joined to this one by a veth pair.

The server listens on 0.0.0.0 and advertises nothing, so that its Contact must be the address by which that host reaches
it: `refresh` and `unsubscribe` are addressed to that Contact.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.conftest import need
from tests.e2e.conftest import StartServer
from tests.e2e.server import ACCOUNT, MIN_EXPIRES, TOKEN
from tests.e2e.test_sipp import FOLDER, PLAY_S

pytestmark = pytest.mark.e2e


class Hosts(NamedTuple):
    """The namespace of the phone, and the addresses of server and phone on the link between them."""

    namespace: str
    server: str
    phone: str


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Two hosts on a /30 of their own."""
    need("ip")
    if os.geteuid() != 0:
        pytest.skip("only root may make a network namespace")
    namespace, inside, outside = f"sip{os.getpid()}", f"sp{os.getpid()}a", f"sp{os.getpid()}b"
    _ip("netns", "add", namespace)
    try:
        _ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", namespace)
        _ip("addr", "add", "10.213.77.1/30", "dev", outside)
        _ip("link", "set", outside, "up")
        _ip("-n", namespace, "addr", "add", "10.213.77.2/30", "dev", inside)
        _ip("-n", namespace, "link", "set", inside, "up")
        _ip("-n", namespace, "link", "set", "lo", "up")
        yield Hosts(namespace, "10.213.77.1", "10.213.77.2")
    finally:
        _ip("netns", "del", namespace)  # its end of the veth pair goes with it, and so the other


def test_second_host(start_server: StartServer, hosts: Hosts) -> None:
    need("sipp")
    server = start_server(host="0.0.0.0", sip={"trusted_networks": [f"{hosts.phone}/32"]})
    runner = (sys.executable, str(FOLDER / "run.py"), "--local", hosts.phone, "--min-expires", str(MIN_EXPIRES))
    api = ("--api", f"http://{hosts.server}:{server.http_port}", "--token", TOKEN, "--account", ACCOUNT)
    done = subprocess.run(
        [
            *("ip", "netns", "exec", hosts.namespace, *runner, *api, "--sip", f"{hosts.server}:{server.sip_port}"),
            *("subscribe", "refresh", "unsubscribe", "state-change", "tcp"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PLAY_S,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(" passed ") == 5, done.stdout


def test_a_host_that_is_not_trusted_is_refused(start_server: StartServer, hosts: Hosts) -> None:
    """Its SUBSCRIBE is challenged, its OPTIONS answered."""
    server = start_server(host="0.0.0.0", sip={"trusted_networks": ["127.0.0.0/8"]})
    ask = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)\n"
        "for method in ('SUBSCRIBE', 'OPTIONS'):\n"
        "    s.sendto(f'{method} sip:101@office.example.com SIP/2.0\\r\\n'\n"
        "      f'Via: SIP/2.0/UDP 10.213.77.2;rport;branch=z9hG4bK{method}\\r\\nFrom: <sip:a@b>;tag=1\\r\\n'\n"
        "      f'To: <sip:101@office.example.com>\\r\\nCall-ID: {method}\\r\\nCSeq: 1 {method}\\r\\n'\n"
        "      'Contact: <sip:a@10.213.77.2>\\r\\nEvent: dialog\\r\\n\\r\\n'.encode(),\n"
        "      (sys.argv[1], int(sys.argv[2])))\n"
        "    print(s.recv(65535).split()[1].decode())\n"
    )
    done = subprocess.run(
        ["ip", "netns", "exec", hosts.namespace, sys.executable, "-c", ask, hosts.server, str(server.sip_port)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.split() == ["401", "200"]
