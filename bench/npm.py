"""Install the locked npm packages of a folder."""

import shutil
import subprocess
from pathlib import Path

from bench.lines import RowSkipped


def install(folder: Path) -> Path:
    """Install missing packages; return their folder. Raise RowSkipped if they are unavailable."""
    lock, installed = folder / "package-lock.json", folder / "node_modules"
    marker = installed / ".package-lock.json"  # written by npm
    for program in ("node", "npm"):
        if not shutil.which(program):
            raise RowSkipped(f"{program} is missing: install Node 20 and npm for {folder.name}")
    if not marker.exists() or marker.stat().st_mtime < lock.stat().st_mtime:
        try:
            subprocess.run(["npm", "ci", "--silent", "--ignore-scripts"], cwd=folder, check=True)
        except subprocess.CalledProcessError as error:
            raise RowSkipped(f"npm could not install {folder.name}: {error}") from error
    return installed
