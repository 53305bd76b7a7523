#!/usr/bin/env python3
"""Writes tapline.json, the Grafana dashboard, from the panels below: generate.py [--check]. SPDX-License-Identifier: Apache-2.0

A row of the dashboard is a title and its panels; a panel is a kind, a title, a unit and its queries: (expression, legend). The
variable $instance takes the processes; all of them at first. --check says whether the file is what would be written.
"""
import json
import pathlib
import sys

OUT = pathlib.Path(__file__).resolve().parent / "tapline.json"
COLUMNS, HEIGHT = 24, 7
I = 'instance=~"$instance"'

# (row, [(kind, title, unit, width, [(expression, legend), …]), …])
ROWS = [
    ("Now", [
        ("stat", "Processes up", "none", 4, [('sum(up{job=~"tapline.*", %s})' % I, "up")]),
        ("stat", "Ready", "none", 4, [("min(tapline_process_ready{%s})" % I, "ready")]),
        ("stat", "Problems", "none", 4, [("sum(tapline_process_problems{%s})" % I, "problems")]),
        ("stat", "Events a second", "ops", 4, [("sum(rate(tapline_sink_documents_total{%s}[1m]))" % I, "accepted")]),
        ("stat", "Worst file lag", "s", 4, [("max(tapline_file_lag_seconds{%s})" % I, "lag")]),
        ("stat", "Dead letters, last hour", "none", 4, [(
            "sum(increase(tapline_normalize_dead_total{%s}[1h])) + sum(increase(tapline_sink_refused_total{%s}[1h]))"
            " + sum(increase(tapline_feed_dead_total{%s}[1h]))" % (I, I, I), "dead")]),
    ]),
    ("Problems", [
        ("table", "Problems there are", "s", 24, [("tapline_problem_age_seconds{%s}" % I, "")]),
    ]),
    ("Loss: packets, shipping, indexing", [
        ("timeseries", "Packets that sensors lost", "percentunit", 8, [("tapline_capture_loss_ratio{%s}" % I, "{{sensor}} {{source}}")]),
        ("timeseries", "Bytes lost before they were read", "bytes", 8, [
            ("increase(tapline_ingest_bytes_lost_total{%s}[5m]) + increase(tapline_spool_bytes_lost_total{%s}[5m])" % (I, I), "{{instance}}")]),
        ("timeseries", "Dead letters a second", "ops", 8, [("rate(tapline_dead_records_total{%s}[5m])" % I, "{{stage}}: {{reason}}")]),
    ]),
    ("Files", [
        ("timeseries", "Lag of files", "s", 8, [("topk(10, tapline_file_lag_seconds{%s})" % I, "{{path}}")]),
        ("timeseries", "Bytes not accepted yet", "bytes", 8, [("topk(10, tapline_file_lag_bytes{%s})" % I, "{{path}}")]),
        ("timeseries", "Read", "Bps", 8, [("rate(tapline_ingest_bytes_total{%s}[1m])" % I, "{{instance}}")]),
    ]),
    ("Stages", [
        ("timeseries", "Busy", "percentunit", 8, [("rate(tapline_stage_busy_seconds_total{%s}[1m])" % I, "{{stage}} {{worker}}")]),
        ("timeseries", "Batches before and in a stage", "none", 8, [
            ('sum by (stage) ({__name__=~"tapline_stage_(queue_used|held)", %s})' % I, "{{stage}}"),
            ("max(tapline_stage_queue_capacity{%s})" % I, "all there are")]),
        ("timeseries", "Records passed on", "ops", 8, [("sum by (stage) (rate(tapline_stage_out_total{%s}[1m]))" % I, "{{stage}}")]),
    ]),
    ("Sinks", [
        ("timeseries", "Accepted", "ops", 6, [("rate(tapline_sink_documents_total{%s}[1m])" % I, "{{instance}} {{sink}}")]),
        ("timeseries", "In flight", "none", 6, [("tapline_sink_in_flight{%s}" % I, "{{instance}} {{sink}}")]),
        ("timeseries", "Latency of sinks", "s", 6, [
            ("histogram_quantile(0.5, sum by (le, sink) (rate(tapline_sink_latency_seconds_bucket{%s}[5m])))" % I, "{{sink}} p50"),
            ("histogram_quantile(0.99, sum by (le, sink) (rate(tapline_sink_latency_seconds_bucket{%s}[5m])))" % I, "{{sink}} p99")]),
        ("timeseries", "Retries", "ops", 6, [("rate(tapline_sink_retry_times_total{%s}[5m])" % I, "{{sink}} {{cause}}")]),
    ]),
    ("From a sensor's timestamp to where it is found", [
        ("timeseries", "Latency by step, p50", "s", 12, [
            ("histogram_quantile(0.5, sum by (le, step) (rate(tapline_latency_seconds_bucket{%s}[5m])))" % I, "{{step}}")]),
        ("timeseries", "Latency by step, p99", "s", 12, [
            ("histogram_quantile(0.99, sum by (le, step) (rate(tapline_latency_seconds_bucket{%s}[5m])))" % I, "{{step}}")]),
    ]),
    ("Kafka", [
        ("timeseries", "Consumer lag", "s", 8, [("max by (group, topic) (tapline_consumer_partition_lag_seconds{%s})" % I, "{{group}} {{topic}}")]),
        ("timeseries", "Round trip to brokers, p99", "s", 8, [("tapline_broker_rtt_p99_seconds{%s}" % I, "{{client}} {{broker}}")]),
        ("timeseries", "Messages that wait in librdkafka", "none", 8, [
            ("sum by (client, topic) (tapline_producer_partition_queued_messages{%s})" % I, "{{client}} {{topic}}")]),
    ]),
    ("Intelligence", [
        ("timeseries", "Indicators", "none", 8, [("tapline_intel_indicators{%s}" % I, "{{instance}}")]),
        ("timeseries", "Share of hits", "percentunit", 8, [("tapline_intel_hit_rate_ratio{%s}" % I, "{{instance}}")]),
        ("timeseries", "Since changes were read", "s", 8, [("tapline_intel_behind_seconds{%s}" % I, "{{instance}}")]),
    ]),
    ("Processes", [
        ("timeseries", "Supervised: state (3 up, 5 backoff, 6 latched)", "none", 8, [("tapline_supervised_state{%s}" % I, "{{node}}")]),
        ("timeseries", "Processors used", "none", 8, [
            ("rate(tapline_supervised_cpu_seconds_total{%s}[1m])" % I, "{{node}}"),
            ("rate(tapline_process_cpu_seconds_total{%s}[1m])" % I, "{{instance}}")]),
        ("timeseries", "Memory", "bytes", 8, [
            ("tapline_supervised_resident_memory_bytes{%s}" % I, "{{node}}"),
            ("tapline_process_resident_memory_bytes{%s}" % I, "{{instance}}")]),
    ]),
]

