"""The matrix: every way in which logs are rotated, compressed, moved, replaced or taken away, while tapline runs, while it is
stopped, and while it is dead by kill -9. A foreign client that sees only what is committed has each record once, in order,
with spans that join from the first byte of each file.

A state is what happens to tapline in `with stage.away():`, where files change hands: nothing, SIGTERM before and a start
behind, or SIGKILL under load before and a start behind. Each case has its own node and its own range of serial numbers.
What is lost at the source (copytruncate and removal while nobody reads) nobody can deliver: such cases wait until all was
read, or say in their own words what is lost. So in inode_reused, replaced_by_a_shorter_file, rewritten_shorter_in_place and
directory_is_removed_and_made_anew the kill comes behind settle(): tapline dies idle there, not under load.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import contextlib
import gzip
import json
import os
import pathlib
import random
import shutil
import tempfile
import threading
import time

import pytest

import judge
import rig

PREFIX = "matrix"
RANGE = 1_000_000  # serial numbers of a case
STATES = ["running", "stopped", "killed"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """The broker, the judge, and how many cases there have been."""
    from fixtures import broker_made

    broker = broker_made(tmp_path_factory.mktemp("broker")).start()
    seen = judge.Judge(broker, PREFIX)
    yield {"broker": broker, "judge": seen, "cases": 0, "expected": collections.Counter()}
    seen.close()
    broker.close()


class Stage:
    def __init__(self, bench, folder, runs, state):
        self.bench, self.folder, self.runs, self.state = bench, folder, runs, state
        self.first = self.serial = bench["cases"] * RANGE
        bench["cases"] += 1
        self.expected = collections.Counter()
        self.blocks = rig.ConnLog()
        self.logs, self.archive = folder / "logs", folder / "archive"
        self.log = self.logs / "conn.log"
        self.logs.mkdir()
        self.archive.mkdir()
        self.run = self.config = None

    def start(self, *paths, archive=(), **ingest):
        """Paths and archive globs below the case's folder, and keys of ingest, on the first start; then as before."""
        if self.config is None:
            inputs = {"type": "zeek", "paths": [str(self.folder / path) for path in paths]}
            if archive:
                inputs["archive"] = [str(self.folder / path) for path in archive]
            self.config = rig.config_write(
                self.folder / "tapline.yml", [inputs], judge.kafka_sink(self.bench["broker"], PREFIX),
                ingest={"scan_interval": "100ms", "close_after": "500ms", "checkpoint_interval": "50ms", **ingest})
        self.run = self.runs(self.config)
        self.run.wait_log('"started"')

    @contextlib.contextmanager
    def away(self):
        if self.state == "stopped":
            self.run.stop()
        elif self.state == "killed":
            time.sleep(random.uniform(0, 0.3))
            self.run.kill()
        yield
        if self.state != "running":
            self.start()

    def text(self, count, header=False):
        first = self.serial
        self.serial += count
        self.expected.update(range(first, self.serial))
        return self.blocks.text(first, self.serial, header=header)

    def write(self, path, count):
        """As a sensor appends: whole lines, behind a header if the file is new."""
        is_new = not path.exists() or path.stat().st_size == 0
        with open(path, "a") as out:
            out.write(self.text(count, header=is_new))

    def arrived(self):
        look = self.bench["judge"]
        look.read(settle=0)
        return collections.Counter({serial: times for serial, times in look.seen.items()
                                    if self.first <= serial < self.first + RANGE})

    def settle(self):
        """Until all that was written is delivered."""
        try:
            self.run.wait_for("all that was written", lambda: not self.expected - self.arrived(), 90)
        except AssertionError as missed:
            lost = self.expected - self.arrived()
            raise AssertionError(f"{missed}: {lost.total()} have not come, {sorted(lost)[:2]}…{sorted(lost)[-2:]}:\n{self.run.log()}")

    def logs_open(self):
        """How many logs tapline holds open."""
        return sum(os.path.realpath(fd).startswith(f"{self.logs}/") for fd in pathlib.Path(f"/proc/{self.run.pid}/fd").iterdir())

    def finish(self):
        """All of it once, and nothing comes behind, not after another start either."""
        self.settle()
        self.run.stop()
        rig.run_once(self.config)
        look = self.bench["judge"]
        look.read()
        mine = [file for file in look.generations.values() if self.first <= (-1 if file.name is None else file.name) < self.first + RANGE]
        judge.verdict(look, self.arrived(), self.expected, mine)
        self.bench["expected"].update(self.expected)
        return mine


