"""The development key, which signs tokens of the local stack; deployed functions reject them."""

import functools
import json
import time
from collections.abc import Sequence
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
_DAY_S = 86_400


def ensure(file: Path) -> None:
    """Create the key's file unless the file exists. Only the file's owner can read the key."""
    if file.exists():
        return
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def jwks(file: Path) -> bytes:
    """Return the public key as the JSON Web Key Set that the query function fetches."""
    key = RSAAlgorithm(RSAAlgorithm.SHA256).prepare_key(file.read_bytes())
    public = key.public_key() if isinstance(key, rsa.RSAPrivateKey) else key
    jwk = RSAAlgorithm.to_jwk(public, as_dict=True)
    return json.dumps({"keys": [jwk | {"kid": _KEY_ID, "use": "sig", "alg": "RS256"}]}).encode()


def token(
    file: Path, user: str, roles: list[str], *, groups: Sequence[str] = (), seconds: int = _DAY_S
) -> str:
    """Return a token for `user`, valid for `seconds` from now; `groups` are a teacher's groups."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "iat": now,
        "exp": now + seconds,
        "aud": AUDIENCE,
        "sub": user,
        "roles": roles,
        "groups": list(groups),
    }
    key = _load(file.read_bytes())
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": _KEY_ID})


@functools.lru_cache(maxsize=1)
def _load(key: bytes) -> rsa.RSAPrivateKey:
    """Load and check the key, which takes 30 ms; the result is cached."""
    return cast("rsa.RSAPrivateKey", load_pem_private_key(key, None))
