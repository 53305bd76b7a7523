"""inotify says nothing: switched off, not to be had, its limits used up, its queue full. All lines come all the same, within
poll_interval, and where a person can do something about it a message says what.
SPDX-License-Identifier: Apache-2.0
"""
import signal
import subprocess
import time

import pytest

import rig
import worlds
from worlds import starts, world  # noqa: F401  (fixtures)

COUNT = 300


def within_limits(**limits):
    """What to put before a program so that it may have only so many of the user namespace's …: its own, nobody else's."""
    lines = "".join(f"echo {value} > /proc/sys/user/{name} && " for name, value in limits.items())
    before = ["unshare", "--user", "--map-root-user", "sh", "-c", lines + 'exec "$0" "$@"']
    if subprocess.run([*before, "true"], capture_output=True).returncode != 0:
        pytest.skip("user namespaces are not to be had here")
    return before


def grow_and_expect(tmp_path, run, conn_log, out):
    """Files grow, appear and are renamed, and each record comes in about a poll_interval (200 ms here)."""
    done, late = 0, []
    for i in range(6):
        worlds.append(tmp_path / "conn.log", conn_log, done, done + COUNT)
        worlds.append(tmp_path / f"conn.{i}.log", conn_log, done + COUNT, done + 2 * COUNT)
        done += 2 * COUNT
        begun = time.monotonic()
        run.wait_for("documents", lambda: worlds.lines_of(out) == done, timeout=60)
        late.append(time.monotonic() - begun)
        if i % 2:
            (tmp_path / "conn.log").rename(tmp_path / f"conn.old.{i}.log")
    assert sorted(late)[2] < 2, f"far later than poll_interval: {late}"  # some may be, on a busy machine
    run.stop()
    rig.Documents(out).assert_each_once(done)


SILENCES = {
    # what takes it away, the section ingest, what must be said
    "switched_off": ({}, {"use_inotify": False}, []),
    "no_instance": ({"max_inotify_instances": 0}, {}, ["inotify is not to be had", "poll_interval", "fs.inotify.max_user_instances"]),
    "no_watch": ({"max_inotify_watches": 0}, {}, ["a directory cannot be watched", "poll_interval", "fs.inotify.max_user_watches"]),
}


@pytest.mark.parametrize("limits,ingest,words", SILENCES.values(), ids=SILENCES.keys())
def test_lines_come_within_poll_interval(tmp_path, starts, conn_log, limits, ingest, words):
    out = tmp_path / "out.ndjson"
    ingest = {"poll_interval": "200ms", "scan_interval": "1h" if limits else "200ms", **ingest}
    config = worlds.conn_config(tmp_path, tmp_path, out, ingest=ingest)
    run = starts(config, before=within_limits(**limits) if limits else [])
    run.wait_log('"started"')
    grow_and_expect(tmp_path, run, conn_log, out)
    if words:
        line = worlds.said(run, *words)
        assert line and " warn " in line, run.log()
    else:
        assert " warn " not in run.log(), run.log()


@pytest.mark.parametrize("kind", [0x6969, 0x65735546], ids=["nfs", "fuse"])
def test_a_network_file_system_is_polled(tmp_path, world, starts, conn_log, kind):
    """inotify takes a watch there, and tells nothing of what other machines write. (A stand-in: statfs(2) says so.)"""
    out = tmp_path / "out.ndjson"
    world.fail((worlds.REMOTE, kind, tmp_path))
    config = worlds.conn_config(tmp_path, tmp_path, out, ingest={"poll_interval": "200ms", "scan_interval": "1h"})
    run = starts(config, env=world.env())
    run.wait_log('"started"')
    grow_and_expect(tmp_path, run, conn_log, out)
    line = worlds.said(run, "a directory cannot be watched", tmp_path, "a network file system does not tell what other machines write")
    assert line and "poll_interval" in line and "put the logs on a local disk" in line, run.log()


def test_a_full_queue_of_events_loses_no_line(tmp_path, starts, conn_log):
    """More happens than the kernel keeps for a process that stands still: the queue overflows, for real."""
    logs, out = tmp_path / "logs", tmp_path / "out.ndjson"
    logs.mkdir()
    with open("/proc/sys/fs/inotify/max_queued_events") as limit:
        events_max = int(limit.read())
    if events_max > 200_000:
        pytest.skip(f"{events_max} events are too many to make here")
    config = worlds.conn_config(tmp_path, logs, out, ingest={"scan_interval": "1h"})
    worlds.append(logs / "conn.log", conn_log, 0, COUNT)
    run = starts(config)
    run.wait_for("documents", lambda: worlds.lines_of(out) == COUNT)
    run.signal(signal.SIGSTOP)
    for i in range(events_max // 2 + 1000):     # a name made and a name gone
        (logs / f"other.{i % 7}").touch()
        (logs / f"other.{i % 7}").unlink()
    worlds.append(logs / "conn.log", conn_log, COUNT, 2 * COUNT)
    worlds.append(logs / "conn.new.log", conn_log, 2 * COUNT, 3 * COUNT)
    run.signal(signal.SIGCONT)
    run.wait_for("all documents", lambda: worlds.lines_of(out) == 3 * COUNT, timeout=60)  # the next scan is an hour away
    line = worlds.said(run, "inotify events were lost", "fs.inotify.max_queued_events", "no line is lost")
    assert line and "every file is looked at now" in line, run.log()
    run.stop()
    rig.Documents(out).assert_each_once(3 * COUNT)
