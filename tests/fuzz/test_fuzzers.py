"""The fuzzers' invariants on what they start from and on what they once found, and a few seconds of each."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from fuzz import fuzz_body, fuzz_datagram, fuzz_stream, seeds
from fuzz.house import House
from tests.builders import options, subscribe
from tests.conftest import need_atheris

ROOT = Path(__file__).parents[2]
FINDINGS = Path(__file__).parent / "findings"
SMOKE = 5  # s


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """Let the tests that follow log as they did."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("script", [pytest.param(data, id=name) for name, data in seeds.datagrams()])
def test_scripts(script: bytes) -> None:
    fuzz_datagram.one_input(script)


@pytest.mark.parametrize("stream", [pytest.param(data, id=name) for name, data in seeds.streams()])
def test_streams(stream: bytes) -> None:
    fuzz_stream.one_input(stream)


@pytest.mark.parametrize("body", [pytest.param(data, id=name) for name, data in seeds.bodies()])
def test_bodies(body: bytes) -> None:
    fuzz_body.one_input(body)


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in sorted(FINDINGS.glob("datagram/*"))])
def test_what_the_datagram_fuzzer_found(path: Path) -> None:
    fuzz_datagram.one_input(path.read_bytes())


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in sorted(FINDINGS.glob("stream/*"))])
def test_what_the_stream_fuzzer_found(path: Path) -> None:
    fuzz_stream.one_input(path.read_bytes())


def test_what_the_body_fuzzer_found() -> None:
    for path in FINDINGS.glob("body/*"):  # none so far
        fuzz_body.one_input(path.read_bytes())


def test_the_house_is_a_whole_server() -> None:
    """Else the fuzzer would look for faults where nothing happens."""
    house = House()
    house.play(subscribe())
    assert house.wire.to_tag != b""
    assert len(house.wire.notifies) > 10  # with all their retransmissions, and those after failures


def test_the_house_notices_what_is_left_behind() -> None:
    house = House()
    house.clock.call_at(house.clock.now() + 1e9, lambda: None)
    with pytest.raises(AssertionError):
        house.play(options())


@pytest.mark.parametrize("target", ["datagram", "stream", "body"])
def test_some_seconds_of_fuzzing(target: str, tmp_path: Path) -> None:
    need_atheris()
    command = [sys.executable, "-m", "fuzz", target, f"-max_total_time={SMOKE}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-5000:]
