"""A Redis that is far away: a proxy on a Unix socket that hands on what is asked at once, and each answer so much later.

    with LateProxy(server, delay_s=0.12) as proxy:
        proxy.url                   unix://…, for intel.redis.urls
        proxy.delay_s = 0.5         of answers that come from now on

SPDX-License-Identifier: Apache-2.0
"""
import os
import queue
import socket
import tempfile
import threading
import time

PIECE = 1 << 20


class LateProxy:
    def __init__(self, server, delay_s):
        self.server, self.delay_s = server, delay_s
        self.folder = tempfile.TemporaryDirectory(prefix="tapline-late-")
        self.path = os.path.join(self.folder.name, "s")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)
        self.sockets = [self.listener]
        self.connections = 0

    @property
    def url(self):
        return f"unix://{self.path}"

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        for one in self.sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()
        self.folder.cleanup()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            redis = socket.socket(socket.AF_UNIX)
            redis.connect(self.server.socket)
            self.sockets += [client, redis]
            self.connections += 1
            late = queue.Queue()
            for work in ((self.hand_on, client, redis), (self.read, redis, late), (self.answer, late, client)):
                threading.Thread(target=work[0], args=work[1:], daemon=True).start()

    @staticmethod
    def hand_on(client, redis):
        try:
            while piece := client.recv(PIECE):
                redis.sendall(piece)
        except OSError:
            pass
        close(redis)

    def read(self, redis, late):
        piece = b"-"
        while piece:
            try:
                piece = redis.recv(PIECE)
            except OSError:
                piece = b""
            late.put((time.monotonic() + self.delay_s, piece))

    @staticmethod
    def answer(late, client):
        try:
            while True:
                due, piece = late.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not piece:
                    break
                client.sendall(piece)
        except OSError:
            pass
        close(client)


def close(one):
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
