"""Make the files of a published version: the wheel, its bill of materials and the release's notes.

    package.py --tag v1.2.3 --folder dist --repository https://github.com/OWNER/NAME

The Python that runs this program needs the packages of requirements-dev.txt, and no network.
"""

import argparse
import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

from exit_status import Failed

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the files of a published version.")
    for name in ("tag", "folder", "repository"):
        parser.add_argument(f"--{name}", required=True)
    try:
        _make_all(**vars(parser.parse_args()))
    except Failed as error:
        sys.stderr.write(f"package: {error}\n")
        return 1
    return 0


def _make_all(tag: str, folder: str, repository: str) -> None:
    target = Path(folder)
    version = build_wheel(ROOT, target).name.split("-")[1]
    if tag != f"v{version}":
        raise Failed(f"found the tag {tag}, but progress/__init__.py has the version {version}")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    notes = make_notes(changes, version, f"{repository}/blob/{tag}")
    (target / "notes.md").write_text(notes, encoding="utf-8")
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    bill = json.dumps(list_materials(lock, version), indent=2)
    (target / "bill.cdx.json").write_text(bill, encoding="utf-8")


def build_wheel(source: Path, folder: Path) -> Path:
    """Build the wheel without the network; return its path. One source gives the same bytes."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel"]
    build = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def make_notes(changes: str, version: str, files: str) -> str:
    """Return the version's section of CHANGELOG.md, as GitHub shows it well.

    GitHub keeps the line breaks of notes, and resolves no relative links: `files` is where these
    begin. Raise Failed if the section is missing or empty.
    """
    sections = dict(re.findall(r"^## (\S+).*\n((?:(?!## ).*\n)*)", changes, re.MULTILINE))
    section = sections.get(version, "").strip()
    if not section:
        raise Failed(f"expected a section {version} with text in CHANGELOG.md")
    joined = re.sub(r"(?<!\n)\n(?!\n|- ) *", " ", section)
    return re.sub(r"\]\((?!https?:)", f"]({files}/", joined) + "\n"


def list_materials(lock: str, version: str) -> dict[str, object]:
    """Return the bill of materials (CycloneDX 1.6): the wheel, and each package that is locked."""
    own = _describe("learner-progress", version)
    packages = re.findall(r"^([\w.-]+)(?:\[.*?\])?==([^\s;]+)", lock, re.MULTILINE)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, own['purl'])}",
        "metadata": {"component": own},
        "components": [_describe(name, locked) for name, locked in packages],
    }


def _describe(name: str, version: str) -> dict[str, str]:
    url = f"pkg:pypi/{name}@{version}"
    return {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}


if __name__ == "__main__":
    sys.exit(main())
