"""A terminal with a person before it: pexpect's hands, and pyte's screen, on which stands what the program has drawn.

    with Terminal([program, …], rows=24, columns=80) as terminal:
        terminal.wait("Overview")           until that stands on the screen; the line it stands in
        terminal.press("3", ENTER, DOWN)    keys, one after the other
        terminal.lines()                    the screen, without blanks at its lines' ends
        terminal.resize(50, 200)
SPDX-License-Identifier: Apache-2.0
"""
import os
import termios
import time

import pexpect
import pyte

PATIENCE_S = 60
UP, DOWN, RIGHT, LEFT = "\033OA", "\033OB", "\033OC", "\033OD"  # as a terminal sends them in keypad mode, which curses sets
PAGE_DOWN, HOME, END = "\033[6~", "\033OH", "\033OF"
ENTER, ESCAPE, TAB, BACKSPACE = "\r", "\033", "\t", "\x7f"


class Screen(pyte.Screen):
    """With the one thing that xterms do and pyte does not: the last letter again, so many times."""

    last = " "

    def draw(self, data):
        self.last = data[-1:] or self.last
        super().draw(data)

    def repeat_last(self, times=1):
        self.draw(self.last * (times or 1))


class Stream(pyte.ByteStream):
    csi = pyte.ByteStream.csi | {"b": "repeat_last"}
    events = pyte.ByteStream.events | {"repeat_last"}


def modes_of_a_new_one():
    """What a program finds when it begins. Asked of its own terminal, it might have changed them by then."""
    ends = os.openpty()
    try:
        return termios.tcgetattr(ends[0])
    finally:
        for end in ends:
            os.close(end)


class Terminal:
    def __init__(self, argv, rows=24, columns=80, term="xterm", **env):
        environment = {k: v for k, v in os.environ.items() if k not in ("LINES", "COLUMNS", "TAPLINE_SOCKET")}
        environment |= {"TERM": term, "LC_ALL": "C.UTF-8", "TZ": "UTC"} | env
        self.screen = Screen(columns, rows)
        self.stream = Stream(self.screen)
        self.sent = b""  # all that the program has written
        self.child = pexpect.spawn(str(argv[0]), [str(arg) for arg in argv[1:]], env=environment, dimensions=(rows, columns))
        self.child.delaybeforesend = None
        self.modes = modes_of_a_new_one()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.close(force=True)

    def take(self, seconds):
        """Let it draw for so long. False: it has ended."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                drawn = self.child.read_nonblocking(1 << 16, left)
            except pexpect.TIMEOUT:
                return True
            except pexpect.EOF:
                return False
            self.sent += drawn
            self.stream.feed(drawn)
        return True

    def lines(self):
        return [line.rstrip() for line in self.screen.display]

    def text(self):
        return "\n".join(self.lines())

    def wait_until(self, what, condition, seconds=PATIENCE_S):
        end = time.monotonic() + seconds
        while not (held := condition()):
            assert time.monotonic() < end, f"waited {seconds} s for {what}:\n{self.text()}"
            assert self.take(0.05) or condition(), f"it ended without {what}:\n{self.text()}"
        return held

    def wait(self, text, seconds=PATIENCE_S):
        self.wait_until(f"{text!r} on the screen", lambda: text in self.text(), seconds)
        return next((line for line in self.lines() if text in line), text)

    def wait_gone(self, text, seconds=PATIENCE_S):
        self.wait_until(f"{text!r} to be gone from the screen", lambda: text not in self.text(), seconds)

    def press(self, *keys):
        for key in keys:
            self.child.send(key)
            self.take(0.12)

    def resize(self, rows, columns):
        self.screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)
        self.take(0.3)

    def look_of(self, text):
        """The attributes of the first letter of this text on the screen."""
        for y, line in enumerate(self.screen.display):
            if text in line:
                return self.screen.buffer[y][line.index(text)]
        raise AssertionError(f"{text!r} is not on the screen:\n{self.text()}")

    def end(self):
        """Wait for its end: (exit code, signal)."""
        while self.take(PATIENCE_S):
            assert self.child.isalive(), "it does not end"
        self.child.wait()
        return self.child.exitstatus, self.child.signalstatus
