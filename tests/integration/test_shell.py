"""`tapline shell` as a person at a terminal uses it, and as a script.
SPDX-License-Identifier: Apache-2.0
"""
import contextlib
import re
import threading

import pexpect
import pytest

from controlling import PATIENCE_S, TAPLINE, environment, main, node, tapline  # noqa: F401: main is a fixture

PROMPT = "tapline> "
UP, DOWN, LEFT = "\033[A", "\033[B", "\033[D"
TAB, CTRL_C, CTRL_D, CTRL_R = "\t", "\003", "\004", "\022"


@contextlib.contextmanager
def shell(main, *words, **env):
    """A terminal with the shell at its prompt."""
    child = pexpect.spawn(str(TAPLINE), ["shell", *words], env=environment(main, TERM="xterm", **env), encoding="utf-8",
                          timeout=PATIENCE_S, dimensions=(40, 100))
    child.delaybeforesend = None
    child.ptyproc.delayafterterminate = 2  # for the kernel to end it: pexpect looks only once after SIGKILL
    try:
        child.expect_exact(PROMPT)
        yield child
    finally:
        child.close(force=True)


def leave(child):
    child.send(CTRL_D)
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


@pytest.fixture
def nodes(main):
    rows = [node("manager", "manager"), node("worker-1", group="workers"), node("worker-2", group="workers")]
    main.on["nodes"] = {"nodes": rows}
    main.on["status"] = lambda connection, request, params: {
        "nodes": [row for row in rows if not params or row["name"] in params["nodes"] or "all" in params["nodes"]]}
    return rows


def test_a_first_look(main, nodes):
    with shell(main) as child:
        child.send("status\r")
        child.expect(r"Name +Type +Host +Status +Pid +Started")
        child.expect("worker-2.*up")
        child.expect_exact(PROMPT)
        child.send("status worker-1\r")
        child.expect("worker-1 .*4711")
        child.expect_exact(PROMPT)
        assert "worker-2" not in child.before
        assert leave(child) == 0
    assert [params for method, params in main.asked if method == "status"] == [{}, {"nodes": ["worker-1"]}]


def test_help(main):
    with shell(main) as child:
        child.send("help\r")
        for word in ("status", "start", "stop", "restart", "kill", "check", "deploy", "diag", "netstats", "capstats", "df", "nodes",
                     "logs", "events", "help", "exit", "Ctrl-D"):
            child.expect_exact(word)
        child.expect_exact(PROMPT)
        child.send("help kill\r")
        child.expect_exact("[-SIGNAL] NODE")
        child.expect_exact(PROMPT)
        child.send("kill --help\r")
        child.expect_exact("[-SIGNAL] NODE")
        child.expect_exact(PROMPT)
        child.send("help exit\r")
        child.expect_exact("Leave the shell")


def test_completion_of_commands_nodes_and_options(main, nodes):
    with shell(main) as child:
        child.send("stat" + TAB + "man" + TAB + "\r")  # one: the whole word and a blank
        child.expect("manager .*up")
        child.expect_exact(PROMPT)
        assert "worker-2" not in child.before
        child.send("status w" + TAB + TAB)  # several: what they have in common, then all of them
        child.expect("worker-1 +worker-2 +workers +worker")
        child.expect_exact("tapline> status worker")
        child.send("-2" + TAB + "--js" + TAB + "\r")
        child.expect(r'"name": "worker-2"')
        child.expect_exact(PROMPT)
        assert '"name": "worker-1"' not in child.before
        child.send("st" + TAB)
        child.expect(r"status +start +stop")
        child.send(CTRL_C)
        child.expect_exact(PROMPT)
        child.send("help dep" + TAB + "\r")
        child.expect_exact("--dry-run")
        child.expect_exact(PROMPT)
        child.send("zzz" + TAB)  # nothing: the bell
        child.expect_exact("\007")
        child.send("\r")
        child.expect_exact('no command "zzz"')


def test_without_main_a_prompt_that_goes_on(main, nodes):
    main.die()
    with shell(main) as child:
        assert "Main does not answer" in child.before
        child.send("status\r")
        child.expect_exact("Main does not answer")
        child.expect_exact(PROMPT)
        child.send("status w" + TAB)
        child.expect_exact("\007")
        child.send(CTRL_C)
        child.expect_exact(PROMPT)
        main.start()
        child.send("status\r")
        child.expect("worker-2 .*up")
        child.expect_exact(PROMPT)
        main.die()
        main.start()  # a new Main between two commands is nobody's business
        child.send("status\r")
        child.expect("worker-2 .*up")
        child.expect_exact(PROMPT)
        assert "does not answer" not in child.before and "went away" not in child.before


