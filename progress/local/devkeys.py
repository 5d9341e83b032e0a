"""The development key: signs the tokens of the local stack, and of nothing else.

A deployed query function refuses ISSUER.
"""

import functools
import json
import time
from pathlib import Path
from typing import cast

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import RSAAlgorithm

ISSUER = "https://development.progress.invalid"
AUDIENCE = "progress-local"

_KEY_ID = "development"
_DAY = 86_400


def ensure(file: Path) -> None:
    """Make the key's file, for its owner's eyes, unless it is there."""
    if file.exists():
        return
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    file.touch(mode=0o600)
    file.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def jwks(file: Path) -> bytes:
    """The public half, as the JSON Web Key Set that the query function asks for."""
    key = RSAAlgorithm(RSAAlgorithm.SHA256).prepare_key(file.read_bytes())
    public = key.public_key() if isinstance(key, rsa.RSAPrivateKey) else key
    described = RSAAlgorithm.to_jwk(public, as_dict=True)
    return json.dumps(
        {"keys": [described | {"kid": _KEY_ID, "use": "sig", "alg": "RS256"}]}
    ).encode()


def token(file: Path, user: str, roles: list[str], *, seconds: int = _DAY) -> str:
    """A token for `user`, good for `seconds` from now."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user,
        "roles": roles,
        "iat": now,
        "exp": now + seconds,
    }
    key = _opened(file.read_bytes())
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": _KEY_ID})


@functools.lru_cache(maxsize=1)
def _opened(key: bytes) -> rsa.RSAPrivateKey:
    """The key, which is checked when it is opened: that takes 30 ms."""
    return cast("rsa.RSAPrivateKey", load_pem_private_key(key, None))
