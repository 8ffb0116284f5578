"""Softphones that people use, as processes of their own: baresip, and Linphone with a console or without.

Each subscribes to the presence of one extension, and publishes that of its own. They stay on loopback, on ports that
the system gives them, need no sound device, write into a folder of the test, and are told what to do on stdin.

    python -m tests.e2e.softphones CONFIG

is Linphone without a console: the library, which publishes each status that it reads, as the menu of the desktop's
Linphone does. `linphonec` has no command for that.
"""

import asyncio
import contextlib
import ctypes
import ctypes.util
import os
import re
import select
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.conftest import need
from tests.e2e import wire
from tests.e2e.server import REALM

PATIENCE_S = 20.0
POLL_S = 0.1
PAUSE_S = 0.2
TURN_S = 0.02  # how often liblinphone wants to be called
STATUSES = {"offline": 0, "online": 1, "busy": 2, "away": 4, "on the phone": 5, "do not disturb": 7}
"""`LinphoneOnlineStatus`"""

_BARESIP = """\
sip_listen 127.0.0.1:0
module_path /usr/lib/baresip/modules
module stdio.so
module_tmp account.so
module_app contact.so
module_app presence.so
module_app menu.so
"""

_LINPHONE = """\
[sip]
bind_address=127.0.0.1
sip_port=-1
sip_tcp_port=0
sip_tls_port=0

[proxy_0]
reg_proxy=<sip:127.0.0.1:{proxy}>
reg_identity=sip:{extension}@127.0.0.1:{server}
reg_sendregister=1
publish=1

[auth_info_0]
username={extension}
passwd={password}
realm={realm}

[friend_0]
url=<sip:{knows}@127.0.0.1:{server}>
subscribe=1
"""


class Account(NamedTuple):
    """Whose phone it is; with a password where the server asks for one."""

    extension: str
    password: str = ""


class Softphone:
    """A running softphone: what it is told, and what it prints."""

    quit = "quit"

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command = command
        self._folder = folder
        self._printed = folder / "printed"

    @property
    def printed(self) -> str:
        """All that it has printed, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self._printed.read_text(errors="replace"))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start it; in the end tell it to quit, upon which it unsubscribes, and must exit with status 0."""
        with self._printed.open("wb") as printed:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=printed,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, "HOME": str(self._folder), "XDG_DATA_HOME": str(self._folder / ".local/share")},
            )
        try:
            yield
            await self.tell(self.quit)
            assert await asyncio.wait_for(self._process.wait(), PATIENCE_S) == 0, self.printed
        finally:
            with contextlib.suppress(ProcessLookupError):  # it has ended
                self._process.kill()
            await self._process.wait()

    async def tell(self, command: str) -> None:
        """Type a line, as late as a person would.

        Whoever watches is told before the phone has read the answer to its PUBLISH. Until then Linphone would keep back
        the next one, for 5 s; and if it were to quit, it would not take back what it has published.
        """
        await asyncio.sleep(PAUSE_S)
        self._type(command)

    async def shows(self, extension: str, state: str) -> None:
        """Wait until it shows this state, in its own words, of somebody it knows."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while self._shown(extension) != state:
            assert asyncio.get_running_loop().time() < deadline, f"{extension} is not {state}:\n{self.printed}"
            await asyncio.sleep(POLL_S)

    def _shown(self, extension: str) -> str:
        """The state that it shows now, "" before it knows of any."""
        raise NotImplementedError

    def _type(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())


class Baresip(Softphone):
    """It shows Online, Busy or Offline. What it publishes at first is neither open nor closed, but `unknown`.

    Where it `registers` for so many seconds, it does so before it subscribes.
    """

    quit = "/quit"

    def __init__(self, folder: Path, account: Account, *, server: int, knows: str, registers: int = 0) -> None:
        super().__init__((need("baresip"), "-f", str(folder)), folder)
        password = f";auth_pass={account.password}" if account.password else ""
        (folder / "config").write_text(_BARESIP)
        (folder / "accounts").write_text(
            f"<sip:{account.extension}@127.0.0.1:{server}>;regint={registers};pubint=600{password}\n"
        )
        (folder / "contacts").write_text(f"<sip:{knows}@127.0.0.1:{server}>;presence=p2p\n")

    def _shown(self, extension: str) -> str:
        self._type("/contacts")  # it lists them, for the next time that we look
        states = re.findall(rf"^>? +(\w+) .*<sip:{extension}@", self.printed, re.MULTILINE)
        return states[-1] if states else ""


class Linphone(Softphone):
    """It shows Online, On the phone, Busy, Away, Offline and more.

    It subscribes and publishes only where it could register: at our server, or through a `Registrar`.
    """

    def __init__(
        self, folder: Path, account: Account, *, registrar: "Registrar | Direct", knows: str, console: bool = True
    ) -> None:
        configuration = folder / "linphonerc"
        linphonec = need("linphonec")
        program = (linphonec, "-c") if console else (sys.executable, "-m", __name__)
        super().__init__((*program, str(configuration)), folder)
        configuration.write_text(
            _LINPHONE.format(
                proxy=registrar.port,
                server=registrar.server,
                extension=account.extension,
                password=account.password,
                realm=REALM,
                knows=knows,
            )
        )
        # Without the folder of its database it takes the network for unreachable.
        (folder / ".local/share/linphone").mkdir(parents=True)

    def _shown(self, extension: str) -> str:
        states = re.findall(rf"Friend .*<sip:{extension}@.*> is (.+)", self.printed)
        return states[-1] if states else ""


class Direct(NamedTuple):
    """The way to our server itself."""

    server: int

    @property
    def port(self) -> int:
        return self.server


class Registrar(asyncio.DatagramProtocol):
    """What a PBX does for one phone: accepts its REGISTER, and passes on all else to our server."""

    def __init__(self, server: int) -> None:
        self.server = server
        self._phone: Any = None
        self.told: list[wire.Message] = []
        """What the server said, answers and NOTIFYs."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Registrar"]:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port: int = self._transport.get_extra_info("sockname")[1]
        try:
            yield self
        finally:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if addr == ("127.0.0.1", self.server):
            self.told.append(wire.read(data))
            self._transport.sendto(data, self._phone)
        elif data.startswith(b"REGISTER "):
            self._transport.sendto(wire.answer(wire.read(data)), addr)
        else:
            self._phone = addr
            self._transport.sendto(data, ("127.0.0.1", self.server))


def _publish(configuration: str) -> None:
    """Run liblinphone with this configuration, until it is told to quit."""
    library = ctypes.CDLL(ctypes.util.find_library("linphone"))
    core = ctypes.c_void_p
    library.linphone_factory_get.restype = core
    library.linphone_factory_create_core_3.restype = core
    library.linphone_factory_create_core_3.argtypes = [core, ctypes.c_char_p, ctypes.c_char_p, core]
    for function in (library.linphone_core_start, library.linphone_core_iterate, library.linphone_core_stop):
        function.argtypes = [core]
    library.linphone_core_set_presence_info.argtypes = [core, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
    linphone = library.linphone_factory_create_core_3(
        library.linphone_factory_get(), configuration.encode(), None, None
    )
    library.linphone_core_start(linphone)
    while True:
        library.linphone_core_iterate(linphone)
        if select.select([sys.stdin], [], [], TURN_S)[0]:
            status = sys.stdin.readline().strip()
            if status in ("", Linphone.quit):
                break
            library.linphone_core_set_presence_info(linphone, 0, None, STATUSES[status])
    library.linphone_core_stop(linphone)


if __name__ == "__main__":
    _publish(sys.argv[1])
