"""What the figures were measured on, without anything that is anybody's own."""

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from salesfx.local.jars import KAFKA_VERSION
from salesfx.local.java import find_java
from salesfx.local.redis import find_redis

_PACKAGES = ("salesfx", "faust-streaming", "aiokafka", "msgspec", "redis", "hiredis")


def describe() -> dict[str, str]:
    """Name the machine's parts and the versions of what runs on it."""
    return {
        "processor": f"{os.cpu_count()} cores of {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "Python": platform.python_version(),
        "Kafka": KAFKA_VERSION,
        "Java": _first_line(str(find_java()), "-version"),
        "Redis": _first_line(str(find_redis()), "--version"),
        **{package: version(package) for package in _PACKAGES},
    }


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpus.read_text()) if cpus.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def _first_line(program: str, option: str) -> str:
    done = subprocess.run([program, option], capture_output=True, text=True, check=True)
    return re.sub(r" (bits|sha|malloc|build)=\S*", "", (done.stdout or done.stderr).splitlines()[0])
