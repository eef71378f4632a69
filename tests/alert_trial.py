"""`python -m tests.alert_trial`: real Prometheus and Alertmanager over a real stack, from the drop to the notification.

    flow       leads stop coming, and the feed lives: SalesfxLeadFlowLow is received, and no SalesfxFeedStale
    worker     the worker hangs: SalesfxFeedStale is received, and no SalesfxLeadFlowLow
    publisher  the integration ends: the same

It takes minutes of waiting, since nothing of salesfx's own thresholds is changed. What is changed for the trial is told:
how often is scraped, how long Prometheus and Alertmanager wait before they tell, where to, and at which hours.
"""

import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import yaml

from salesfx import LeadCreated, Publisher
from salesfx.local.ports import kept_ports
from tests.stack_process import StackProcess, running, salesfx

CONFIG = Path(__file__).parents[1] / "prometheus"
HISTORY = timedelta(weeks=10)
A_MINUTE = 3
"""Leads, round the clock: what is usual is known soon, and silence too."""
ZONES = ("Europe/Sofia", "Asia/Kathmandu", "Asia/Kolkata")
"""Silence is counted from the end of the hour of the last lead; hours end at other minutes in each of these."""
LEAST_AHEAD = timedelta(minutes=3)
"""Time to start everything and to publish the history."""
MARGIN = timedelta(seconds=5)
"""Before the hour's end the last lead is sent: one after it would have silence counted from an hour later."""
LONGEST = timedelta(minutes=40)
SCRAPE = "5s"
EXPECTED = {"flow": ("SalesfxLeadFlowLow", "SalesfxFeedStale")}
OTHERWISE = ("SalesfxFeedStale", "SalesfxLeadFlowLow")

_began = time.monotonic()


def say(line: str) -> None:
    """Print a line with the time since the start."""
    print(f"{time.monotonic() - _began:7.1f} s  {datetime.now(UTC):%H:%M:%S}  {line}", flush=True)  # noqa: T201


class Received:
    """What Alertmanager has sent: the receiver and the alert's name, with the moment."""

    def __init__(self) -> None:
        self.alerts: list[tuple[datetime, str, str, str]] = []
        self._server = HTTPServer(("127.0.0.1", 0), self._handler())
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def names(self) -> set[str]:
        """Give the names of all alerts that were told."""
        return {name for _, _, name, _ in self.alerts}

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        alerts = self.alerts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in body["alerts"]:
                    name, status = alert["labels"]["alertname"], alert["status"]
                    alerts.append((datetime.now(UTC), self.path.removeprefix("/"), name, status))
                    say(f"received by {self.path}: {name} {status}: {alert['annotations']['description']}")
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Leave the talking to `say`."""

        return Handler


def shortened(pending: int) -> str:
    """Give the alert rules with the time that a flow's alert is pending."""
    rules = (CONFIG / "alerts.rules.yml").read_text(encoding="utf-8")
    changed = rules.replace("for: 15m\n        keep_firing_for: 1h", f"for: {pending}m\n        keep_firing_for: 1h")
    if pending != 15:
        say(f"changed for the trial: the alerts of the flow are pending for {pending} min instead of 15")
    return changed


def alertmanager_config(receiver: int) -> str:
    """Give the routes, to our own receiver, at any hour and without waiting for more to tell."""
    config: dict[str, Any] = yaml.safe_load((CONFIG / "alertmanager.yml").read_text(encoding="utf-8"))
    config["global"] = {}
    for each in config["receivers"]:
        name = each["name"]
        each.clear()
        each.update(name=name, webhook_configs=[{"url": f"http://127.0.0.1:{receiver}/{name}", "send_resolved": True}])
    for route in (config["route"], *config["route"]["routes"]):
        route.pop("active_time_intervals", None)
        route["group_wait"] = "5s"
    say("changed for the trial: all receivers are one HTTP server; office hours are all hours; a group waits for 5 s")
    return yaml.safe_dump(config)