def test_history(main, nodes):
    with shell(main) as child:
        for line in ("nodes", "status manager", "df --help"):
            child.send(line + "\r")
            child.expect_exact("\r\n")
            child.expect_exact(PROMPT)
        child.send(UP + UP + "\r")
        child.expect_exact("status manager")
        child.expect("manager .*up")
        child.expect_exact(PROMPT)
    history = main.home / ".tapline_history"
    assert history.stat().st_mode & 0o777 == 0o600
    with shell(main) as child:  # of the last session
        child.send(UP)
        child.expect_exact("status manager")
        child.send("\r")
        child.expect("manager .*up")
        child.expect_exact(PROMPT)
        child.send(CTRL_R + "nod")
        child.expect_exact("nodes")
        child.send("\r")
        child.expect("Directory|Order|Group")
        child.expect_exact(PROMPT)


def test_editing(main, nodes):
    with shell(main) as child:
        child.send("status wörker-2" + LEFT * 6 + "\b" + "o\r")  # ö away, o there
        child.expect("worker-2 .*up")
        child.expect_exact(PROMPT)
        child.setwinsize(40, 60)
        child.send("status 'worker-1' \"manager\" # what else\r")
        child.expect("worker-1 .*up")
        child.expect_exact(PROMPT)
    assert main.asked[-1] == ("status", {"nodes": ["worker-1", "manager"]})


def test_wrong_lines(main, nodes):
    with shell(main) as child:
        for line, said in (("statsu", 'did you mean "status"'), ("status --jso", "did you mean --json"),
                           ("status 'worker-1", "not closed"), ("kill", "which nodes?"),
                           ("status --socket /x", "tapline shell --socket")):
            child.send(line + "\r")
            child.expect_exact(said)
            child.expect_exact(PROMPT)
        child.send("tapline status manager\r")  # as fingers have it
        child.expect("manager .*up")
        child.expect_exact(PROMPT)
        assert leave(child) == 0


def test_ctrl_c(main, nodes):
    asked, may_end = threading.Event(), threading.Event()

    def slow(connection, request, params):
        connection.progress(request, name="worker-1", state="starting", reason="")
        asked.set()
        may_end.wait(PATIENCE_S)
        return {"nodes": [{"name": "worker-1", "state": "up", "ok": True, "reason": ""}]}
    main.on["start"] = slow
    with shell(main) as child:
        child.send("stop all" + CTRL_C)  # while typing: the line is given up
        child.expect_exact("^C")
        child.expect_exact(PROMPT)
        child.send("start worker-1\r")
        child.expect_exact("worker-1: starting")
        assert asked.wait(PATIENCE_S)
        child.send(CTRL_C)  # while waiting: the prompt is back
        child.expect_exact("Main goes on with it")
        child.expect_exact(PROMPT)
        child.send("status worker-1\r")
        child.expect("worker-1 .*up")
        child.expect_exact(PROMPT)
        assert "Done" not in child.before, "the answer to what was given up is nobody's"
        may_end.set()
        child.send("events -f\r")
        main.event(kind="alarm", name="worker-1", text="died 5 times")
        child.expect_exact("died 5 times")
        child.send(CTRL_C)
        child.expect_exact(PROMPT)
        main.event(kind="alarm", name="worker-1", text="not asked for")
        child.send("status worker-1\r")
        child.expect("worker-1 .*up")
        child.expect_exact(PROMPT)
        assert "not asked for" not in child.before
        assert leave(child) == 0
    assert [method for method, _ in main.asked].count("stop") == 0


@pytest.mark.parametrize("word", ["exit", "quit"])
def test_leaving(main, word):
    with shell(main) as child:
        child.send(word + "\r")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0


# ---- as a script ----------------------------------------------------------------------------------------------------------------

def test_a_script(main, nodes):
    done = tapline(main, "shell", stdin="# a comment\n\nstatus manager\nnodes --json\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert PROMPT not in done.stdout and "manager" in done.stdout and '"worker-2"' in done.stdout
    assert not (main.home / ".tapline_history").exists()


def test_the_first_failure_is_the_scripts(main, nodes):
    nodes[0]["state"] = "down"
    done = tapline(main, "shell", stdin="status manager\nstatsu\nstatus worker-1")
    assert done.returncode == 1
    assert 'did you mean "status"' in done.stderr and re.search("worker-1 .*up", done.stdout), "all lines are run"
    assert tapline(main, "shell", stdin="statsu\nstatus manager\n").returncode == 100
    assert tapline(main, "shell", stdin="exit\nstatsu\n").returncode == 0
    main.die()
    assert tapline(main, "shell", stdin="status\n").returncode == 111
