"""The health log: lines are of the schema and say what is true; a fault is a line of its own within seconds, and `tapline health`
reads it to a person; a full disk, a half line, a file that is full or taken away stop nothing; the topic gets the same lines,
also those from while its broker was away.
SPDX-License-Identifier: Apache-2.0
"""
import datetime
import json
import os
import pathlib
import signal
import statistics
import subprocess
import time

import jsonschema
import pytest

import health_lines
import rig

LINE_BYTES_MAX = 32 * 1024
DISK_BYTES = 1024 * 1024


class Site:
    """A `tapline run` with a health log and one followed log."""

    def __init__(self, folder, runs, sinks=None, **health):
        self.folder, self.runs = pathlib.Path(folder), runs
        self.log, self.out = self.folder / "conn.log", self.folder / "out.ndjson"
        self.health = pathlib.Path(health.get("log_dir", self.folder / "state")) / "health-run.ndjson"
        self.config = rig.config_write(
            self.folder / "tapline.yml", [{"type": "zeek", "paths": [str(self.folder / "*.log")]}],
            sinks or {"file": {"path": str(self.out), "sync_interval": "10ms"}},
            health={"run": f"127.0.0.1:{rig.free_port()}", "interval": "1s"} | health)
        self.node = json.loads(self.config.read_text())["node"]["name"]

    def start(self):
        self.run = self.runs(self.config)
        self.run.wait_for("the first line", lambda: self.lines("start"), 60)
        return self

    def lines(self, *whys):
        if not self.health.exists():
            return []
        whole = self.health.read_bytes().rpartition(b"\n")[0]
        found = [json.loads(line) for line in whole.split(b"\n") if line]
        return [line for line in found if not whys or line["tapline"]["health"]["line"] in whys]

    def wait_line(self, what, holds, timeout=60):
        return self.run.wait_for(f"a line with {what}", lambda: next((one for one in self.lines() if holds(own(one), one)), None), timeout)


def own(line):
    return line["tapline"]["health"]


@pytest.fixture
def site(tmp_path, runs):
    return lambda **health: Site(tmp_path, runs, **health)


@pytest.fixture(scope="module")
def schema():
    done = rig.tapline("map", "export", "--maps", rig.TOP / "configs", "json-schema")
    return jsonschema.Draft202012Validator(json.loads(done.stdout)["tapline.health.schema.json"])


@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"mount is not allowed here: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_lines_are_true_and_of_the_schema(site, schema, conn_log):
    here = site()
    here.log.write_text(conn_log.text(0, 1000))
    here.start()
    line = here.wait_line("all accepted", lambda mine, _: mine["total"]["accepted"] == 1000)
    assert own(line)["total"]["records"] == 1000 and own(line)["total"]["dead"] == 0
    assert own(line)["total"]["read_bytes"] == here.log.stat().st_size
    before, began = len(here.lines("interval")), time.monotonic()
    here.run.wait_for("more lines", lambda: len(here.lines("interval")) >= before + 5, 60)
    assert time.monotonic() - began > 3, "not more than a line a second"
    here.run.stop()
    lines = here.lines()
    for one in lines:
        schema.validate(one)
        assert len(json.dumps(one)) < LINE_BYTES_MAX
        assert one["service"]["name"] == "tapline-run" and one["service"]["node"]["name"] == here.node
        assert one["process"]["pid"] == here.run.pid
    whys = [own(one)["line"] for one in lines]
    assert whys[0] == "start" and whys[-1] == "stop" and whys.count("start") == whys.count("stop") == 1
    counted = [one for one in lines if "rate" in own(one)]
    assert sum(own(one)["rate"]["accepted"] for one in counted) > 0
    assert own(lines[-1])["total"]["accepted"] == 1000 and lines[-1]["event"]["type"] == ["end"]
    intervals = [one for one in lines if own(one)["line"] == "interval"]
    assert {one["event"]["kind"] for one in intervals} == {"metric"}
    times = [datetime.datetime.fromisoformat(one["@timestamp"].replace("Z", "+00:00")).timestamp() for one in intervals]
    gaps = [after - before for before, after in zip(times, times[1:])]
    assert 0.7 < statistics.median(gaps) < 1.5, "a line a second"  # but for moments at which the machine stands still


