"""What Snort really wrote (alert_full, alert_cmg, both forms of unified2), written again live in pieces cut anywhere, while
tapline is killed at any moment, into a real broker exactly once: each alert comes once, and whole, with all its lines.

Data: TAPLINE_DATA, else ../shared/data beside the repository; the files are other people's to keep, so without it this
is skipped (under CI=true it fails).
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import random
import re
import threading
import time

import pytest

import judge
import rig

DATA = pathlib.Path(os.environ.get("TAPLINE_DATA", rig.TOP.parent / "shared" / "data")) / "ours/snort3"
# how it is called here: where it comes from, the input's format, and what stands once in each alert, or None
FILES = {
    "alert_full.txt": ("full/alert_full.txt", "snort_full", rb"\[\*\*\] \[\d"),
    "alert_cmg.txt": ("cmg/stdout.txt", "snort_cmg", rb"\[\*\*\] \[\d"),
    "unified2.log": ("unified2/unified2.log", "unified2", None),
    "unified2-legacy.log": ("unified2-legacy/unified2.log", "unified2", None),
}
KILLS = 5 * rig.STORM
SECONDS = 20.0 * rig.STORM  # at most: when tapline has died often enough the rest comes at once
PIECES = 900


class Sensor(threading.Thread):
    """Writes all of a file in pieces that end anywhere, in about SECONDS, or until it is told to hurry."""

    def __init__(self, source, path, seed, is_hurried):
        super().__init__(daemon=True)
        self.bytes, self.path, self.random, self.is_hurried = source.read_bytes(), path, random.Random(seed), is_hurried

    def run(self):
        at, size_max = 0, max(2, 2 * len(self.bytes) // PIECES)
        with open(self.path, "wb", buffering=0) as out:
            while at < len(self.bytes):
                size = self.random.randint(1, size_max)
                out.write(self.bytes[at:at + size])
                at += size
                self.is_hurried.wait(SECONDS / PIECES * self.random.random() * 2)


def documents_of(path, snort_format):
    """What the filter makes of the finished file, in order."""
    done = rig.tapline("normalize", "--format", snort_format, "--maps", rig.TOP / "configs", path)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def without_time_of_reading(document):
    document["event"].pop("ingested", None)
    return document


@pytest.fixture
def sources():
    if not DATA.is_dir():
        assert os.environ.get("CI") != "true", f"no data at {DATA} (set TAPLINE_DATA)"
        pytest.skip(f"NO DATA at {DATA}: set TAPLINE_DATA")
    return {name: DATA / place for name, (place, _, _) in FILES.items()}


def test_alerts_come_once_and_whole_across_kills(broker, runs, tmp_path, sources):
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    prefix = f"snort{seed}"
    inputs = [{"type": "snort", "format": snort_format, "paths": [str(tmp_path / name)]}
              for name, (_, snort_format, _) in FILES.items()]
    # A busy machine may stop the sensor in the middle of a record for longer than the second that is the default.
    config = rig.config_write(tmp_path / "tapline.yml", inputs, judge.kafka_sink(broker, prefix),
                              ingest={"record_wait": "5s", "checkpoint_interval": "50ms"})
    is_enough = threading.Event()
    sensors = [Sensor(source, tmp_path / name, chance.random(), is_enough) for name, source in sources.items()]
    for sensor in sensors:
        sensor.start()
    kills = 0
    while any(sensor.is_alive() for sensor in sensors):
        run = runs(config)
        run.wait_log('"started"')
        time.sleep(chance.uniform(0.0, 1.5))
        run.kill()
        kills += 1
        if kills == KILLS:
            is_enough.set()
    assert kills >= 5, "this test has shown nothing"
    want = {name: documents_of(tmp_path / name, snort_format) for name, (_, snort_format, _) in FILES.items()}
    count = sum(map(len, want.values()))
    run = runs(config)      # the files stand still: their last records come without another behind them
    run.wait_for("all alerts", lambda: sum(broker.counts().get(topic, 0) for topic in topics(broker, prefix)) >= count, 120)
    time.sleep(1)           # and no more than those
    run.stop()

    records = [record for topic in topics(broker, prefix) for record in broker.records(topic)]
    assert not [topic for topic in topics(broker, prefix) if topic.endswith(".deadletter")], "dead letters"
    came = {name: [] for name in FILES}
    for record in records:
        came[pathlib.Path(record.document["log"]["file"]["path"]).name].append(record)
    for name, (_, _, mark) in FILES.items():
        raw = (tmp_path / name).read_bytes()
        found = sorted(came[name], key=lambda record: record.start)
        assert len({record.generation for record in found}) == 1, name
        ends = [0] + [record.end for record in found]
        assert [record.span_from for record in found] == ends[:-1], f"{name}: spans do not join"
        tail = raw[ends[-1]:]
        assert len(found) == len(want[name]), f"{name}: {len(found)} alerts of {len(want[name])}"
        if mark is None:
            assert not tail, f"{name}: its end was not read"
        else:
            assert len(re.findall(mark, raw)) == len(found) and not re.search(mark, tail), name
        for record, document in zip(found, want[name]):
            assert without_time_of_reading(record.document) == without_time_of_reading(document), f"{name}:{record.start}"


def topics(broker, prefix):
    return [topic for topic in broker.topics() if topic.startswith(prefix + ".")]
