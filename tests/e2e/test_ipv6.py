"""Every SIPp scenario over IPv6, once over UDP and once over TCP."""

import pytest

from tests.e2e.conftest import StartServer
from tests.e2e.server import free_port
from tests.e2e.test_sipp import CHALLENGED, NAMES, play

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("options", [(), ("--tcp",)], ids=["udp", "tcp"])
def test_every_scenario_over_ipv6(start_server: StartServer, options: tuple[str, ...]) -> None:
    port = free_port()
    server = start_server(listen=[f"udp://[::1]:{port}", f"tcp://[::1]:{port}"])
    played = play(server, (), "--local", "::1", *options, sip=f"[::1]:{port}")
    assert played.exit_code == 0, played.output
    assert sorted(played.verdicts) == sorted(set(NAMES) - set(CHALLENGED))
