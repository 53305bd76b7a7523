"""Deploy: what the configuration says becomes what runs; only what changed is touched, and a failure puts all back as it was.

Real Main and Supervisor, real programs, and Suricata judging its own rules.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import pwd
import shutil
import subprocess
import threading
import time

import pytest

from serving import (CODE_REFUSED, CODE_UNKNOWN, PATIENCE_S, TAPLINE, UP, Gone, Refused, is_running, program, serving,  # noqa: F401
                     wait_until)

CODE_FAILED = -32003
FAKE_ZEEK = pathlib.Path(__file__).with_name("fake_zeek.py")
needs_suricata = pytest.mark.skipif(shutil.which("suricata") is None, reason="no suricata here")
SURICATA_YML = """%YAML 1.1
---
default-rule-path: {folder}
rule-files: [site.rules]
classification-file: {folder}/classification.config
reference-config-file: {folder}/reference.config
outputs: []
"""


def sleeps(name, seconds=1000, **keys):
    return program(name, "sleep", seconds, **keys)


def never_ready(name, **keys):
    """Says why it cannot, and ends."""
    return program(name, "sh", "-c", "echo no such interface >&2; exit 3", ready=["output ready"], **keys)


def held(name, flag, **keys):
    """Becomes ready once there is the file: so the test, and not the clock, says how long a deploy is under way."""
    script = f"until test -e {flag}; do sleep 0.05; done; echo it is ready; exec sleep 2000"
    return program(name, "sh", "-c", script, ready=["output it is ready"], **keys)


def up(serving, nodes, **more):
    main = serving(nodes, **more)
    main.wait_for_all()
    wait_until(lambda: deployed(main) == {node["name"] for node in nodes})
    return main


def deployed(main):
    try:
        return {node["name"] for node in json.loads((main.state / "deployed.json").read_text())["nodes"]}
    except FileNotFoundError:
        return None


def is_pending(main):
    return (main.state / "deploy.pending").exists()


def changes(result):
    return {row["name"]: (row["change"], row["why"]) for row in result["changes"]}


def states(result):
    return {node["name"]: node["ok"] for node in result["nodes"]}


def processes(main):
    """What the Supervisor has, by name. Its connection is closed again: there may be only so many."""
    client = main.supervisor()
    try:
        return {row["name"]: row for row in client.call("process.list")["processes"]}
    finally:
        main.clients.remove(client)
        client.close()


def argv_of(main, name):
    """What the Supervisor would start it with."""
    rows = processes(main)
    return rows[name]["spec"]["argv"] if name in rows else None


def known(main):
    return set(processes(main))


def command(main, *words, code=0):
    done = subprocess.run([str(TAPLINE), *words, "-c", str(main.config)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=PATIENCE_S * 2)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


# ---- there ---------------------------------------------------------------------------------------------------------------


def test_only_what_changed_is_touched(serving):
    main = up(serving, [sleeps("same"), sleeps("other"), sleeps("gone")])
    before = main.pids()
    main.configure([sleeps("same"), sleeps("other", 2000), sleeps("new")])
    dry = main.call("deploy", dry_run=True)
    expected = {"other": ("changed", "argv"), "new": ("added", ""), "gone": ("removed", "")}
    assert dry["ok"] and dry["dry_run"] and changes(dry) == expected and dry["nodes"] == []
    assert main.pids() == before and not is_pending(main) and known(main) == set(before)
    main.client().progress.clear()
    result = main.call("deploy")
    assert result["ok"] and not result["rolled_back"] and not result["dry_run"] and result["text"] == ""
    assert changes(result) == expected and states(result) == {"other": True, "new": True, "gone": True}
    after = main.pids()
    assert set(after) == {"same", "other", "new"} and after["same"] == before["same"]
    assert after["other"] != before["other"] and not is_running(before["other"]) and not is_running(before["gone"])
    assert known(main) == deployed(main) == {"same", "other", "new"} and not is_pending(main)
    said = [(row["name"], row["state"]) for row in main.client().progress]
    assert ("gone", "down") in said and ("other", "stopping") in said and ("new", "ready") in said, said
    assert said.index(("gone", "down")) < said.index(("new", "ready")), said  # first the room, then who needs it
    assert main.call("deploy")["changes"] == [] and main.pids() == after  # once more: nothing to do
    assert set(main.call("deploy", force=True)["nodes"][0]) == {"name", "state", "ok", "reason"}
    assert not set(main.pids().values()) & set(after.values())


def test_words_deploy_only_what_they_mean(serving):
    main = up(serving, [sleeps("a", group="ones"), sleeps("b"), sleeps("gone")])
    before = main.pids()
    main.configure([sleeps("a", 2000, group="ones"), sleeps("b", 2000), sleeps("new")])
    with pytest.raises(Refused, match='named "nobody"') as refused:
        main.call("deploy", nodes=["ones", "nobody"])
    assert refused.value.code == CODE_UNKNOWN and main.pids() == before
    assert changes(main.call("deploy", nodes=["ones"])) == {"a": ("changed", "argv")}
    assert main.pids() == before | {"a": main.pids()["a"]} and main.pids()["a"] != before["a"]
    assert deployed(main) == {"a", "b", "gone"}
    assert changes(main.call("deploy", nodes=["gone"])) == {"gone": ("removed", "")}
    assert changes(main.call("deploy")) == {"b": ("changed", "argv"), "new": ("added", "")}


def test_a_persons_stop_is_kept(serving):
    main = up(serving, [sleeps("stopped"), sleeps("runs")])
    main.call("stop", nodes=["stopped"])
    main.configure([sleeps("stopped", 2000), sleeps("runs", 2000)])
    result = main.call("deploy")
    assert result["ok"] and states(result) == {"runs": True}
    assert main.status()["stopped"]["state"] == "down" and argv_of(main, "stopped") == ["sleep", "2000"]
    main.call("start", nodes=["stopped"])
    assert main.status()["stopped"]["state"] in UP


def test_a_reload_says_what_a_deploy_would_do(serving):
    main = up(serving, [sleeps("a"), sleeps("gone")])
    before = main.pids()
    main.configure([sleeps("a", 2000), sleeps("new")])
    main.reload()
    main.wait_for_log('would_add="new" would_change="a" would_remove="gone"')
    assert main.pids() == before
    assert set(changes(main.call("deploy"))) == {"a", "gone", "new"}


def test_a_node_that_crashed_all_the_time_is_mended_by_a_deploy(serving):
    main = serving([program("mended", "sh", "-c", "sleep 0.2; exit 1", restart_deaths_max=3, settle="10s"), sleeps("same")])
    main.wait_for("mended", "latched")
    main.wait_for("same", UP)
    wait_until(lambda: deployed(main) == {"mended", "same"})
    same = main.pids()["same"]
    main.configure([sleeps("mended"), sleeps("same")])
    result = main.call("deploy")
    assert result["ok"] and main.status()["mended"]["state"] in UP and main.pids()["same"] == same, result


# ---- and back ------------------------------------------------------------------------------------------------------------


def test_a_node_that_does_not_become_ready_puts_all_back(serving):
    main = up(serving, [sleeps("same"), sleeps("first", order=90), sleeps("bad", order=10), sleeps("gone"), sleeps("stopped")])
    main.call("stop", nodes=["stopped"])
    before = main.pids()
    events = main.connect()
    events.call("hello")
    events.call("events.subscribe")
    main.configure([sleeps("same"), sleeps("first", 2000, order=90), never_ready("bad", order=10), sleeps("new"),
                    sleeps("stopped", 2000)])
    result = main.call("deploy")
    assert not result["ok"] and result["rolled_back"]
    for word in ("bad did not become ready", "exit 3", "no such interface", "all is as it was before"):
        assert word in result["text"], result["text"]
    after = main.pids()
    assert set(after) == set(before) == {"same", "first", "bad", "gone"} == set(states(result)) - {"new"} | {"same"}
    assert after["same"] == before["same"] and main.status()["stopped"]["state"] == "down"
    assert main.status()["bad"]["state"] in UP and not main.status()["bad"]["is_changed"]
    assert known(main) == deployed(main) == {"same", "first", "bad", "gone", "stopped"} and not is_pending(main)
    for name in ("first", "bad", "stopped"):
        assert argv_of(main, name) == ["sleep", "1000"]
    told = events.wait_for_event(lambda event: event["kind"] == "deploy")
    assert not told["ok"] and "bad did not become ready" in told["text"]
    again = main.pids()
    main.configure([sleeps("same"), sleeps("first", order=90), sleeps("bad", order=10), sleeps("gone"), sleeps("stopped")])
    assert main.call("deploy")["changes"] == [] and main.pids() == again


def test_a_spec_that_the_supervisor_refuses_puts_all_back(serving):
    nodes = [sleeps(f"n{i:03}") for i in range(3)]
    main = up(serving, nodes)
    before = main.pids()
    supervisor = main.supervisor()  # all places are taken by others
    for i in range(512 - len(nodes) - 1):
        supervisor.call("process.set", name=f"other-{i}", argv=["sleep", "1"])
    main.configure([sleeps("n000", 2000), *nodes[1:], sleeps("x1"), sleeps("x2")])
    result = main.call("deploy")
    assert not result["ok"] and result["rolled_back"] and "512 processes" in result["text"], result
    assert main.pids() == before and deployed(main) == {"n000", "n001", "n002"}  # n000 had not been restarted yet
    assert not {"x1", "x2"} & known(main) and argv_of(main, "n000") == ["sleep", "1000"]


def test_the_way_back_is_gone_to_its_end(serving, tmp_path):
    flag = tmp_path / "flag"
    flag.touch()
    picky = program("picky", "sh", "-c", f"test -e {flag} || exit 7; exec sleep 1000", ready=["after 300ms"], order=90)
    main = up(serving, [picky, sleeps("z"), sleeps("gone")])
    flag.unlink()
    main.configure([sleeps("picky", order=90), never_ready("z", order=10), sleeps("new")])
    result = main.call("deploy")
    assert not result["ok"] and not result["rolled_back"]
    assert "z did not become ready" in result["text"] and "picky did not become ready" in result["text"]
    assert known(main) == deployed(main) == {"picky", "z", "gone"}
    assert main.status()["gone"]["state"] in UP and main.status()["z"]["state"] in UP
    flag.touch()
    main.call("start", nodes=["picky"])


def test_a_first_deploy_keeps_what_runs(serving):
    main = serving([sleeps("good"), never_ready("bad")], serve={"deploys": False})
    result = main.call("deploy")
    assert not result["ok"] and not result["rolled_back"] and "bad did not become ready" in result["text"]
    assert "nothing was deployed before" in result["text"] and states(result) == {"good": True, "bad": False}
    assert main.status()["good"]["state"] in UP and deployed(main) == {"good", "bad"} and not is_pending(main)
    good = main.pids()["good"]
    main.configure([sleeps("good"), sleeps("bad")])
    assert main.call("deploy")["ok"] and main.pids()["good"] == good


def test_a_stop_while_it_is_deployed_is_no_failure(serving):
    main = up(serving, [sleeps("slow"), sleeps("b")])
    main.configure([program("slow", "sleep", "3000", ready=["after 60s"]), sleeps("b", 2000)])
    results = []
    other = main.connect()
    other.call("hello")
    deploying = threading.Thread(target=lambda: results.append(other.call("deploy", PATIENCE_S)))
    deploying.start()
    main.wait_for("slow", "starting")
    wait_until(lambda: argv_of(main, "slow") == ["sleep", "3000"])
    main.call("stop", nodes=["slow"])
    deploying.join()
    assert results[0]["ok"] and main.status()["slow"]["state"] == "down", results
    assert argv_of(main, "slow") == ["sleep", "3000"]


# ---- what is refused -------------------------------------------------------------------------------------------------------


def test_a_mistake_in_the_configuration_is_named_and_nothing_is_touched(serving):
    main = up(serving, [sleeps("a")])
    before = main.pids()
    good = main.config.read_text()
    for bad, what in ((good.replace('"type": "program"', '"type": "cat"'), "cat"), (good.replace('"stop_timeout": "5s"', '"stop_timeout": 5'), "5"),
                      (good.replace('"name": "a"', '"name": "a/b"'), "a/b"), (good[:-20], "")):
        assert bad != good
        main.config.write_text(bad)
        with pytest.raises(Refused, match=r"tapline\.yml:\d+") as refused:
            main.call("deploy")
        assert refused.value.code == CODE_FAILED and what in str(refused.value), refused.value
        assert "nothing was touched" in str(refused.value)
    main.config.write_text(good.replace(str(main.socket), str(main.socket) + "2"))
    with pytest.raises(Refused, match="serve.socket has changed, which needs a restart"):
        main.call("deploy")
    main.config.write_text(good)
    assert main.call("deploy")["changes"] == [] and main.pids() == before


def test_two_at_once(serving, tmp_path):
    main = up(serving, [sleeps("a")])
    main.configure([held("a", tmp_path / "flag")])
    results = []
    other = main.connect()
    other.call("hello")
    deploying = threading.Thread(target=lambda: results.append(other.call("deploy")))
    deploying.start()
    wait_until(lambda: is_pending(main))
    with pytest.raises(Refused, match="under way") as refused:
        main.call("deploy")
    assert refused.value.code == CODE_REFUSED
    main.reload()
    main.wait_for_log("a deploy is under way, the configuration is not read now")
    (tmp_path / "flag").touch()
    deploying.join()
    assert results[0]["ok"] and changes(results[0]) == {"a": ("changed", "argv ready")}


def test_who_asked_may_go(serving, tmp_path):
    main = up(serving, [sleeps("a")])
    main.configure([held("a", tmp_path / "flag")])
    other = main.connect()
    other.call("hello")
    other.send("deploy")
    wait_until(lambda: is_pending(main))
    other.close()
    (tmp_path / "flag").touch()
    wait_until(lambda: not is_pending(main))
    assert main.wait_for("a", UP) and argv_of(main, "a")[0] == "sh"


# ---- directories ------------------------------------------------------------------------------------------------------------


def zeek(name, **keys):
    return program(name) | {"type": "zeek", "interface": "lo", "command": []} | keys


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
def test_archives_are_the_users_and_its_files_can_be_read(serving, tmp_path):
    sensors = {"zeek": str(FAKE_ZEEK), "archive": str(tmp_path / "archive"), "user": "nobody"}
    os.chmod(tmp_path, 0o700)  # nobody cannot get there: the node fails, its directories are there
    main = serving([], start=False, sensors=sensors, serve={"deploys": False})
    old = os.umask(0o077)
    try:
        main.configure([zeek("z")], sensors=sensors, serve={"deploys": False}).start()
    finally:
        os.umask(old)
    result = main.call("deploy")
    assert not result["ok"] and "z did not become ready" in result["text"]
    archive = (tmp_path / "archive" / "z").stat()
    assert archive.st_uid == pwd.getpwnam("nobody").pw_uid and archive.st_mode & 0o777 == 0o755
    site = main.sensors / ".site"
    assert site.stat().st_mode & 0o777 == 0o755
    assert {file.stat().st_mode & 0o777 for file in site.iterdir()} == {0o644}


# ---- checks ------------------------------------------------------------------------------------------------------------------


def suricata(folder, rule, name="ids", **keys):
    """One that runs as a program that waits (no interface is needed) and whose rules are checked by the real one."""
    folder.mkdir(exist_ok=True)
    (folder / "classification.config").touch()
    (folder / "reference.config").touch()
    (folder / "suricata.yaml").write_text(SURICATA_YML.format(folder=folder))
    (folder / "site.rules").write_text(rule + "\n")
    starter = folder / "suricata"
    starter.write_text("#!/bin/sh\ncase \" $* \" in *' -T '*) exec suricata \"$@\";; esac\necho \"$@\"; echo Engine started\nexec sleep 1000\n")
    starter.chmod(0o755)
    short = {"settle": "100ms", "stop_timeout": "5s", "watchdog": "0s", "restart_delay_min": "100ms", "restart_delay_max": "200ms"}
    return {"name": name, "type": "suricata", "command": [str(starter)], "args": ["-c", str(folder / "suricata.yaml")]} | short | keys


@needs_suricata
def test_rules_that_its_program_refuses_touch_nothing(serving, tmp_path):
    folder = tmp_path / "suricata"
    good = 'alert tcp any any -> any any (msg:"a"; sid:1;)'
    main = up(serving, [suricata(folder, good), sleeps("a")])
    before = main.pids()
    suricata(folder, 'alert tcp any any -> any any (msg:"a"; no_such_word; sid:1;)')
    main.configure([suricata(folder, 'alert tcp any any -> any any (msg:"a"; no_such_word; sid:1;)', env={"ROUND": "2"}), sleeps("a", 2000)])
    for result in (main.call("check"), main.call("deploy", dry_run=True), main.call("deploy")):
        assert not result["ok"] and len(result["checks"]) == 1
        check = result["checks"][0]
        assert not check["ok"] and check["name"] == "ids" and "no_such_word" in check["text"], check
    assert "nothing was touched" in result["text"] and not result["rolled_back"] and result["nodes"] == []
    assert main.pids() == before and not is_pending(main)
    assert main.call("check", nodes=["a"]) | {"warnings": []} == {"ok": True, "dry_run": False, "rolled_back": False, "text": "", "checks": [],
                                                                 "warnings": []}
    main.configure([suricata(folder, good, env={"ROUND": "2"}), sleeps("a", 2000)])
    main.client().progress.clear()
    assert main.call("deploy")["ok"]
    assert {"name": "ids", "state": "checked"}.items() <= main.client().progress[0].items()
    assert not set(main.pids().values()) & set(before.values())


# ---- whatever dies meanwhile -----------------------------------------------------------------------------------------------------


OLD = [sleeps("same"), sleeps("changes", order=10), sleeps("fast"), sleeps("gone"), sleeps("stopped"), sleeps("gone-stopped")]
NEW = [sleeps("same"), program("changes", "sleep", "2000", order=10, ready=["after 200ms"]), sleeps("fast", 2000), sleeps("new"),
       sleeps("stopped", 2000)]


def arguments(nodes):
    return {node["name"]: node["command"] for node in nodes}


def whole(main):
    """Is all as of OLD or as of NEW? Which; else what it is."""
    try:
        if is_pending(main) or deployed(main) is None:
            return None
        rows = processes(main)
    except (Refused, Gone, OSError):
        return None
    seen = {name: row["spec"]["argv"] for name, row in rows.items()}
    down = {name for name, row in rows.items() if row["state"] == "down"}
    ups = {name for name, row in rows.items() if row["state"] in UP and not row["is_changed"]}
    for which, nodes in (("old", OLD), ("new", NEW)):
        stopped = {"stopped", "gone-stopped"} & set(arguments(nodes))
        if seen == arguments(nodes) and deployed(main) == set(seen) and down == stopped and ups == set(seen) - stopped:
            return which
    return None


def ask_and_leave(main, method, **params):
    """The request is on its way; its answer, if it comes, is not waited for."""
    other = main.connect()
    other.call("hello")
    other.send(method, **params)


def test_kill_nine_of_main_at_any_moment_leaves_a_whole(serving):
    main = up(serving, OLD)
    main.call("stop", nodes=["stopped", "gone-stopped"])
    same = main.pids()["same"]
    became = []
    for delay_ms in (0, 2, 5, 10, 20, 35, 60, 100, 180, 300, 800, 3000, 10000):
        if delay_ms > 1000 and "new" in became:
            break  # only on a slow machine even the longest is too short for a deploy to be whole
        main.configure(NEW)
        ask_and_leave(main, "deploy")
        time.sleep(delay_ms / 1000)
        main.kill()
        main.start()
        became.append(wait_until(lambda: whole(main)))
        assert main.pids()["same"] == same, became
        if became[-1] == "new":
            main.configure(OLD)
            assert main.call("deploy")["ok"]
            main.call("stop", nodes=["stopped", "gone-stopped"])
            assert whole(main) == "old"
    assert "old" in became and "new" in became, became
    assert "a deploy was cut short" in main.log_text()


def test_kill_nine_of_main_in_a_first_deploy_is_gone_on_from(serving, tmp_path):
    nodes = [sleeps("a", order=90), held("b", tmp_path / "flag", order=50), sleeps("c", order=10)]
    main = serving(nodes, serve={"deploys": False})
    ask_and_leave(main, "deploy")
    main.wait_for("b", "starting")
    main.kill()
    (tmp_path / "flag").touch()
    main.start()
    wait_until(lambda: deployed(main) == {"a", "b", "c"} and not is_pending(main))
    main.wait_for_all()
    assert all(row["starts"] == 1 for row in main.status().values())


def test_the_supervisors_death_in_the_middle_puts_all_back(serving, tmp_path):
    main = up(serving, OLD)
    main.call("stop", nodes=["stopped", "gone-stopped"])
    same = main.pids()["same"]
    for state in ("stopping", "starting"):
        main.configure([held("changes", tmp_path / "never", order=10) if node["name"] == "changes" else node for node in NEW])
        results = []
        other = main.connect()
        other.call("hello")
        deploying = threading.Thread(target=lambda: results.append(other.call("deploy")))
        deploying.start()
        wait_until(lambda: is_pending(main))
        if state == "starting":
            wait_until(lambda: main.status().get("changes", {}).get("state") == "starting")
        main.kill_supervisor()
        deploying.join()
        assert wait_until(lambda: whole(main)) == "old", results
        assert not results[0]["ok"] and "the Supervisor went away" in results[0]["text"], results
        assert main.pids()["same"] == same


def test_a_plan_that_cannot_be_read_stops_nothing(serving):
    main = up(serving, [sleeps("a"), sleeps("b")])
    before = main.pids()
    main.kill()
    (main.state / "deployed.json").write_text("{}")
    main.start()
    wait_until(lambda: deployed(main) == {"a", "b"})
    assert main.pids() == before and (main.state / "deployed.json.damaged").read_text() == "{}"
    assert "what was deployed cannot be read" in main.log_text()


def test_main_ends_in_the_middle(serving):
    main = up(serving, OLD)
    main.call("stop", nodes=["stopped", "gone-stopped"])
    main.configure([node | {"ready": ["after 60s"]} if node["name"] == "changes" else node for node in NEW])
    results = []
    other = main.connect()
    other.call("hello")
    main.clients.remove(other)  # it waits for its answer, whatever becomes of Main

    def deploy():
        with pytest.raises(Refused) as refused:
            other.call("deploy")
        results.append(str(refused.value))

    deploying = threading.Thread(target=deploy)
    deploying.start()
    main.wait_for("changes", "starting")
    assert main.stop() == 0
    deploying.join()
    other.close()
    assert "tapline serve ends" in results[0], results
    main.start()
    assert wait_until(lambda: whole(main)) == "old"


# ---- by the command line ---------------------------------------------------------------------------------------------------------


def test_by_the_command_line(serving):
    main = up(serving, [sleeps("same"), sleeps("other")])
    before = main.pids()
    main.configure([sleeps("same"), sleeps("other", 2000), sleeps("new")])
    dry = command(main, "deploy", "-n")
    assert "other" in dry.stdout and "changed" in dry.stdout and "argv" in dry.stdout and main.pids() == before
    result = json.loads(command(main, "deploy", "--json").stdout)
    assert result["ok"] and set(changes(result)) == {"other", "new"}
    assert "nothing differs" in command(main, "deploy").stdout
    main.configure([sleeps("same"), never_ready("other"), sleeps("new")])
    failed = command(main, "deploy", code=1)
    assert "other did not become ready" in failed.stdout and "all is as it was before" in failed.stdout
    main.config.write_text(main.config.read_text().replace('"program"', '"cat"', 1))
    wrong = subprocess.run([str(TAPLINE), "deploy", "--socket", str(main.socket)], capture_output=True, text=True, timeout=PATIENCE_S)
    assert wrong.returncode != 0 and "tapline.yml:" in wrong.stderr, wrong