@pytest.fixture
def stage(bench, tmp_path, runs, state):
    return Stage(bench, tmp_path, runs, state)


# ---- names ---------------------------------------------------------------------------------------------------------------


def renamed(stage):
    """The name moves to one that the globs match; the sensor goes on in the old file for a while."""
    stage.start("logs/conn*.log")
    rotate_with(stage, stage.logs / "conn.1.log")


def renamed_to_a_name_no_glob_matches(stage):
    stage.start("logs/conn.log")
    rotate_with(stage, stage.logs / "conn.log.1")


def renamed_into_the_archive(stage):
    stage.start("logs/conn.log", archive=["archive/*/conn.*"])
    (stage.archive / "2026-11-21").mkdir()
    rotate_with(stage, stage.archive / "2026-11-21/conn.03:20:39-03:21:30.log")


def rotate_with(stage, name):
    stage.write(stage.log, 1500)
    stage.settle()
    stage.write(stage.log, 1500)
    with stage.away():
        stage.write(stage.log, 700)
        stage.log.rename(name)
        stage.write(name, 300)
        stage.write(stage.log, 900)
    stage.write(stage.log, 400)
    assert len(stage.finish()) == 2


def renamed_three_times_as_logrotate_does(stage):
    """conn.log.2 was conn.log.1 before: names move over files that are not read to their end."""
    stage.start("logs/conn.log*")
    stage.write(stage.log, 1000)
    stage.settle()
    for _ in range(3):
        stage.write(stage.log, 1000)
        with stage.away():
            stage.write(stage.log, 500)
            for number in (2, 1):
                if (stage.logs / f"conn.log.{number}").exists():
                    (stage.logs / f"conn.log.{number}").rename(stage.logs / f"conn.log.{number + 1}")
            stage.log.rename(stage.logs / "conn.log.1")
            stage.write(stage.log, 500)
    assert len(stage.finish()) == 4


def rotated_each_hour_under_load(stage):
    """Zeek's own rotation in time-lapse, an hour in 0.3 s, while the sensor never pauses."""
    stage.start("logs/conn.log", "logs/conn.2*.log")
    halt = threading.Event()

    def sensor():
        hour, out = 0, None
        until = time.monotonic()
        while not halt.is_set():
            if time.monotonic() >= until:
                if out:
                    out.close()
                    stage.log.rename(stage.logs / f"conn.2026-11-21-{hour:02}-00-00.log")
                    hour += 1
                out = open(stage.log, "w")
                out.write(stage.blocks.header)
                until += 0.3
            out.write(stage.text(100))
            out.flush()
            halt.wait(0.01)
        out.close()

    thread = threading.Thread(target=sensor)
    thread.start()
    try:
        for _ in range(3):
            time.sleep(0.5)
            with stage.away():
                time.sleep(0.4)
    finally:
        halt.set()
        thread.join()
    assert len(stage.finish()) >= 8


# ---- gzip ------------------------------------------------------------------------------------------------------------------


def compress(path, to=None):
    """As logrotate and zeekctl do: a new file, the old one's time, and the old one goes."""
    to = to or path.with_name(path.name + ".gz")
    with open(path, "rb") as source, gzip.GzipFile(to, "wb", mtime=path.stat().st_mtime) as packed:
        shutil.copyfileobj(source, packed)
    shutil.copystat(path, to)
    path.unlink()


def rotated_and_compressed_into_the_archive(stage):
    """zeekctl's archive-log: from spool to DATE/conn.FROM-TO.log.gz at once."""
    stage.start("logs/conn.log", archive=["archive/*/conn.*.log.gz"])
    (stage.archive / "2026-11-21").mkdir()
    stage.write(stage.log, 1500)
    stage.settle()
    stage.write(stage.log, 1500)
    with stage.away():
        stage.write(stage.log, 1000)
        stage.log.rename(stage.logs / "conn-26-11-21_03.20.39.log")
        stage.write(stage.log, 800)
        compress(stage.logs / "conn-26-11-21_03.20.39.log", stage.archive / "2026-11-21/conn.03:20:39-03:21:30.log.gz")
    stage.write(stage.log, 100)
    assert len(stage.finish()) == 2


