"""A real Main with a page, a pipeline whose sensor is `tapline replay`, and Debian's chromium that looks at it.

    browser                   one headless chromium for the module; no other browser is ever fetched
    site                      one for the module: Main, the Supervisor, `tapline run`, and a sensor "zeek-1" that writes conn.log
    site.url, .token          of Main's page;  site.metrics("run"): {series: number} of a process's /metrics
    site.document("run")      its health document, as /api/health has it
    site.write(name, text)    put text into a log that is followed
    look(…)                   a function: a page of the site in a context of its own, that has drawn at least twice. After the
                              test it must have asked nobody but Main, and there must be no error on its console.
                              made_up={…}: with documents of page_made_up, not Main's
"""
# SPDX-License-Identifier: Apache-2.0
import json
import os
import pathlib
import re
import shutil
import urllib.request

import pytest
from playwright.sync_api import expect, sync_playwright

import page_made_up
import rig
from serving import Main, program, wait_until

expect.set_options(timeout=60_000)  # not for what has to be quick: that says its own time
TOKEN = "0123456789-the-token-of-a-test"
XSS = "<img src=x onerror=document.title='owned'>.log"
HERE = pathlib.Path(__file__).resolve().parent
RATE = 200  # lines a second that the sensor writes
SERIES = re.compile(r"^([a-z_]+)(\{.*\})? (\S+)$")
PATIENCE_S = 60


def fetch(url, seconds=30):
    with urllib.request.urlopen(url, timeout=seconds) as answer:
        return answer.read().decode()


class Site:
    """Main with its page, one sensor, and the pipeline that reads what it writes."""

    def __init__(self, folder, **serve):
        self.folder = pathlib.Path(folder)
        self.token = TOKEN
        self.ports = {"serve": rig.free_port(), "run": rig.free_port()}
        self.url = f"http://127.0.0.1:{self.ports['serve']}/"
        self.logs = self.folder / "main/sensors/zeek-1/logs"
        recorded = self.folder / "conn.log"
        recorded.write_text(rig.ConnLog().text(0, 2000))
        replay = [rig.TAPLINE, "replay", "--rate", RATE, "--loop", "0", "--to", self.logs, recorded]
        health = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()} | {"interval": "1s"}
        self.main = Main(self.folder / "main", [program("zeek-1", *replay, group="zeek"), program("quiet", "sleep", "1000")],
                         serve={"token": TOKEN} | serve, more={
            "health": health,
            "inputs": [{"type": "zeek", "paths": [str(self.logs / "*.log")]}],
            "sinks": {"file": {"path": str(self.folder / "out.ndjson"), "sync_interval": "50ms"}},
            "normalize": {"maps": str(rig.TOP / "configs")},
        })
        self.logs.mkdir(parents=True)
        other = (rig.SAMPLES / "zeek/dns.log").read_text().split("#close")[0]  # it is open, so it is followed
        self.logs.joinpath(XSS).write_text(other)
        self.run = None

    def start(self):
        self.main.start()
        self.main.wait_for_all()
        self.run = rig.Run(self.main.config)
        wait_until(lambda: self.document("run") and self.document("run")["rows"].get("sink"))
        return self

    def close(self):
        if self.run:
            self.run.kill()
        self.main.close()

    def document(self, name):
        documents = json.loads(fetch(self.url + "api/health"))["processes"]
        return next((one for one in documents if one["process"] == name), None)

    def metrics(self, name):
        lines = fetch(f"http://127.0.0.1:{self.ports[name]}/metrics").splitlines()
        found = [SERIES.match(line) for line in lines if not line.startswith("#")]
        return {(one[1], one[2] or ""): float(one[3]) for one in found if one}

    def write(self, name, text):
        with open(self.logs / name, "a") as log:
            log.write(text)


@pytest.fixture(scope="module")
def browser():
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        assert os.environ.get("CI") != "true", "no chromium: under CI=true the page's tests must run"
        pytest.skip("NO CHROMIUM: nothing of the page is tested here; install chromium")
    with sync_playwright() as playwright:
        # As root chromium has no sandbox; it is shown nothing but our own page.
        made = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("site"))
    try:
        yield made.start()
    finally:
        made.close()


class Watch:
    """What a page asked for and what it complained of."""

    def __init__(self, context, url):
        self.context = context
        self.url = url
        self.foreign = []
        self.errors = []
        self.expected = []  # parts of what a test provokes
        context.on("request", lambda request: None if request.url.startswith(url) else self.foreign.append(request.url))

    def follow(self, page):
        page.on("console", lambda said: self.errors.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def judge(self):
        assert self.foreign == [], "the page asked somebody else"
        bad = [text for text in self.errors if not any(part in text for part in self.expected)]
        assert bad == [], "the console has errors"


@pytest.fixture
def look(browser, site):
    watches = []

    def make(width=1440, height=900, made_up=None, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        watch = Watch(context, site.url)
        watches.append(watch)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_S * 1000)
        watch.follow(page)
        page.watch = watch
        page.made_up = None if made_up is None else page_made_up.Stream(page, **made_up)
        page.goto(site.url)
        expect(page.locator("#connection")).to_have_text("live")
        expect(page.locator("#tile-read .figure")).to_have_text(re.compile("[0-9]"))
        return page

    yield make
    for watch in watches:
        watch.context.close()
    for watch in watches:
        watch.judge()
