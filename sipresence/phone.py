"""A phone: subscribes to lamps with pjsua2, the SIP stack of many real ones, and prints what each lamp would show.

It runs in a process of its own (`python -m sipresence.phone URI ...`), because pjsua2 is GPL and may abort or crash its
process, and it prints one line per change: readable, or JSON with `--json`. It subscribes to `Event: dialog`
(RFC 4235), refreshes by itself, and unsubscribes before it leaves. It makes no calls and plays no sound. With
`--register` it does as many desk phones: it registers before it subscribes to anything.

The Python API of pjsua2 2.15 has presence but not dialog events; the same shared object exports them as C functions,
which are called with ctypes, from the thread that also runs the stack's events. What pjsua reads of a document, as
tried with 2.15.1:

- The lamp is `state` of the struct, the `<state>` of the *first* `<dialog>`; later dialogs are not looked at.
- `info_entity` is `entity`, `info_state` is "full" or "partial"; `version` is ignored, so an old document counts, too.
- Without any `<dialog>` the state is empty, as it is before the first NOTIFY and after the last.
- A `<dialog>` without `<local>` or without `<remote>` is a segmentation fault; both may be empty, `id` may be missing.
- Text keeps its XML escapes (`&amp;`). All texts share 1,024 bytes: one that does not fit is empty.
- A namespace prefix (`<d:dialog-info>`) or broken XML is answered 488 and shows nothing.

`subscription` is the state of the subscription (SENT, ACCEPTED, ACTIVE, NULL); after an end, `term_code` and
`term_reason` say why (408, 503, or the `reason` of RFC 6665 section 4.1.3). Two NOTIFYs that arrive within the same
turn of the stack's events show as one change.
"""

import argparse
import ctypes
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import import_module
from types import ModuleType
from typing import ClassVar

NOT_INSTALLED = (
    "sipresence phone: pjsua2 is not installed: pip install 'sipresence[phone]' "
    "(the wheel exists for Linux on x86-64 and Python before 3.13)"
)

_TURN_MS = 50
_FLUSH_S = 1.0
_REGISTER_S = 10.0
_SIP_URI = re.compile(r"sips?:([^@\s]+)@[^@\s]+")


class Text(ctypes.Structure):
    """`pj_str_t`: bytes and their number, not terminated."""

    _fields_: ClassVar = [("ptr", ctypes.c_void_p), ("slen", ctypes.c_ssize_t)]

    def __str__(self) -> str:
        if not self.ptr or self.slen <= 0:
            return ""
        return ctypes.string_at(self.ptr, self.slen).decode(errors="replace")


class DialogEventInfo(ctypes.Structure):
    """`pjsua_buddy_dlg_event_info` of pjsua 2.15."""

    _fields_: ClassVar = [
        ("id", ctypes.c_int),
        ("uri", Text),
        ("dialog_id", Text),
        ("info_state", Text),
        ("info_entity", Text),
        ("call_id", Text),
        ("remote_tag", Text),
        ("local_tag", Text),
        ("direction", Text),
        ("state", Text),
        ("duration", Text),
        ("local_identity", Text),
        ("local_display", Text),
        ("local_target", Text),
        ("remote_identity", Text),
        ("remote_display", Text),
        ("remote_target", Text),
        ("sub_state", ctypes.c_int),
        ("sub_state_name", ctypes.c_char_p),
        ("term_code", ctypes.c_uint),
        ("term_reason", Text),
        ("buffer", ctypes.c_char * 1024),
    ]


@dataclass(slots=True, frozen=True)
class Sight:
    """What the phone sees of one lamp. `state` is empty while no document was read."""

    uri: str  # as given on the command line
    state: str
    subscription: str
    id: str
    entity: str
    direction: str
    term_code: int
    term_reason: str

    def as_json(self, at: float) -> str:
        """One JSON object; `time` is Unix seconds."""
        return json.dumps({"time": round(at, 3), **asdict(self)})

    def as_text(self, at: float) -> str:
        """Time, extension, lamp, subscription."""
        clock = datetime.fromtimestamp(at).strftime("%H:%M:%S.%f")[:-3]
        ended = f" ({self.term_code} {self.term_reason})" if self.term_code else ""
        line = f"{clock}  {extension_of(self.uri):<12}  {self.state or '-':<10}  {self.subscription}{ended}"
        # It comes from the network and goes to a terminal, which must not be steered by it.
        return "".join(letter if letter.isprintable() else "?" for letter in line)


