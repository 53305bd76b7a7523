"""Lines of health logs as several programs write them, with every field there is: what dashboards and the feeder are shown.
SPDX-License-Identifier: Apache-2.0
"""
import datetime

BEGIN = datetime.datetime(2026, 11, 21, 4, 0, tzinfo=datetime.timezone.utc)
# Program: what only it tells.
OWN = {
    "run": {"files": 12, "lag": {"bytes": 4096, "seconds": 1.5, "where": "/var/log/zeek/conn.log"},
            "sink": {"in_flight": 200, "stalled_seconds": 0, "down": ["kafka"]}, "intel": {"state": "ready", "indicators": 12000},
            "capture": {"loss": 0.0125, "sensor": "zeek-1"}},
    "feed": {"lag": {"records": 120, "seconds": 0.75, "where": "tapline.zeek.conn/3"}, "sink": {"in_flight": 100, "stalled_seconds": 0}},
    "serve": {"sensors": {"wanted": 4, "running": 3}},
}


def line(program, number, node="node-1", codes=()):
    at = BEGIN + datetime.timedelta(seconds=10 * number)
    state = "failing" if codes else "ok"
    why = "start" if number == 0 else "change" if codes else "interval"
    own = {"process": program, "instance": 0, "line": why, "ready": not codes, "uptime_seconds": 10.25 * number,
           "problem": {"count": len(codes)}, "memory_bytes": 60_000_000, "state_free_bytes": 70_000_000_000, "cpu": 0.0123,
           "latency_seconds": 1.25, "total": {"read_bytes": 1000 * number, "records": 10 * number, "accepted": 10 * number, "dead": 1, "lost_bytes": 0},
           "rate": {"read_bytes": 100.0, "records": 1.5, "accepted": 1.25, "dead": 0.125}} | OWN[program]
    document = {"@timestamp": at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z", "ecs": {"version": "8.17.0"},
                "event": {"kind": "alert" if codes else "metric", "category": ["process"], "type": ["change" if codes else "info"],
                          "module": "tapline", "dataset": "tapline.health", "outcome": "failure" if codes else "success"},
                "service": {"name": f"tapline-{program}", "type": "tapline", "state": state, "version": "0.1.0", "node": {"name": node}},
                "host": {"hostname": "sensor.example.org"}, "observer": {"name": node, "product": "tapline"}, "process": {"pid": 4711},
                "message": f"tapline {program} is {state}", "tapline": {"health": own}}
    if codes:
        texts = [f"{code}: it is so" for code in codes]
        own["problem"] |= {"code": list(codes), "component": ["sink kafka"] * len(codes), "text": texts}
        document["error"] = {"code": codes[0], "message": texts[0]}
    return document


def lines(count=6):
    return [line(program, number, node, ("sink_unreachable", "file_lag") if number % 3 == 2 else ())
            for node in ("node-1", "node-2") for program in OWN for number in range(count)]