def compressed_after_it_was_renamed(stage):
    """logrotate's delaycompress: seen under its second name before it becomes a .gz; the globs match all names."""
    stage.start("logs/conn.log*")
    stage.write(stage.log, 2000)
    stage.settle()
    stage.log.rename(stage.logs / "conn.log.1")
    stage.write(stage.log, 500)
    stage.settle()
    stage.write(stage.logs / "conn.log.1", 1500)
    with stage.away():
        stage.write(stage.logs / "conn.log.1", 700)
        if stage.state == "running":
            stage.settle()  # what was never looked at before it went is not in a file that grows any more
        compress(stage.logs / "conn.log.1")
        stage.write(stage.log, 800)
    stage.write(stage.log, 100)
    assert len(stage.finish()) == 2


def compressed_again_and_again_while_it_is_read(stage):
    """Many files become .gz in a row, each with bytes that may not have been read yet."""
    stage.start("logs/conn.log*")
    for number in range(8):
        stage.write(stage.log, 200)
        if number < 2:
            stage.settle()
        stage.write(stage.log, 300)
        stage.log.rename(stage.logs / f"conn.log.{number}")
        if number == 3:
            with stage.away():
                stage.write(stage.log, 300)
                compress(stage.logs / f"conn.log.{number}")
            continue
        compress(stage.logs / f"conn.log.{number}")
    assert len(stage.finish()) >= 8


# ---- copytruncate ------------------------------------------------------------------------------------------------------------


def copied_and_truncated_append(stage):
    """logrotate's copytruncate under Snort, which appends. While nobody reads, the unread bytes are only in the copy: the
    archive glob finds them there. The new content grows beyond the old end before anybody looks."""
    copytruncate(stage, appends=True)


def copied_and_truncated_zeek(stage):
    """The same under Zeek, which goes on at its old offset, behind a run of NULs."""
    copytruncate(stage, appends=False)


def copytruncate(stage, appends):
    stage.start("logs/conn.log", archive=["archive/conn.*"])
    with open(stage.log, "a" if appends else "w") as sensor:
        sensor.write(stage.text(1500, header=True))
        sensor.flush()
        stage.settle()
        sensor.write(stage.text(1000))
        sensor.flush()
        if stage.state == "running":
            stage.settle()  # else it is lost at the source: a reader is never faster than a truncation
        with stage.away():
            if stage.state != "running":
                sensor.write(stage.text(500))
                sensor.flush()
            shutil.copyfile(stage.log, stage.archive / "conn.1.log")
            os.truncate(stage.log, 0)
            sensor.write(stage.text(4000, header=True))
            sensor.flush()
        sensor.write(stage.text(300))
    assert len(stage.finish()) == 2


# ---- inodes, headers, sizes -----------------------------------------------------------------------------------------------------


def inode_reused(stage):
    """The file goes, and the next one gets its inode: same device, same number, same name, same header."""
    stage.start("logs/conn.log")
    stage.write(stage.log, 1500)
    stage.settle()
    inode = stage.log.stat().st_ino
    with stage.away():
        stage.log.unlink()
        new = file_with_inode(stage.logs, inode)
        new.write_text(stage.text(1200, header=True))
        new.rename(stage.log)
    stage.write(stage.log, 300)
    assert len(stage.finish()) == 2
    assert stage.log.stat().st_ino == inode


def file_with_inode(folder, inode):
    """An empty file with just this inode. An open file's number is not free: it becomes so when tapline closes it."""
    end, spare = time.monotonic() + 60, []
    while time.monotonic() < end:
        for _ in range(3000):
            path = folder / f"spare.{len(spare)}"
            path.touch()
            if path.stat().st_ino == inode:
                for other in spare:
                    other.unlink()
                return path
            spare.append(path)
        for other in spare:
            other.unlink()
        spare = []
        time.sleep(0.1)
    pytest.fail(f"no file got inode {inode} again: {folder} must be on a file system that reuses them, as ext4 does")


def identical_headers_and_first_records(stage):
    """Files in one folder, and one behind the other under one name, that begin with the same header and the same record."""
    stage.start("logs/conn*.log")
    twin = stage.text(1)
    stage.expected.clear()

    def write(path, count):
        stage.expected[stage.first] += 1
        path.write_text(stage.blocks.header + twin + stage.text(count))

    for name in "abc":
        write(stage.logs / f"conn.{name}.log", 300)
    write(stage.log, 900)
    stage.settle()
    with stage.away():
        stage.log.rename(stage.logs / "conn.1.log")
        write(stage.log, 600)
        write(stage.logs / "conn.d.log", 300)
    write(stage.logs / "conn.e.log", 300)
    stage.write(stage.log, 100)
    assert len(stage.finish()) == 7