SOURCE = {"type": "prometheus", "uid": "${source}"}


def panel(number, kind, title, unit, queries, place):
    targets = [{"datasource": SOURCE, "expr": expression, "legendFormat": legend, "refId": chr(65 + i)} for i, (expression, legend) in enumerate(queries)]
    made = {"id": number, "type": kind, "title": title, "datasource": SOURCE, "gridPos": place, "targets": targets,
            "fieldConfig": {"defaults": {"unit": unit, "min": 0} if kind == "timeseries" else {"unit": unit}, "overrides": []}}
    if kind == "stat":
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "none"}
    if kind == "timeseries":
        made["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    if kind == "table":
        for target in targets:
            target.update(format="table", instant=True)
        hidden = {name: True for name in ("Time", "__name__", "job")}
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden, "renameByName": {"Value": "since"}}}]
    return made


def dashboard():
    panels, top, number = [], 0, 0
    for row, members in ROWS:
        number += 1
        panels.append({"id": number, "type": "row", "title": row, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1}})
        top, left = top + 1, 0
        for kind, title, unit, width, queries in members:
            number += 1
            height = 4 if kind == "stat" else HEIGHT
            assert left + width <= COLUMNS, f"{title}: the row is full"
            panels.append(panel(number, kind, title, unit, queries, {"x": left, "y": top, "w": width, "h": height}))
            left += width
        top += height
    return {
        "__inputs": [], "uid": "tapline", "title": "tapline", "tags": ["tapline"], "schemaVersion": 39, "version": 1, "editable": True,
        "refresh": "15s", "time": {"from": "now-1h", "to": "now"}, "timezone": "", "annotations": {"list": []},
        "templating": {"list": [
            {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}, "hide": 0},
            {"name": "instance", "label": "Process", "type": "query", "datasource": SOURCE, "refresh": 2, "includeAll": True, "multi": True,
             "allValue": ".*", "current": {"text": "All", "value": "$__all"}, "query": "label_values(tapline_build_info, instance)",
             "definition": "label_values(tapline_build_info, instance)", "sort": 1},
        ]},
        "panels": panels,
    }


def main():
    text = json.dumps(dashboard(), indent=1) + "\n"
    if sys.argv[1:] == ["--check"]:
        if not OUT.exists() or OUT.read_text() != text:
            sys.exit(f"{OUT} is not what generate.py writes; run it")
    elif sys.argv[1:]:
        sys.exit("usage: generate.py [--check]")
    else:
        OUT.write_text(text)


if __name__ == "__main__":
    main()
