"""A stand-in of Main for tests of the command line: it answers what a test wants, also what the real one cannot be asked for on
demand (an answer after seconds, a refusal, a death in between). test_serve.py and others have the real one.

    main                        the fixture: listens on main.socket
    main.on["status"] = …       the result, or a function of (connection, id, params) that returns it, or raises Refused
    main.asked                  [(method, params)…] in order, without hello
    main.event(kind="state", …) to all that subscribed; kept for those that come later
    tapline(main, "status")     runs the program: .returncode .stdout .stderr
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TAPLINE = pathlib.Path(os.environ.get("TAPLINE", ROOT / "build/dev/cmd/tapline"))
PATIENCE_S = 60


class Refused(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code, self.text = code, text


def node(name, kind="worker", state="up", **more):
    """A row of status, as Main has it."""
    row = {"name": name, "type": kind, "host": "localhost", "interface": "", "group": "", "state": state, "is_wanted": True,
           "pid": 4711 if state in ("up", "ready", "starting") else None, "since": "2026-11-22T04:00:00.000000Z",
           "uptime_ns": 90_000_000_000 if state == "up" else 0, "starts": 1, "deaths": 0, "last_end": "", "reason": "",
           "rss_bytes": 3 << 20, "cpu_seconds": 1.5, "threads": 2, "is_changed": False, "is_adopted": False,
           "is_deployed": True}
    row.update(more)
    return row


class Connection:
    def __init__(self, main, sock):
        self.main, self.sock, self.lock = main, sock, threading.Lock()
        self.is_subscribed = False

    def send(self, **message):
        with self.lock:
            self.sock.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def progress(self, request, **members):
        self.send(method="progress", params={"id": request, **members})

    def serve(self):
        try:
            for line in self.sock.makefile("rb"):
                self.answer(json.loads(line))
        except OSError:
            pass  # they went away
        finally:
            self.main.connections.discard(self)
            self.sock.close()

    def answer(self, request):
        method, params = request["method"], request.get("params") or {}
        try:
            result = self.main.result_of(self, request["id"], method, params)
        except Refused as refused:
            self.send(id=request["id"], error={"code": refused.code, "message": refused.text})
            return
        with self.main.lock:  # each event comes once: in the list of those that were, or by itself
            if method == "events.subscribe":
                result = {"instance": "i1", "first": 1, "next": len(self.main.events) + 1}
            self.send(id=request["id"], result=result)
            if method == "events.subscribe":
                for event in self.main.events[params.get("since", 0):]:
                    self.send(method="event", params=event)
                self.is_subscribed = True


class Main:
    def __init__(self, directory):
        self.socket = pathlib.Path(directory) / "main.sock"
        self.home = pathlib.Path(directory)
        self.on, self.asked, self.events = {}, [], []
        self.connections, self.lock = set(), threading.Lock()
        self.listener = None
        self.start()

    def start(self):
        self.socket.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.socket))
        self.listener.listen(16)
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            connection = Connection(self, sock)
            self.connections.add(connection)
            threading.Thread(target=connection.serve, daemon=True).start()

    def die(self):
        """As kill -9: the socket's file stays."""
        if self.listener is None:
            return
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.listener = None
        while self.connections:
            connection = self.connections.pop()
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def result_of(self, connection, request, method, params):
        if method == "hello":
            return {"service": "main", "protocol": 1, "version": "0", "pid": os.getpid(), "instance": "i1"}
        self.asked.append((method, params))
        if method in ("events.subscribe", "events.unsubscribe"):
            connection.is_subscribed = False
            return {}
        if method not in self.on:
            raise Refused(-32601, f"no method {method}")
        result = self.on[method]
        return result(connection, request, params) if callable(result) else result

    def event(self, **members):
        with self.lock:
            event = {"seq": len(self.events) + 1, "time": "2026-11-22T04:00:00.000000Z", **members}
            self.events.append(event)
            for connection in [one for one in self.connections if one.is_subscribed]:
                connection.send(method="event", params=event)


def environment(main=None, **more):
    env = {k: v for k, v in os.environ.items() if k not in ("TAPLINE_SOCKET", "TAPLINE_TOKEN", "NO_COLOR")}
    env |= {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
    if main is not None:
        env |= {"TAPLINE_SOCKET": str(main.socket), "HOME": str(main.home)}
    return env | more


def tapline(main, *words, stdin="", **env):
    return subprocess.run([TAPLINE, *words], env=environment(main, **env), input=stdin, text=True, capture_output=True,
                          timeout=PATIENCE_S)


@pytest.fixture
def main():
    directory = tempfile.mkdtemp(prefix="tapline-control-")
    stand_in = Main(directory)
    yield stand_in
    stand_in.die()
    shutil.rmtree(directory, ignore_errors=True)
