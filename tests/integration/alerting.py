"""What the tests of alerts share: each alert with metrics that fire it, promtool, a real Prometheus.
SPDX-License-Identifier: Apache-2.0
"""
import json
import pathlib
import re
import subprocess
import time
import urllib.parse
import urllib.request

import rig

RULES = rig.TOP / "configs/prometheus/tapline.rules.yml"
DASHBOARD = rig.TOP / "configs/grafana/tapline.json"
STEP_S = 30
# Metrics are well for 5 minutes, then ill for 11, then well for 12: long enough for every `for` and every range.
WELL, ILL, AFTER = 10, 22, 24


def flip(well, ill):
    """A gauge that is one value, then another, then the first again."""
    return f"{well}x{WELL - 1} {ill}x{ILL - 1} {well}x{AFTER - 1}"


def only_ill(value):
    """A series that is only there while it is ill."""
    return f"_x{WELL} {value}x{ILL - 1} stale _x{AFTER}"


def jump(by):
    """A counter that stands still, grows by so much in each step while ill, and stands still."""
    return f"0x{WELL - 1} 0+{by}x{ILL - 1} {by * (ILL - 1)}x{AFTER - 1}"


def problem(code, severity="error"):
    return {f'tapline_problem_age_seconds{{code="{code}",severity="{severity}",component="it"}}': only_ill("1")}


def last_time():
    """When something was last: now, all the while it is ill; no more afterwards."""
    begin = WELL * STEP_S
    return f"_x{WELL} {begin}+{STEP_S}x{ILL - 1} {begin + STEP_S * (ILL - 1)}x{AFTER - 1}"


# Alert: (metrics that are ill and fire it, other alerts that these fire, too)
FIRED_BY = {
    "TaplineDown": ({'up{job="tapline-run"}': flip(1, 0)}, []),
    "TaplineNotReady": ({"tapline_process_ready": flip(1, 0)}, []),
    "TaplineProblem": ({'tapline_problem_age_seconds{code="new",severity="error",component="it"}': only_ill("130+15")}, []),
    "TaplineProcessGone": ({'tapline_peer_up{process="run"}': flip(1, 0)}, []),
    "TaplineSupervisorAway": (problem("supervisor_away"), []),
    "TaplineSinkUnreachable": ({'tapline_sink_up{sink="kafka"}': flip(1, 0)}, []),
    "TaplineSinkStalled": ({'tapline_sink_stalled_seconds{sink="kafka"}': flip(3, 40)}, []),
    "TaplineSinkRefused": (problem("sink_refused"), []),
    "TaplineTopicMissing": (problem("topic_missing"), []),
    "TaplineProducerFenced": (problem("producer_fenced"), []),
    "TaplinePositionsUnknown": (problem("positions_unknown"), []),
    "TaplineBrokersAway": ({'tapline_broker_up{client="feed",broker="a"}': flip(1, 0), 'tapline_broker_up{client="feed",broker="b"}': flip(0, 0)}, []),
    "TaplineConsumerLag": ({'tapline_consumer_partition_lag_seconds{group="g",topic="t",partition="0"}': flip(60, 61)}, []),
    "TaplineFileLag": ({'tapline_file_lag_seconds{path="/l"}': flip(60, 61)}, []),
    "TaplineFileUnreadable": ({'tapline_file_failed{path="/l"}': flip(0, 1)}, []),
    "TaplineDiskFull": ({"tapline_process_state_free_bytes": flip(1 << 30, 4096)}, ["TaplineStateLow"]),
    "TaplineStateLow": ({"tapline_process_state_free_bytes": flip(1 << 26, 1 << 25)}, []),
    "TaplineStateUnwritable": (problem("state_unwritable"), []),
    "TaplineLogUnwritable": ({"tapline_health_log_unwritten_lines_total": jump(1)}, []),
    "TaplineHealthTopicAway": ({"tapline_health_log_unsent_lines_total": jump(1)}, []),
    "TaplineOtlpUnreachable": (problem("otlp_unreachable", "warn"), []),
    "TaplineBytesLost": ({"tapline_ingest_bytes_lost_total": jump(1000), "tapline_spool_bytes_lost_total": flip(5, 5)}, []),
    "TaplineEventsLost": ({"tapline_sink_dropped_total": jump(1), "tapline_feed_lost_total": flip(0, 0)}, []),
    "TaplineDeadLetters": ({'tapline_dead_last_timestamp_seconds{stage="normalize",reason="no JSON"}': last_time()}, []),
    "TaplineStageSlow": ({'tapline_stage_queue_used{stage="normalize",worker="0"}': flip(0, 6), 'tapline_stage_held{stage="normalize",worker="1"}': flip(1, 6),
                          'tapline_stage_queue_capacity{stage="normalize",worker="0"}': flip(16, 16),
                          'tapline_stage_queue_used{stage="ingest",worker=""}': flip(16, 16), 'tapline_file_lag_seconds{path="/l"}': flip(9, 9)}, []),
    "TaplineIntelUnavailable": ({"tapline_intel_store_up": flip(1, 0), "tapline_intel_state": flip(2, 2)}, []),
    "TaplineIntelStale": ({"tapline_intel_state": flip(2, 3)}, []),
    "TaplineIntelFeedFailed": ({'tapline_intel_feed_failed{feed="misp"}': flip(0, 1)}, []),
    "TaplineCaptureLoss": ({'tapline_capture_loss_ratio{sensor="z",source="stats"}': flip(0.01, 0.02),
                            'tapline_capture_last_report_timestamp_seconds{sensor="z",source="stats"}': last_time()}, []),
    "TaplineSensorFrozen": ({'tapline_supervised_running{node="z",group="workers"}': flip(1, 0),
                             'tapline_supervised_state{node="z",group="workers"}': flip(3, 3)}, []),
    "TaplineSensorDown": ({'tapline_supervised_state{node="z",group="workers"}': flip(3, 0),
                           'tapline_supervised_wanted{node="z",group="workers"}': flip(1, 1)}, []),
    "TaplineSensorLatched": ({'tapline_supervised_state{node="z",group="workers"}': flip(3, 6)}, []),
    "TaplineSensorRestarting": ({'tapline_supervised_restarts_total{node="z",group="workers"}': jump(1),
                                 'tapline_supervised_state{node="z",group="workers"}': flip(3, 3)}, []),
    "TaplineSensorSilent": (problem("sensor_silent", "warn"), []),
}
LABELS = 'job="tapline-test",instance="here:9601"'