@contextmanager
def watching(folder: Path, stack: StackProcess, received: Received, pending: int) -> Iterator[None]:
    """Run Prometheus and Alertmanager over a stack."""
    ports = kept_ports(folder / "ports.json", ("prometheus", "alertmanager"), moved=say)
    prometheus, alertmanager = ports["prometheus"], ports["alertmanager"]
    config: dict[str, Any] = yaml.safe_load((CONFIG / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE}
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
    config["scrape_configs"] = [
        {"job_name": "salesfx", "static_configs": [{"targets": [stack.url.removeprefix("http://").rstrip("/")]}]}
    ]
    say(f"changed for the trial: scraped and evaluated every {SCRAPE} instead of 30s")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "recording.rules.yml").write_bytes((CONFIG / "recording.rules.yml").read_bytes())
    (folder / "alerts.rules.yml").write_text(shortened(pending), encoding="utf-8")
    (folder / "alertmanager.yml").write_text(alertmanager_config(received.port), encoding="utf-8")
    commands = {
        "prometheus": [
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/prometheus",
            f"--web.listen-address=127.0.0.1:{prometheus}",
        ],
        "alertmanager": [
            "prometheus-alertmanager",
            f"--config.file={folder}/alertmanager.yml",
            f"--storage.path={folder}/alertmanager",
            f"--web.listen-address=127.0.0.1:{alertmanager}",
            "--cluster.listen-address=",
        ],
    }
    with ExitStack() as closing:
        for name, command in commands.items():
            out = closing.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            closing.callback(process.wait)
            closing.callback(process.terminate)
        say(f"Prometheus at http://127.0.0.1:{prometheus}, Alertmanager at http://127.0.0.1:{alertmanager}")
        yield


def begin_of_hour(zone: str, moment: datetime) -> datetime:
    """Tell when the hour began in a zone."""
    return moment.astimezone(ZoneInfo(zone)).replace(minute=0, second=0, microsecond=0).astimezone(UTC)


def next_end(now: datetime) -> tuple[str, datetime]:
    """Choose the zone whose hour ends soonest, but not at once; give it and that moment."""
    ends = [(zone, begin_of_hour(zone, now + LEAST_AHEAD) + timedelta(hours=1)) for zone in ZONES]
    return min(ends, key=lambda found: found[1])


def last_end(now: datetime) -> tuple[str, datetime]:
    """Choose the zone whose hour has just ended; give it and that moment."""
    return max(((zone, begin_of_hour(zone, now)) for zone in ZONES), key=lambda found: found[1])


def write_history(file: Path, until: datetime) -> int:
    """Write ten weeks of leads, by chance but at an even rate."""
    chance, moment, count = random.Random(6), until - HISTORY, 0
    with file.open("w", encoding="utf-8") as out:
        while (moment := moment + timedelta(minutes=chance.expovariate(A_MINUTE))) < until:
            count += 1
            out.write(
                f'{{"topic":"lead_created","event_id":"h{count}","lead_id":"H{count}","occurred_at":"{moment.isoformat()}",'
                f'"source":"{chance.choice(("web", "fair"))}"}}\n'
            )
    return count


class Crm:
    """Publishes leads at the usual rate, with heartbeats, until it is told to stop either, or until a moment."""

    def __init__(self, stack: StackProcess, until: datetime) -> None:
        self._until = until
        self._publisher = Publisher(kafka=stack.kafka, feed="crm")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self._thread.start()

    def _publish(self) -> None:
        chance, count = random.Random(7), 0
        while not self._over.wait(60 * chance.expovariate(A_MINUTE)):
            if datetime.now(UTC) >= self._until:
                return
            count += 1
            self._publisher.send(
                LeadCreated(event_id=f"n{count}", lead_id=f"N{count}", occurred_at=datetime.now(UTC), source="web")
            )

    def stop_leads(self) -> None:
        """Publish no lead any more; the heartbeats go on."""
        self._over.set()
        self._thread.join()
        self._publisher.flush()

    def close(self) -> None:
        """End the heartbeats too."""
        self.stop_leads()
        self._publisher.close()


