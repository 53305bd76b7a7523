"""A real redis-server for tests: AOF, replicas, TLS, ACL users, a Unix socket; on free ports of 127.0.0.1.

    server = RedisServer(tmp_path / "redis").start()
    server.url                      redis://127.0.0.1:PORT/0, for intel.redis.urls; also tls_url, unix_url
    server.client()                 the foreign client (redis-py), as admin
    RedisServer(folder, replica_of=server).start()
    server.kill(); server.start()   SIGKILL, and again on the same ports with what the disk has
    server.stop_answering()         SIGSTOP; go_on(): SIGCONT
    server.close()

Only processes started here are ended, by their pid. (Not redis.py: that is the name of the foreign client.)
SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest
import redis

import rig

ADMIN = "admin-secret"
SENSOR = "sensor-secret"  # user "sensor": what docs/reference/intel.rst gives a sensor
WRITER = "writer-secret"  # user "writer": what it gives `tapline intel sync` and `load`
# The same rules as in docs/reference/intel.rst; test_intel_store.py compares them.
SENSOR_RULES = "~intel:* -@all +ping +select +hgetall +hvals +get +scan +dbsize +smembers +xread +xrange +xinfo|stream"
WRITER_RULES = (SENSOR_RULES + " +role +watch +unwatch +multi +exec +set +del +hset +hdel +hincrby +hscan +expireat +pexpire +pttl"
                " +persist +sadd +srem +sismember +xadd")

# Off, but with all rights: with AOF, Redis checks them when it reads transactions again at its start (docs/reference/intel.rst).
DEFAULT_RULES = "user default off ~* &* +@all"


def redis_there():
    """Skip without redis-server; under CI=true that is a failure."""
    if shutil.which("redis-server") is None:
        assert os.environ.get("CI") != "true", "no redis-server: under CI=true the tests with Redis must run"
        pytest.skip("NO redis-server: nothing of Redis is tested here; install redis-server")


def make_certificates(folder, names=("DNS:localhost", "IP:127.0.0.1")):
    """ca.crt; server.crt/.key for the names; client.crt/.key; other-ca.crt, which signed none of them."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    for ca in ("ca", "other-ca"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650", "-keyout",
                f"{ca}.key", "-out", f"{ca}.crt", "-subj", f"/CN={ca}")
    for name, alt in (("server", ",".join(names)), ("client", "DNS:sensor")):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-out",
                f"{name}.csr", "-subj", f"/CN={name}")
        (folder / f"{name}.ext").write_text(f"subjectAltName={alt}\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3650",
                "-out", f"{name}.crt", "-extfile", f"{name}.ext")
    return folder


class RedisServer:
    """One redis-server with a folder of its own."""

    def __init__(self, folder, replica_of=None, tls=None, tls_clients=False, acl=False, appendfsync="everysec", more=()):
        redis_there()
        self.primary = replica_of
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = rig.free_port()
        self.tls_port = rig.free_port() if tls else 0
        self.socket = f"/tmp/tapline-redis-{os.getpid()}-{self.port}.sock"  # short: a socket's path has 107 bytes
        self.tls = tls
        self.acl = acl
        self.process = None
        lines = ["bind 127.0.0.1", f"port {self.port}", f"unixsocket {self.socket}", "dir .", 'save ""', "appendonly yes",
                 f"appendfsync {appendfsync}", "repl-diskless-sync-delay 0", "enable-debug-command local",
                 "hash-max-listpack-value 1024", *more]
        if tls:
            lines += [f"tls-port {self.tls_port}", f"tls-cert-file {tls}/server.crt", f"tls-key-file {tls}/server.key",
                      f"tls-ca-cert-file {tls}/ca.crt", f"tls-auth-clients {'yes' if tls_clients else 'no'}"]
        if acl:
            lines += [DEFAULT_RULES, f"user admin on >{ADMIN} ~* &* +@all", f"user sensor on >{SENSOR} {SENSOR_RULES}",
                      f"user writer on >{WRITER} {WRITER_RULES}"]
        if replica_of:
            lines += [f"replicaof 127.0.0.1 {replica_of.port}"]
            if replica_of.acl:
                lines += ["masteruser admin", f"masterauth {ADMIN}"]
        (self.folder / "redis.conf").write_text("\n".join(lines) + "\n")

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def tls_url(self):
        return f"rediss://localhost:{self.tls_port}/0"

    @property
    def unix_url(self):
        return f"unix://{self.socket}"

    def start(self):
        log = open(self.folder / "redis.log", "ab")
        self.process = subprocess.Popen(["redis-server", "redis.conf"], cwd=self.folder, stdout=log, stderr=log,
                                        stdin=subprocess.DEVNULL)
        log.close()
        end = time.monotonic() + 60
        while True:
            try:
                self.client(socket_timeout=5).ping()
                return self
            except (redis.ConnectionError, redis.TimeoutError):
                assert self.process.poll() is None, (self.folder / "redis.log").read_text()[-2000:]
                assert time.monotonic() < end, "redis-server does not answer"
                time.sleep(0.02)

    def client(self, **more):
        user = {"username": "admin", "password": ADMIN} if self.acl else {}
        return redis.Redis(host="127.0.0.1", port=self.port, **user, **more)

    def wait_for_replica(self, timeout=60):
        """Until this replica follows and has, if it was made as one, all that its primary has by now."""
        end = time.monotonic() + timeout
        wanted = self.primary.client().info("replication")["master_repl_offset"] if self.primary else 0
        while (now := self.client().info("replication")).get("master_link_status") != "up" or now["slave_repl_offset"] < wanted:
            assert time.monotonic() < end, f"the replica does not follow: {now}"
            time.sleep(0.02)
        return self

    def stop_answering(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        pathlib.Path(self.socket).unlink(missing_ok=True)


@pytest.fixture
def redis_server(tmp_path):
    """One server for one test."""
    made = RedisServer(tmp_path / "redis").start()
    yield made
    made.close()


@pytest.fixture
def redis_servers(tmp_path):
    """Make as many as a test needs: redis_servers(replica_of=…, tls=…); all are closed at its end."""
    made = []

    def make(**options):
        made.append(RedisServer(tmp_path / f"redis{len(made)}", **options).start())
        return made[-1]

    yield make
    for server in reversed(made):
        server.close()
