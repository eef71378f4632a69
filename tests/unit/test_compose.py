"""The container set-up, held against what it names: no engine runs here, so that nothing else would notice a wrong name.

Every check is a function from a set-up to the faults it finds. The files that are shipped must have none; and each check
is also given a set-up with its fault put in, which it must find.
"""

import copy
import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click
import jsonschema
import msgspec
import pytest
import yaml

from salesfx.cli import main
from salesfx.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
SECRETS = "deploy/secrets/"
Setup = dict[str, Any]


@pytest.fixture(scope="module")
def shipped() -> Setup:
    """Give docker-compose.yml as it is."""
    setup: Setup = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return setup


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the documented command on a copy, and give the folder it made."""
    deploy = tmp_path_factory.mktemp("deploy")
    shutil.copy(ROOT / "deploy/make-secrets.sh", deploy)
    for _ in range(2):
        subprocess.run(["sh", deploy / "make-secrets.sh"], check=True, capture_output=True)
    return deploy / "secrets"


# The checks.


def wrong_variables(setup: Setup) -> Iterator[str]:
    """Find SALESFX_ variables that no setting reads."""
    names = {f"SALESFX_{field.name.upper()}" for field in msgspec.structs.fields(Settings)}
    files = {"SALESFX_REDIS_FILE", "SALESFX_HTTP_TOKEN_FILE", "SALESFX_KAFKA_PASSWORD_FILE"}
    for name, service in setup["services"].items():
        for variable in service.get("environment", {}):
            if variable.startswith("SALESFX_") and variable not in names | files | {"SALESFX_CONFIG"}:
                yield f"{name}: no setting reads {variable}"


def wrong_commands(setup: Setup) -> Iterator[str]:
    """Find commands and options that the command line does not have."""
    for name, service in setup["services"].items():
        if not service["image"].startswith("salesfx:"):
            continue
        command, *arguments = service["command"]
        known = main.get_command(click.Context(main), command)
        if known is None:
            yield f"{name}: there is no `salesfx {command}`"
            continue
        try:
            known.make_context(command, list(arguments))
        except click.ClickException as error:
            yield f"{name}: `salesfx {' '.join(service['command'])}`: {error.format_message()}"


def wrong_paths(setup: Setup) -> Iterator[str]:
    """Find what is mounted, or put on a network, and does not exist."""
    for name, secret in setup["secrets"].items():
        if secret["file"] != f"./{SECRETS}{name}":
            yield f"secret {name}: {secret['file']} is not what deploy/make-secrets.sh makes"
    for name, service in setup["services"].items():
        for source, _ in mounts(service):
            if not (ROOT / source).exists() if source.startswith("./") else source not in setup["volumes"]:
                yield f"{name}: {source} does not exist"
        for kind in ("secrets", "networks"):
            for missing in set(service.get(kind, [])) - set(setup[kind]):
                yield f"{name}: {missing} is not among the {kind}"


def wrong_files(setup: Setup) -> Iterator[str]:
    """Find variables that name a file which nothing puts into the container."""
    for name, service in setup["services"].items():
        inside = {f"/run/secrets/{secret}" for secret in service.get("secrets", [])}
        inside |= {target for _, target in mounts(service)}
        for variable, value in service.get("environment", {}).items():
            if (variable.endswith("_FILE") or variable == "SALESFX_CONFIG") and value not in inside:
                yield f"{name}: {variable} names {value}, which is not in the container"


def unpinned_images(setup: Setup) -> Iterator[str]:
    """Find images whose tag can come to mean something else."""
    for name, service in setup["services"].items():
        if not re.fullmatch(r"[a-z0-9/-]+:v?\d+\.\d+\.\d+", service["image"]):
            yield f"{name}: {service['image']} is not pinned to a version of three numbers"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    for name in ("worker", "serve"):
        if setup["services"][name]["image"] != f"salesfx:{version}":
            yield f"{name}: {setup['services'][name]['image']} is not version {version}"


def open_ports(setup: Setup) -> Iterator[str]:
    """Find ports that other machines can reach."""
    for name, service in setup["services"].items():
        if "network_mode" in service:
            yield f"{name}: on the network of the host"
        for port in service.get("ports", []):
            if not (isinstance(port, str) and port.startswith("127.0.0.1:")):
                yield f"{name}: {port} is not bound to 127.0.0.1"


def unwatched(setup: Setup) -> Iterator[str]:
    """Find services that others wait for and that never report healthy."""
    for name, service in setup["services"].items():
        for needed, how in service.get("depends_on", {}).items():
            if needed not in setup["services"]:
                yield f"{name}: waits for {needed}, which is no service"
            elif how["condition"] == "service_healthy" and "healthcheck" not in setup["services"][needed]:
                yield f"{name}: waits for {needed} to be healthy, which has no health check"
            elif not set(service["networks"]) & set(setup["services"][needed]["networks"]):
                yield f"{name}: shares no network with {needed}"


def unconfined(setup: Setup) -> Iterator[str]:
    """Find services that may do more than they need."""
    for name, service in setup["services"].items():
        if service.get("cap_drop") != ["ALL"] or "cap_add" in service or service.get("privileged"):
            yield f"{name}: keeps capabilities"
        if "no-new-privileges:true" not in service.get("security_opt", []):
            yield f"{name}: may gain privileges"
        # Kafka's image writes its configuration into its own folder.
        if not service.get("read_only") and name != "kafka":
            yield f"{name}: can write into its image"
        for mount in service.get("volumes", []):
            if mount.startswith("./") and not mount.endswith(":ro"):
                yield f"{name}: can write to {mount}"


def wrong_listeners(setup: Setup) -> Iterator[str]:
    """Find Kafka listeners that do not fit each other, what is published, or what salesfx connects to."""
    kafka = setup["services"]["kafka"]
    environment = kafka["environment"]
    bound = dict(item.split("://") for item in environment["KAFKA_LISTENERS"].split(","))
    advertised = dict(item.split("://") for item in environment["KAFKA_ADVERTISED_LISTENERS"].split(","))
    protocols = dict(item.split(":") for item in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    controller = environment["KAFKA_CONTROLLER_LISTENER_NAMES"]
    if set(protocols) != set(bound) or set(advertised) != set(bound) - {controller}:
        yield "the listeners, their protocols and what is advertised do not name the same"
    for name, address in advertised.items():
        if address.rpartition(":")[2] != bound.get(name, "").rpartition(":")[2]:
            yield f"{name} is advertised at a port where nothing listens"
    if environment["KAFKA_CONTROLLER_QUORUM_VOTERS"] != f"{environment['KAFKA_NODE_ID']}@{bound[controller]}":
        yield "the quorum is not this node's controller"
    if environment["KAFKA_LOG_DIRS"] not in {target for _, target in mounts(kafka)}:
        yield "the log is not on the volume"
    for port in kafka["ports"]:
        if port.rpartition(":")[0] not in advertised.values():
            yield f"{port} is published, and clients are told to come to another address"
    for name in ("worker", "serve"):
        if setup["services"][name]["environment"]["SALESFX_KAFKA"] not in advertised.values():
            yield f"{name}: Kafka does not listen at the address in SALESFX_KAFKA"


def mounts(service: Setup) -> list[tuple[str, str]]:
    """Give (source, target) of every mount."""
    return [(mount.split(":")[0], mount.split(":")[1]) for mount in service.get("volumes", [])]


CHECKS = [
    wrong_variables,
    wrong_commands,
    wrong_paths,
    wrong_files,
    unpinned_images,
    open_ports,
    unwatched,
    unconfined,
    wrong_listeners,
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_setup_has_no_fault(check: Callable[[Setup], Iterator[str]], shipped: Setup) -> None:
    """What is shipped passes every check."""
    assert list(check(shipped)) == []


@pytest.mark.parametrize(
    ("check", "path", "value"),
    [
        (wrong_variables, "worker.environment.SALESFX_KAFKAS", "kafka:19092"),
        (wrong_variables, "serve.environment.SALESFX_TIMEZONE_FILE", "/run/secrets/http_token"),
        (wrong_commands, "worker.command", ["work"]),
        (wrong_commands, "serve.command", ["serve", "--no-such-option"]),
        (wrong_paths, "worker.volumes", ["./deploy/sales.toml:/etc/salesfx/salesfx.toml:ro"]),
        (wrong_files, "worker.volumes", ["./deploy/salesfx.toml:/etc/salesfx.toml:ro"]),
        (wrong_paths, "redis.volumes", ["rediss:/data"]),
        (wrong_files, "serve.secrets", ["redis_url"]),
        (wrong_paths, "grafana.secrets", ["grafana_password"]),
        (wrong_paths, "grafana.networks", ["metric"]),
        (unpinned_images, "redis.image", "redis:latest"),
        (unpinned_images, "redis.image", "redis"),
        (unpinned_images, "kafka.image", "apache/kafka:4"),
        (unpinned_images, "worker.image", "salesfx:0.0.1"),
        (open_ports, "grafana.ports", ["3000:3000"]),
        (open_ports, "grafana.ports", ["0.0.0.0:3000:3000"]),
        (open_ports, "grafana.ports", [{"target": 3000, "published": "3000"}]),
        (open_ports, "serve.network_mode", "host"),
        (unwatched, "worker.depends_on", {"serves": {"condition": "service_started"}}),
        (unwatched, "serve.depends_on", {"worker": {"condition": "service_healthy"}}),
        (unwatched, "grafana.depends_on", {"redis": {"condition": "service_healthy"}}),
        (unconfined, "worker.cap_drop", []),
        (unconfined, "worker.cap_add", ["NET_ADMIN"]),
        (unconfined, "redis.security_opt", []),
        (unconfined, "serve.read_only", False),
        (unconfined, "worker.volumes", ["./deploy/salesfx.toml:/etc/salesfx/salesfx.toml"]),
        (wrong_listeners, "worker.environment.SALESFX_KAFKA", "kafka:9092"),
        (wrong_listeners, "kafka.environment.KAFKA_LISTENERS", "INSIDE://:9,HOST://:9092,CONTROLLER://127.0.0.1:9093"),
        (wrong_listeners, "kafka.environment.KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "INSIDE:PLAINTEXT"),
        (wrong_listeners, "kafka.environment.KAFKA_CONTROLLER_QUORUM_VOTERS", "2@127.0.0.1:9093"),
        (wrong_listeners, "kafka.environment.KAFKA_LOG_DIRS", "/var/lib/kafka"),
        (wrong_listeners, "kafka.ports", ["127.0.0.1:9094:9092"]),
    ],
)
def test_a_fault_is_found(check: Callable[[Setup], Iterator[str]], path: str, value: object, shipped: Setup) -> None:
    """Each check finds its fault when it is put in."""
    broken = copy.deepcopy(shipped)
    *way, last = path.split(".")
    place = broken["services"]
    for step in way:
        place = place[step]
    place[last] = value
    assert list(check(broken)) != []


# What the processes would be told.


@pytest.mark.parametrize("name", ["worker", "serve"])
def test_the_settings_can_be_loaded(name: str, shipped: Setup, secrets: Path) -> None:
    """Both processes start with the variables, files and secrets they are given, and agree on what the numbers mean."""
    service = shipped["services"][name]
    files = {target: str(ROOT / source) for source, target in mounts(service)}
    files |= {f"/run/secrets/{secret}": str(secrets / secret) for secret in service["secrets"]}

    settings = load_settings(environ={key: files.get(value, value) for key, value in service["environment"].items()})

    assert re.fullmatch(r"redis://:[0-9a-f]{64}@redis:6379/0", settings.redis)
    assert settings.definitions == load_settings(ROOT / "deploy/salesfx.toml", environ={}).definitions
    if name == "serve":
        assert service["ports"] == [f"127.0.0.1:8000:{settings.http_port}"]
        assert f":{settings.http_port}/readyz" in service["healthcheck"]["test"][-1]
        assert re.fullmatch("[0-9a-f]{64}", settings.http_token or "")


def test_each_secret_is_made_and_no_other(shipped: Setup, secrets: Path) -> None:
    """The documented command makes what Compose mounts, readable in containers and closed on the host."""
    assert {file.name for file in secrets.iterdir()} == set(shipped["secrets"])
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    for file in secrets.iterdir():
        # Containers read them with users of their own.
        assert stat.S_IMODE(file.stat().st_mode) == 0o444


def test_the_secrets_stay_out_of_the_image_and_of_git() -> None:
    """Neither `docker build` nor `git add` takes the secrets along."""
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()[1] == "*"
    assert f"/{SECRETS}" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def run_redis_script(tmp_path: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run deploy/redis/redis.sh with a server and a client that tell what they were given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"redis-server": 'echo "$@"; cat', "redis-cli": 'echo "${PONG:-$REDISCLI_AUTH}"'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    (tmp_path / "redis_url").write_text(url + "\n", encoding="utf-8")
    environment = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "REDIS_URL_FILE": str(tmp_path / "redis_url"),
    }
    script = ["sh", str(ROOT / "deploy/redis/redis.sh"), *arguments]
    return subprocess.run(script, env=environment, capture_output=True, text=True, check=False)


def test_redis_asks_for_the_password_that_salesfx_has(tmp_path: Path, secrets: Path) -> None:
    """The server gets the password in the URL, and not on its command line."""
    url = (secrets / "redis_url").read_text(encoding="utf-8").strip()
    password = url.removeprefix("redis://:").partition("@")[0]

    arguments, *configuration = run_redis_script(tmp_path, url, "start").stdout.splitlines()

    assert arguments == "-"
    assert f"requirepass {password}" in configuration
    assert {"appendonly yes", "maxmemory-policy noeviction", "dir /data"} <= set(configuration)


@pytest.mark.parametrize(
    "url", ["", "redis://redis:6379/0", "redis://:@redis:6379/0", "redis://:two words@redis", "redis://:%41@redis"]
)
def test_redis_does_not_start_without_a_usable_password(tmp_path: Path, url: str) -> None:
    """A URL that would leave the server open is refused."""
    done = run_redis_script(tmp_path, url, "start")

    assert (done.returncode, done.stdout) == (2, "")
    assert "redis_url" in done.stderr


@pytest.mark.parametrize(("password", "healthy"), [("PONG", True), ("NOAUTH", False)])
def test_redis_is_healthy_when_it_answers_with_pong(tmp_path: Path, password: str, healthy: bool) -> None:
    """An answer that is an error is not health, though the client ends with 0."""
    # The client that stands in answers with the password it was given.
    assert (run_redis_script(tmp_path, f"redis://:{password}@redis:6379/0", "check").returncode == 0) is healthy


# Prometheus and Grafana.


def test_prometheus_scrapes_serve_with_its_token(shipped: Setup) -> None:
    """Address, port and token are the ones `serve` has."""
    config = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    (job,) = (job for job in config["scrape_configs"] if job["job_name"] == "salesfx")
    prometheus, serve = shipped["services"]["prometheus"], shipped["services"]["serve"]

    assert job["authorization"]["credentials_file"] == serve["environment"]["SALESFX_HTTP_TOKEN_FILE"]
    assert job["authorization"]["credentials_file"].rpartition("/")[2] in prometheus["secrets"]
    assert job["static_configs"] == [{"targets": [f"serve:{serve['environment']['SALESFX_HTTP_PORT']}"]}]
    assert set(prometheus["networks"]) & set(serve["networks"])
    targets = {target for _, target in mounts(prometheus)}
    flags = dict(flag.split("=") for flag in prometheus["command"])
    rules = {f"/etc/prometheus/{name}" for name in config["rule_files"]}
    assert {flags["--config.file"], flags["--storage.tsdb.path"], *rules} == targets


def test_alertmanager_is_where_prometheus_sends_alerts(shipped: Setup) -> None:
    """Its address, its files and its secret are the ones that the configurations name."""
    config = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    routes = yaml.safe_load((ROOT / "prometheus/alertmanager.yml").read_text(encoding="utf-8"))
    alertmanager, prometheus = shipped["services"]["alertmanager"], shipped["services"]["prometheus"]

    assert config["alerting"]["alertmanagers"] == [{"static_configs": [{"targets": ["alertmanager:9093"]}]}]
    assert set(alertmanager["networks"]) & set(prometheus["networks"])
    assert alertmanager["ports"] == ["127.0.0.1:9093:9093"]
    flags = dict(flag.split("=") for flag in alertmanager["command"])
    assert {flags["--config.file"], flags["--storage.path"]} == {target for _, target in mounts(alertmanager)}
    secret = routes["global"]["smtp_auth_password_file"].rpartition("/")
    assert (secret[0], [secret[2]]) == ("/run/secrets", alertmanager["secrets"])


def test_promtool_accepts_the_configuration(tmp_path: Path, secrets: Path) -> None:
    """Prometheus's own tool reads the configuration."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: in the package prometheus)")
    config = (ROOT / "prometheus/prometheus.yml").read_text(encoding="utf-8")
    # promtool also looks for the files that are named.
    (tmp_path / "prometheus.yml").write_text(config.replace("/run/secrets", str(secrets)), encoding="utf-8")
    for rules in (ROOT / "prometheus").glob("*.rules.yml"):
        shutil.copy(rules, tmp_path)

    done = subprocess.run(
        [promtool, "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_has_prometheus_as_its_data_source(shipped: Setup) -> None:
    """The data source that is provisioned is the Prometheus beside it."""
    folder = ROOT / "deploy/grafana/provisioning/datasources"
    grafana, prometheus = shipped["services"]["grafana"], shipped["services"]["prometheus"]
    (source,) = yaml.safe_load((folder / "prometheus.yml").read_text(encoding="utf-8"))["datasources"]

    assert (f"./{folder.relative_to(ROOT)}", "/etc/grafana/provisioning/datasources") in mounts(grafana)
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert prometheus["ports"] == ["127.0.0.1:9090:9090"]
    assert set(grafana["networks"]) & set(prometheus["networks"])


# The whole, as others read it.


def test_the_setup_follows_the_schema_of_compose(shipped: Setup) -> None:
    """No key is misspelt: the specification's own schema refuses that."""
    # Only a file of that package is wanted: it is found, not imported.
    package = importlib.util.find_spec("check_jsonschema")
    if package is None or package.origin is None:
        pytest.skip("the schema comes with the package check-jsonschema, which is not installed")
    schema_file = Path(package.origin).parent / "builtin_schemas/vendor/compose-spec.json"
    schema = json.loads(schema_file.read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(schema)(schema)

    assert [error.message for error in validator.iter_errors(shipped)] == []
    misspelt = copy.deepcopy(shipped)
    misspelt["services"]["redis"]["heathcheck"] = misspelt["services"]["redis"].pop("healthcheck")
    assert not validator.is_valid(misspelt)


@pytest.mark.docker
def test_docker_compose_accepts_the_setup() -> None:
    """Compose itself reads the set-up, where it is installed."""
    command = ["docker", "compose", "--project-directory", str(ROOT), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# The Dockerfile.


def instructions(text: str) -> list[tuple[str, str]]:
    """Give (instruction, arguments) of a Dockerfile."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def faults_of_image(text: str, ignore: str) -> Iterator[str]:
    """Find what is wrong in a Dockerfile with its .dockerignore."""
    found = instructions(text)
    patterns = [line for line in ignore.splitlines() if line and not line.startswith("#")]
    for base in (arguments.split()[0] for name, arguments in found if name == "FROM"):
        if not re.fullmatch(r"[a-z]+:\d+\.\d+\.\d+-[a-z-]+", base):
            yield f"{base} is not pinned"
    last_stage = found[max(index for index, (name, _) in enumerate(found) if name == "FROM") :]
    users = [arguments for name, arguments in last_stage if name == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", users[-1]):
        yield f"the user is {users[-1] if users else 'root'}, not a number other than root's"
    if ("ENTRYPOINT", '["salesfx"]') not in last_stage or ("STOPSIGNAL", "SIGTERM") not in last_stage:
        yield "salesfx is not what runs and gets SIGTERM"
    for arguments in (arguments for name, arguments in found if name in {"COPY", "ADD"}):
        sources = arguments.split()[:-1]
        if sources[0].startswith("--from="):
            continue
        for source in sources:
            if not (ROOT / source).exists():
                yield f"{source} does not exist"
            last = [pattern for pattern in patterns if fnmatch(source, pattern.removeprefix("!"))][-1:]
            if last and not last[0].startswith("!"):
                yield f"{source} is kept out by .dockerignore"


def test_the_image_has_no_fault() -> None:
    """The Dockerfile that is shipped passes."""
    assert list(faults_of_image(*image_files())) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("USER 10001:10001\n", ""),
        ("USER 10001:10001", "USER root"),
        ("USER 10001:10001", "USER 0"),
        ("3.13.14-slim-trixie AS", "3-slim AS"),
        ("COPY streams ", "COPY stream "),
        ('ENTRYPOINT ["salesfx"]', "ENTRYPOINT salesfx"),
    ],
)
def test_a_fault_of_the_image_is_found(old: str, new: str) -> None:
    """Each fault of a Dockerfile is found when it is put in."""
    text, ignore = image_files()
    assert old in text
    assert list(faults_of_image(text.replace(old, new), ignore)) != []


def test_a_file_that_is_kept_out_of_the_image_is_found() -> None:
    """A copied file that .dockerignore keeps out is found."""
    text, ignore = image_files()
    assert list(faults_of_image(text, ignore.replace("!streams\n", ""))) == ["streams is kept out by .dockerignore"]


def test_the_image_holds_the_packages_of_the_wheel() -> None:
    """What the wheel is built from is copied, and nothing else."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
        *project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"],
    }
    copied = [arguments.split()[:-1] for name, arguments in instructions(image_files()[0]) if name == "COPY"]
    assert needed == {source for sources in copied if not sources[0].startswith("--from=") for source in sources}


def image_files() -> tuple[str, str]:
    """Give Dockerfile and .dockerignore as they are."""
    return (ROOT / "Dockerfile").read_text(encoding="utf-8"), (ROOT / ".dockerignore").read_text(encoding="utf-8")
