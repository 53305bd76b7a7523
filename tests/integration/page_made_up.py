"""Health documents that are made up, for what a real pipeline is not brought to in a second: a whole chain up to the search
engine with faults in each part, 500 logs, names that try to be markup. Shapes are those of core/health.h.
SPDX-License-Identifier: Apache-2.0
"""
import datetime
import json
import time

EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
HISTOGRAM = {"count": 3000, "sum": 90.5, "p50": 0.012, "p90": 0.051, "p99": 0.21, "buckets": [[0.001, 0], ["+Inf", 3000]]}


def iso(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def document(process, rows, now, problems=(), state="ok", counters=None, instance=0):
    own = {"start_timestamp_seconds": now - 7200, "resident_memory_bytes": 50331648, "cpu_seconds": now % 1000, "open_fds": 61,
           "state_free_bytes": 41_000_000_000, "problems": len(problems), "ready": 1}
    return {"node": "made-up", "process": process, "instance": instance, "pid": 4711, "version": "0.1.0", "started": iso(1_700_000_000),
            "time": iso(now), "state": state, "ready": state != "failing", "left_out": 0, "problems": list(problems),
            "counters": counters or {}, "rows": {"process": [own], **rows}}


def problem(code, severity, component, text, kind, now, **labels):
    return {"code": code, "severity": severity, "component": component, "since": iso(now - 64), "text": text,
            "help": f"What helps against {code}.", "kind": kind, "labels": labels}


def log_row(path, now, lag=0.0, failed=0):
    return {"path": path, "size_bytes": 30_000_000, "read_position_bytes": int(now * 9000) % 10**9, "accepted_position_bytes": 1000,
            "lag_bytes": int(lag * 9000), "lag_seconds": lag, "last_event_timestamp_seconds": now - 2, "rotations": 1, "failed": failed}


def stage_row(stage, now, worker=""):
    n = int(now * 1000) % 10**12
    return {"stage": stage, "worker": worker, "in": n, "out": n, "batches": n // 100, "busy_seconds": now * 0.4, "queue_used": 2,
            "queue_capacity": 64, "held": 1}


def sink_row(sink, now, up=1):
    return {"sink": sink, "in_flight": 12_340, "stalled_seconds": 0 if up else 64.1, "documents": int(now * 1000) % 10**12, "up": up,
            "latency": HISTOGRAM}


def run_document(now, logs, names):
    conn = "/var/lib/tapline/sensors/zeek-1/logs/conn.log"
    files = [log_row(conn, now, 75.2), log_row("/var/lib/tapline/sensors/suricata/eve.json", now)]
    files += [log_row("/opt/old/alert.txt", now, failed=1)]
    files += [log_row(f"/data/folder-{i % 23}/with/quite/a/long/name/that/goes/on/conn_{i}.log", now, i * 0.01) for i in range(logs)]
    files += [log_row(f"/var/log/{name}.log", now) for name in names]
    problems = [
        problem("sink_unreachable", "error", "sink kafka", "None of 3 brokers answers: Connection refused; 12,340 documents wait.",
                "sink", now, sink="kafka"),
        problem("file_lag", "warn", f"file {conn}", "75 s behind, 660 KiB are not accepted", "file", now, path=conn),
        problem("health_topic_away", "info", "health log", "the topic takes nothing", "process", now),
        *(problem("dead_letters", "warn", f"stage {name}", name, "dead", now, stage=name, reason=name) for name in names),
    ]
    rows = {
        "file": files, "stage": [stage_row("ingest", now), stage_row("normalize", now, "0"), stage_row("normalize", now, "1"),
                                 stage_row("enrich", now), stage_row("kafka", now), stage_row("file", now)],
        "dead": [{"stage": "normalize", "reason": "not_json", "records": int(now) % 10**6, "last_timestamp_seconds": now - 3},
                 *({"stage": "normalize", "reason": name, "records": 1, "last_timestamp_seconds": now - 3} for name in names)],
        "sink": [sink_row("kafka", now, up=0), sink_row("file", now)],
        "sink_retry": [{"sink": "kafka", "cause": "queue_full", "times": 3}],
        "broker": [{"client": "kafka", "broker": f"kafka-{i}:9092/{i}", "up": 0, "rtt_mean_seconds": 0.0012} for i in (1, 2, 3)],
        "producer_partition": [{"client": "kafka", "topic": "zeek.conn", "partition": str(i), "queued_messages": 0, "messages": 5,
                                "sent_bytes": 9} for i in range(6)],
        "intel": [{"state": 2, "indicators": 184_223, "behind_seconds": 1.2, "filter_bytes": 442_000, "hit_rate_ratio": 0.0002,
                   "store_up": 1, "store_round_trip": HISTOGRAM}],
        "intel_feed": [{"feed": "urlhaus", "indicators": 900, "last_success_timestamp_seconds": now - 900, "failed": 1}],
        "capture": [{"sensor": "zeek-1", "source": "capture_loss", "loss_ratio": 0.0123, "last_report_timestamp_seconds": now - 9}],
        "latency": [{"step": "event_read", "latency": HISTOGRAM}],
        "something_new": [{"name": "of a newer tapline", "value": 7}],
    }
    lines = int(now * 1000) % 10**12
    counters = {"ingest.lines": lines, "sink.accepted": lines, "ingest.bytes_lost": 10, "spool.bytes_lost": 0}
    return document("run", rows, now, problems, "failing", counters)


def documents(logs=0, names=(), control=True, now=None):
    """The data of one event."""
    now = now or time.time()
    frozen = problem("sensor_frozen", "error", "sensor zeek-2", "zeek-2 (pid 812) is there and does not run.", "supervised", now,
                     node="zeek-2", group="zeek")
    nodes = [{"node": name, "group": "zeek", "state": 3, "wanted": 1, "running": int(name != "zeek-2"), "restarts": 4,
              "cpu_seconds": now % 100, "start_timestamp_seconds": now - 7200, "resident_memory_bytes": 412_000_000}
             for name in ("zeek-1", "zeek-2", "suricata", *names)]
    serve = document("serve", {"supervised": nodes, "peer": [{"process": "run", "up": 1, "silent_seconds": 0}]}, now, [frozen], "degraded")
    feed = document("feed", {
        "stage": [stage_row("feed", now), stage_row("elastic", now)], "sink": [sink_row("elastic", now)],
        "consumer_partition": [{"group": "tapline-feed", "topic": "zeek.conn", "partition": str(i), "position": int(now * 100),
                                "end": int(now * 100) + i, "lag_records": i, "lag_seconds": i * 0.2} for i in range(6)]},
        now, counters={"feed.indexed": int(now * 1000) % 10**12})
    return {"control": control, "processes": [serve, run_document(now, logs, names), feed]}


class Stream:
    """The page's stream, answered by made-up documents: one a try, and the page tries again at once."""

    def __init__(self, page, **options):
        self.options = options
        self.came = 0
        page.route("**/api/events", self.answer)

    def answer(self, route):
        self.came += 1
        body = f"retry: 300\nevent: health\ndata: {json.dumps(documents(**self.options))}\n\n"
        route.fulfill(status=200, content_type="text/event-stream", body=body)
