"""The files of infra/terraform/environments, which the scripts and Terraform both read."""

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "terraform" / "environments"
DEFAULTS = {"region": "europe-west1"}

_VALUE = re.compile(r'^(\w+) *= *"?(?!null\b)([^"\s#{[]+)', re.MULTILINE)


def list_names() -> list[str]:
    """Return the names of the environments; `prod` is GitHub's environment `production`."""
    return sorted(file.stem for file in FOLDER.glob("*.tfvars"))


def read(name: str) -> dict[str, str]:
    """Return the inputs that are neither lists nor objects, with their defaults."""
    text = (FOLDER / f"{name}.tfvars").read_text(encoding="utf-8")
    return {**DEFAULTS, **dict(_VALUE.findall(text))}
