"""Sensors of the fault tests that write as fast as a disk takes it.
SPDX-License-Identifier: Apache-2.0
"""
import queue
import threading

import rig

BLOCK = 2000  # records that are written at a time


class Blocks:
    """Connections as rig.ConnLog has them, a block at a time and fast: ten million in seconds."""

    def __init__(self, lines=BLOCK):
        self.lines, self.log = lines, rig.ConnLog()
        made = []
        for i in range(lines):
            cells = self.log.line(i).replace("%", "%%").split("\t")
            cells[self.log.at["uid"]] = "C%017d"
            made.append("\t".join(cells))
        self.form, self.header = "".join(made).encode(), self.log.header.encode()

    def text(self, first):
        return self.form % tuple(range(first, first + self.lines))


class Sensor(threading.Thread):
    """Writes the blocks it is told to, at full speed, and rotates as Zeek does. The last record of each file is whole."""

    def __init__(self, folder, file_blocks):
        super().__init__(daemon=True)
        self.folder, self.file_blocks, self.blocks, self.wanted = folder, file_blocks, Blocks(BLOCK), queue.Queue()
        self.records, self.files = 0, []

    def run(self):
        log, made = self.folder / "conn.log", 0
        out = open(log, "wb", buffering=0)
        out.write(self.blocks.header)
        while (want := self.wanted.get()) is not None:
            for _ in range(want):
                out.write(self.blocks.text(self.records))
                self.records += BLOCK
                made += 1
                if made % self.file_blocks == 0:
                    self.files.append(out.tell())
                    out.close()
                    log.rename(self.folder / f"conn.{made:08d}.log")
                    out = open(log, "wb", buffering=0)
                    out.write(self.blocks.header)
        self.files.append(out.tell())
        out.close()

    def finish(self):
        self.wanted.put(None)
        self.join()
        return self.records

    def sizes(self):
        return [size for size in self.files if size > len(self.blocks.header)]
