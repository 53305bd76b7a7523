"""The spool's directory fails while the spool is needed: delivery is down, and what rotated is deleted. The file stays open and
waits, or its copy waits to be readable again; a message says what to do; nothing lost, nothing doubled.
SPDX-License-Identifier: Apache-2.0
"""
import errno
import os
import time

import pytest

import rig
import worlds
from worlds import starts, world  # noqa: F401  (fixtures)

COUNT = 30_000      # more than four batches hold
OUTAGE = (worlds.WRITE, errno.EIO, "out.ndjson")


@pytest.fixture
def outage(tmp_path, world, starts, conn_log):
    """A run whose file of documents cannot be written, all of its batches waiting, and a log it has read in part."""
    log, out = tmp_path / "conn.log", tmp_path / "out.ndjson"
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(tmp_path / "conn*.log")]}],
                              {"file": {"path": str(out), "sync_interval": "10ms"}}, pipeline={"batches": 4},
                              ingest={"checkpoint_interval": "20ms", "scan_interval": "100ms", "close_after": "300ms"},
                              spool={"after": "1s"})
    worlds.append(log, conn_log, 0, 100)
    run = starts(config, env=world.env())
    run.wait_for("the first", lambda: worlds.lines_of(out) == 100)
    world.fail(OUTAGE)
    worlds.append(log, conn_log, 100, COUNT)
    worlds.wait_said(run, "output not writable", out)
    return run, config, log, out, tmp_path / "state/spool"


SPOOL_FAULTS = [
    ("full", worlds.WRITE, errno.ENOSPC, "free some space"),
    ("read_only", worlds.OPEN, errno.EROFS, "mount it read-write again"),
    ("permission", worlds.OPEN, errno.EACCES, "give the user that tapline runs as permission"),
    ("sync", worlds.SYNC, errno.EIO, "dmesg"),
]


@pytest.mark.parametrize("ops,error,advice", [f[1:] for f in SPOOL_FAULTS], ids=[f[0] for f in SPOOL_FAULTS])
def test_no_copy_can_be_made(outage, world, conn_log, ops, error, advice):
    """The deleted file is held open, and is read from there when delivery works again."""
    run, config, log, out, spool = outage
    world.fail(OUTAGE, (ops, error, str(spool)), (ops, error, "copy.tmp"))
    log.unlink()
    line = worlds.wait_said(run, "cannot copy a rotated file to the spool", os.strerror(error))
    assert advice in line and "nothing is lost as long as tapline runs" in line and "tried again" in line, line
    assert str(spool) in line, line
    assert not list(spool.glob("*.gz"))
    world.fail()
    worlds.wait_with_log(run, "all", lambda: worlds.lines_of(out) >= COUNT, 90)
    run.stop()
    rig.Documents(out).assert_each_once(COUNT)


def test_a_copy_that_cannot_be_read_for_a_while_is_no_damaged_copy(outage, world, starts, conn_log):
    run, config, log, out, spool = outage
    log.unlink()
    worlds.wait_said(run, "rotated file copied to the spool", log)
    run.kill()
    world.fail((worlds.READ, errno.EIO, str(spool)))
    run = starts(config, env=world.env())
    line = worlds.wait_said(run, spool, os.strerror(errno.EIO))
    assert "dmesg" in line and "tried again" in line, line
    worlds.append(log, conn_log, COUNT, COUNT + 50)     # the sensor's next file is no worse for it
    worlds.wait_with_log(run, "the neighbour", lambda: b"C%017d" % (COUNT + 49) in out.read_bytes(), 90)
    time.sleep(1)
    assert list(spool.glob("*.gz")) and not list(spool.glob("*.damaged")), list(spool.iterdir())
    world.fail()
    worlds.wait_with_log(run, "all", lambda: worlds.lines_of(out) >= COUNT + 50, 90)
    run.stop()
    rig.Documents(out).assert_none_lost(COUNT + 50)
    assert not list(spool.glob("*.gz")), list(spool.iterdir())
    assert rig.run_once(config)["accepted"] == 0
