"""The file of documents cannot be written: a read-only file system, a disk that fails to sync, a limit, a permission lost.
tapline waits, says which file and what to do, and goes on by itself when the world is mended: nothing lost, nothing doubled.
(Full disks: test_disk.py.)
SPDX-License-Identifier: Apache-2.0
"""
import errno
import os
import resource
import time

import pytest

import rig
import worlds
from worlds import broken_disk, starts, world  # noqa: F401  (fixtures)

COUNT = 500

# what fails, with which error, what the message must advise
FAULTS = [
    ("write_eio", worlds.WRITE, errno.EIO, "dmesg"),
    ("sync_eio", worlds.SYNC, errno.EIO, "dmesg"),
    ("sync_eio_and_no_taking_back", worlds.SYNC | worlds.TRUNCATE, errno.EIO, "dmesg"),
    ("read_only", worlds.WRITE | worlds.SYNC | worlds.TRUNCATE | worlds.OPEN, errno.EROFS, "mount it read-write again"),
    ("quota", worlds.WRITE, errno.EDQUOT, "raise it, or free some space"),
]


@pytest.mark.parametrize("ops,error,advice", [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_fails_while_running_and_is_mended(tmp_path, world, starts, conn_log, ops, error, advice):
    logs, out = tmp_path, tmp_path / "out.ndjson"
    worlds.append(logs / "conn.log", conn_log, 0, COUNT)
    config = worlds.conn_config(tmp_path, logs, out)
    run = starts(config, env=world.env())
    run.wait_for("documents", lambda: worlds.lines_of(out) == COUNT)
    world.fail((ops, error, "out.ndjson"))
    worlds.append(logs / "conn.log", conn_log, COUNT, 2 * COUNT)
    line = worlds.wait_said(run, str(out), os.strerror(error), "tried again")
    assert " error sink " in line and "nothing is lost" in line and advice in line, line
    time.sleep(0.5)     # several tries, one message
    assert sum("nothing is lost meanwhile" in line for line in run.lines) == 1, run.log()
    assert not worlds.said(run, "output writable again")
    world.fail()
    run.wait_for("the rest", lambda: worlds.lines_of(out) == 2 * COUNT)
    worlds.wait_said(run, "output writable again", out)
    run.stop()
    rig.Documents(out).assert_each_once(2 * COUNT)
    assert rig.run_once(config)["accepted"] == 0


def test_a_disk_that_writes_and_cannot_sync(tmp_path, broken_disk, starts, conn_log):
    """A real ext4 whose blocks are not there: write(2) succeeds, fdatasync(2) does not, and what it dropped it forgets."""
    with broken_disk.mounted() as disk:
        out = disk / "out.ndjson"
        ballast = worlds.fill(broken_disk.ballast)
        worlds.append(tmp_path / "conn.log", conn_log, 0, COUNT)
        config = worlds.conn_config(tmp_path, tmp_path, out)
        run = starts(config)
        line = worlds.wait_said(run, out, "cannot sync to the disk")
        assert "nothing is lost" in line and "tried again" in line, line
        assert worlds.said(run, "free some space there") or worlds.said(run, "dmesg"), run.log()
        ballast.unlink()
        run.wait_for("all documents", lambda: worlds.lines_of(out) == COUNT and worlds.said(run, "output writable again"))
        run.stop()
        rig.Documents(out).assert_each_once(COUNT)


def test_a_disk_that_the_kernel_makes_read_only(tmp_path, broken_disk, starts, conn_log):
    """What errors=remount-ro does in the middle of a run. It is mended as people mend it: stop, mount anew, start."""
    worlds.append(tmp_path / "conn.log", conn_log, 0, COUNT)
    with broken_disk.mounted() as disk:
        out = disk / "out.ndjson"
        config = worlds.conn_config(tmp_path, tmp_path, out)
        run = starts(config)
        run.wait_accepted(COUNT)    # what is written and not synced can be neither kept nor taken back, and the message says so
        broken_disk.break_down()
        worlds.append(tmp_path / "conn.log", conn_log, COUNT, 2 * COUNT)
        line = worlds.wait_said(run, out, "Read-only file system")
        assert "mount it read-write again" in line and "nothing is lost" in line, line
        run.kill()
    with broken_disk.mounted():
        rig.run_once(config)
        rig.Documents(out).assert_each_once(2 * COUNT)


def test_a_limit_of_file_sizes_is_no_death(tmp_path, starts, conn_log):
    """RLIMIT_FSIZE: the kernel's answer is SIGXFSZ, unless that is ignored."""
    out = tmp_path / "out.ndjson"
    worlds.append(tmp_path / "conn.log", conn_log, 0, COUNT)
    config = worlds.conn_config(tmp_path, tmp_path, out)
    run = starts(config, setup=worlds.limit_file_size(200_000))
    line = worlds.wait_said(run, out, "File too large")
    assert "LimitFSIZE=" in line and "nothing is lost" in line, line
    assert 0 < worlds.lines_of(out) < COUNT
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    run.wait_for("the rest", lambda: worlds.lines_of(out) == COUNT)
    run.stop()
    rig.Documents(out).assert_each_once(COUNT)


def test_permission_lost_and_regained_at_a_rotation(tmp_path, starts, conn_log):
    folder = tmp_path / "out"
    folder.mkdir()
    worlds.append(tmp_path / "conn.log", conn_log, 0, COUNT)
    config = worlds.conn_config(tmp_path, tmp_path, folder / "out.ndjson", file={"rotate_size": "1 MiB"})
    run = starts(config, before=worlds.bound_by_modes())
    run.wait_for("documents", lambda: worlds.lines_of(folder / "out.ndjson") == COUNT)
    folder.chmod(0o555)
    worlds.append(tmp_path / "conn.log", conn_log, COUNT, 4 * COUNT)
    line = worlds.wait_said(run, folder / "out.ndjson", "Permission denied")
    assert "give the user that tapline runs as permission" in line and "nothing is lost" in line, line
    folder.chmod(0o755)
    run.wait_for("all documents", lambda: sum(map(worlds.lines_of, folder.glob("out.ndjson*"))) == 4 * COUNT)
    run.stop()
    assert len(list(folder.glob("out.ndjson*"))) > 1
    rig.Documents(*folder.glob("out.ndjson*")).assert_each_once(4 * COUNT)


@pytest.mark.parametrize("mode", [0o000, 0o555])
def test_refuses_to_start_where_it_may_not_write(tmp_path, starts, conn_log, mode):
    folder = tmp_path / "out"
    folder.mkdir()
    worlds.append(tmp_path / "conn.log", conn_log, 0, 10)
    config = worlds.conn_config(tmp_path, tmp_path, folder / "out.ndjson")
    folder.chmod(mode)
    run = starts(config, before=worlds.bound_by_modes())
    assert run.wait() == 111, run.log()     # to be started again: it may be well by then
    line = worlds.said(run, "cannot start", folder, "Permission denied")
    assert line and "give the user that tapline runs as permission" in line, run.log()
    folder.chmod(0o755)
    assert rig.run_once(config)["accepted"] == 10
