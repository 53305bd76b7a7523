"""Logs that rotate under load: every way a sensor or logrotate has of doing it, and each record once.
SPDX-License-Identifier: Apache-2.0
"""
import shutil
import time

import pytest

import rig

ROUNDS = 8 * rig.STORM
LINES = 2000


@pytest.fixture
def tailing(tmp_path, runs):
    """A run over logs/conn*.log into out.ndjson; the folder of logs, and how many documents there are by now."""
    logs = tmp_path / "logs"
    logs.mkdir()
    out = tmp_path / "out.ndjson"
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(logs / "conn.log")]}],
                              {"file": {"path": str(out), "sync_interval": "10ms"}})
    run = runs(config)
    run.wait_log('"started"')

    def done(count):
        run.wait_for(f"{count} documents", lambda: out.exists() and out.read_bytes().count(b"\n") >= count)

    return run, logs, out, done


def append(path, conn_log, first, last):
    is_new = not path.exists() or path.stat().st_size == 0
    with open(path, "a") as out:
        out.write(conn_log.text(first, last, header=is_new))


def test_renamed_while_it_grows(tailing, conn_log):
    """logrotate's default: the name moves, the sensor goes on in the old file for a while, then opens a new one."""
    run, logs, out, done = tailing
    for i in range(ROUNDS):
        first = i * LINES
        append(logs / "conn.log", conn_log, first, first + 10)
        done(first + 10)  # so it is open: a file that comes and goes within a moment is seen by nobody
        append(logs / "conn.log", conn_log, first + 10, first + LINES // 2)
        if i % 2:
            done(first + LINES // 2)
        (logs / "conn.log").rename(logs / f"conn.log.{i}")
        append(logs / f"conn.log.{i}", conn_log, first + LINES // 2, first + LINES)
        time.sleep(0.05)
    done(ROUNDS * LINES)
    run.stop()
    rig.Documents(out).assert_each_once(ROUNDS * LINES)


def test_unlinked_while_it_is_read(tailing, conn_log):
    """A file that is open is read to its end even when it has no name any more."""
    run, logs, out, done = tailing
    for i in range(ROUNDS):
        first = i * LINES
        append(logs / "conn.log", conn_log, first, first + 10)
        done(first + 10)  # so it is open
        append(logs / "conn.log", conn_log, first + 10, first + LINES)
        (logs / "conn.log").unlink()
        done(first + LINES)
    run.stop()
    rig.Documents(out).assert_each_once(ROUNDS * LINES)


def test_copied_and_truncated(tailing, conn_log):
    """copytruncate, done when all was read (what is written between copy and truncation is lost at the source)."""
    run, logs, out, done = tailing
    for i in range(ROUNDS):
        first = i * LINES
        append(logs / "conn.log", conn_log, first, first + LINES)
        done(first + LINES)
        shutil.copyfile(logs / "conn.log", logs / "conn.log.copy")
        with open(logs / "conn.log", "r+") as log:
            log.truncate(0)
        if i % 2:
            time.sleep(0.1)  # seen empty; else it may have grown beyond its old end before anybody looks
    done(ROUNDS * LINES)
    run.stop()
    rig.Documents(out).assert_each_once(ROUNDS * LINES)


def test_truncated_under_a_writer_that_does_not_append(tailing, conn_log):
    """Zeek after copytruncate: it goes on at its old offset, behind a run of NULs. They are skipped and counted."""
    run, logs, out, done = tailing
    with open(logs / "conn.log", "w") as log:
        log.write(conn_log.text(0, LINES))
        log.flush()
        done(LINES)
        log.truncate(0)
        time.sleep(0.2)
        log.write(conn_log.text(LINES, 2 * LINES))
        log.flush()
        done(2 * LINES)
    run.stop()
    rig.Documents(out).assert_each_once(2 * LINES)
    assert "NUL" in run.log() or "copytruncate" in run.log(), run.log()


def test_lines_that_arrive_in_pieces(tailing, conn_log):
    run, logs, out, done = tailing
    text = conn_log.text(0, 300)
    with open(logs / "conn.log", "w") as log:
        for at in range(0, len(text), 97):
            log.write(text[at:at + 97])
            log.flush()
            if at % 9 == 0:
                time.sleep(0.002)
    done(300)
    run.stop()
    rig.Documents(out).assert_each_once(300)


def test_replay_as_a_sensor_with_rotation(tmp_path, runs, conn_log):
    """Our own load generator against our own tail: its rotation is Zeek's (the name gets the time)."""
    recorded, logs, out = tmp_path / "recorded", tmp_path / "logs", tmp_path / "out.ndjson"
    recorded.mkdir()
    logs.mkdir()
    count = 20_000 * rig.STORM
    (recorded / "conn.log").write_text(conn_log.text(0, count))
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(logs / "conn*.log")]}],
                              {"file": {"path": str(out), "sync_interval": "10ms"}})
    run = runs(config)
    run.wait_log('"started"')
    done = rig.tapline("replay", "--rate", "10000", "--rotate-lines", "5000", "--to", logs, recorded / "conn.log")
    assert done.returncode == 0, done.stderr
    assert len(list(logs.glob("conn*.log"))) >= 4
    run.wait_for("all documents", lambda: out.exists() and out.read_bytes().count(b"\n") >= count)
    run.stop()
    rig.Documents(out).assert_each_once(count)
