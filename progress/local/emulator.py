"""Google's emulator of Pub/Sub, where the Cloud SDK has it and there is a Java to run it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

_JARS = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*.jar"


@dataclass(frozen=True)
class Emulator:
    """The programs that it takes."""

    java: Path
    jar: Path


def find() -> Emulator | None:
    """The emulator that comes with the `gcloud` on the path; None without it or without `java`."""
    java, gcloud = shutil.which("java"), shutil.which("gcloud")
    if not java or not gcloud:
        return None
    jars = sorted(Path(gcloud).resolve().parent.parent.glob(_JARS))
    return Emulator(Path(java), jars[-1]) if jars else None
