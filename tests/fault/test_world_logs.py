"""The logs that are read fail: sectors that cannot be read, permissions lost and regained, a directory nobody may look into,
a file system that is read-only. The file waits with its position, its neighbours go on, and it is read on when it is mended:
nothing lost, nothing doubled.
SPDX-License-Identifier: Apache-2.0
"""
import errno
import os
import time

import pytest

import rig
import worlds
from worlds import broken_disk, starts, world  # noqa: F401  (fixtures)

COUNT = 300


@pytest.mark.parametrize("error,advice", [(errno.EIO, "dmesg"), (errno.ESTALE, "mount it again"),
                                          (errno.ENOTCONN, "mount it again")], ids=["eio", "estale", "enotconn"])
def test_reading_fails_and_is_mended(tmp_path, world, starts, conn_log, error, advice):
    """The lines before the bad place come, those behind it when it can be read; then trouble a second time is said again."""
    bad, good, out = tmp_path / "conn.bad.log", tmp_path / "conn.good.log", tmp_path / "out.ndjson"
    config = worlds.conn_config(tmp_path, tmp_path, out)
    worlds.append(bad, conn_log, 0, COUNT)
    at = len(conn_log.text(0, COUNT // 3)) + 20
    world.fail((worlds.READ, error, "conn.bad.log", at))
    worlds.append(good, conn_log, COUNT, 2 * COUNT)
    run = starts(config, env=world.env())
    line = worlds.wait_said(run, "cannot read a file", bad, os.strerror(error))
    assert advice in line and "other files go on" in line and "tried again at every scan" in line, line
    run.wait_for("what can be read", lambda: worlds.lines_of(out) == COUNT + COUNT // 3)
    worlds.append(good, conn_log, 2 * COUNT, 3 * COUNT)
    run.wait_for("the neighbour's growth", lambda: worlds.lines_of(out) == 2 * COUNT + COUNT // 3)
    world.fail()
    run.wait_for("the rest", lambda: worlds.lines_of(out) == 3 * COUNT)
    worlds.wait_said(run, "file readable again", bad)
    world.fail((worlds.READ, error, "conn.bad.log", bad.stat().st_size))
    worlds.append(bad, conn_log, 3 * COUNT, 4 * COUNT)
    rig.wait_for("the second message", lambda: sum("cannot read a file" in line for line in run.lines) == 2)
    world.fail()
    run.wait_for("all", lambda: worlds.lines_of(out) == 4 * COUNT)
    run.stop()
    rig.Documents(out).assert_each_once(4 * COUNT)
    assert rig.run_once(config)["accepted"] == 0


def test_a_bad_sector_does_not_cut_a_record_in_two(tmp_path, world, starts):
    """A record of several lines that cannot be read to its end is not taken for one that stands still."""
    alert = ('[**] [1:{0}:1] "alert {0}" [**]\n[Classification: Misc activity] [Priority: 3] \n'
             "11/21-02:58:39.101903 10.20.0.2:4000 -> 10.20.0.10:80\n"
             "TCP TTL:64 TOS:0x0 ID:1 IpLen:20 DgmLen:52 DF\n***A**** Seq: 0x1  Ack: 0x2  Win: 0x3  TcpLen: 32\n\n")
    log, out = tmp_path / "alert_full.txt", tmp_path / "out.ndjson"
    log.write_text("".join(alert.format(i) for i in range(20)))
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "snort", "paths": [str(log)]}],
                              {"file": {"path": str(out), "sync_interval": "10ms"}},
                              ingest={"record_wait": "200ms", "scan_interval": "100ms"})
    middle = log.read_text().index('"alert 10"')
    world.fail((worlds.READ, errno.EIO, "alert_full", log.read_text().index("10.20.0.2", middle)))
    run = starts(config, env=world.env())
    run.wait_for("the whole ones", lambda: worlds.lines_of(out) == 10)
    time.sleep(1)
    assert worlds.lines_of(out) == 10, out.read_text().splitlines()[10:]
    world.fail()
    run.wait_for("all", lambda: worlds.lines_of(out) == 20)
    run.stop()
    documents = rig.Documents(out).all
    assert [document["rule"]["description"] for document in documents] == [f"alert {i}" for i in range(20)]
    assert all(document["snort"]["tcp"]["window"] == 3 for document in documents)


def test_a_file_that_may_not_be_read_until_it_may(tmp_path, starts, conn_log):
    bad, good, out = tmp_path / "conn.bad.log", tmp_path / "conn.good.log", tmp_path / "out.ndjson"
    worlds.append(bad, conn_log, 0, COUNT)
    worlds.append(good, conn_log, COUNT, 2 * COUNT)
    bad.chmod(0)
    config = worlds.conn_config(tmp_path, tmp_path, out)
    run = starts(config, before=worlds.bound_by_modes())
    line = worlds.wait_said(run, "cannot read a file", bad, "Permission denied")
    assert "give the user that tapline runs as permission" in line and "other files go on" in line, line
    run.wait_for("the neighbour", lambda: worlds.lines_of(out) == COUNT)
    bad.chmod(0o644)
    run.wait_for("both", lambda: worlds.lines_of(out) == 2 * COUNT)
    run.stop()
    rig.Documents(out).assert_each_once(2 * COUNT)


@pytest.mark.parametrize("mode", [0o000, 0o444], ids=["neither_listed_nor_entered", "not_entered"])
def test_a_directory_that_may_not_be_looked_into_for_a_while(tmp_path, starts, conn_log, mode):
    """While nobody can look, nobody knows: a file that is open is not taken for deleted, nor forgotten, nor read again."""
    logs, out = tmp_path / "logs", tmp_path / "out.ndjson"
    logs.mkdir()
    worlds.append(logs / "conn.log", conn_log, 0, COUNT)
    config = worlds.conn_config(tmp_path, logs, out, ingest={"close_after": "300ms"})
    run = starts(config, before=worlds.bound_by_modes())
    run.wait_for("documents", lambda: worlds.lines_of(out) == COUNT)
    with open(logs / "conn.log", "a") as sensor:    # it has its file open and goes on
        logs.chmod(mode)
        line = worlds.wait_said(run, logs, "Permission denied")
        assert "tried again" in line, line
        sensor.write(conn_log.text(COUNT, 2 * COUNT, header=False))
        sensor.flush()
        time.sleep(1.5)     # longer than close_after
        sensor.write(conn_log.text(2 * COUNT, 3 * COUNT, header=False))
    assert not worlds.said(run, "file deleted"), run.log()
    logs.chmod(0o755)
    worlds.append(logs / "conn.next.log", conn_log, 3 * COUNT, 4 * COUNT)
    run.wait_for("all", lambda: worlds.lines_of(out) >= 4 * COUNT)
    run.stop()
    rig.Documents(out).assert_each_once(4 * COUNT)
    assert rig.run_once(config)["accepted"] == 0


def test_started_while_the_directory_may_not_be_looked_into(tmp_path, starts, conn_log):
    logs, out = tmp_path / "logs", tmp_path / "out.ndjson"
    logs.mkdir()
    worlds.append(logs / "conn.log", conn_log, 0, COUNT)
    config = worlds.conn_config(tmp_path, logs, out)
    rig.run_once(config)
    worlds.append(logs / "conn.log", conn_log, COUNT, 2 * COUNT)
    logs.chmod(0)
    run = starts(config, before=worlds.bound_by_modes())
    worlds.wait_said(run, logs, "Permission denied")
    time.sleep(0.5)
    logs.chmod(0o755)
    run.wait_for("the rest", lambda: worlds.lines_of(out) >= 2 * COUNT)
    run.stop()
    rig.Documents(out).assert_each_once(2 * COUNT)


def test_looking_fails_for_a_while(tmp_path, world, starts, conn_log):
    """stat(2) fails as on a network file system whose server is away: not the same as a file that is not there."""
    out = tmp_path / "out.ndjson"
    worlds.append(tmp_path / "conn.log", conn_log, 0, COUNT)
    config = worlds.conn_config(tmp_path, tmp_path, out, ingest={"close_after": "300ms"})
    run = starts(config, env=world.env())
    run.wait_for("documents", lambda: worlds.lines_of(out) == COUNT)
    world.fail((worlds.STAT, errno.ESTALE, "conn.log"))
    line = worlds.wait_said(run, tmp_path / "conn.log", os.strerror(errno.ESTALE))
    assert "tried again at every scan" in line and "other files go on" in line, line
    time.sleep(1)
    worlds.append(tmp_path / "conn.log", conn_log, COUNT, 2 * COUNT)
    time.sleep(0.5)
    assert not worlds.said(run, "file deleted"), run.log()
    world.fail()
    worlds.append(tmp_path / "conn.log", conn_log, 2 * COUNT, 3 * COUNT)
    run.wait_for("all", lambda: worlds.lines_of(out) >= 3 * COUNT)
    run.stop()
    rig.Documents(out).assert_each_once(3 * COUNT)
    assert rig.run_once(config)["accepted"] == 0


def test_a_read_only_file_system_of_logs_is_read(tmp_path, starts, conn_log):
    """Nothing is ever written where logs are. And the kernel's own fault in the middle of a run is nothing to us."""
    out = tmp_path / "out.ndjson"
    with worlds.small_disk(tmp_path / "logs") as logs:
        worlds.append(logs / "conn.log", conn_log, 0, COUNT)
        worlds.remount(logs, "ro")
        config = worlds.conn_config(tmp_path, logs, out)
        run = starts(config)
        run.wait_for("documents", lambda: worlds.lines_of(out) == COUNT)
        worlds.remount(logs, "rw")
        worlds.append(logs / "conn.log", conn_log, COUNT, 2 * COUNT)
        run.wait_for("the rest", lambda: worlds.lines_of(out) == 2 * COUNT)
        run.stop()
        assert " error " not in run.log() and " warn " not in run.log(), run.log()
    rig.Documents(out).assert_each_once(2 * COUNT)


@pytest.mark.parametrize("what", ["not_opened", "not_to_its_end"])
def test_once_does_not_end_well_with_a_file_unread(tmp_path, world, starts, conn_log, what):
    """The others are delivered, and the exit code says that it was not all; the next time it is."""
    out = tmp_path / "out.ndjson"
    worlds.append(tmp_path / "conn.bad.log", conn_log, 0, COUNT)
    worlds.append(tmp_path / "conn.good.log", conn_log, COUNT, 2 * COUNT)
    config = worlds.conn_config(tmp_path, tmp_path, out)
    world.fail((worlds.OPEN, errno.EACCES, "conn.bad.log") if what == "not_opened" else (worlds.READ, errno.EIO, "conn.bad.log", 30_000))
    run = starts(config, "--once", env=world.env())
    assert run.wait() == 111, run.log()
    assert worlds.said(run, "cannot read a file", tmp_path / "conn.bad.log"), run.log()
    assert worlds.said(run, "1 files could not be read, or not to their end"), run.log()
    rig.run_once(config)
    rig.Documents(out).assert_each_once(2 * COUNT)
