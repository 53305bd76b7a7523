"""kill -9 at any moment: no record is lost, what comes twice is the same, and files of documents stay files of documents.
TAPLINE_STORM multiplies the number of kills.
SPDX-License-Identifier: Apache-2.0
"""
import os
import random
import threading
import time

import pytest

import rig


class Sensor(threading.Thread):
    """Writes connections until told to finish, and renames its log every `rotate` blocks if that is set."""

    BLOCK = 100  # so much at a time that a batch is always under way, and so little that a slow machine need not read for minutes
    PAUSE = 0.006

    def __init__(self, folder, rotate=0):
        super().__init__(daemon=True)
        self.folder, self.rotate = folder, rotate
        self.log, self.lines_len, self.is_finished = rig.ConnLog(), 0, False
        self.out = None

    def _open(self):
        self.out = open(self.folder / "conn.log", "w")
        self.out.write(self.log.header)

    def run(self):
        self._open()
        blocks = 0
        while not self.is_finished:
            self.out.write(self.log.text(self.lines_len, self.lines_len + self.BLOCK, header=False))
            self.out.flush()
            self.lines_len += self.BLOCK
            blocks += 1
            if self.rotate and blocks % self.rotate == 0:
                self.out.close()
                (self.folder / "conn.log").rename(self.folder / f"conn.{blocks:08d}.log")
                self._open()
            time.sleep(self.PAUSE)
        self.out.close()

    def finish(self):
        self.is_finished = True
        self.join()
        return self.lines_len


def documents_of(folder):
    return rig.Documents(*sorted(folder.glob("out.ndjson*")))


def bytes_of(folder):
    """Of all files of documents, some of which may be renamed meanwhile."""
    return sum(os.stat(path).st_size for path in folder.glob("out.ndjson*") if os.path.exists(path))


# name, kills, blocks between two renames, sections of the config, options of the sink
STORMS = [
    ("plain", 20, 0, {}, {}),
    ("renamed", 15, 25, {}, {}),
    ("documents_rotate", 10, 0, {}, {"rotate_size": "2 MiB"}),
    ("two_workers", 10, 40, {"normalize": {"workers": 2}}, {}),
]


@pytest.mark.parametrize("kills,rotate,sections,options", [s[1:] for s in STORMS], ids=[s[0] for s in STORMS])
def test_kill_nine_storm_into_files(tmp_path, runs, kills, rotate, sections, options):
    logs = tmp_path / "logs"
    logs.mkdir()
    seed = random.randrange(2**32)
    print("seed", seed)
    pause = random.Random(seed).uniform
    config = rig.config_write(
        tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(logs / "conn*.log")]}],
        {"file": {"path": str(tmp_path / "out.ndjson"), "sync_interval": "20ms", **options}},
        ingest={"checkpoint_interval": "30ms"}, **sections)
    sensor = Sensor(logs, rotate)
    sensor.start()
    for kill in range(kills * rig.STORM):
        run, before = runs(config), bytes_of(tmp_path)
        run.wait_log('"started"')
        if kill % 2:  # every other one dies at work: on a slow machine a moment after the start is too soon for that
            run.wait_for("documents", lambda: bytes_of(tmp_path) != before)
        time.sleep(pause(0.0, 0.25))
        run.kill()
    count = sensor.finish()
    rig.run_once(config, timeout=600)
    documents = documents_of(tmp_path)  # fails on a line that is no JSON: a torn write must not stay
    documents.assert_none_lost(count)
    repeats = {}
    for document in documents.all:
        document["event"].pop("ingested", None)
        repeats.setdefault(rig.serial_of(document), []).append(document)
    if rotate == 0:  # a file that was renamed between two starts may be known by its new name
        assert all(one == many[0] for many in repeats.values() for one in many), "a repeat differs"
    assert len(documents.all) > count, "no kill hit a record under way: this test has shown nothing"
    assert rig.run_once(config)["accepted"] == 0