def extension_of(uri: str) -> str:
    """Return the user part of a SIP URI."""
    match = _SIP_URI.fullmatch(uri)
    return match[1] if match else uri


def registrar_of(uri: str, transport: str) -> str:
    """Return the URI of the registrar that serves this address: that of its host (RFC 3261 section 10.2)."""
    scheme, _, rest = uri.partition(":")
    return target_of(f"{scheme}:{rest.partition('@')[2].partition(';')[0]}", transport)


def target_of(uri: str, transport: str) -> str:
    """Return the URI to subscribe to, so that the request leaves by `transport` (RFC 3263 section 4.1)."""
    if transport == "udp" or ";transport=" in uri.lower():
        return uri
    return f"{uri};transport={transport}"


class Phone:
    """The stack, one account, and one buddy per URI. One of it per process; pjsua is a singleton."""

    def __init__(
        self,
        pj: ModuleType,
        *,
        bind: str,
        port: int,
        transport: str,
        own_uri: str,
        credentials: tuple[str, str] | None,
        registrar: str = "",
    ) -> None:
        self._library = ctypes.CDLL(sys.modules["pjsua2._pjsua2"].__file__)
        self._library.pj_log_set_level(0)  # before the stack reads its configuration it would log to stdout
        self._pj = pj
        self._transport = transport
        self._endpoint = pj.Endpoint()
        self._endpoint.libCreate()
        settings = pj.EpConfig()
        settings.uaConfig.threadCnt = 0
        settings.uaConfig.mainThreadOnly = True
        settings.logConfig.level = settings.logConfig.consoleLevel = 0
        self._endpoint.libInit(settings)
        listener = pj.TransportConfig()
        listener.port = port
        listener.boundAddress = bind
        listener.tlsConfig.verifyServer = False  # lamps are for looking at: any certificate will do
        kinds = {"udp": pj.PJSIP_TRANSPORT_UDP, "tcp": pj.PJSIP_TRANSPORT_TCP, "tls": pj.PJSIP_TRANSPORT_TLS}
        listener_id = self._endpoint.transportCreate(kinds[transport], listener)
        self._endpoint.libStart()
        self._endpoint.audDevManager().setNullDev()
        account = pj.AccountConfig()
        account.idUri = own_uri
        account.regConfig.registerOnAdd = False
        account.regConfig.registrarUri = registrar
        account.sipConfig.transportId = listener_id
        if credentials is not None:
            account.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", credentials[0], 0, credentials[1]))
        self._account = pj.Account()
        self._account.create(account)
        self._buddies: dict[str, object] = {}  # pjsua deletes a buddy with its Python object
        self._ids: dict[str, int] = {}
        self._seen: dict[str, Sight] = {}

    def register(self, wanted: bool = True) -> str:
        """Register at the registrar, or end that; return what has kept it from it, "" where it was done."""
        self._account.setRegistration(wanted)
        until = time.monotonic() + (_REGISTER_S if wanted else _FLUSH_S)
        while time.monotonic() < until:
            self._endpoint.libHandleEvents(_TURN_MS)
            info = self._account.getInfo()
            if info.regStatus >= 300:
                return f"{info.regStatus} {info.regStatusText}"
            if info.regIsActive == wanted:
                return ""
        return "no answer"

    def subscribe(self, uri: str) -> None:
        """Ask for the lamp of `uri`."""
        settings = self._pj.BuddyConfig()
        settings.uri = target_of(uri, self._transport)
        settings.subscribe = False  # that would be presence
        buddy = self._pj.Buddy()
        buddy.create(self._account, settings)
        self._buddies[uri] = buddy
        self._ids[uri] = buddy.getId()
        self._library.pjsua_buddy_subscribe_dlg_event(self._ids[uri], 1)

    def unsubscribe(self) -> None:
        """Give up all lamps; `subscribed` says when the server has taken note."""
        for buddy_id in self._ids.values():
            self._library.pjsua_buddy_subscribe_dlg_event(buddy_id, 0)

    @property
    def subscribed(self) -> bool:
        """Whether any subscription is not over."""
        return any(sight.subscription != "NULL" for sight in self._seen.values())

    def look(self) -> Iterator[Sight]:
        """Run the stack for one turn of at most 50 ms, then yield the lamps that changed."""
        self._endpoint.libHandleEvents(_TURN_MS)
        for uri, buddy_id in self._ids.items():
            info = DialogEventInfo()
            self._library.pjsua_buddy_get_dlg_event_info(buddy_id, ctypes.byref(info))
            sight = sight_of(uri, info)
            if sight != self._seen.get(uri):
                self._seen[uri] = sight
                yield sight


