"""The development key, which signs tokens of the local stack; deployed functions reject them."""

import functools
import hashlib
import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

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
_SIGN_IN = "progress-sign-in"
_DAY_S = 86_400
_SIGN_IN_S = 600


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
    claims = {"iss": ISSUER, **_claims(AUDIENCE, user, roles, groups, seconds)}
    key = _load(file.read_bytes())
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": _KEY_ID})


def sign_in_token(file: Path, user: str, roles: list[str], groups: Sequence[str] = ()) -> str:
    """Return a token that lives ten minutes, for the issuer alone.

    Its signature is a hash with the private key. So no public key verifies it, and the API, which
    has public keys, rejects it whatever it claims.
    """
    claims = _claims(_SIGN_IN, user, roles, groups, _SIGN_IN_S)
    return jwt.encode({**claims, "jti": secrets.token_hex(16)}, _secret(file), algorithm="HS256")


def read_sign_in(file: Path, text: str) -> dict[str, Any] | None:
    """Return the claims of a sign-in token; None if `text` is none, or its time is over."""
    try:
        return jwt.decode(text, _secret(file), algorithms=["HS256"], audience=_SIGN_IN)
    except jwt.InvalidTokenError:
        return None


def _claims(
    audience: str, user: str, roles: list[str], groups: Sequence[str], seconds: int
) -> dict[str, object]:
    who = {"sub": user, "roles": roles, "groups": list(groups)}
    now = int(time.time())
    return {"aud": audience, "iat": now, "exp": now + seconds, **who}


def _secret(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()


@functools.lru_cache(maxsize=1)
def _load(key: bytes) -> rsa.RSAPrivateKey:
    """Load and check the key, which takes 30 ms; the result is cached."""
    return cast("rsa.RSAPrivateKey", load_pem_private_key(key, None))
