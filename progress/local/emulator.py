"""Find Google's Pub/Sub emulator, which is part of the Cloud SDK and needs Java."""

import shutil
from dataclasses import dataclass
from pathlib import Path

_JARS = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*.jar"


@dataclass(frozen=True)
class Emulator:
    """The emulator's jar, and the Java that runs it."""

    java: Path
    jar: Path


def find() -> Emulator | None:
    """Return the emulator of the Cloud SDK whose `gcloud` is on the path.

    Return None if `gcloud`, the emulator or `java` is missing.
    """
    java, gcloud = shutil.which("java"), shutil.which("gcloud")
    if not java or not gcloud:
        return None
    jars = sorted(Path(gcloud).resolve().parent.parent.glob(_JARS))
    return Emulator(Path(java), jars[-1]) if jars else None
