"""What the tests of a failing world share: full and broken file systems, a process that modes hold for, and a clock and
files that fail when a test says so (world_shim.c).
SPDX-License-Identifier: Apache-2.0
"""
import contextlib
import os
import pathlib
import resource
import shutil
import struct
import subprocess
import threading

import pytest

import rig

HERE = pathlib.Path(__file__).resolve().parent
MIB = 1024 * 1024
DAY = 86400
READ, WRITE, SYNC, OPEN, STAT, TRUNCATE, RENAME, REMOTE = 1, 2, 4, 8, 16, 32, 64, 128
FAULT = struct.Struct("<Iiq240s")
FAULTS_MAX = 8


class World:
    """The file that world_shim.c looks at: how far off the clock is, and what fails."""

    def __init__(self, folder):
        self.path = folder / "world"
        self.path.write_bytes(bytes(4096))
        self.library = folder / "world_shim.so"
        built = subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", str(self.library),
                                str(HERE / "world_shim.c")], capture_output=True, text=True)
        assert built.returncode == 0, built.stderr

    def _put(self, at, data):
        with open(self.path, "r+b", buffering=0) as out:
            out.seek(at)
            out.write(data)

    def clock(self, seconds):
        """From now on the clock is so far from the real one."""
        self._put(0, struct.pack("<q", int(seconds * 1e9)))

    def fail(self, *faults):
        """From now on these fail, and nothing else: (operations, errno, part of the path, bytes from there on)."""
        assert len(faults) <= FAULTS_MAX
        self._put(8, struct.pack("<I", 0))
        for i, (ops, error, part, *start) in enumerate(faults):
            assert len(str(part)) < 240, part
            self._put(16 + i * FAULT.size, FAULT.pack(ops, error, start[0] if start else 0, str(part).encode()))
        self._put(8, struct.pack("<I", len(faults)))

    def env(self):
        sanitizer = {"ASAN_OPTIONS": "verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")}
        return {"LD_PRELOAD": str(self.library), "WORLD": str(self.path), **sanitizer}


class WorldRun(rig.Run):
    """A `tapline run` behind other programs (before), with other environment, and with the limits that setup() sets."""

    def __init__(self, config, *options, before=(), env=None, setup=None):
        self.config, self.lines = config, []
        argv = [*before, str(rig.TAPLINE), "run", "-c", str(config), *options]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, cwd=pathlib.Path(config).parent, env={**os.environ, **(env or {})},
                                        preexec_fn=setup)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def starts():
    """Start a WorldRun; whatever a test leaves running is killed at its end."""
    started = []

    def start(config, *options, **how):
        started.append(WorldRun(config, *options, **how))
        return started[-1]

    yield start
    for run in started:
        run.kill()


def bound_by_modes():
    """What to put before a program so that permissions hold for it: root goes past them."""
    if os.geteuid() != 0:
        return []
    before = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--"]
    if shutil.which("setpriv") is None or subprocess.run([*before, "true"], capture_output=True).returncode != 0:
        pytest.skip("as root this needs setpriv (util-linux), and to be allowed to drop capabilities")
    return before


def limit_file_size(size):
    """For setup=: no file of the process grows beyond it; prlimit() may raise that later."""
    def setup():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    return setup


# ---- file systems --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(folder, *options):
    """mount(8) with these options at folder."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *map(str, options), str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"mount is not allowed here: {done.stderr}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def small_disk(folder, size=2 * MIB):
    """A file system of that size that is simply full when it is full."""
    return mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs")


def remount(folder, how):
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


class BrokenDisk:
    """ext4 on a file that has no blocks yet, on a small tmpfs. When that is full, writing succeeds and syncing fails, as
    on a disk that is dying; break_down() makes the kernel find a fault in it, whereupon it is read-only, open files too."""

    def __init__(self, folder):
        self.folder, self.image, self.ballast = folder, folder / "back/image", folder / "back/ballast"
        self.disk = folder / "disk"
        (folder / "back").mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def made(self):
        with mounted(self.folder / "back", "-t", "tmpfs", "-o", f"size={24 * MIB}", "tmpfs"):
            with open(self.image, "wb") as out:
                out.truncate(64 * MIB)
            made = subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", "-E", "nodiscard", str(self.image)],
                                  capture_output=True, text=True)
            assert made.returncode == 0, made.stderr
            yield self

    def mounted(self):
        return mounted(self.disk, "-o", "loop,errors=remount-ro", self.image)

    def break_down(self):
        device = pathlib.Path(subprocess.run(["losetup", "-n", "-O", "NAME", "-j", str(self.image)], capture_output=True,
                                             text=True, check=True).stdout.strip()).name
        fault = pathlib.Path(f"/sys/fs/ext4/{device}/trigger_fs_error")
        if not fault.exists():
            pytest.skip("this kernel's ext4 cannot be told to have a fault")
        fault.write_text("1")


@pytest.fixture
def broken_disk(tmp_path):
    if shutil.which("mkfs.ext4") is None or not list(pathlib.Path("/dev").glob("loop*")):
        pytest.skip("needs mkfs.ext4 and loop devices")
    with BrokenDisk(tmp_path).made() as disk:
        yield disk


def fill(path):
    """Leave no byte free where path is. Returns path, the file that takes the space."""
    with open(path, "wb", buffering=0) as out:
        for block in (MIB, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    out.write(b"x" * block)
    return path


# ---- configurations, and what each has to show -----------------------------------------------------------------------------


def conn_config(folder, logs, out, state=None, ingest=None, file=None):
    """conn*.log of a folder into a file, with short pauses."""
    return rig.config_write(folder / "tapline.yml", [{"type": "zeek", "paths": [str(logs / "conn*.log")]}],
                            {"file": {"path": str(out), "sync_interval": "10ms", **(file or {})}},
                            node={"state": str(state or folder / "state")},
                            ingest={"checkpoint_interval": "20ms", "scan_interval": "100ms", **(ingest or {})})


def bytes_of(path):
    """What it holds: nothing, if it was renamed or removed since its name was seen."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def lines_of(out):
    return out.read_bytes().count(b"\n") if out.exists() else 0


def append(path, conn_log, first, last):
    """Records of a sensor's file, with a header if they are its first."""
    is_new = not path.exists() or path.stat().st_size == 0
    with open(path, "a") as out:
        out.write(conn_log.text(first, last, header=is_new))


def said(run, *parts):
    """The first line of the log that has all of these."""
    return next((line for line in list(run.lines) if all(str(part) in line for part in parts)), None)


def wait_with_log(run, what, condition, timeout):
    """Run.wait_for(), and what the log says if it was in vain."""
    try:
        run.wait_for(what, condition, timeout)
    except AssertionError as failed:
        raise AssertionError(f"{failed}\n{run.log()}") from None


def wait_said(run, *parts, timeout=60):
    try:
        return rig.wait_for("it", lambda: said(run, *parts), timeout)
    except AssertionError:
        raise AssertionError(f"waited {timeout} s for a line with {parts} in\n{run.log()}") from None
