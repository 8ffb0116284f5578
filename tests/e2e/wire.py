"""SIP as a phone of the tests sees it: read and answered without the product's own parser, which is what is tested.

It knows only what our server and a proxy write: long header names, no folding.
"""

from typing import NamedTuple

ECHOED = ("via", "record-route", "from", "to", "call-id", "cseq")


class Message(NamedTuple):
    """A request or a response; `headers` are in order, their names in lower case, one entry per line."""

    start: str
    headers: tuple[tuple[str, str], ...]
    body: str

    @property
    def method(self) -> str:
        """The method of a request, "" of a response."""
        return "" if self.status else self.start.partition(" ")[0]

    @property
    def status(self) -> int:
        """The status of a response, 0 of a request."""
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def request_uri(self) -> str:
        return self.start.split()[1]

    @property
    def cseq(self) -> int:
        return int(self.get("cseq").split()[0])

    @property
    def lamp(self) -> str:
        """The state of the first dialog in the document."""
        return self.body.partition("<state>")[2].partition("<")[0]

    @property
    def version(self) -> int:
        """The version attribute of dialog-info, not that of the XML declaration."""
        return int(self.body.partition("<dialog-info")[2].partition('version="')[2].partition('"')[0])

    def all(self, name: str) -> list[str]:
        """Every value of a header, those that share a line apart."""
        return [value.strip() for key, line in self.headers if key == name for value in line.split(",")]

    def get(self, name: str) -> str:
        """The first line of a header, "" without."""
        return next((line for key, line in self.headers if key == name), "")

    def tag(self, name: str) -> str:
        """The tag of From or To, "" without."""
        return self.get(name).rpartition(";tag=")[2] if ";tag=" in self.get(name) else ""


def read(data: bytes) -> Message:
    """Read one whole message."""
    head, _, body = data.decode().partition("\r\n\r\n")
    start, *lines = head.split("\r\n")
    headers = tuple((name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return Message(start, headers, body)


def cut(buffer: bytearray) -> Message | None:
    """Take the first whole message off a stream's buffer; None while it is not all there. Keep-alives are skipped."""
    data = cut_bytes(buffer)
    return read(data) if data else None


def cut_bytes(buffer: bytearray) -> bytes:
    """The same, unread; b"" while it is not all there."""
    while buffer[:2] == b"\r\n":
        del buffer[:2]
    head = buffer.find(b"\r\n\r\n")
    if head < 0:
        return b""
    length = bytes(buffer[:head]).lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
    size = head + 4 + int(length)
    if len(buffer) < size:
        return b""
    data = bytes(buffer[:size])
    del buffer[:size]
    return data


def answer(request: Message, status: int = 200) -> bytes:
    """Answer a request, record-routed ones as RFC 3261 section 12.1.1 wants it."""
    kept = [f"{name}: {value}" for name, value in request.headers if name in ECHOED]
    return "\r\n".join([f"SIP/2.0 {status} Whatever", *kept, "Content-Length: 0", "", ""]).encode()
