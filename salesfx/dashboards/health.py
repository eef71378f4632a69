"""The pipeline's health: whether the numbers on the wall are those of now, and where they are held up if not.

What each panel shows is described in the exporter's own words.
"""

from salesfx.dashboards import grafana, queries
from salesfx.dashboards.grafana import Box, Json, Look, Query, Words

_RATE = "[$__rate_interval]"
_YES_NO = grafana.text_for({"1": ("yes", "green"), "0": ("no", "red")})
_TOPIC = "{{topic}}"


def health() -> Json:
    """Make the dashboard."""
    variables = [
        grafana.datasource_variable("Data source"),
        grafana.label_variable("job", "Job", "label_values(salesfx_up, job)"),
    ]
    panels = [
        *_now(),
        grafana.row("Events on their way into the tables", 5),
        *_way(6),
        grafana.row("Lead flow", 30),
        *_lead_flow(31),
    ]
    words = Words("Health of the pipeline", "Whether events get into the tables, how soon, and what is refused.")
    return grafana.dashboard("salesfx-health", words, variables, panels, hours=6, others="Other dashboards")


def _now() -> list[Json]:
    """Give what is so at this moment: a missing answer is a no."""
    yes = Look(grafana.TIMES, 0, mappings=[_YES_NO])
    blue = Look(grafana.TIMES, 0, "blue")
    described = queries.exported()
    panels = (
        ("Scraped", "Whether Prometheus gets an answer from salesfx.", f"max(up{{{queries.JOB}}})", yes),
        ("Tables readable", described["salesfx_up"], f"max({queries.series('salesfx_up')})", yes),
        ("Kafka answers", described["salesfx_kafka_up"], f"max({queries.series('salesfx_kafka_up')})", yes),
        ("Feed up", described["salesfx_feed_up"], f"max({queries.series('salesfx_feed_up')})", yes),
        (
            "Events waiting",
            described["salesfx_lag_events"],
            f"sum({_once('salesfx_lag_events', 'topic', 'partition')})",
            blue,
        ),
        (
            "Since the last commit",
            described["salesfx_last_commit_timestamp_seconds"],
            f"time() - max({queries.series('salesfx_last_commit_timestamp_seconds')})",
            blue._replace(unit=grafana.SECONDS),
        ),
    )
    return [
        grafana.stat(
            Words(title, description),
            Box(4 * place, 0, 4, 5),
            Query(f"{expression} or vector(0)" if look is yes else expression),
            look,
        )
        for place, (title, description, expression, look) in enumerate(panels)
    ]


def _once(name: str, *labels: str) -> str:
    """Take what several servers say of the same once."""
    return f"max by ({', '.join(labels)}) ({queries.series(name)})"


def _way(y: int) -> list[Json]:
    described = queries.exported()
    processed, rejected = "salesfx_events_processed_total", "salesfx_events_rejected_total"
    last_event, last_commit = "salesfx_last_event_timestamp_seconds", "salesfx_last_commit_timestamp_seconds"
    heartbeat = "salesfx_feed_last_heartbeat_timestamp_seconds"
    duration = "topic:salesfx_batch_duration_seconds:mean5m"
    reasons = f"sum by (reason) (max by (topic, reason) (increase({queries.series(rejected)}[1d])))"
    seconds = Look(grafana.SECONDS, least=0)
    return [
        grafana.curves(
            Words("Events taken", described[processed]),
            Box(0, y, 8, 8),
            [Query(f"max by (topic) (rate({queries.series(processed)}{_RATE}))", _TOPIC, over_time=True)],
            Look(grafana.PER_SECOND, least=0),
        ),
        grafana.curves(
            Words("Events waiting", described["salesfx_lag_events"]),
            Box(8, y, 8, 8),
            [Query(f"sum by (topic) ({_once('salesfx_lag_events', 'topic', 'partition')})", _TOPIC, over_time=True)],
            Look(grafana.TIMES, 0, least=0),
        ),
        grafana.curves(
            Words("Time of a batch, mean of five minutes", described["salesfx_batch_duration_seconds_sum"]),
            Box(16, y, 8, 8),
            [Query(queries.recorded(duration), _TOPIC, over_time=True)],
            seconds,
        ),
        grafana.curves(
            Words("Since the last event", described[last_event]),
            Box(0, y + 8, 8, 8),
            [Query(f"time() - max by (topic) ({queries.series(last_event)})", _TOPIC, over_time=True)],
            seconds,
        ),
        grafana.curves(
            Words("Since the last commit", described[last_commit]),
            Box(8, y + 8, 8, 8),
            [Query(f"time() - max by (topic) ({queries.series(last_commit)})", _TOPIC, over_time=True)],
            seconds,
        ),
        grafana.ranking(
            Words("Since the last heartbeat of a feed", described[heartbeat]),
            Box(16, y + 8, 8, 8),
            [Query(f"topk(10, time() - {_once(heartbeat, 'feed', 'topic')})", "{{feed}} in {{topic}}")],
            seconds._replace(decimals=0, color="blue"),
        ),
        grafana.curves(
            Words("Share of events refused, last hour", described[rejected]),
            Box(0, y + 16, 12, 8),
            [
                Query(
                    queries.recorded("topic:salesfx_events_rejected_per_event:ratio_increase1h"), _TOPIC, over_time=True
                )
            ],
            Look(grafana.RATIO, least=0),
        ),
        grafana.ranking(
            Words("Events refused in a day, by reason", described[rejected]),
            Box(12, y + 16, 12, 8),
            [Query(f"sort_desc({reasons})", "{{reason}}")],
            Look(grafana.COUNT, 0, "orange"),
        ),
    ]


def _lead_flow(y: int) -> list[Json]:
    described = queries.exported()
    week = 'window="7d"'
    parts = ("observed", "expected", "least")
    names = {f"salesfx_lead_flow_{part}_leads": part for part in parts}
    columns: dict[str, Json] = {"window": {"displayName": "Window"}}
    columns |= {
        "Value #A": {"displayName": "Observed", "decimals": 0},
        "Value #B": {"displayName": "Usual", "decimals": 1},
        "Value #C": {"displayName": "Alarm at or below", "decimals": 0},
        "Value #D": {"displayName": "By chance", "unit": grafana.RATIO, "decimals": 2},
    }
    probability = "salesfx_lead_flow_tail_probability"
    queried = (*names, probability)
    source_state = "salesfx_lead_flow_by_source_state"
    return [
        grafana.table(
            Words("What came and what is usual, by window", " ".join(described[name] for name in queried)),
            Box(0, y, 8, 9),
            [Query(_once(name, "window"), as_table=True) for name in queried],
            Look(grafana.COUNT),
            columns,
            sorted_by="Value #B",
        ),
        grafana.curves(
            Words("Leads of the last seven days", " ".join(described[name] for name in names)),
            Box(8, y, 8, 9),
            [Query(f"max({queries.series(name, week)})", part, over_time=True) for name, part in names.items()],
            Look(grafana.TIMES, 0, least=0),
        ),
        grafana.table(
            Words("State of each source", described[source_state]),
            Box(16, y, 8, 9),
            [Query(f"{_once(source_state, 'source', 'state')} == 1", as_table=True)],
            Look("string"),
            {
                "source": {"displayName": "Source"},
                "state": {"displayName": "State"},
                "Value": {"custom.hidden": True},
            },
            sorted_by="source",
        ),
    ]
