"""The directory of node.state fails: tapline goes on with the files it knows, says what is wrong and what to do, and when it
is mended goes on with all: nothing lost, nothing doubled. (Full disks: test_disk.py.)
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

FAULTS = [
    ("create_denied", worlds.OPEN, errno.EACCES, "give the user that tapline runs as permission"),
    ("write_eio", worlds.WRITE, errno.EIO, "dmesg"),
    ("sync_eio", worlds.SYNC, errno.EIO, "dmesg"),
    ("rename_read_only", worlds.RENAME, errno.EROFS, "mount it read-write again"),
    ("full", worlds.WRITE, errno.ENOSPC, "free some space"),
]


@pytest.mark.parametrize("ops,error,advice", [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_fails_while_running_and_is_mended(tmp_path, world, starts, conn_log, ops, error, advice):
    out, state = tmp_path / "out.ndjson", tmp_path / "state"
    worlds.append(tmp_path / "conn.log", conn_log, 0, COUNT)
    config = worlds.conn_config(tmp_path, tmp_path, out, state)
    run = starts(config, env=world.env())
    run.wait_accepted(COUNT)
    world.fail((ops, error, str(state)))
    worlds.append(tmp_path / "conn.log", conn_log, COUNT, 2 * COUNT)
    line = worlds.wait_said(run, "the checkpoint was not written", state, os.strerror(error))
    assert advice in line and "Nothing is lost" in line and "tried again" in line, line
    run.wait_for("what comes from the file that is known", lambda: worlds.lines_of(out) == 2 * COUNT)
    worlds.append(tmp_path / "conn.new.log", conn_log, 2 * COUNT, 3 * COUNT)
    time.sleep(0.5)
    assert worlds.lines_of(out) == 2 * COUNT, "a new file must wait until it is written down"
    world.fail()
    run.wait_for("the new file", lambda: worlds.lines_of(out) == 3 * COUNT)
    worlds.wait_said(run, "the checkpoint is written again", state)
    run.stop()
    rig.Documents(out).assert_each_once(3 * COUNT)
    assert rig.run_once(config)["accepted"] == 0


def test_a_disk_that_the_kernel_makes_read_only(tmp_path, broken_disk, starts, conn_log):
    """errors=remount-ro in the middle of a run: records go on, and after the mending what came meanwhile comes again with
    the same place, which is what the message says."""
    out = tmp_path / "out.ndjson"
    worlds.append(tmp_path / "conn.log", conn_log, 0, COUNT)
    with broken_disk.mounted() as disk:
        config = worlds.conn_config(tmp_path, tmp_path, out, disk / "state")
        run = starts(config)
        run.wait_accepted(COUNT)
        broken_disk.break_down()
        worlds.append(tmp_path / "conn.log", conn_log, COUNT, 2 * COUNT)
        line = worlds.wait_said(run, "the checkpoint was not written", disk / "state", "Read-only file system")
        assert "mount it read-write again" in line, line
        run.wait_for("the rest", lambda: worlds.lines_of(out) == 2 * COUNT)
        run.kill()
    with broken_disk.mounted():
        rig.run_once(config)
        rig.Documents(out).assert_none_lost(2 * COUNT)
        assert rig.run_once(config)["accepted"] == 0


@pytest.mark.parametrize("what", ["directory", "checkpoint", "lock"])
def test_refuses_to_start_without_permission(tmp_path, starts, conn_log, what):
    out, state = tmp_path / "out.ndjson", tmp_path / "state"
    worlds.append(tmp_path / "conn.log", conn_log, 0, COUNT)
    config = worlds.conn_config(tmp_path, tmp_path, out, state)
    rig.run_once(config)
    worlds.append(tmp_path / "conn.log", conn_log, COUNT, 2 * COUNT)
    bad = state if what == "directory" else state / what
    mode = bad.stat().st_mode
    bad.chmod(0)
    run = starts(config, before=worlds.bound_by_modes())
    assert run.wait() == 111, run.log()     # to be started again: it may be well by then
    line = worlds.said(run, "cannot start", state, "Permission denied")
    assert line and "give the user that tapline runs as permission" in line, run.log()
    bad.chmod(mode)
    rig.run_once(config)
    rig.Documents(out).assert_each_once(2 * COUNT)


def test_a_checkpoint_that_cannot_be_read_is_not_taken_for_none(tmp_path, world, starts, conn_log):
    out, state = tmp_path / "out.ndjson", tmp_path / "state"
    worlds.append(tmp_path / "conn.log", conn_log, 0, COUNT)
    config = worlds.conn_config(tmp_path, tmp_path, out, state)
    rig.run_once(config)
    before = (state / "checkpoint").read_bytes()
    world.fail((worlds.READ, errno.EIO, "state/checkpoint"))
    run = starts(config, env=world.env())
    assert run.wait() == 111, run.log()
    line = worlds.said(run, "cannot start", state / "checkpoint", os.strerror(errno.EIO))
    assert line and "dmesg" in line, run.log()
    assert (state / "checkpoint").read_bytes() == before
    rig.run_once(config)
    rig.Documents(out).assert_each_once(COUNT)
