"""The messages of RFC 4475, each with what a user agent server like this one makes of it.

A status is the answer; "response" and "dropped" are for what is never answered. Where the RFC lets an element choose,
the row says what we chose. An INVITE or a REGISTER gets 405 as soon as it can be read: RFC 3261 section 8.2.1 looks at
the method before anything else.
"""

from pathlib import Path

import pytest

from sipresence.errors import MalformedMessage, SipError
from sipresence.sip import uas
from sipresence.sip.answer import response
from sipresence.sip.framing import StreamFramer
from sipresence.sip.message import Response, parse
from tests.builders import flow, parsed, parsed_response

FOLDER = Path(__file__).parent.parent / "data" / "torture"
ALLOWED = ("SUBSCRIBE", "OPTIONS")

EXPECTED: dict[str, int | str] = {
    # 3.1.1 valid messages
    "wsinv": 405,
    "intmeth": 501,
    "esc01": 405,
    "escnull": 405,
    "esc02": 501,  # "RE%47IST%45R" is a method of its own
    "lwsdisp": 200,
    "longreq": 405,
    "dblreq": 405,  # the first; the rest of the datagram is ignored
    "semiuri": 200,
    "transports": 200,
    "mpart01": 405,
    "unreason": "response",
    "noreason": "response",
    # 3.1.2 invalid messages
    "badinv01": 400,
    "clerr": 400,
    "ncl": 400,
    "scalar02": 400,
    "scalarlg": "response",  # discarded for its CSeq
    "quotbal": 400,
    "ltgtruri": 405,  # 400 for a method that we do
    "lwsruri": 400,
    "lwsstart": 400,
    "trws": 400,
    "escruri": 405,  # "an element could choose to be liberal"
    "baddate": 405,  # nobody here reads Date
    "regbadct": 405,
    "badaspec": 200,  # liberal: the spaces are ignored
    "baddn": 200,  # liberal: the display name is not looked at
    "badvers": 505,
    "mismatch01": 400,
    "mismatch02": 400,  # or 501
    "bigcode": "dropped",
    # 3.2 and 3.3 transaction and application layer
    "badbranch": 200,
    "insuf": 400,
    "unkscm": 416,
    "novelsc": 416,
    "unksm2": 405,
    "bext01": 420,
    "invut": 405,
    "regaut01": 405,
    "multi01": 400,
    "mcl01": 400,
    "bcast": "response",  # discarded: no transaction has its branch
    "zeromf": 200,  # an endpoint answers an OPTIONS all the same
    "cparam01": 405,
    "cparam02": 405,
    "regescrt": 405,
    "sdp01": 405,
    # 3.4 backward compatibility
    "inv2543": 405,
}


def torture(name: str) -> bytes:
    return (FOLDER / f"{name}.dat").read_bytes()


def outcome(data: bytes) -> int | str:
    try:
        message = parse(data, flow())
    except MalformedMessage:
        return "dropped"
    if isinstance(message, Response):
        return "response"
    try:
        uas.refuse_method(message, ALLOWED)
        uas.refuse_extensions(message)
        uas.refuse_scheme(message)
    except SipError as refusal:
        return refusal.status
    return 200


def test_every_message_has_its_row() -> None:
    assert {path.stem for path in FOLDER.glob("*.dat")} == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_outcome(name: str) -> None:
    assert outcome(torture(name)) == EXPECTED[name]


@pytest.mark.parametrize("name", [name for name, expected in EXPECTED.items() if isinstance(expected, int)])
def test_the_answer_can_be_read(name: str) -> None:
    asked = parsed(torture(name))
    answer = parsed_response(response(asked, 400, to_tag="x"))
    for header in ("via", "from", "call-id", "cseq"):
        assert answer.all(header) == asked.all(header)[: None if header == "via" else 1]


def test_short_tortuous_invite() -> None:
    asked = parsed(torture("wsinv"))
    assert (asked.from_tag, asked.to_tag, asked.cseq) == ("98asjd8", "1918181833n", 9)
    assert (asked.via.branch, asked.via.sent_by) == ("390skdjuw", "192.0.2.2")
    assert asked.get("contact") == (
        r'"Quoted string \"\"" <sip:jdrosen@example.com> ; newparam = newvalue ; secondparam ; q = 0.33'
    )
    assert asked.get("newfangledheader") == "newfangled value continued newfangled value"
    assert len(asked.body) == 150


def test_wide_range_of_valid_characters() -> None:
    asked = parsed(torture("intmeth"))
    assert asked.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert asked.from_tag == "_token~1'+`*%!-."


def test_both_requests_of_a_stream() -> None:
    """RFC 4475 section 3.1.1.8: in a stream the extra octets are a keep-alive and the next request.

    Only these two are read: the body of the second is longer than it says.
    """
    stream = StreamFramer().feed(torture("dblreq"))
    first, second = parsed(next(stream)), parsed(next(stream))
    assert [first.method, second.method] == ["REGISTER", "INVITE"]
    assert first.defect is second.defect is None


def test_unknown_extensions_are_listed() -> None:
    with pytest.raises(SipError) as refusal:
        uas.refuse_extensions(parsed(torture("bext01")))
    assert refusal.value.headers == "Unsupported: nothingSupportsThis, nothingSupportsThisEither\r\n"


def test_overlarge_scalars_of_a_response() -> None:
    answer = parsed_response(torture("scalarlg"))
    assert answer.retry_after is None
    with pytest.raises(MalformedMessage):
        _ = answer.cseq