def with_labels(series):
    """A job and an instance, as Prometheus gives them; up has its own job."""
    name, _, labels = series.partition("{")
    own = labels.rstrip("}")
    given = LABELS if "job=" not in own else 'instance="here:9601"'
    return f"{name}{{{own + ',' if own else ''}{given}}}"


def rule_tests():
    """promtool's file: each alert quiet, fired, quiet. JSON is YAML."""
    ill_at, over_at = (WELL + ILL - 1) * STEP_S, (WELL + ILL + AFTER - 1) * STEP_S
    tests = []
    for alert, (metrics, others) in FIRED_BY.items():
        expected = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted([alert, *others])]
        firing = 'count by (alertname) (ALERTS{alertstate="firing"})'
        tests.append({
            "name": alert, "interval": f"{STEP_S}s",
            "input_series": [{"series": with_labels(series), "values": values} for series, values in metrics.items()],
            "promql_expr_test": [{"expr": firing, "eval_time": f"{(WELL - 1) * STEP_S}s", "exp_samples": []},
                                 {"expr": firing, "eval_time": f"{ill_at}s", "exp_samples": expected},
                                 {"expr": firing, "eval_time": f"{over_at}s", "exp_samples": []}],
        })
    return {"rule_files": [str(RULES)], "evaluation_interval": f"{STEP_S}s", "tests": tests}


def alerts():
    """Name to the text of each alert of the file."""
    parts = re.split(r"^      - alert: ", RULES.read_text(), flags=re.M)[1:]
    return {part.split("\n", 1)[0].strip(): part for part in parts}


# A scrape that is not answered within its second makes any process one that is down: a machine that stands still for a moment
# is no outage.
LASTING = ("TaplineDown", "TaplineNotReady", "TaplineProcessGone")


def hurried(rules):
    """The rules with no `for` and no threshold in time longer than seconds."""
    rules = re.sub(r"^        for: (?!5m).*$", "        for: 1s", rules, flags=re.M)
    for alert in LASTING:
        rules, count = re.subn(rf"(- alert: {alert}\n(?:(?!      - alert).*\n)*?)        for: 1s$", r"\1        for: 6s", rules, flags=re.M)
        assert count == 1, alert
    rules = rules.replace("interval: 15s", "interval: 1s").replace("for: 5m", "for: 15s")
    rules = rules.replace("> 30\n", "> 5\n").replace("} > 120\n", "} > 5\n").replace("> 60\n", "> 5\n").replace("< 120\n", "< 10\n")
    return rules.replace("[5m]", "[20s]")


class Prometheus:
    """A real one. It scrapes each second, and its rules are hurried."""

    def __init__(self, folder, targets):
        self.folder, self.port = pathlib.Path(folder), rig.free_port()
        self.folder.mkdir(parents=True)
        (self.folder / "rules.yml").write_text(hurried(RULES.read_text()))
        config = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": [str(self.folder / "rules.yml")],
                  "scrape_configs": [{"job_name": f"tapline-{name}", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for name, port in targets.items()]}
        (self.folder / "prometheus.yml").write_text(json.dumps(config))
        with open(self.folder / "log", "w") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data",
                 f"--web.listen-address=127.0.0.1:{self.port}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        rig.wait_for("Prometheus", self.is_ready, 120)

    def is_ready(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def ask(self, path, **params):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(params)}", timeout=60) as answer:
            return json.load(answer)["data"]

    def query(self, expression):
        return self.ask("query", query=expression)["result"]

    def firing(self):
        """(alert's name, its labels) of all that fire now."""
        return [(one["labels"]["alertname"], one["labels"]) for one in self.ask("alerts")["alerts"] if one["state"] == "firing"]

    def fired_since(self, begun):
        """The same of all that have fired at any time since then (of time.time()): some fire for a few seconds only."""
        window_ms = max(1, int((time.time() - begun) * 1000))
        rows = self.query(f'last_over_time(ALERTS{{alertstate="firing"}}[{window_ms}ms])')
        return [(row["metric"]["alertname"], row["metric"]) for row in rows]

    def names(self):
        return {name for name, _ in self.firing()}

    def close(self):
        self.process.kill()
        self.process.wait()
