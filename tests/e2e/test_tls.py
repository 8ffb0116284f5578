"""TLS as operators meet it: the versions that we speak, and a certificate that is renewed under a running server."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.builders import options
from tests.certificates import Authority, Pair
from tests.conftest import need
from tests.e2e.conftest import StartServer
from tests.e2e.server import Server, free_port

PATIENCE_S = 10.0

pytestmark = pytest.mark.e2e


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue("office", "DNS:office.example.com", "IP:127.0.0.1", "IP:::1")


class TlsServer:
    """A server with TLS listeners on both families, and openssl as its client."""

    def __init__(self, start_server: StartServer, pair: Pair, authority: Authority) -> None:
        self._port = free_port()
        self._authority = authority
        files = {"tls_certificate": str(pair.certificate), "tls_private_key": str(pair.private_key)}
        listen = [f"tls://{host}:{self._port}" for host in ("127.0.0.1", "[::1]")]
        self.server: Server = start_server(listen=listen, sip=files)

    def ask(self, *arguments: str, host: str = "127.0.0.1") -> "subprocess.CompletedProcess[str]":
        """Send an OPTIONS; return once openssl is through."""
        client = subprocess.Popen(
            [
                *(need("openssl"), "s_client", "-connect", f"{host}:{self._port}", *arguments),
                *("-CAfile", str(self._authority.pair.certificate), "-verify_return_error", "-crlf", "-ign_eof"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert client.stdin is not None
        try:
            # Then what is no SIP, upon which the server closes, and so openssl ends.
            client.stdin.write(options().decode().replace("\r\n", "\n") + "\0\n")
            client.stdin.flush()
            output, _ = client.communicate(timeout=PATIENCE_S)
        finally:
            client.kill()
            client.wait()
        return subprocess.CompletedProcess(client.args, client.returncode, output)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize("version", ["1_2", "1_3"])
def test_versions_that_we_speak(
    start_server: StartServer, pair: Pair, authority: Authority, version: str, host: str
) -> None:
    done = TlsServer(start_server, pair, authority).ask(f"-tls{version}", host=host)
    assert f"New, TLSv{version.replace('_', '.')}" in done.stdout
    assert "Verify return code: 0 (ok)" in done.stdout
    assert "SIP/2.0 200 OK" in done.stdout


def test_versions_that_we_do_not(start_server: StartServer, pair: Pair, authority: Authority) -> None:
    """It is we who refuse: an alert says so."""
    done = TlsServer(start_server, pair, authority).ask("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    assert "tlsv1 alert protocol version" in done.stdout
    assert "SSL alert number 70" in done.stdout
    assert "SIP/2.0" not in done.stdout


@pytest.mark.parametrize("told", [True, False], ids=["SIGHUP", "by itself"])
def test_a_certificate_is_renewed_without_a_restart(
    start_server: StartServer, pair: Pair, authority: Authority, told: bool
) -> None:
    tls = TlsServer(start_server, pair, authority)
    assert "subject=CN = office" in tls.ask().stdout.replace("subject=CN=", "subject=CN = ")
    process = tls.server.process
    authority.issue("renewed", "IP:127.0.0.1").take_place_of(pair)
    if told:
        process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE_S
    while "renewed" not in tls.ask().stdout:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert process.poll() is None
    assert "certificates reloaded" in tls.server.log
