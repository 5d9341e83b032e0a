"""A line on standard output, as Cloud Logging reads it: a JSON object without secrets."""

import json
import sys
from collections.abc import Mapping

import msgspec

from progress import masking

_PLAIN = (int, float, bool, type(None))
_NOTHING: Mapping[str, object] = {}

_encode = msgspec.json.Encoder(enc_hook=str).encode


def put(line: Mapping[str, object], ours: Mapping[str, object] = _NOTHING) -> None:
    """Write it with what is `ours`; what has the shape of an address or a secret is masked."""
    told = " ".join(
        [v if type(v) is str else "" if type(v) in _PLAIN else str(v) for v in line.values()]
    )
    if masking.may_hold_secrets(told):
        line = {name: _masked(value) for name, value in line.items()}
    sys.stdout.write(_written({**line, **ours}) + "\n")
    sys.stdout.flush()


def _masked(value: object) -> object:
    return value if isinstance(value, _PLAIN) else masking.mask_secrets(str(value))


def _written(line: Mapping[str, object]) -> str:
    try:
        return _encode(line).decode()
    except UnicodeEncodeError:  # half a character, of which no UTF-8 can be made
        return json.dumps(line, default=str)
