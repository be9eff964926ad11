"""A throwaway certificate authority for tests, made with trustme: PEM files for the broker and for clients."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass
class Certificates:
    """The files: they go with this object."""

    directory: Path
    ca_file: str
    """The CA's certificate: what clients trust."""
    broker_file: str
    """The broker's key and certificate chain."""
    authority: Any = field(repr=False)

    def client_file(self, name: str) -> str:
        """Key and certificate of a client: its principal is `User:CN=name,…`."""
        path = self.directory / f"{name}.pem"
        certificate = self.authority.issue_cert(f"{name}@example.org", common_name=name)
        _write(path, certificate)
        return str(path)

    def renew(self) -> None:
        """Makes the broker another certificate of the same CA, in the same file."""
        _write(Path(self.broker_file), self.authority.issue_cert(*HOSTS))

    def properties(self) -> dict[str, str]:
        """What a broker's config needs, client certificates being welcome but not asked for."""
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.broker_file,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.ca_file,
        }


def make_certificates() -> Certificates:
    """A CA, and a certificate for 127.0.0.1, ::1 and localhost."""
    import trustme

    directory = Path(tempfile.mkdtemp(prefix="pykbroker-tls-"))
    authority = trustme.CA()
    ca, broker = directory / "ca.pem", directory / "broker.pem"
    authority.cert_pem.write_to_path(ca)
    _write(broker, authority.issue_cert(*HOSTS))
    made = Certificates(directory, str(ca), str(broker), authority)
    weakref.finalize(made, shutil.rmtree, directory, ignore_errors=True)
    return made


def _write(path: Path, certificate: Any) -> None:
    """In one step, so that nobody reads half a file."""
    new = path.with_suffix(".new")
    certificate.private_key_and_cert_chain_pem.write_to_path(new)
    new.chmod(0o600)
    new.replace(path)