def state_of(stack: StackProcess) -> str:
    """Tell the lead flow's state, and whether the feed is up."""
    text = stack.get("/metrics")
    found = re.search(r'salesfx_lead_flow_state\{state="(\w+)"\} 1.0', text)
    up = re.search(r"^salesfx_feed_up (\d)", text, re.MULTILINE)
    return f"lead flow {found[1] if found else '?'}, feed up {up[1] if up else '?'}"


@click.command(help=__doc__)
@click.argument("what", type=click.Choice(["flow", "worker", "publisher"]))
@click.option(
    "--dropped", is_flag=True, help="The leads stopped when an hour last ended: saves waiting for an hour's end."
)
@click.option("--pending", default=15, show_default=True, help="Minutes that an alert of the flow is pending.")
def main(what: str, *, dropped: bool, pending: int) -> None:
    """Live through one trial."""
    expected, unwanted = EXPECTED.get(what, OTHERWISE)
    with ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="salesfx-alerts-")))
        zone, end = (last_end if dropped else next_end)(datetime.now(UTC))
        stack = closing.enter_context(running("up", folder / "data", environ={"SALESFX_TIMEZONE": zone}))
        stack.wait_ready()
        say(f"the stack is up in the time zone {zone}, where an hour ends at {end:%H:%M} UTC")
        count = write_history(folder / "history.jsonl", min(end, datetime.now(UTC)))
        done = salesfx("publish", str(folder / "history.jsonl"), environ=stack.environ)
        assert done.status == 0, done.err
        stack.wait_taken(count, 300)
        crm = Crm(stack, end - MARGIN if what == "flow" else end + LONGEST)
        closing.callback(crm.close)
        say(f"{count:,} leads of {HISTORY.days} days are in; a lead comes every {60 / A_MINUTE:.0f} s from now on")
        received = Received()
        closing.callback(received.close)
        closing.enter_context(watching(folder, stack, received, pending))
        if what == "flow":
            time.sleep(max(0.0, (end - datetime.now(UTC)).total_seconds()))
        else:
            time.sleep(90)  # until the feeds were heard
        say(state_of(stack))
        assert not received.names(), f"told before anything was wrong: {received.names()}"
        cut = break_it(what, stack, crm, end)
        told_at = wait_for(expected, stack, received, cut)
        say(f"{expected} was received {(told_at - cut).total_seconds():.0f} s after the drop")
        if what != "flow":
            time.sleep(max(0.0, (cut + timedelta(minutes=pending + 3) - datetime.now(UTC)).total_seconds()))
            say(f"{state_of(stack)}; waited until an alert of the flow would have come")
        assert unwanted not in received.names(), f"{unwanted} was received too"
        say(f"no {unwanted} was received")
        if what == "worker":
            stack.wait_child("salesfx worker").send_signal(signal.SIGCONT)


def break_it(what: str, stack: StackProcess, crm: Crm, end: datetime) -> datetime:
    """Let happen what the trial is about; give the moment."""
    if what == "flow":
        crm.stop_leads()
        cut = end
        say(f"the leads have stopped, before {end:%H:%M:%S}; heartbeats go on")
    elif what == "publisher":
        cut = datetime.now(UTC)
        crm.close()
        say("the integration has ended")
    else:
        cut = datetime.now(UTC)
        stack.wait_child("salesfx worker").send_signal(signal.SIGSTOP)
        say("the worker hangs; leads go on")
    return cut


def wait_for(name: str, stack: StackProcess, received: Received, cut: datetime) -> datetime:
    """Wait until an alert is received; tell each change of the state meanwhile."""
    last = ""
    while datetime.now(UTC) < cut + LONGEST:
        if (state := state_of(stack)) != last:
            say(f"{(datetime.now(UTC) - cut).total_seconds():.0f} s after the drop: {state}")
            last = state
        for moment, _, found, status in received.alerts:
            if found == name and status == "firing":
                return moment
        time.sleep(2)
    sys.exit(f"{name} was not received within {LONGEST}")


if __name__ == "__main__":
    main()
