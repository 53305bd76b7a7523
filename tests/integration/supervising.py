"""A real Supervisor in a folder of its own, and a client of its control channel that is not ours.

    supervisor                          the fixture: started, and all its processes are gone after the test
    supervisor.client()                 a connection: .call("process.list"), .wait_for_event(lambda e: …), .events
    supervisor.set("a", ["sleep", "9"], start=True, order=10)     process.set, and process.start
    supervisor.process("a")             its row of process.list
    supervisor.wait_for("a", "up")      until it has that state; its row
    supervisor.kill(); supervisor.start()    SIGKILL (processes live on), and again in the same folder
    supervisor.stop(); supervisor.upgrade()  SIGTERM (all processes end first); SIGHUP (executes itself anew)
    supervisor.leftovers()              pids of all processes that were started below it, found by their environment

Times in specs are ns: S, MS. Only processes that were started here are ended, by their pid.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

import rig

ROOT = pathlib.Path(__file__).resolve().parents[2]
TAPLINE = pathlib.Path(os.environ.get("TAPLINE", ROOT / "build/dev/cmd/tapline"))
PROGRAM = TAPLINE.with_name("tapline-supervise")
MS = 1_000_000
S = 1_000_000_000
PATIENCE_S = 60  # for what takes a moment on an idle machine


class Refused(Exception):
    """An error that was answered."""

    def __init__(self, code, text, data=None):
        super().__init__(f"{code}: {text}")
        self.code, self.text, self.data = code, text, data


class Gone(Exception):
    """The connection has ended."""


def wait_until(what, seconds=PATIENCE_S, every=0.02):
    """what(), until it is true; its value."""
    deadline = rig.own_time() + seconds
    while True:
        value = what()
        if value:
            return value
        assert rig.own_time() < deadline, f"not so within {seconds} s"
        time.sleep(every)


class Client:
    """One connection to a Unix socket that speaks JSON-RPC, one message a line."""

    def __init__(self, path, patience=PATIENCE_S):
        deadline = time.monotonic() + patience
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(str(path))
                break
            except OSError:
                self.socket.close()
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)
        self.buffer = b""
        self.last_id = 0
        self.answers = {}
        self.events = []  # params, with "arrived": time.time()
        self.progress = []

    def close(self):
        self.socket.close()

    def send(self, method, **params):
        self.last_id += 1
        message = {"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params}
        try:
            self.socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as why:
            raise Gone(str(why)) from why
        return self.last_id

    def read(self, seconds):
        """Take in what comes within that time, at least one read; False: nothing came."""
        self.socket.settimeout(max(seconds, 0.001))
        try:
            data = self.socket.recv(1 << 16)
        except (TimeoutError, BlockingIOError):
            return False
        except OSError as why:
            raise Gone(str(why)) from why
        if not data:
            raise Gone("end of file")
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            assert message["jsonrpc"] == "2.0"
            if message.get("method") == "event":
                self.events.append(message["params"] | {"arrived": time.time()})
            elif message.get("method") == "progress":
                self.progress.append(message["params"])
            else:
                self.answers[message["id"]] = message
        return True

    def answer(self, number, seconds=PATIENCE_S):
        deadline = time.monotonic() + seconds
        while number not in self.answers:
            assert time.monotonic() < deadline, f"no answer within {seconds} s"
            self.read(deadline - time.monotonic())
        message = self.answers.pop(number)
        if "error" in message:
            error = message["error"]
            raise Refused(error["code"], error["message"], error.get("data"))
        return message["result"]

    def call(self, method, seconds=PATIENCE_S, **params):
        return self.answer(self.send(method, **params), seconds)

    def subscribe(self, since=None):
        return self.call("events.subscribe", **({} if since is None else {"since": since}))

    def wait_for_event(self, wanted, seconds=PATIENCE_S):
        """The first event for which wanted(event) holds, of those that came and those to come."""
        deadline = time.monotonic() + seconds
        looked = 0
        while True:
            for event in self.events[looked:]:
                looked += 1
                if wanted(event):
                    return event
            assert time.monotonic() < deadline, f"no such event within {seconds} s; there were {self.events[-20:]}"
            self.read(deadline - time.monotonic())


def is_running(pid):
    """Is the process there, and no zombie?"""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def marked(mark):
    """Pids of what runs with this in its environment ("NAME=value")."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0") and is_running(folder.name):
                found.append(int(folder.name))
        except OSError:
            pass
    return found


