"""Listening, and what cannot be listened on."""

import socket

import aiohttp
import pytest
from aiohttp.web import Application

from sipresence.errors import ListenError
from sipresence.http.server import serve


async def test_serves_until_closed(application: Application) -> None:
    listening = await serve(application, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.port}/"
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as response:
            assert response.status == 200
            assert response.headers["Server"] == "sipresence"
        await listening.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(url)


async def test_a_port_in_use_is_named(application: Application) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            await serve(application, "127.0.0.1", port)
    assert str(caught.value) == f"cannot listen on http://127.0.0.1:{port}: Address already in use"


@pytest.mark.parametrize(("host", "written"), [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "[2001:db8::1]")])
async def test_an_address_that_is_not_ours_is_named(application: Application, host: str, written: str) -> None:
    with pytest.raises(ListenError) as caught:
        await serve(application, host, 8000)
    assert str(caught.value).startswith(f"cannot listen on http://{written}:8000: ")
    assert "\n" not in str(caught.value)
