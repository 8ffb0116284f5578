"""A whole server without sockets, in virtual time: endpoint, service, notifier and outbox as app.py builds them.

What is fed to it is a script: datagrams, one after the other, and between them what else happens to a server (a phone
answers, time passes, an admin sets a lamp, a commit fails). Every input of the fuzzer is a script; a SIP message alone
is the shortest one. After each step, and at the end, the house is inspected: see `Wire.inspect` and `House.close`.
"""

import hashlib
import itertools
import re
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import cast
from xml.parsers import expat

import structlog
from dns.rdatatype import RdataType
from structlog.typing import EventDict, ProcessorReturnValue

from sipresence.accounts import Account, Device
from sipresence.authentication import Authenticator
from sipresence.backends.memory import LocalBus, MemoryStore
from sipresence.directory import Directory
from sipresence.errors import StoreError
from sipresence.events.effects import SaveState, Write
from sipresence.events.notifier import Notifier
from sipresence.events.publication import PublicationCompositor
from sipresence.events.resource import DialogState, StateChange, reset, set_manually
from sipresence.events.resources import Resources
from sipresence.events.subscribe import Limits
from sipresence.events.timeline import Chronicle
from sipresence.names import AccountId, ResourceId
from sipresence.net.endpoint import SipEndpoint
from sipresence.net.nameserver import Reply
from sipresence.net.resolver import Target
from sipresence.net.transports import Found, StreamSettings, Transports, Way
from sipresence.service import PresenceService, ServiceSettings
from sipresence.sip.answer import REASONS
from sipresence.sip.dialog import DialogKey
from sipresence.sip.digest import Nonces
from sipresence.sip.flow import Flow, Hop
from sipresence.sip.message import Request, parse
from sipresence.sip.transaction import Transmit
from sipresence.sip.uri import is_address
from tests.authorization import Phone, challenges
from tests.builders import flow, response_to
from tests.fakes import ManualClock

SEPARATOR = b"\x1e"
"""Between the steps of a script (ASCII: record separator)."""
MAX_STEPS = 64
LIFETIME = 3 * 86_400.0  # s after which nothing that a phone asked for can still live
OFFICE = AccountId("0123456789abcdef0123456789abcdef")
REALM = "office.example.com"
LAMP = ResourceId(f"101@{REALM}")
TRUSTED, STRANGER = "192.0.2.7", "198.51.100.7"

_STATES = {b"e": DialogState.EARLY, b"c": DialogState.CONFIRMED, b"t": DialogState.TERMINATED}