def end_marked(mark):
    """SIGKILL to all of them."""
    for _ in range(50):  # one that forks meanwhile is found the next time
        found = marked(mark)
        if not found:
            break
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)


class Supervisor:
    """A Supervisor in a folder, and everything that it starts."""

    def __init__(self, folder, program=None, options=()):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.program = pathlib.Path(program or PROGRAM)
        self.options = list(options)
        self.state = self.folder / "state"
        self.run = tempfile.mkdtemp(prefix="tls-", dir="/tmp")  # short: a socket's path has 107 bytes
        self.socket = pathlib.Path(self.run) / "s"
        self.log = self.folder / "supervisor.log"
        self.mark = f"TAPLINE_TEST={self.run}"
        self.child = None
        self.clients = []

    def command(self):
        return [str(self.program), "--socket", str(self.socket), "--state", str(self.state), *self.options]

    def start(self, wait=True, env=None):
        assert self.child is None or self.child.poll() is not None
        self.drop_clients()
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          env=os.environ | (env or {}))
        if wait:
            self.client()
        return self

    @property
    def pid(self):
        return self.child.pid

    def connect(self):
        """A connection of its own."""
        self.clients.append(Client(self.socket))
        return self.clients[-1]

    def client(self):
        """The connection that is there already, or a new one that has said hello."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.clients:
            try:
                self.connect().call("hello")
            except Gone:  # a socket of the one before, that a child of it held open for a moment longer
                assert time.monotonic() < deadline, "nobody says hello"
                self.drop_clients()
        return self.clients[0]

    def drop_clients(self):
        for client in self.clients:
            client.close()
        self.clients = []

    def call(self, method, **params):
        return self.client().call(method, **params)

    def spec(self, name, argv, **more):
        cwd = self.folder / "processes" / name
        cwd.parent.mkdir(exist_ok=True)
        env = {"TAPLINE_TEST": self.run} | more.pop("env", {})
        return {"name": name, "argv": [str(arg) for arg in argv], "cwd": str(cwd), "env": env} | more

    def set(self, name, argv, start=False, **more):
        result = self.call("process.set", **self.spec(name, argv, **more))
        if start:
            self.call("process.start", names=[name])
        return result

    def processes(self):
        return {row["name"]: row for row in self.call("process.list")["processes"]}

    def process(self, name):
        return self.processes()[name]

    def wait_for(self, name, state, seconds=PATIENCE_S):
        states = (state,) if isinstance(state, str) else state
        return wait_until(lambda: (row := self.process(name)) and row["state"] in states and row, seconds)

    def output(self, name, which="stdout"):
        return (self.folder / "processes" / name / f"{which}.log").read_text(errors="replace")

    def wait_end(self, seconds=PATIENCE_S):
        code = self.child.wait(seconds)
        self.drop_clients()
        return code

    def kill(self):
        """SIGKILL; its processes live on."""
        self.child.kill()
        self.wait_end()

    def stop(self, seconds=PATIENCE_S):
        """SIGTERM: all processes, then itself. Its exit code."""
        self.child.terminate()
        return self.wait_end(seconds)

    def upgrade(self):
        self.child.send_signal(signal.SIGHUP)

    def leftovers(self):
        return marked(self.mark)

    def close(self):
        self.drop_clients()
        if self.child is not None and self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        end_marked(self.mark)
        self.remove_cgroups()
        shutil.rmtree(self.run, ignore_errors=True)

    def remove_cgroups(self):
        """What one that was killed could not remove itself."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        for root in {pathlib.Path(found) for found in re.findall(r"cgroup=(/\S+/processes-\S+)", text)}:
            for folder in [*root.glob("*/"), root]:
                try:
                    folder.rmdir()
                except OSError:  # there is something in it for a moment still, or it is gone
                    pass


@pytest.fixture
def supervisor(tmp_path):
    made = Supervisor(tmp_path / "supervisor").start()
    yield made
    made.close()


@pytest.fixture
def supervisors(tmp_path):
    """For tests that want several, or other options: supervisors("name", options=[…]), not yet started."""
    made = []

    def make(name="supervisor", **more):
        made.append(Supervisor(tmp_path / name, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()
