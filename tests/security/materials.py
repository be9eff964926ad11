"""What the clients of the matrix hold: certificates of three kinds, and OAuth tokens, made for one run."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path
from typing import Any

import jwt
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

KEY_ID = "matrix"


class Materials:
    """Files in a folder: `ca.pem`, `broker.pem`, clients' certificates, `jwks.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority, stranger = trustme.CA(), trustme.CA()
        self.trust = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.trust)
        self.broker = self._write("broker", authority.issue_cert("127.0.0.1", "localhost"))
        yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        self.certificates: dict[tuple[str, str], str] = {}
        for user in ("alice", "bob"):
            right = authority.issue_cert(f"{user}@example.org", common_name=user)
            expired = authority.issue_cert(
                f"{user}@example.org",
                common_name=user,
                not_before=yesterday - datetime.timedelta(days=1),
                not_after=yesterday,
            )
            wrong = stranger.issue_cert(f"{user}@example.org", common_name=user)
            for kind, certificate in (("right", right), ("wrong", wrong), ("expired", expired)):
                self.certificates[user, kind] = self._write(f"{user}-{kind}", certificate)
        self._key = rsa.generate_private_key(65537, 2048)
        self._guessed = rsa.generate_private_key(65537, 2048)
        algorithm = jwt.algorithms.RSAAlgorithm
        key = json.loads(algorithm.to_jwk(self._key.public_key())) | {"kid": KEY_ID, "use": "sig", "alg": "RS256"}
        key.pop("key_ops", None)
        self.jwks = folder / "jwks.json"
        self.jwks.write_text(json.dumps({"keys": [key]}))

    def _write(self, name: str, certificate: Any) -> str:
        """Key in PKCS#8, as Java wants it, and chain in one file."""
        private = load_pem_private_key(certificate.private_key_pem.bytes(), None)
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path = self.folder / f"{name}.pem"
        path.write_bytes(pem + b"".join(one.bytes() for one in certificate.cert_chain_pems))
        return str(path)

    def jwt(self, user: str, kind: str) -> str:
        """An OAuth token: of the right key, of a guessed one, for nobody, out of date."""
        now = int(time.time())
        claims = {"sub": user, "iat": now, "exp": now + (-7200 if kind == "expired" else 3600)}
        if kind == "expired":
            claims["iat"] = now - 10_800
        if kind == "missing":
            del claims["sub"]
        key = self._guessed if kind == "wrong" else self._key
        return jwt.encode(claims, key, "RS256", headers={"kid": KEY_ID})