class Wire:
    """Transports without a network: keeps what is sent, once it has been inspected."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.connections: set[int] = set()
        self.notifies: list[bytes] = []  # those that no phone has answered
        self.to_tag = b""
        self.challenge = ""

    def send(self, transmit: Transmit) -> None:
        self.inspect(transmit)

    def way(self, hop: Hop) -> Way | None:
        if (hop.prefer_flow or not hop.host) and self._is_alive(hop.flow):
            return Way(hop.flow, (hop.flow.host, hop.flow.port))
        if is_address(hop.host) and hop.transport == "UDP":
            return Way(hop.flow, (hop.host, hop.port)) if hop.flow.transport == "UDP" else None
        return None

    def seek(self, hop: Hop, found: Found) -> None:
        """Names have no address here, and nobody takes a connection."""
        back = hop.fallback and not hop.flow.reliable and not is_address(hop.host)
        way = Way(hop.flow, (hop.flow.host, hop.flow.port)) if back else None
        self._clock.call_soon(lambda: found(way))

    def failed(self, target: Target) -> None:
        raise AssertionError(f"{target} has no name")

    def _is_alive(self, flow: Flow) -> bool:
        return flow.connection in self.connections if flow.reliable else True

    def inspect(self, transmit: Transmit) -> None:
        """What we send can be read, says what we meant to say, and goes to an address that exists."""
        host, port = transmit.address
        assert is_address(host), host
        assert 0 < port < 65_536, port
        data = transmit.data
        if data[:1] < b"\x40" and data[4:8] == b"\x21\x12\xa4\x42":
            return  # STUN
        message = parse(data, transmit.flow)
        head, _, body = data.partition(b"\r\n\r\n")
        if isinstance(message, Request):
            assert message.defect is None, message.defect
            assert message.method == "NOTIFY", message.method
            expat.ParserCreate().Parse(body, True)
            self.notifies.append(data)
            return
        assert message.status in REASONS, message.status
        assert body == b"", "an answer of ours has no body"
        assert head.count(b"\r\nContent-Length: 0") == 1
        self._remember(message.status, head)

    def _remember(self, status: int, head: bytes) -> None:
        tag = re.search(rb"\r\nTo: .*;tag=([0-9a-f]+)(\r\n|$)", head)
        if status == 200 and tag is not None:
            self.to_tag = tag[1]
        if status == 401:
            self.challenge = head.decode(errors="surrogateescape")


class Store(MemoryStore):
    """Fails the next commit when told to."""

    @property
    def empty(self) -> bool:
        return not self._subscriptions and not self._states

    def fail_once(self) -> None:
        self.fail_with = StoreError("disk full")

    def submit(self, writes: Sequence[Write], done: Callable[[StoreError | None], None]) -> None:
        failing, self.fail_with = self.fail_with, None
        if failing is None:
            super().submit(writes, done)
        else:
            done(failing)


class House:
    """One server, one phone in front of it, and the admin. `play` runs a script."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = Store()
        self.wire = Wire(self.clock)
        self._phone = Phone()
        self._flow = flow(host=TRUSTED)
        resources, names = Resources(Chronicle()), itertools.count(1)
        self.notifier = Notifier(Limits(), failures_allowed=4, local_tag=_local_tag, resources=resources)
        settings = ServiceSettings(node="fuzz", trusted_networks=(ip_network("192.0.2.0/24"),))
        directory = Directory([_office()])
        self.service = PresenceService(
            settings,
            directory=directory,
            authenticator=Authenticator(directory, Nonces(bytes(32), since=self.clock.now())),
            notifier=self.notifier,
            compositor=PublicationCompositor(resources, token=lambda: f"p{next(names)}"),
            tag=_local_tag,
            clock=self.clock,
        )
        numbers = itertools.count(1)
        self.endpoint = SipEndpoint(
            self.service,
            (),
            streams=StreamSettings(),
            ask=_ask_nobody,
            admission=self.service.admission,
            clock=self.clock,
            t1=0.5,
            token=lambda: f"t{next(numbers)}",
        )
        # Anything with these verbs will do: the endpoint asks for no more once it is open.
        self.endpoint.transports = cast(Transports, self.wire)
        bus = LocalBus(self.service.on_state_change)
        self.service.attach(store=self.store, bus=bus, endpoint=self.endpoint)
        self.service.start()

    def play(self, script: bytes) -> None:
        """Do what the script says, then let everything end."""
        for step in script.split(SEPARATOR)[:MAX_STEPS]:
            self._do(step)
            self.service.on_turn_end()
            self.clock.settle()
        self.close()

    def close(self) -> None:
        """Nothing may be left when the last subscription and the last transaction have had their time."""
        self.store.fail_with = None
        self._change(reset(OFFICE, LAMP, at=self.clock.now()))
        self.clock.advance(LIFETIME)
        assert len(self.notifier) == 0
        assert self.notifier.resources() == ()
        assert self.service.outbox.idle
        assert self.clock.armed == []
        assert self.store.empty

    def _do(self, step: bytes) -> None:
        """The steps that are no datagram begin with a control character and have one more."""
        verb, argument = step[:2], step[2:]
        if verb == b"\x01=":
            self._answer_notifies(int(argument[:3]) if argument[:3].isdigit() else 200)
        elif verb == b"\x01+":
            self.clock.advance(float(argument[:5]) if argument[:5].isdigit() else 1.0)
        elif verb == b"\x01!":
            self._set(argument[:1])
        elif verb == b"\x01#":
            self.store.fail_once()
        elif verb == b"\x01~":
            host = STRANGER if self._flow.host == TRUSTED else TRUSTED
            self._flow = flow(host=host)
        elif verb == b"\x01|":
            self._connect()
        else:
            self.endpoint.receive(self._filled_in(step), self._flow)

    def _answer_notifies(self, status: int) -> None:
        notifies, self.wire.notifies = self.wire.notifies, []
        for sent in notifies:
            self.endpoint.receive(response_to(sent, max(100, min(status, 699))), self._flow)

    def _set(self, state: bytes) -> None:
        now = self.clock.now()
        known = _STATES.get(state)
        self._change(
            reset(OFFICE, LAMP, at=now)
            if known is None
            else set_manually(OFFICE, LAMP, state=known, at=now, expires_at=None)
        )

    def _change(self, change: StateChange) -> None:
        self.notifier.change_decided(change)
        self.service.outbox.add([SaveState(change)])
        self.service.on_turn_end()
        self.clock.settle()

    def _connect(self) -> None:
        """A phone without a connection makes one; a connection that there is breaks."""
        if self._flow.reliable:
            self.wire.connections.discard(self._flow.connection)
            self.endpoint._lost(self._flow)
            self._flow = flow(host=self._flow.host)
        else:
            number = 1 + max(self.wire.connections, default=0)
            self.wire.connections.add(number)
            self._flow = flow("TCP", host=self._flow.host, port=49_152, connection=number)

    def _filled_in(self, datagram: bytes) -> bytes:
        """What no mutation can guess: the tag of the last 200, and credentials for the last challenge."""
        if b"$TAG" in datagram:
            datagram = datagram.replace(b"$TAG", self.wire.to_tag)
        if b"$AUTH" in datagram and (offered := challenges(self.wire.challenge)):
            datagram = datagram.replace(b"$AUTH", self._phone.authorization(offered[0]).encode())
        return datagram


async def _ask_nobody(_name: str, _kind: RdataType) -> Reply:
    raise AssertionError("nothing is looked up here")


def _office() -> Account:
    devices = (Device("d", "d", None, "101", "alice-desk", "secret"),)
    return Account(
        OFFICE, "Office", REALM, ("192.0.2.1",), api_key=None, tokens=(), users=(), devices=devices, lists=()
    )


def _local_tag(key: DialogKey) -> str:
    name = "\0".join(key).encode(errors="surrogateescape")
    return hashlib.blake2b(name, digest_size=12).hexdigest()


def fail_on_logged_errors() -> None:
    """For the whole process: the server survives its own mistakes by logging them; here they must be seen."""
    structlog.configure(
        processors=[_fail],
        wrapper_class=structlog.make_filtering_bound_logger(40),
        cache_logger_on_first_use=False,
    )


def _fail(_logger: object, _method: str, event: EventDict) -> ProcessorReturnValue:
    raise AssertionError(f"an error was logged: {event}")
