"""The phone, as far as it can be tested without a server; the whole way is in e2e/."""

import ctypes
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import cast

import pytest

from sipresence import phone
from sipresence.phone import DialogEventInfo, Phone, Sight, Text, extension_of, follow, sight_of, target_of

SIGHT = Sight(
    uri="sip:*3101@127.0.0.1:5070",
    state="early",
    subscription="ACTIVE",
    id="1",
    entity="sip:*3101@127.0.0.1",
    direction="recipient",
    term_code=0,
    term_reason="",
)


def text(value: bytes) -> Text:
    return Text(ctypes.cast(ctypes.c_char_p(value), ctypes.c_void_p), len(value))


def test_a_sight_is_copied_out_of_the_struct() -> None:
    info = DialogEventInfo()
    info.dialog_id, info.info_entity, info.direction = text(b"1"), text(b"sip:*3101@127.0.0.1"), text(b"recipient")
    info.state, info.sub_state_name = text(b"early"), b"ACTIVE"
    assert sight_of(SIGHT.uri, info) == SIGHT


def test_an_untouched_struct_is_an_unlit_lamp() -> None:
    sight = sight_of(SIGHT.uri, DialogEventInfo())
    assert (sight.state, sight.subscription, sight.term_code) == ("", "NULL", 0)


def test_text_is_as_long_as_it_says() -> None:
    value = ctypes.c_char_p(b"confirmed!!")
    assert str(Text(ctypes.cast(value, ctypes.c_void_p), 9)) == "confirmed"
    assert str(Text(ctypes.cast(value, ctypes.c_void_p), -1)) == ""
    assert str(text(b"\xff")) == "\ufffd"


def test_json_line() -> None:
    line = json.loads(SIGHT.as_json(1_700_000_000.12345))
    assert line.pop("time") == 1_700_000_000.123
    assert line == {
        "uri": "sip:*3101@127.0.0.1:5070",
        "state": "early",
        "subscription": "ACTIVE",
        "id": "1",
        "entity": "sip:*3101@127.0.0.1",
        "direction": "recipient",
        "term_code": 0,
        "term_reason": "",
    }


def test_text_line() -> None:
    clock, extension, lamp, subscription = SIGHT.as_text(0).split()
    assert clock.endswith(":00.000")
    assert (extension, lamp, subscription) == ("*3101", "early", "ACTIVE")
    ended = replace(SIGHT, state="", subscription="NULL", term_code=408, term_reason="Request\x1b[2J Timeout")
    assert ended.as_text(0).split(maxsplit=2)[2] == "-           NULL (408 Request?[2J Timeout)"


def test_the_transport_is_part_of_the_target() -> None:
    assert target_of("sip:1@h", "udp") == "sip:1@h"
    assert target_of("sip:1@h", "tcp") == "sip:1@h;transport=tcp"
    assert target_of("sip:1@h;transport=TCP", "tcp") == "sip:1@h;transport=TCP"


def test_extension() -> None:
    assert extension_of("sip:%2A3101@127.0.0.1:5070;transport=tcp") == "%2A3101"
    assert extension_of("sips:101@office.example.com") == "101"


class FakePhone:
    """Sees one change per turn, and asks to stop when it has shown them; `answers` unsubscribing or not."""

    def __init__(self, sights: list[Sight], stop: threading.Event, *, answers: bool) -> None:
        self._sights = sights
        self._stop = stop
        self._answers = answers
        self._left = False
        self.subscribed = True

    def look(self) -> Iterator[Sight]:
        if self._left:
            self.subscribed = not self._answers
        elif self._sights:
            yield self._sights.pop(0)
        else:
            self._stop.set()

    def unsubscribe(self) -> None:
        self._left = True


@pytest.mark.parametrize("answers", [True, False])
def test_follow_shows_changes_and_unsubscribes(answers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phone, "_FLUSH_S", 0.05)
    stop = threading.Event()
    fake = FakePhone([SIGHT, replace(SIGHT, state="confirmed")], stop, answers=answers)
    shown: list[Sight] = []
    follow(cast(Phone, fake), stop=stop, seconds=float("inf"), show=shown.append)
    assert [sight.state for sight in shown] == ["early", "confirmed"]
    assert fake.subscribed is not answers


def test_without_the_extra_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pjsua2", None)  # importing it raises ImportError
    assert phone.main(["sip:101@127.0.0.1"]) == 2
    errors = capsys.readouterr().err
    assert "pip install 'sipresence[phone]'" in errors
    assert errors.count("\n") == 1


@pytest.mark.skipif(find_spec("pjsua2") is None, reason="the extra `phone` is not installed")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_the_real_phone_says_that_nobody_answers(transport: str) -> None:
    command = [sys.executable, "-m", "sipresence", "phone", "--json", "--seconds", "0.3", "--transport", transport]
    done = subprocess.run([*command, "sip:101@127.0.0.1:9"], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["uri"] == "sip:101@127.0.0.1:9"
    assert {line["state"] for line in lines} == {""}
    assert lines[-1]["subscription"] == ("SENT" if transport == "udp" else "NULL")


def test_the_registrar_is_the_host_of_a_lamp() -> None:
    assert phone.registrar_of("sip:*3101@127.0.0.1:5070;x=y", "udp") == "sip:127.0.0.1:5070"
    assert phone.registrar_of("sip:1@h", "tcp") == "sip:h;transport=tcp"
