#!/usr/bin/env python3
"""Programs that behave as sensors must not, but do: `misbehave.py WAY [MARK]`. Each says on stdout when it is at it.

    ignores_sigterm   and every other signal that can be ignored
    forks_and_dies    leaves children in its process group, exit 1
    floods_stderr     as fast as it can, for ever
    eats_memory       a MiB at a time, without end
    hangs             at it once, then nothing any more: no line, no CPU
    exits_at_once     with 7
    segfaults         really, by a bad address
    double_forks      leaves a grandchild in a session of its own, exit 0
    escapes           the same, and that has neither our environment nor our descriptors
    closes_outputs    and goes on
    writes_nuls       and bytes that are no text, and a line of 4 MiB, to stdout
    forks_more        children that fork children, faster than one can look
    stops_itself      by SIGSTOP: it will not take SIGTERM
    removes_its_files its directory with its output, while it runs
    stays_deaf        a child ignores SIGTERM, while it ends itself as it should

MARK is not looked at: it stands in the command line of all that is left of it.
SPDX-License-Identifier: Apache-2.0
"""
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time

ME = [sys.executable, os.path.abspath(__file__)]
FOREVER = 100_000  # seconds, a long time for a test


def say(text):
    print(text, flush=True)


def deaf():
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        signal.signal(number, signal.SIG_IGN)


def idle():
    time.sleep(FOREVER)


def child(way, **more):
    return subprocess.Popen([*ME, way, *sys.argv[2:]], **more)


def ignores_sigterm():
    deaf()
    say("deaf")
    while True:  # what was ignored does not interrupt, SIGSTOP and SIGCONT may
        idle()


def forks_and_dies():
    for _ in range(3):
        child("ignores_sigterm")
    time.sleep(0.3)
    sys.exit(1)


def floods_stderr():
    say("flooding")
    block = b"".join(b"%06d warning: something that is said again and again\n" % i for i in range(1000))
    while True:
        os.write(2, block)


def eats_memory():
    say("eating")
    eaten = []
    while True:
        eaten.append(bytearray(os.urandom(4096) * 256))
        time.sleep(0.001)


def hangs():
    say("the last line")
    while True:
        idle()


def exits_at_once():
    sys.exit(7)


def segfaults():
    ctypes.string_at(8)


def double_forks():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv(ME[0], [*ME, "ignores_sigterm", *sys.argv[2:]])
        os._exit(0)
    time.sleep(0.3)
    sys.exit(0)


def escapes():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 1024)
            os.execve(ME[0], [*ME, "ignores_sigterm_silently", *sys.argv[2:]], {})
        os._exit(0)
    time.sleep(0.3)
    sys.exit(0)


def ignores_sigterm_silently():
    deaf()
    while True:
        idle()


def closes_outputs():
    say("closing")
    os.close(1)
    os.close(2)
    while True:
        time.sleep(1)


def writes_nuls():
    os.write(1, b"\0" * 100_000 + b"\n" + bytes(range(256)) * 100 + b"\n" + b"x" * (4 << 20) + b"\n")
    say("written")
    idle()


def forks_more():
    if sys.argv[-1] != "deeper":
        say("forking")
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if os.fork() == 0:
            os.setpgid(0, 0) if os.getpid() % 2 else None
            time.sleep(0.02)  # at most so many at once: the machine is not ours alone
            if os.fork() != 0:
                os._exit(0)
            time.sleep(0.05)
            os._exit(0)
        time.sleep(0.002)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def stops_itself():
    say("stopping")
    while True:
        os.kill(os.getpid(), signal.SIGSTOP)


def removes_its_files():
    say("removing")
    folder = os.getcwd()
    os.chdir("/")
    shutil.rmtree(folder)
    idle()


def stays_deaf():
    child("ignores_sigterm")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    time.sleep(0.2)
    say("child is deaf")
    while True:
        idle()


WAYS = {name: made for name, made in list(globals().items()) if callable(made) and made.__module__ == __name__}

if __name__ == "__main__":
    WAYS[sys.argv[1]]()
