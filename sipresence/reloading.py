"""Reloading: a configuration that was changed is taken in while the server runs, at SIGHUP.

All or nothing: a file with errors, or with certificates that cannot be used, leaves everything as it was, and all that
is wrong with it is logged. What only a start can change (listeners, the store) is named, and stays as it is. No
subscription is lost, but those of accounts and lists that are no more: their phones are told to look elsewhere.
"""

import asyncio
from collections.abc import Callable

import structlog

from sipresence import settings
from sipresence.config.difference import NEEDS_RESTART, RELOADED, changed
from sipresence.config.model import Config
from sipresence.directory_service import DirectoryService
from sipresence.errors import ConfigError, ListenError
from sipresence.events.lists import Lists
from sipresence.events.notifier import Notifier
from sipresence.events.pacing import Pacing
from sipresence.events.profile import Profiles
from sipresence.events.resources import Resources
from sipresence.logs import LevelFilter
from sipresence.net.transports import Transports
from sipresence.service import PresenceService

log = structlog.get_logger()


class Reloader:
    """`config` is what holds now, but for what needs a restart; `load` reads it anew, and raises ConfigError."""

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        *,
        service: PresenceService,
        users: DirectoryService,
        notifier: Notifier,
        resources: Resources,
        profiles: Profiles,
        lists: Lists,
        pacing: Pacing,
        transports: Transports,
        level: LevelFilter,
    ) -> None:
        self.config = self._started_with = config
        self._load = load
        self._service = service
        self._users = users
        self._notifier = notifier
        self._resources = resources
        self._profiles = profiles
        self._lists = lists
        self._pacing = pacing
        self._transports = transports
        self._level = level

    async def reload(self) -> None:
        """Read the configuration and take it in, or log why not."""
        try:
            config = await asyncio.to_thread(self._load)
            self._transports.configure(settings.stream_settings(config))
        except ConfigError as error:
            log.error("configuration not reloaded, the old one stays", findings=error.findings)
            return
        except ListenError as error:
            log.error("configuration not reloaded, the old one stays", findings=(str(error),))
            return
        reloaded = [key for key in changed(self.config, config) if key in RELOADED]
        waiting = [key for key in changed(self._started_with, config) if key in NEEDS_RESTART]
        self._take_in(config)
        log.info("configuration reloaded", changed=reloaded)
        if waiting:
            log.warning(f"needs a restart: {', '.join(waiting)}")

    def _take_in(self, config: Config) -> None:
        sip = config.sip
        self.config = config
        self._level.set(config.log.level)
        self._service.directory.replace(settings.accounts(config))
        self._service.configure(settings.service_settings(config))
        self._profiles.replace(settings.profiles(config))
        self._resources.policies = settings.lamp_policies(config)
        self._notifier.configure(
            settings.notifier_limits(config), failures_allowed=sip.notify_failures, window=sip.coalesce_ms / 1000
        )
        self._lists.settings = settings.list_settings(sip)
        self._pacing.limit(rate=sip.notify_rate, in_flight=sip.notify_window)
        orphans = self._service.deactivate_orphans(spread=sip.drain_seconds)
        if orphans:
            log.warning("accounts or lists are gone: their subscriptions end", subscriptions=orphans)
        self._service.unregister_strangers()
        self._service.tell_changed_lists()
        self._users.tell_overruled()
