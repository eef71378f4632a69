"""Pin another version of Kafka: print kafka_jars.txt for it. For maintainers.

Usage: python -m salesfx.local.pin KAFKA_VERSION SLF4J_VERSION > kafka_jars.txt
and set KAFKA_VERSION in jars.py. Take the slf4j-simple of the slf4j-api that this Kafka names.
"""

import hashlib
import sys
import tempfile
from pathlib import Path

from jgo.maven import MavenContext

_SCALA = "2.13"


def main(kafka: str, slf4j: str) -> None:
    """Resolve Kafka's dependencies, fetch them, and print a line for each: coordinate, bytes, SHA-256."""
    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder))
        wanted = [f"org.apache.kafka:kafka_{_SCALA}:{kafka}", f"org.slf4j:slf4j-simple:{slf4j}"]
        inputs, further = context.resolver.resolve([context.create_dependency(name) for name in wanted])
        lines = []
        for dependency in [*inputs, *further]:
            content = Path(dependency.artifact.resolve()).read_bytes()
            group, artifact, version, classifier, packaging = dependency.artifact.key
            if classifier or packaging != "jar":
                raise SystemExit(f"not a plain jar: {dependency.artifact.key}")
            lines.append(f"{group}:{artifact}:{version} {len(content)} {hashlib.sha256(content).hexdigest()}")
    sys.stdout.write(f"# Apache Kafka {kafka}: coordinate, bytes, SHA-256. Made by `python -m salesfx.local.pin`.\n")
    sys.stdout.write("".join(f"{line}\n" for line in sorted(lines)))


if __name__ == "__main__":
    main(*sys.argv[1:])
