"""Main's page in a real browser: its numbers are those of /metrics, problems are on it within ten seconds, start and stop do
what they say and only with the token, and it can be used by keyboard, at any width, in the dark.
SPDX-License-Identifier: Apache-2.0
"""
import os
import re
import signal
import time

import pytest
from playwright.sync_api import expect

import page_made_up
import paging
from paging import TOKEN, XSS, browser, look, site  # noqa: F401
from serving import is_running, wait_until

WIDTHS = (320, 375, 768, 1440, 2560)
WITHIN_S = 10  # a problem is on the page so soon
PATIENCE_S = 60  # where it is not the time that is judged
AUDIT = (paging.HERE / "page_audit.js").read_text()
ROWS = """(name) => Object.fromEntries([...document.querySelectorAll(`[data-table="${name}"] tbody tr`)].map((tr) => [
    tr.cells[0].textContent,
    Object.fromEntries([...tr.cells].map((cell) => [cell.dataset.head, cell.dataset.value ?? cell.textContent]))]))"""
KEPT = """JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, document.documentElement.outerHTML, location.href,
    document.getElementById("token").value])"""
MOVING = """[...document.querySelectorAll("#picture .link")]
    .filter((one) => parseFloat(getComputedStyle(one).transitionDuration) > 0).length"""
TOO_WIDE = """() => [document.documentElement.scrollWidth - innerWidth,
    ...[...document.querySelectorAll("main > section, #tiles > div, #problem-list li")]
        .filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.id || one.textContent.slice(0, 40))]"""
STICKS_OUT = """() => [...document.querySelectorAll("#picture g")].filter((g) => {
    const box = g.querySelector("rect.box")?.getBoundingClientRect();
    return box && [...g.querySelectorAll("text")].some((text) => text.getBoundingClientRect().right > box.right + 1);
}).map((g) => g.textContent)"""


def table(page, name):
    """The rows of a table: {first cell: {head: text or raw value}}."""
    return page.evaluate(ROWS, name)


def cell(page, name, row, head):
    return float(table(page, name)[row][head])


def problem(page, code, **within):
    found = page.locator("#problem-list li", has=page.locator("code", has_text=re.compile(f"^{code}$")))
    expect(found.first).to_be_visible(timeout=within.get("seconds", PATIENCE_S) * 1000)
    return found.first


def unlock(page, token=TOKEN):
    page.get_by_label("Control token").fill(token)
    page.get_by_role("button", name="Unlock start and stop").click()


def unlocked(page):
    unlock(page)
    expect(page.locator("#unlocked")).to_be_visible()
    return page


def row(page, node):
    return page.locator('[data-table="supervised"] tbody tr', has=page.locator("th", has_text=re.compile(f"^{node}$")))


# ---- numbers and problems ----------------------------------------------------------------------------------------------------


def test_numbers_are_those_of_metrics(site, look):
    """What only grows was on the page between one reading of /metrics and the next."""
    page = look()
    page.locator("#files").scroll_into_view_if_needed()
    conn = str(site.logs / "conn.log")
    label = '{path="%s"}' % conn
    wait_until(lambda: cell(page, "sinks", "file", "Documents") > 0)

    def series():
        found = site.metrics("run")
        return {"read": found["tapline_file_read_position_bytes", label], "lines": found["tapline_ingest_lines_total", ""],
                "documents": found["tapline_sink_documents_total", '{sink="file"}']}

    def numbers():
        return {"read": cell(page, "files", conn, "Read"), "documents": cell(page, "sinks", "file", "Documents"),
                "lines": float(page.locator("#tile-read .note").inner_text().split()[0].replace(",", ""))}

    for _ in range(2):
        # The page is up to two seconds behind, or more on a busy machine: Main asks run once a second, and tells the page so.
        before = series()
        shown = wait_until(lambda: (now := numbers()) and all(now[name] >= before[name] for name in before) and now)
        after = series()
        for name, value in shown.items():
            assert value <= after[name], (name, before, shown, after)
    main = site.metrics("serve")
    for node, group in (("zeek-1", "zeek"), ("quiet", "")):
        label = '{node="%s",group="%s"}' % (node, group)
        assert cell(page, "supervised", node, "Restarts") == main["tapline_supervised_restarts_total", label]
    assert {"serve", "run"} <= set(table(page, "other-health_log")), "what has no table of its own says whose it is"


