"""Certificates for tests, made by openssl: an authority, and what it signs."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import need

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, PEM."""

    certificate: Path
    private_key: Path

    def take_place_of(self, other: "Pair") -> None:
        """Put this pair where the other is, as a renewal does: each file at once."""
        os.replace(self.certificate, other.certificate)
        os.replace(self.private_key, other.private_key)


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.pair = Pair(folder / "ca.pem", folder / "ca-key.pem")
        _openssl(
            *("req", "-x509", *_KEY, "-subj", "/CN=Test authority", "-days", "30"),
            *("-keyout", self.pair.private_key, "-out", self.pair.certificate),
        )

    def issue(self, file: str, *names: str) -> Pair:
        """Sign a certificate for these `DNS:…` and `IP:…` names; `file` is the stem of the files."""
        pair = Pair(self._folder / f"{file}.pem", self._folder / f"{file}-key.pem")
        request, extensions = self._folder / f"{file}.csr", self._folder / f"{file}.ext"
        _openssl("req", "-new", *_KEY, "-subj", f"/CN={file}", "-keyout", pair.private_key, "-out", request)
        extensions.write_text(f"subjectAltName={','.join(names)}\n" if names else "basicConstraints=CA:FALSE\n")
        _openssl(
            *("x509", "-req", "-in", request, "-days", "30", "-extfile", extensions, "-CAcreateserial"),
            *("-CA", self.pair.certificate, "-CAkey", self.pair.private_key, "-out", pair.certificate),
        )
        return pair


def _openssl(*arguments: str | Path) -> None:
    subprocess.run([need("openssl"), *arguments], check=True, capture_output=True)
