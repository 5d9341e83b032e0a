"""The containers of `infra/docker`, read from the compose file."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.terraform import REPOSITORY

FOLDER = REPOSITORY / "infra" / "docker"
FILE = FOLDER / "compose.yaml"

_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([-?])([^}]*))?\})")

Service = dict[str, Any]


def example() -> dict[str, str]:
    lines = (FOLDER / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def variables() -> dict[str, set[str]]:
    defaults: dict[str, set[str]] = {}
    for name, sign, text in _VARIABLE.findall(FILE.read_text(encoding="utf-8")):
        if name:
            defaults.setdefault(name, set()).update({text} if sign == "-" else ())
    return defaults


def services(variables: Mapping[str, str]) -> dict[str, Service]:
    text = _VARIABLE.sub(lambda match: _value(match, variables), FILE.read_text(encoding="utf-8"))
    parsed: dict[str, Service] = yaml.safe_load(text)["services"]
    return parsed


def _value(match: re.Match[str], variables: Mapping[str, str]) -> str:
    name, sign, text = match.groups()
    if name is None:
        return "$"  # written as $$
    return variables.get(name) or (text if sign == "-" else variables[name])


def builds() -> dict[str, list[str | dict[str, str]]]:
    builds: dict[str, list[str | dict[str, str]]] = {}
    for service in services(example()).values():
        if "build" in service:
            builds.setdefault(service["image"], []).append(service["build"])
    return builds


def dockerfile(image: str) -> Path:
    (build,) = builds()[image]
    context = FOLDER / (build if isinstance(build, str) else build["context"])
    name = "Dockerfile" if isinstance(build, str) else build["dockerfile"]
    return (context / name).resolve()