def smaller_than_a_kibibyte(stage):
    """JSON logs of one to three records, many of them, some gone under another name at once."""
    stage.start("logs/conn*.log")
    for number in range(60):
        write_small(stage, stage.log, 1 + number % 3)
        if number == 10:
            stage.settle()
        if number == 30:
            with stage.away():
                write_small(stage, stage.log, 1)
                stage.log.rename(stage.logs / "conn.away.log")
                write_small(stage, stage.log, 1)
        stage.log.rename(stage.logs / f"conn.{number}.log")
    assert len(stage.finish()) == 61


def write_small(stage, path, count):
    """Records in JSON: no header, and no file that is a kibibyte long."""
    with open(path, "a") as out:
        for _ in range(count):
            out.write(json.dumps({"ts": 1795229919.25, "uid": f"C{stage.serial:017d}", "id.orig_h": "10.0.0.1",
                                  "id.orig_p": 1025 + stage.serial % 1000, "id.resp_h": "10.0.0.2", "id.resp_p": 53,
                                  "proto": "udp"}) + "\n")
            stage.expected[stage.serial] += 1
            stage.serial += 1
    assert path.stat().st_size < 1024


def many_more_files_than_may_be_open(stage):
    """3,000 small files and 64 descriptors: most are closed while they are watched. Some of them grow, some are renamed, and
    some both, before, while and after tapline is away."""
    stage.start("logs/conn*.log", files_max=64)
    grown, moved = range(0, 1500, 7), range(3, 1500, 5)

    def path(number, kind="conn"):
        return stage.logs / f"{kind}.{number:04}.log"

    for number in range(1500):
        write_small(stage, path(number), 1 + number % 3)
    with stage.away():
        for number in grown:
            write_small(stage, path(number), 1)
        for number in moved:
            path(number).rename(path(number, "conn.old"))
        for number in range(1500, 2250):
            write_small(stage, path(number), 1)
    for number in range(2250, 3000):
        write_small(stage, path(number), 1)
    for number in moved:
        write_small(stage, path(number, "conn.old"), 1)
    stage.settle()
    stage.run.wait_for("nearly as many logs open as may be", lambda: stage.logs_open() >= 60)
    assert stage.logs_open() <= 64
    assert len(stage.finish()) == 3000


def replaced_by_a_shorter_file(stage):
    """Another file is renamed over it (all of the old one was read: its bytes have no name any more)."""
    stage.start("logs/conn.log")
    stage.write(stage.log, 2000)
    stage.settle()
    with stage.away():
        stage.write(stage.logs / "new", 300)
        (stage.logs / "new").rename(stage.log)
    stage.write(stage.log, 100)
    assert len(stage.finish()) == 2


def rewritten_shorter_in_place(stage):
    stage.start("logs/conn.log")
    stage.write(stage.log, 2000)
    stage.settle()
    with stage.away():
        stage.log.write_text(stage.text(300, header=True))
    stage.write(stage.log, 100)
    assert len(stage.finish()) == 2


# ---- links, mounts, directories ---------------------------------------------------------------------------------------------------


def link_to_a_directory_flips(stage):
    """`current` leads to another day's directory; the sensor still ends its lines in the old one."""
    flip(stage, ["day1/conn.log", "day2/conn.log"], "current", ["logs/current/conn.log"], ["logs/day*/conn.log"])


def link_to_a_file_flips(stage):
    flip(stage, ["data/conn-1", "data/conn-2"], "conn.log", ["logs/conn.log"], ["logs/data/conn-*"])


def flip(stage, files, link, paths, archive):
    old, new = (stage.logs / file for file in files)
    for file in (old, new):
        file.parent.mkdir(exist_ok=True)
    is_directory = link != "conn.log"
    (stage.logs / link).symlink_to(old.parent if is_directory else old)
    stage.start(*paths, archive=archive)
    stage.write(old, 1500)
    stage.settle()
    stage.write(old, 1500)
    with stage.away():
        stage.write(new, 600)
        (stage.logs / "swap").symlink_to(new.parent if is_directory else new)
        (stage.logs / "swap").rename(stage.logs / link)
        stage.write(old, 500)
    stage.write(new, 300)
    assert len(stage.finish()) == 2


@pytest.fixture
def other_disk(tmp_path):
    """A folder on another file system than the logs are on."""
    for place in ("/dev/shm", "/run", "/var/tmp"):
        if os.path.isdir(place) and os.access(place, os.W_OK) and os.stat(place).st_dev != os.stat(tmp_path).st_dev:
            folder = pathlib.Path(tempfile.mkdtemp(dir=place, prefix="tapline-"))
            yield folder
            shutil.rmtree(folder)
            return
    assert os.environ.get("CI") != "true", "no second file system to write to: under CI=true there must be one"
    pytest.skip("NO SECOND FILE SYSTEM: moves over mounts are not tested here")


