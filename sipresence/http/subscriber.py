"""The subscriber as the API names it: `user@host`."""

import re

from sipresence.events.record import SubscriptionRecord
from sipresence.sip.headers import parse_name_addr

_USER_AND_HOST = re.compile(r"sips?:(?:(?P<user>[^:@]*)(?::[^@]*)?@)?(?P<host>\[[^]]*\]|[^:;?]*)", re.IGNORECASE)


def subscriber(record: SubscriptionRecord) -> str:
    """Name the subscriber by its From, the case kept: no scheme, password, port or parameters."""
    uri = parse_name_addr(record.remote_address).uri
    found = _USER_AND_HOST.match(uri)
    if found is None:
        return uri  # a tel: URI has no parts to choose from
    user, host = found["user"], found["host"]
    return f"{user}@{host}" if user else host
