"""A token issuer that serves its public keys; tests may change its keys and its responses."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.support import http_servers

NAME = "https://issuer.test"
AUDIENCE = "progress-test"


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public(key: Any, key_id: str) -> dict[str, Any]:
    to_jwk = RSAAlgorithm.to_jwk if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm.to_jwk
    return {**to_jwk(key.public_key(), as_dict=True), "kid": key_id, "use": "sig"}


def claims(user: str = "ann", **changed: Any) -> dict[str, Any]:
    """Return valid claims with these changes; None removes a claim."""
    now = int(time.time())
    valid = {"iss": NAME, "aud": AUDIENCE, "sub": user, "iat": now, "exp": now + 600}
    return {name: value for name, value in {**valid, **changed}.items() if value is not None}


def token(user: str = "ann", *, key_id: str = "first", **changed: Any) -> str:
    return jwt.encode(
        claims(user, **changed), rsa_key(key_id), algorithm="RS256", headers={"kid": key_id}
    )


class Issuer:
    def __init__(self, url: str):
        self.url = url
        self.requests = 0
        self.body: bytes | None = None  # if set, the server sends it instead of the keys
        self.speaks_http = True
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.keys: list[dict[str, Any]] = [public(rsa_key("first"), "first")]

    def environment(self, database_url: str) -> dict[str, str]:
        return {
            "AUTH_ISSUER": NAME,
            "AUTH_AUDIENCE": AUDIENCE,
            "AUTH_JWKS_URL": self.url,
            "DATABASE_URL": database_url,
            "ENVIRONMENT": "development",
        }


@contextmanager
def serve() -> Iterator[Issuer]:
    class Handler(http_servers.Handler):
        protocol_version = "HTTP/1.0"  # no Content-Length: the end of the connection ends the body

        def do_GET(self) -> None:
            issuer.requests += 1
            issuer.may_answer.wait(20)
            if issuer.speaks_http:
                self.send_response(200)
                self.end_headers()
            keys = json.dumps({"keys": issuer.keys}).encode()
            body = keys if issuer.body is None else issuer.body
            with contextlib.suppress(ConnectionError):  # if the client has disconnected
                self.wfile.write(body)

    with http_servers.serve(Handler) as address:
        issuer = Issuer(f"{address}/jwks.json")
        try:
            yield issuer
        finally:
            issuer.may_answer.set()