def test_rates_are_true_and_drawn(site, look):
    """The sensor writes 200 lines a second: so say the tile, the picture and the chart."""
    page = look()

    def is_true():
        said = float(page.locator("#tile-read .figure").inner_text().removesuffix("/s").replace(",", ""))
        return said == pytest.approx(paging.RATE, rel=0.1)

    wait_until(is_true)
    picture = page.locator("#picture")
    assert {"zeek-1", "conn.log", "ingest", "normalize", "file"} <= set(picture.locator(".name").all_text_contents())
    widths = picture.locator(".link").evaluate_all("lines => lines.map((line) => Number(line.getAttribute('stroke-width')))")
    assert max(widths) > 5, "a line is as wide as its rate"
    assert "read: now" in page.locator("#rate-desc").text_content()
    wait_until(lambda: "L" in page.locator("figure .line.a").first.get_attribute("d"))
    page.get_by_text("The pipeline as a table").click()
    wait_until(lambda: any("conn.log" in name for name in table(page, "pipeline")))


def test_garbage_is_a_problem_on_the_page(site, look):
    page = look()
    assert page.title().startswith("ok")
    site.write("bad.log", "this is no log of Zeek\n" * 20)
    found = problem(page, "dead_letters")
    assert "warning" in found.inner_text() or "error" in found.inner_text()
    assert "What to do" in found.inner_text()
    expect(page.locator("#news")).to_contain_text("New ")  # who cannot see it hears it
    expect(page).to_have_title(re.compile(r"^\(\d+\) "))
    rows = table(page, "dead")
    assert sum(float(one["Records"]) for one in rows.values()) >= 1, rows


def test_a_frozen_sensor_is_a_problem_and_its_end_too(site, look):
    page, took = look(), []
    pid = site.main.pids()["zeek-1"]
    while len(took) < 3 and min(took, default=WITHIN_S) >= WITHIN_S:  # one is enough: the machine may have stood still in another
        began = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        try:
            assert "zeek-1" in problem(page, "sensor_frozen").inner_text()
            took.append(time.monotonic() - began)
            expect(row(page, "zeek-1")).to_contain_text("frozen")
            expect(page.locator("#picture .box.error").first).to_be_visible()
        finally:
            os.kill(pid, signal.SIGCONT)
        expect(page.locator("#problem-list code", has_text="sensor_frozen")).to_have_count(0, timeout=PATIENCE_S * 1000)
    assert min(took) < WITHIN_S, took


def test_names_from_the_network_are_text(site, look):
    """A log whose name is markup, and documents full of it: nothing of it becomes an element."""
    page = look()
    assert any(XSS in name for name in table(page, "files"))
    assert page.locator("img").count() == 0
    made_up = look(made_up={"names": (page_made_up.EVIL,)})
    problem(made_up, "dead_letters")
    assert made_up.locator("img, main script").count() == 0
    assert "owned" not in page.title() + made_up.title()
    assert page_made_up.EVIL in made_up.locator("#problem-list").inner_text()


TWO_REASONS = """async () => {
    const { Store } = await import("/page_store.js");
    const store = new Store();
    const time = new Date().toISOString();
    const problem = (reason) => ({ code: "dead_letters", severity: "warn", component: "stage normalize", since: time, text: reason,
                                   help: "", kind: "dead", labels: { stage: "normalize", reason } });
    const document = (process) => ({ process, started: time, time, problems: [problem("undecodable"), problem("bad_value")] });
    store.take({ processes: [document("serve"), document("run")] });
    return store.problems().map((one) => one.text).sort();
}"""


def test_dead_letters_of_one_stage_for_two_reasons_are_two_problems(site, look):
    """… and the same one, told by two processes, is one."""
    assert look(made_up={}).evaluate(TWO_REASONS) == ["bad_value", "undecodable"]


# ---- control -------------------------------------------------------------------------------------------------------------------


