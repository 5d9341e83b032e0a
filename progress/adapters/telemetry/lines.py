"""Write a line for Cloud Logging to standard output: a JSON object without secrets."""

import json
import sys
from collections.abc import Mapping

import msgspec

from progress import masking

_PLAIN = (int, float, bool, type(None))
_NO_FIELDS: Mapping[str, object] = {}

_encode = msgspec.json.Encoder(enc_hook=str).encode


def write_line(fields: Mapping[str, object], trusted: Mapping[str, object] = _NO_FIELDS) -> None:
    """Write a line: `fields` with e-mail addresses and secrets masked, `trusted` unchanged."""
    text = " ".join(
        [v if type(v) is str else "" if type(v) in _PLAIN else str(v) for v in fields.values()]
    )
    if masking.may_hold_secrets(text):
        fields = {name: _mask(value) for name, value in fields.items()}
    sys.stdout.write(_to_json({**fields, **trusted}) + "\n")
    sys.stdout.flush()


def _mask(value: object) -> object:
    return value if isinstance(value, _PLAIN) else masking.mask_secrets(str(value))


def _to_json(line: Mapping[str, object]) -> str:
    try:
        return _encode(line).decode()
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 cannot encode
        return json.dumps(line, default=str)