def sight_of(uri: str, info: DialogEventInfo) -> Sight:
    """Copy what matters out of the struct, whose texts live only as long as it does."""
    return Sight(
        uri=uri,
        state=str(info.state),
        subscription=(info.sub_state_name or b"NULL").decode(),
        id=str(info.dialog_id),
        entity=str(info.info_entity),
        direction=str(info.direction),
        term_code=info.term_code,
        term_reason=str(info.term_reason),
    )


def follow(phone: Phone, *, stop: threading.Event, seconds: float, show: Callable[[Sight], None]) -> None:
    """Show each change until `stop` or for `seconds`; then unsubscribe, and show what comes of that within a second."""
    until = time.monotonic() + seconds
    while not stop.is_set() and time.monotonic() < until:
        for sight in phone.look():
            show(sight)
    phone.unsubscribe()
    until = time.monotonic() + _FLUSH_S
    while phone.subscribed and time.monotonic() < until:
        for sight in phone.look():
            show(sight)


def load_pjsua2() -> ModuleType:
    """Import pjsua2 with its shared object. Raises ImportError."""
    pj = import_module("pjsua2")
    import_module("pjsua2._pjsua2")
    return pj


def sip_uri(text: str) -> str:
    """Check an argument that is a SIP URI with a user part."""
    if not _SIP_URI.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a SIP URI: write sip:EXTENSION@HOST[:PORT]")
    return text


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="sipresence phone", description="Subscribe to lamps and show each change.")
    parser.add_argument("uris", metavar="URI", nargs="+", type=sip_uri, help="sip:EXTENSION@HOST[:PORT]")
    parser.add_argument("--json", action="store_true", help="one JSON object per change")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--transport", choices=("udp", "tcp", "tls"), default="udp")
    parser.add_argument("--bind", metavar="ADDRESS", default="127.0.0.1", help="own address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="own port (default: any free one)")
    parser.add_argument("--id", metavar="URI", type=sip_uri, default="sip:phone@127.0.0.1", help="From of the phone")
    parser.add_argument("--username", help="SIP user name of a device, where the server wants a password")
    parser.add_argument("--password", help="of that device (other users of this machine can see it)")
    parser.add_argument("--register", action="store_true", help="register the --id at the host of the first URI first")
    options = parser.parse_args(arguments)
    if (options.username is None) != (options.password is None):
        parser.error("--username and --password go together")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Be a phone; return the exit code."""
    options = parse(arguments)
    try:
        pj = load_pjsua2()
    except ImportError:
        print(NOT_INSTALLED, file=sys.stderr)
        return 2
    stop = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: stop.set())

    def show(sight: Sight) -> None:
        at = time.time()
        try:
            print(sight.as_json(at) if options.json else sight.as_text(at), flush=True)
        except BrokenPipeError:
            stop.set()  # nobody reads any more

    try:
        credentials = None if options.username is None else (options.username, options.password)
        phone = Phone(
            pj,
            bind=options.bind,
            port=options.port,
            transport=options.transport,
            own_uri=options.id,
            credentials=credentials,
            registrar=registrar_of(options.uris[0], options.transport),
        )
        if options.register and (reason := phone.register()):
            print(f"sipresence phone: not registered: {reason}", file=sys.stderr)
            return 1
        for uri in options.uris:
            phone.subscribe(uri)
    except pj.Error as error:
        print(f"sipresence phone: {error.reason} ({error.title})", file=sys.stderr)
        return 1
    follow(phone, stop=stop, seconds=options.seconds, show=show)
    if options.register:
        phone.register(False)
    return 0


if __name__ == "__main__":
    # Without the interpreter's own way out: the destructors of pjsua2's objects run there in no useful order, and some
    # of them abort the process. Every line was flushed when it was printed.
    os._exit(main())
