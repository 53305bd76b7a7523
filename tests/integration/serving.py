"""A real Main (`tapline serve`) and its Supervisor in a folder of their own, and a client that is not ours.

    serving                              the fixture: a function: serving([program("a", "sleep", "60")], …) makes and starts one
    program("a", *argv, **keys)          a node of type program, as sensors.nodes has it; keys as there, e.g. ready=["after 1s"]
    main.client()                        a connection to Main that has said hello: .call("status"), .wait_for_event(…)
    main.supervisor()                    one to the Supervisor itself
    main.status()                        {name: row} of all nodes;  main.wait_for("a", "up"): until it has that state; its row
    main.pids()                          {name: pid} of what runs
    main.kill(); main.start()            SIGKILL of Main and another one in the same folder;  main.stop(): SIGTERM, its exit code
    main.kill_supervisor()               SIGKILL of the Supervisor: Main finds it gone and starts another
    main.configure(nodes, serve={…})     another configuration;  main.reload(): SIGHUP
    main.log_text()                      what Main has logged;  main.leftovers(): pids of everything started below it

Everything that was started is ended with the test, by its pid, found by its environment.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from supervising import PATIENCE_S, TAPLINE, Client, Gone, Refused, end_marked, is_running, marked, wait_until  # noqa: F401 (for who imports us)

CODE_REFUSED = -32000
CODE_UNKNOWN = -32001
CODE_BAD_PARAMS = -32602
UP = ("ready", "up")


def program(name, *argv, **keys):
    """A node that is any program. It settles at once and is tried again soon, so that tests need not wait for either."""
    short = {"settle": "100ms", "stop_timeout": "5s", "restart_delay_min": "100ms", "restart_delay_max": "200ms"}
    return {"name": name, "type": "program", "command": [str(arg) for arg in argv]} | short | keys


class Main:
    """`tapline serve` in a folder."""

    def __init__(self, folder, nodes=(), serve=None, sensors=None, more=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.run = pathlib.Path(tempfile.mkdtemp(prefix="tlm-", dir="/tmp"))  # short: a socket's path has 107 bytes
        self.mark = f"TAPLINE_TEST={self.run}"
        self.socket = self.run / "main.sock"
        self.supervisor_socket = self.run / "supervisor.sock"
        self.state = self.folder / "serve"
        self.sensors = self.folder / "sensors"
        self.sensors.mkdir(exist_ok=True)
        self.config = self.folder / "tapline.yml"
        self.log = self.folder / "main.log"
        self.child = None
        self.clients = []
        self.configure(nodes, serve, sensors, more)

    def configure(self, nodes, serve=None, sensors=None, more=None):
        """Write the configuration: JSON is YAML."""
        nodes = [node | {"env": {"TAPLINE_TEST": str(self.run)} | node.get("env", {})} for node in nodes]
        sections = {
            "node": {"name": "test", "state": str(self.folder / "state")},
            "serve": {"socket": str(self.socket), "supervisor_socket": str(self.supervisor_socket),
                      "state": str(self.state), "disk_interval": "1s"} | (serve or {}),
            "sensors": {"directory": str(self.sensors), "nodes": nodes} | (sensors or {}),
        } | (more or {})
        self.config.write_text(json.dumps(sections, indent=1))
        return self

    # ---- Main -----------------------------------------------------------------------------------------------------------

    def command(self):
        return [str(TAPLINE), "serve", "-c", str(self.config)]

    def start(self, wait=True, env=None):
        assert self.child is None or self.child.poll() is not None
        self.drop_clients()
        environment = os.environ | {"TAPLINE_TEST": str(self.run)} | (env or {})
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          env=environment, start_new_session=True)
        if wait:
            wait_until(self.is_there)
            wait_until(lambda: self.is_linked() or self.child.poll() is not None)
            assert self.child.poll() is None, self.log_text()
        return self

    def is_there(self):
        """Has it said hello? What answers first may be the last of the Main before: a child of it that is about to execute a
        Supervisor has its socket for a moment longer."""
        try:
            return self.client() is not None
        except Gone:
            self.drop_clients()
            return False

    def is_linked(self):
        try:
            return self.call("status")["supervisor"]["is_linked"]
        except Refused:
            return False

    @property
    def pid(self):
        return self.child.pid

    def kill(self):
        self.child.kill()
        self.child.wait()
        self.drop_clients()

    def stop(self, seconds=PATIENCE_S):
        self.child.terminate()
        return self.wait_end(seconds)

    def wait_end(self, seconds=PATIENCE_S):
        code = self.child.wait(seconds)
        self.drop_clients()
        return code

    def reload(self):
        self.child.send_signal(signal.SIGHUP)

    def log_text(self):
        return self.log.read_text(errors="replace")

    def wait_for_log(self, text, seconds=PATIENCE_S):
        wait_until(lambda: text in self.log_text(), seconds)

    # ---- connections ----------------------------------------------------------------------------------------------------

    def connect(self, socket=None):
        """A connection of its own. One to a Main that does not come is not waited for."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                client = Client(socket or self.socket, patience=0.2)
                client.is_supervisors = socket is not None
                self.clients.append(client)
                return client
            except OSError:
                if self.child.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"nobody answers at {socket or self.socket}\n{self.log_text()}") from None

    def client(self):
        """The connection to Main that is there already, or a new one that has said hello."""
        for client in self.clients:
            if not client.is_supervisors:
                return client
        self.connect().call("hello")
        return self.clients[-1]

    def supervisor(self):
        client = self.connect(self.supervisor_socket)
        client.call("hello")
        return client

    def drop_clients(self):
        for client in self.clients:
            client.close()
        self.clients = []

    def call(self, method, seconds=PATIENCE_S, **params):
        return self.client().call(method, seconds, **params)

    # ---- nodes ------------------------------------------------------------------------------------------------------------

    def status(self, *words):
        return {row["name"]: row for row in self.call("status", **({"nodes": list(words)} if words else {}))["nodes"]}

    def pids(self):
        return {name: row["pid"] for name, row in self.status().items() if row["pid"]}

    def wait_for(self, name, state, seconds=PATIENCE_S):
        """Until the node has the state (or one of several); its row. While no Supervisor answers it is asked again."""
        states = (state,) if isinstance(state, str) else state

        def look():
            try:
                row = self.status().get(name)
            except Refused:
                return None
            return row if row and row["state"] in states else None

        return self._until(look, seconds)

    def wait_for_all(self, state=UP, seconds=PATIENCE_S):
        states = (state,) if isinstance(state, str) else state

        def look():
            try:
                rows = self.status()
            except Refused:
                return None
            return rows if rows and all(row["state"] in states for row in rows.values()) else None

        return self._until(look, seconds)

    def _until(self, look, seconds):
        try:
            return wait_until(look, seconds)
        except AssertionError as why:
            told = self.state / "supervisor.log"
            raise AssertionError(f"{why}\n{self.call('status')}\n{self.log_text()[-3000:]}\n"
                                 f"{told.read_text(errors='replace')[-3000:] if told.exists() else ''}") from None

    def output(self, name, which="stdout"):
        return (self.sensors / name / f"{which}.log").read_text(errors="replace")

    # ---- the Supervisor, and the end ---------------------------------------------------------------------------------------

    def supervisor_pid(self):
        client = self.supervisor()
        pid = client.call("hello")["pid"]
        client.close()
        self.clients.remove(client)
        return pid

    def kill_supervisor(self):
        pid = self.supervisor_pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_running(pid))
        return pid

    def leftovers(self):
        return marked(self.mark)

    def close(self):
        self.drop_clients()
        if self.child is not None and self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        end_marked(self.mark)
        shutil.rmtree(self.run, ignore_errors=True)


@pytest.fixture
def serving(tmp_path):
    made = []

    def make(nodes=(), name="main", start=True, **more):
        made.append(Main(tmp_path / name, nodes, **more))
        return made[-1].start() if start else made[-1]

    yield make
    for one in made:
        one.close()
