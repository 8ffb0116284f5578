"""Certificates: which one is shown to whom, and new ones taken in while the server runs.

A listener keeps one context for good; at each handshake the callback for the server name (SNI, RFC 6066 section 3),
which OpenSSL calls without a name as well, puts the context of the day in its place. So a renewed certificate counts
from the next handshake on, and no connection is broken. Files that do not fit together leave everything as it was.
"""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import structlog

from sipresence.errors import ListenError

log = structlog.get_logger()


@dataclass(slots=True, frozen=True)
class CertificateFiles:
    """A chain and its key, PEM, for clients that ask for `name` (`*.example.com` for one label), "" for all others."""

    certificate: Path
    private_key: Path
    name: str = ""


@dataclass(slots=True, frozen=True)
class TlsSettings:
    """The first of `certificates` is shown where no name fits. `client_ca`: who must have signed a client's own."""

    certificates: tuple[CertificateFiles, ...]
    client_ca: Path | None = None

    @property
    def files(self) -> Iterator[Path]:
        for one in self.certificates:
            yield one.certificate
            yield one.private_key
        if self.client_ca is not None:
            yield self.client_ca


class Certificates:
    """The contexts of all TLS listeners. Raises ListenError where a file is missing or wrong."""

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self._loaded = self._seen = self._versions()
        self._take()
        self.server = _server_context(settings.certificates[0], settings.client_ca)
        self.server.sni_callback = self._choose

    def replace(self, settings: TlsSettings) -> None:
        """Read all files again, those of `settings` now. Raises ListenError: then the old certificates stay in use."""
        old, self._settings = self._settings, settings
        versions = self._versions()
        try:
            self._take()
        except ListenError:
            self._settings = old
            raise
        self._loaded = self._seen = versions
        self.server.verify_mode = self._default.verify_mode
        log.info("certificates reloaded")

    def reload_if_changed(self) -> None:
        """Reload when a file has changed, and none has since the last look: not between a certificate and its key."""
        versions = self._versions()
        settled, self._seen = versions == self._seen, versions
        if settled and versions != self._loaded:
            self._loaded = versions
            try:
                self.replace(self._settings)
            except ListenError as error:
                log.error("certificates not reloaded, the old ones stay", error=str(error))

    def _take(self) -> None:
        client_ca = self._settings.client_ca
        by_name = {one.name: _server_context(one, client_ca) for one in reversed(self._settings.certificates)}
        self.client = _client_context(self._settings.certificates[0])
        self._by_name = by_name
        self._default = by_name[self._settings.certificates[0].name]

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        asked = (name or "").lower().rstrip(".")
        wildcard = f"*.{asked.partition('.')[2]}"
        # Only the certificates and who is trusted are those of the new context; versions and options stay.
        connection.context = self._by_name.get(asked) or self._by_name.get(wildcard) or self._default

    def _versions(self) -> tuple[tuple[int, int] | None, ...]:
        """When each file was written, and which it is: a symbolic link may be turned to an older one."""
        return tuple(_version(path) for path in self._settings.files)


def _version(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def _server_context(files: CertificateFiles, client_ca: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996: 1.0 and 1.1 must not be used
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    _load_chain(context, files)
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except OSError as error:
            _refuse(client_ca, error)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _client_context(files: CertificateFiles) -> ssl.SSLContext:
    """What we connect to others with: they must be who they say they are, and may ask who we are."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_chain(context, files)
    return context


def _load_chain(context: ssl.SSLContext, files: CertificateFiles) -> None:
    try:
        # A key with a passphrase must not make the server ask for it on a terminal.
        context.load_cert_chain(files.certificate, files.private_key, password="")
    except OSError as error:
        _refuse(files.certificate, error)


def _refuse(path: Path, error: OSError) -> NoReturn:
    reason = getattr(error, "reason", None) or error.strerror or "wrong"
    raise ListenError(f"cannot use {path} for TLS: {reason}") from None