def moved_over_a_mount(stage):
    """mv to another file system: a copy with a new inode, then the old name goes. Only archive knows the place."""
    stage.start("logs/conn.log", archive=["disk/conn.*"])
    move(stage)


def moved_over_a_mount_where_paths_look_too(stage):
    stage.start("logs/conn.log", "disk/conn.*")
    move(stage)


def move(stage):
    stage.write(stage.log, 1500)
    stage.settle()
    stage.write(stage.log, 1500)
    with stage.away():
        stage.write(stage.log, 800)
        shutil.move(stage.log, stage.folder / "disk/conn.1.log")
        stage.write(stage.log, 700)
    stage.write(stage.log, 100)
    assert len(stage.finish()) == 2


def directory_vanishes_and_returns(stage):
    stage.start("logs/conn*.log")
    stage.write(stage.log, 1500)
    stage.settle()
    stage.write(stage.log, 1000)
    with stage.away():
        stage.logs.rename(stage.folder / "elsewhere")
        stage.write(stage.folder / "elsewhere/conn.log", 500)
        time.sleep(0.3)
        (stage.folder / "elsewhere").rename(stage.logs)
        stage.write(stage.log, 400)
    stage.write(stage.log, 100)
    assert len(stage.finish()) == 1


def directory_is_removed_and_made_anew(stage):
    stage.start("logs/conn*.log")
    stage.write(stage.log, 1500)
    stage.settle()
    with stage.away():
        shutil.rmtree(stage.logs)
        time.sleep(0.3)
        stage.logs.mkdir()
        stage.write(stage.log, 700)
    stage.write(stage.log, 100)
    assert len(stage.finish()) == 2


WAYS = [renamed, renamed_to_a_name_no_glob_matches, renamed_into_the_archive, renamed_three_times_as_logrotate_does,
        rotated_each_hour_under_load, rotated_and_compressed_into_the_archive, compressed_after_it_was_renamed,
        compressed_again_and_again_while_it_is_read, copied_and_truncated_append, copied_and_truncated_zeek, inode_reused,
        identical_headers_and_first_records, smaller_than_a_kibibyte, many_more_files_than_may_be_open,
        replaced_by_a_shorter_file, rewritten_shorter_in_place, link_to_a_directory_flips, link_to_a_file_flips,
        moved_over_a_mount, moved_over_a_mount_where_paths_look_too, directory_vanishes_and_returns,
        directory_is_removed_and_made_anew]
ON_TWO_DISKS = {moved_over_a_mount, moved_over_a_mount_where_paths_look_too}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
def test_each_record_once(stage, way, request):
    if way in ON_TWO_DISKS:
        (stage.folder / "disk").symlink_to(request.getfixturevalue("other_disk"))
    way(stage)


@pytest.mark.parametrize("state", ["stopped"])
def test_what_a_truncation_takes_while_nobody_reads_is_said(stage):
    """copytruncate while tapline is stopped, and no glob names the copy: what the sensor wrote meanwhile is lost at the source.
    tapline never saw these bytes and cannot know how many there were. One line of the log says which file was truncated and
    up to where tapline had read it, and all the rest comes."""
    stage.start("logs/conn.log")
    stage.write(stage.log, 1500)
    stage.settle()
    stage.run.stop()
    kept = collections.Counter(stage.expected)
    size = stage.log.stat().st_size
    stage.write(stage.log, 500)
    shutil.copyfile(stage.log, stage.logs / "copy")
    os.truncate(stage.log, 0)
    stage.expected = kept
    stage.write(stage.log, 300)
    stage.start()
    stage.settle()
    said = [line for line in stage.run.lines
            if f"file={stage.log} position={size} " in line and "it was truncated while tapline did not look" in line]
    assert len(said) == 1, stage.run.log()
    assert len(stage.finish()) == 2


def test_nothing_came_later(bench):
    """Over all cases: what was judged once holds at the end."""
    bench["judge"].read()
    seen, expected = bench["judge"].seen, bench["expected"]
    assert expected, "no case came to its end"
    late = {serial for serial in seen if serial in expected} - {serial for serial in expected if seen[serial] == expected[serial]}
    assert not late, f"{len(late)} came again later: {sorted(late)[:5]}"