def leaves(value, prefix=""):
    """Names of all fields of a document, or of a schema's properties."""
    return {name for key, one in value.items() for name in (leaves(one, f"{prefix}{key}.") if isinstance(one, dict) else {prefix + key})}


def properties(schema, prefix=""):
    return {name for key, one in schema["properties"].items()
            for name in (properties(one, f"{prefix}{key}.") if "properties" in one else {prefix + key})}


def test_the_lines_that_dashboards_are_tested_with_have_every_field(schema):
    made = health_lines.lines()
    for one in made:
        schema.validate(one)
    assert set().union(*(leaves(one) for one in made)) == properties(schema.schema)


def test_garbage_is_told_at_once_and_read_to_a_person(site, schema, conn_log, tmp_path):
    here = site(interval="1h")
    here.log.write_text(conn_log.text(0, 10))
    here.start()
    shown_to_follower = tmp_path / "followed"
    with open(shown_to_follower, "w") as out:
        follower = subprocess.Popen([str(rig.TAPLINE), "health", "-f", "-c", str(here.config)], stdout=out, stdin=subprocess.DEVNULL)
    try:
        with open(here.log, "a") as log:
            log.write("\x1b[31mno record\n" * 31)
        line = here.wait_line("the problem", lambda mine, _: "dead_letters" in mine["problem"].get("code", []))
        schema.validate(line)
        assert line["service"]["state"] == "degraded" and line["event"]["kind"] == "alert" and own(line)["line"] == "change"
        assert line["error"]["code"] == "dead_letters" and str(here.log) in line["error"]["message"], line["error"]
        assert own(line)["ready"] is True and own(line)["problem"]["count"] == 1
        here.run.wait_for("the follower to show it", lambda: "tapline dead-letter" in shown_to_follower.read_text(), 60)
    finally:
        follower.kill()
        follower.wait()
    followed = shown_to_follower.read_text()
    here.run.stop()
    done = rig.tapline("health", here.folder / "state")
    assert done.returncode == 0, done.stderr
    for text in (followed, done.stdout):
        shown = text.splitlines()
        assert "started" in shown[0] and f"run@{here.node}" in shown[0], text
        problem = next(i for i, one in enumerate(shown) if "[dead_letters]" in one)
        assert "degraded" in shown[problem] and "tapline dead-letter" in shown[problem + 1], text
        assert "\x1b" not in text
    assert "ended" in done.stdout.splitlines()[-1]
    raw = rig.tapline("health", "--json", here.folder / "state").stdout.splitlines()
    assert [json.loads(one) for one in raw] == here.lines()
    assert rig.tapline("health", "--since", "2100-01-01", "--json", here.folder / "state").stdout == ""


def test_several_processes_in_the_order_of_time(tmp_path):
    """Two logs, one with an older one beside it; a line that a kill cut off is nobody's."""
    def line(second, process, why, codes=()):
        return json.dumps({"@timestamp": f"2026-11-22T08:00:{second:02d}.000000Z",
                           "service": {"state": "failing" if codes else "ok", "node": {"name": "n"}},
                           "tapline": {"health": {"process": process, "instance": 1, "line": why,
                                                  "problem": {"count": len(codes), "code": list(codes), "component": ["sink x"] * len(codes),
                                                              "text": ["it is so\u0085\n"] * len(codes)}}}}, ensure_ascii=False) + "\n"

    (tmp_path / "health-run.ndjson.1").write_text(line(1, "run", "start") + line(4, "run", "change", ["sink_stalled"]))
    (tmp_path / "health-run.ndjson").write_text(line(5, "run", "interval", ["sink_stalled"]) + line(9, "run", "change") + '{"@times')
    (tmp_path / "health-feed-1.ndjson").write_text(line(3, "feed", "start") + line(7, "feed", "stop"))
    (tmp_path / "other.ndjson").write_text(line(2, "other", "start"))
    done = rig.tapline("health", tmp_path)
    told = [" ".join(one.split()) for one in done.stdout.splitlines() if "->" not in one]
    assert told == ["2026-11-22 08:00:01Z run@n ok started", "2026-11-22 08:00:03Z feed-1@n ok started",
                    "2026-11-22 08:00:04Z run@n failing sink x: it is so?? [sink_stalled]", "2026-11-22 08:00:07Z feed-1@n ok ended",
                    "2026-11-22 08:00:09Z run@n ok over: sink x [sink_stalled]"], done.stdout
    assert rig.tapline("health", tmp_path / "nothing").returncode == 1


