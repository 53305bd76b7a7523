#!/usr/bin/env python3
"""A wire of the test's own: a network namespace with a pair of interfaces; a sensor listens at one end, datagrams come from the other.

    wire                        the fixture; skips without the right to make one (in CI it fails instead)
    wire.run(argv)              the command line that runs argv at the wire
    wire.send(0, 500)           datagrams with the serial numbers 0 … 499 through the wire
    wire.cut(); wire.mend()     the interfaces are deleted; made again

Datagram n comes from source_of(n), port 4000, and goes to 10.255.255.1, port 9999, with the text "tapline n".
As a program it is the sender: wire.py INTERFACE FIRST LAST A_SECOND, to be run in the namespace.
SPDX-License-Identifier: Apache-2.0
"""
import os
import shutil
import socket
import struct
import subprocess
import sys
import time

LISTENS, SENDS = "wire0", "wire1"
TO, FROM_PORT, TO_PORT = "10.255.255.1", 4000, 9999
A_SECOND = 2000


def source_of(serial):
    return socket.inet_ntoa(struct.pack("!I", (10 << 24) + serial + 1))


def serial_of(source):
    return struct.unpack("!I", socket.inet_aton(source))[0] - (10 << 24) - 1


def checksum(head):
    total = sum(struct.unpack(f"!{len(head) // 2}H", head))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def frame(serial):
    """Ethernet, IPv4, UDP (without a checksum, as is allowed)."""
    text = b"tapline %09d\n" % serial
    udp = struct.pack("!HHHH", FROM_PORT, TO_PORT, 8 + len(text), 0) + text

    def head(check):
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, check,
                           socket.inet_aton(source_of(serial)), socket.inet_aton(TO))

    return bytes.fromhex("020000000002" "020000000001" "0800") + head(checksum(head(0))) + udp


def main(interface, first, last, a_second):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((interface, 0))
        begun = time.monotonic()
        for sent, serial in enumerate(range(int(first), int(last)), 1):
            out.send(frame(serial))
            time.sleep(max(0, begun + sent / float(a_second) - time.monotonic()))


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.exit(0)

import pytest  # noqa: E402  (the sender needs none)


class Wire:
    def __init__(self, name):
        self.name = name
        self.ip("netns", "add", name)
        self.mend()

    @staticmethod
    def ip(*args, check=True):
        return subprocess.run(["ip", *args], check=check, capture_output=True, text=True)

    def run(self, argv):
        return ["ip", "netns", "exec", self.name, *argv]

    def mend(self):
        self.ip("-n", self.name, "link", "add", LISTENS, "type", "veth", "peer", "name", SENDS)
        for interface in ("lo", LISTENS, SENDS):
            self.ip("-n", self.name, "link", "set", interface, "up")

    def cut(self):
        self.ip("-n", self.name, "link", "del", LISTENS)

    def set(self, interface, state):
        self.ip("-n", self.name, "link", "set", interface, state)

    def sender(self, first, last, a_second=A_SECOND):
        argv = [sys.executable, "-B", __file__, SENDS, str(first), str(last), str(a_second)]
        return subprocess.Popen(self.run(argv), stdin=subprocess.DEVNULL)

    def send(self, first, last):
        assert self.sender(first, last).wait(60) == 0

    def close(self):
        self.ip("netns", "del", self.name, check=False)


@pytest.fixture
def wire():
    name = f"tapline-{os.getpid()}"
    try:
        assert shutil.which("ip"), "no ip"
        made = Wire(name)
    except (AssertionError, subprocess.CalledProcessError) as error:
        Wire.ip("netns", "del", name, check=False) if shutil.which("ip") else None
        why = f"no network namespace can be made here: {getattr(error, 'stderr', '') or error}"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    yield made
    made.close()
