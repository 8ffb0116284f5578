"""A server on loopback with the fake service behind it."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from sipresence.http.authorization import RequestLimits
from sipresence.http.blackhole import Blackhole
from sipresence.http.conversation import WebsocketLimits
from sipresence.http.dialect import Dialect, ListFormat
from sipresence.http.server import Services, make_application
from tests.http.fake import FakeInsight, FakeService
from tests.office import TOLD, Office

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
def office(service: FakeService) -> Office:
    """What is behind the directory and the log-ins: an office with a phone and a user that the API was told of."""
    return Office(directory=service.directory, objects=TOLD)


@pytest.fixture
def dialect(request: pytest.FixtureRequest) -> Dialect:
    """As a golden file has it configured, else the default."""
    golden = request.node.callspec.params.get("golden", {}) if hasattr(request.node, "callspec") else {}
    told = golden.get("dialect", {})
    return Dialect(
        ListFormat(told.get("list_format", "records")),
        told.get("accepted_status", 202),
        told.get("kazoo_exact", False),
    )


@pytest.fixture
def application(service: FakeService, insight: FakeInsight, office: Office, dialect: Dialect) -> Application:
    presence = cast("PresenceService", service)
    services = Services(presence, office.service, office.sessions, cast("Insight", insight))
    blackhole = Blackhole(presence, office.sessions, WebsocketLimits())
    limits = RequestLimits(rate=1.0, burst=100)
    return make_application(services, blackhole, version="9.9.9", limits=limits, dialect=dialect)


@pytest.fixture
async def client(application: Application) -> AsyncIterator[Client]:
    async with TestClient(TestServer(application)) as client:
        yield client