def test_a_file_that_is_full_becomes_the_older_one(site, tmp_path):
    here = site(log_bytes_max="64KiB")
    here.health.parent.mkdir()
    here.health.write_text("x" * (65536 - 900))  # ends within a line, as after a kill
    run = here.runs(here.config)
    run.wait_log("started", 60)
    older = pathlib.Path(f"{here.health}.1")
    rig.wait_for("two files", lambda: older.exists() and here.health.exists() and here.health.stat().st_size > 0, 60)
    assert older.stat().st_size <= 65536 and here.health.stat().st_size < 65536
    run.stop()
    assert all(own(one)["process"] == "run" for one in here.lines())


def test_a_file_that_somebody_takes_away_is_begun_anew(site):
    here = site().start()
    here.health.rename(str(here.health) + ".mine")
    here.run.wait_for("a new one", lambda: here.lines("interval"))
    here.health.unlink()
    here.run.wait_for("another new one", lambda: here.lines("interval"))
    here.run.stop()


def test_a_full_disk_stops_nothing(small_disk, site, conn_log):
    here = site(log_dir=str(small_disk))
    here.start()
    ballast = small_disk / "ballast"
    with open(ballast, "wb", buffering=0) as out:
        try:
            while True:
                out.write(b"x" * 4096)
        except OSError:
            pass
    here.run.wait_log("cannot write the health log", 60)
    here.log.write_text(conn_log.text(0, 500))
    here.run.wait_for("all delivered", lambda: here.out.exists() and here.out.read_bytes().count(b"\n") == 500)
    time.sleep(2)
    ballast.unlink()
    here.run.wait_log("the health log is written again", 60)
    here.run.wait_for("the lost lines told", lambda: any("log_unwritable" in own(one)["problem"].get("code", []) for one in here.lines()))
    here.run.stop()
    assert here.run.log().count("cannot write the health log; nothing waits") == 1
    assert own(here.lines()[-1])["line"] == "stop"


def test_the_topic_has_the_same_lines_also_from_while_the_broker_was_away(tmp_path, runs, own_broker, conn_log):
    here = Site(tmp_path, runs, sinks={"kafka": {"rdkafka": {"bootstrap.servers": own_broker.address}}}, topic="t.health")
    here.log.write_text(conn_log.text(0, 100))
    here.start()
    here.run.wait_accepted(100)
    here.run.wait_for("a line in the topic", lambda: own_broker.count("t.health") > 0, 90)
    own_broker.stop()
    with open(here.log, "a") as log:
        log.write(conn_log.text(100, 200, header=False))
    line = here.wait_line("the broker that is away", lambda mine, _: set(mine["problem"].get("code", [])) & {"sink_unreachable", "sink_stalled"},
                          rig.PATIENCE_S)
    assert line["service"]["state"] == "failing" and not own(line)["ready"]
    time.sleep(2)
    own_broker.start()
    here.wait_line("all is well again", lambda mine, one: mine["total"]["accepted"] == 200 and one["service"]["state"] == "ok", rig.PATIENCE_S)
    wanted = len(here.lines())  # by now; another comes each second
    here.run.wait_for("what was written meanwhile in the topic", lambda: own_broker.count("t.health") >= wanted)
    here.run.stop()
    lines = here.lines()
    records = own_broker.records("t.health")
    assert [record.document for record in sorted(records, key=lambda record: record.start)] == lines
    assert {record.key for record in records} == {here.node.encode()}
    assert [record.start for record in records] == list(range(1, len(lines) + 1)) and len({record.generation for record in records}) == 1
    assert own_broker.count("tapline.zeek.connection") == 200


def test_a_broker_that_never_answers_holds_up_nothing(tmp_path, runs, conn_log):
    here = Site(tmp_path, runs, topic="t.health", rdkafka={"bootstrap.servers": f"127.0.0.1:{rig.free_port()}"})
    here.log.write_text(conn_log.text(0, 100))
    here.start()
    here.run.wait_accepted(100)
    began = time.monotonic()
    here.run.signal(signal.SIGTERM)
    assert here.run.wait(60) == 0
    assert time.monotonic() - began < 15, "half of pipeline.stop_timeout"
    assert own(here.lines()[-1])["line"] == "stop"