def test_no_buttons_without_the_token_and_a_wrong_one_is_said(site, look):
    page = look()
    assert row(page, "zeek-1").get_by_role("button").count() == 0
    page.watch.expected += ["403", "429"]
    unlock(page, "wrong")
    expect(page.locator("#control-said")).to_contain_text("not the control token")
    expect(page.get_by_label("Control token")).to_be_focused()
    assert row(page, "zeek-1").get_by_role("button").count() == 0
    # Right after a wrong one the right one is not looked at either (429): that is said, and some seconds later it is.
    deadline = time.monotonic() + PATIENCE_S
    while True:
        unlock(page)
        expect(page.locator("#control-said")).to_have_text(re.compile("unlocked|try again"))
        if "unlocked" in page.locator("#control-said").inner_text():
            break
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert row(page, "zeek-1").get_by_role("button").count() == 3


def test_stop_start_and_restart_really_do(site, look):
    page = unlocked(look())
    buttons = row(page, "quiet")
    pid = site.main.pids()["quiet"]
    buttons.get_by_role("button", name="Stop quiet").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert is_running(pid), "cancelled: nothing was done"
    buttons.get_by_role("button", name="Stop quiet").click()
    expect(page.get_by_role("dialog")).to_contain_text("Stop quiet?")
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(page.locator("#control-said")).to_contain_text("quiet is stopped")
    assert not is_running(pid) and site.main.status()["quiet"]["state"] == "down"
    expect(buttons).to_contain_text("stopped")
    buttons.get_by_role("button", name="Start quiet", exact=True).click()
    expect(page.locator("#control-said")).to_contain_text("quiet is started")
    second = site.main.pids()["quiet"]
    assert is_running(second)
    buttons.get_by_role("button", name="Restart quiet").click()
    page.get_by_role("dialog").get_by_role("button", name="Restart").click()
    expect(page.locator("#control-said")).to_contain_text("quiet is restarted")
    assert not is_running(second) and is_running(site.main.pids()["quiet"])


def test_the_token_is_kept_in_memory_only(site, look):
    page = unlocked(look())
    kept = page.evaluate(KEPT)
    assert TOKEN not in kept
    page.get_by_role("button", name="Lock", exact=True).click()
    expect(page.get_by_label("Control token")).to_be_visible()
    assert row(page, "quiet").get_by_role("button").count() == 0
    unlocked(page)
    page.reload()
    expect(page.get_by_label("Control token")).to_be_visible()


def test_without_a_token_in_the_configuration_it_is_said(site, look):
    page = look(made_up={"control": False})
    expect(page.locator("#no-control")).to_contain_text("serve.token")
    expect(page.locator("#unlock")).to_be_hidden()


# ---- for everybody ----------------------------------------------------------------------------------------------------------------


def test_by_keyboard_alone(site, look):
    page = look(made_up={"logs": 5})
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the problems"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#problems"
    page.reload()
    expect(page.locator("#connection")).to_have_text("live")
    seen = []
    for _ in range(120):
        page.keyboard.press("Tab")
        at = page.evaluate("""() => { const now = document.activeElement; const style = getComputedStyle(now);
            return [now.tagName, now.id || now.textContent, style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2]; }""")
        if at[0] == "BODY":
            break  # the browser's own
        assert at[2], f"one does not see that the focus is on {at}"
        seen.append(at[1])
    assert {"pause", "theme", "token"} <= set(seen) and "Lag" in seen, seen
    head = page.locator('[data-table="files"] th', has=page.get_by_role("button", name="Log", exact=True))
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    names = list(table(page, "files"))
    assert names == sorted(names)
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")


def test_a_dialog_by_keyboard(site, look):
    page = unlocked(look())
    stop = row(page, "quiet").get_by_role("button", name="Stop")
    stop.focus()
    time.sleep(2.2)  # rows are drawn anew each second; the focus stays
    expect(stop).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(stop).to_be_focused()
    assert site.main.status()["quiet"]["state"] in ("ready", "up")


def test_labels_headings_and_contrast(site, look):
    """With a problem of each severity and a row of each kind: page_audit.js finds nothing to complain of."""
    page = look(made_up={})
    problem(page, "sink_unreachable")
    page.get_by_text("The pipeline as a table").click()
    page.wait_for_timeout(700)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        complaints = page.evaluate(AUDIT)
        assert complaints == [], "\n".join([scheme, *complaints])


