"""A server on loopback with the fake service behind it."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from sipresence.http.server import make_application
from tests.http.fake import FakeInsight, FakeService

if TYPE_CHECKING:
    from sipresence.insight import Insight
    from sipresence.service import PresenceService

Client = TestClient[Request, Application]


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def insight() -> FakeInsight:
    return FakeInsight()


@pytest.fixture
def application(service: FakeService, insight: FakeInsight) -> Application:
    return make_application(cast("PresenceService", service), cast("Insight", insight), version="9.9.9")


@pytest.fixture
async def client(application: Application) -> AsyncIterator[Client]:
    async with TestClient(TestServer(application)) as client:
        yield client
