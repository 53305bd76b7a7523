"""rsyslog and syslog-ng from Debian's packages, unpacked into roots of their own (they exclude each other on a system).

SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import re
import subprocess
import time

from measure import Failed, Process

HERE = pathlib.Path(__file__).resolve().parent
NOTHING_MORE_S = 30


def unpack(root, packages):
    """Download the packages, and those they need that this system has not, and unpack them below root."""
    done = root / ".unpacked"
    if done.exists():
        return
    root.mkdir(parents=True, exist_ok=True)
    plan = subprocess.run(
        ["apt-get", "install", "--simulate", "--no-install-recommends", *packages], capture_output=True, text=True
    )
    if plan.returncode != 0:
        raise Failed(f"apt-get knows no {' or no '.join(packages)}: {plan.stderr.strip()}")
    names = sorted(set(packages) | set(re.findall(r"^Inst (\S+)", plan.stdout, re.M)))
    load = subprocess.run(["apt-get", "download", *names], cwd=root, capture_output=True, text=True)
    if load.returncode != 0:
        raise Failed(f"apt-get download failed: {load.stderr.strip()}")
    for deb in root.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", deb, root], check=True)
        deb.unlink()
    done.touch()


class Peer:
    """name, what it is called in the table; packages; start(work, log, topic, brokers) gives a Process."""

    def __init__(self, name, packages, config, argv):
        self.name, self.packages, self.config, self.argv = name, packages, config, argv

    def run(self, base, log, topic, broker, count):
        return self._run(base, log, self.config, {"TOPIC": topic, "BROKERS": broker.address},
                         lambda work: broker.records(topic), count)

    def run_to_file(self, base, log, count):
        """The same without a broker: the configuration beside it ends in a file."""
        def lines(work, seen={}):
            out = work / "out"
            at, have = seen.get(work, (0, 0))
            if out.exists():
                with open(out, "rb") as file:
                    file.seek(at)
                    data = file.read()
                seen[work] = at, have = at + len(data), have + data.count(b"\n")
            return have
        config = self.config.replace(".conf.in", ".file.conf.in")
        return self._run(base, log, config, {}, lines, count)

    def _run(self, base, log, config, words, arrived, count):
        root = base / self.name
        unpack(root, self.packages)
        work = base / f"{self.name}.work"
        subprocess.run(["rm", "-rf", work], check=True)
        work.mkdir()
        text = (HERE / config).read_text()
        for key, value in {"DIR": work, "LOG": log, **words}.items():
            text = text.replace(f"@{key}@", str(value))
        (work / "config").write_text(text)
        libs = [p for p in root.glob("**/*.so*") if p.is_file()]
        path = ":".join(sorted({str(p.parent) for p in libs}))
        process = Process(self.argv(root, work), work / "log", env={**os.environ, "LD_LIBRARY_PATH": path})
        try:
            return self._until_all_arrived(process, lambda: arrived(work), count)
        finally:
            if process.popen.returncode is None:
                process.popen.kill()
                process.wait()

    @staticmethod
    def _until_all_arrived(process, arrived, count):
        seen, seen_at = 0, time.monotonic()
        while process.look():
            now = arrived()
            if now >= count:
                wall = time.monotonic() - process.started
                process.stop()
                process.wall_s = wall
                return process
            if now > seen:
                seen, seen_at = now, time.monotonic()
            if time.monotonic() - seen_at > NOTHING_MORE_S:
                process.stop()
                raise Failed(f"only {seen} of {count} records arrived: {process.said()}")
            time.sleep(0.1)
        process.wait()
        raise Failed(f"it ended with {process.popen.returncode}: {process.said()}")


def lib(root, name):
    """The folder of a plugin below root."""
    found = next(root.glob(f"**/{name}"), None)
    if found is None:
        raise Failed(f"its package has no {name}")
    return found.parent


PEERS = [
    Peer(
        "rsyslog", ["rsyslog", "rsyslog-kafka"], "rsyslog.conf.in",
        lambda root, work: [
            root / "usr/sbin/rsyslogd", "-n", "-f", work / "config", "-i", work / "pid", "-M", lib(root, "omkafka.so")
        ],
    ),
    Peer(
        "syslog-ng", ["syslog-ng-core", "syslog-ng-mod-rdkafka"], "syslog-ng.conf.in",
        lambda root, work: [
            root / "usr/sbin/syslog-ng", "-F", "--no-caps", "-f", work / "config", "-R", work / "persist",
            "-p", work / "pid", "-c", work / "control", f"--module-path={lib(root, 'libkafka.so')}",
        ],
    ),
]