def test_dark_light_and_the_switch(site, look):
    page = look(made_up={})

    def ground(scheme):
        page.emulate_media(color_scheme=scheme)
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    dark, light = ground("dark"), ground("light")
    assert dark != light
    page.get_by_label("Theme").select_option("dark")
    assert ground("light") == dark
    page.reload()
    assert ground("light") == dark, "it is kept"
    page.get_by_label("Theme").select_option("")
    assert ground("light") == light
    page.emulate_media(reduced_motion="reduce")
    expect(page.locator("#picture .link").first).to_be_attached()
    assert page.evaluate(MOVING) == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(MOVING) > 0


def test_nothing_is_wider_than_the_screen(site, look):
    page = look(made_up={"logs": 30})
    problem(page, "sink_unreachable")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(600)  # drawn anew
        for attempt in range(10):  # later, on a busy machine
            wide, out = page.evaluate(TOO_WIDE), page.evaluate(STICKS_OUT)
            if wide == [0] and out == []:
                break
            page.wait_for_timeout(600)
        assert wide == [0] and out == [], f"{width} wide: {wide}; texts that stick out of their boxes: {out}"


def test_500_logs_are_not_slow_and_what_is_not_drawn_is_counted(site, look):
    page = look(made_up={"logs": 500})
    expect(page.locator("#files .under .note")).to_contain_text("of 503 rows are shown")
    expect(page.locator("#picture")).to_contain_text("more logs")
    watch = page.context.new_cdp_session(page)
    watch.send("Performance.enable")

    def script_s():
        return next(one["value"] for one in watch.send("Performance.getMetrics")["metrics"] if one["name"] == "ScriptDuration")

    page.wait_for_timeout(500)
    a_turn_s = []
    while len(a_turn_s) < 4 and min(a_turn_s, default=1) >= 0.1:  # one is enough: in another its neighbours may have had the core
        before, came_before = script_s(), page.made_up.came
        wait_until(lambda: page.wait_for_timeout(3000) or page.made_up.came >= came_before + 3)
        a_turn_s.append((script_s() - before) / (page.made_up.came - came_before))
    assert min(a_turn_s) < 0.1, f"a tenth of a second a turn would be felt: {a_turn_s}"
    page.locator("#files").get_by_label("Show only").fill("conn_499.")
    expect(page.locator("#files tbody tr")).to_have_count(1)
    page.locator("#files").get_by_label("Show only").fill("")
    page.locator("#files").get_by_role("button", name="Show all").click()
    expect(page.locator("#files tbody tr")).to_have_count(503)


def test_a_sorted_column_is_told_in_its_own_table(site, look):
    """Several tables have a column of the same description."""
    page = look()
    wait_until(lambda: cell(page, "sinks", "file", "Documents") > 0)
    for name in ("stages", "sinks"):
        head = page.locator(f'[data-table="{name}"] th').filter(has_text="Process").first
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "ascending", name


def test_pause_holds_the_numbers(site, look):
    page = look(made_up={})
    page.get_by_role("button", name="Pause").click()
    held = page.locator("#tile-read .note").inner_text()
    came = page.made_up.came
    wait_until(lambda: page.wait_for_timeout(100) or page.made_up.came > came + 2)
    assert page.locator("#tile-read .note").inner_text() == held
    expect(page.locator("#connection")).to_have_text("paused")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#tile-read .note")).not_to_have_text(held)


# ---- last, as it ends Main --------------------------------------------------------------------------------------------------------


def test_a_lost_connection_is_said_and_comes_back(site, look):
    page = look()
    page.watch.expected += ["ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE"]
    site.main.kill()
    expect(page.locator("#lost")).to_contain_text("Main does not answer", timeout=PATIENCE_S * 1000)
    expect(page.locator("#connection")).to_contain_text("s old")
    site.main.start()
    expect(page.locator("#connection")).to_have_text("live", timeout=PATIENCE_S * 1000)
    expect(page.locator("#lost")).to_be_hidden()
