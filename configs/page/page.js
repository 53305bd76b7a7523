// page.js: Main's page, live. Each second Main sends the health documents of all processes (/api/events); the store reckons, and
// everything that is on the screen draws itself from the store. If nothing comes, that is said, with how old the numbers are.
// SPDX-License-Identifier: Apache-2.0

import {
    LEVEL_WORDS,
    NONE,
    byId,
    bytes,
    clock,
    count,
    el,
    isKnown,
    percent,
    perSecond,
    plural,
    say,
    set,
    sign,
    span,
    tailOf,
} from "./page_words.js";
import { Store } from "./page_store.js";
import { OtherTables, Table, showState } from "./page_tables.js";
import { KNOWN, describe, problemItem } from "./page_rows.js";
import { Charts } from "./page_charts.js";
import { Control } from "./page_control.js";
import { Picture } from "./page_picture.js";

const SILENCE_S = 4; // Main sends each second
const AGAIN_MS = 3000;
const PROBLEMS_MAX = 40;

const store = new Store();
const control = new Control(() => drawAll());
const picture = new Picture();
const charts = new Charts();
const others = new OtherTables(KNOWN);
const tables = {};
const problems = new Map();
const tiles = new Map();
let announced = null; // keys of the problems that were told; null: none were, as the page has just begun
let isPaused = false;
let isLost = false;

// ---- problems, state, totals -------------------------------------------------------------------------------------------------

function drawProblems() {
    const all = store.problems();
    const list = byId("problem-list");
    const shown = all.slice(0, PROBLEMS_MAX);
    const gone = new Set(problems.keys());
    shown.forEach((problem, at) => {
        const key = `${problem.key}\u0000${problem.severity}\u0000${problem.help}`;
        gone.delete(key);
        if (!problems.has(key)) problems.set(key, problemItem(problem));
        const made = problems.get(key);
        say(made.what, problem.text);
        say(made.when, `${problem.of.name}, for ${span(Math.max(0, store.now - problem.sinceSeconds))}`);
        set(made.when, "title", `since ${clock(problem.sinceSeconds)}`);
        if (list.children[at] !== made.item) list.insertBefore(made.item, list.children[at] ?? null);
    });
    for (const key of gone) {
        problems.get(key).item.remove();
        problems.delete(key);
    }
    drawHead(all);
    announce(all);
}

function drawHead(all) {
    const head = byId("problems-head");
    if (all.length === 0)
        showState(
            head,
            store.documents.length ? { level: "ok", word: "No problems" } : { level: "idle", word: "No numbers yet" },
        );
    else {
        const kinds = [
            ["error", "errors"],
            ["warn", "warnings"],
            ["info", "notes"],
        ]
            .map(([severity, many]) => {
                const n = all.filter((problem) => problem.severity === severity).length;
                return n ? plural(n, LEVEL_WORDS[severity], many) : "";
            })
            .filter(Boolean);
        const left = all.length > PROBLEMS_MAX ? ` (the first ${PROBLEMS_MAX} are shown)` : "";
        showState(head, { level: all[0].severity, word: `${plural(all.length, "problem")}: ${kinds.join(", ")}${left}` });
    }
    const rank = { ok: 0, degraded: 1, failing: 2 };
    const worst = store.documents.reduce((so, doc) => (rank[doc.state] > rank[so] ? doc.state : so), "ok");
    const level = { ok: "ok", degraded: "warn", failing: "error" }[worst];
    if (store.documents.length) showState(byId("overall"), { level, word: worst });
    say(byId("node"), store.documents[0]?.node ?? "");
    document.title = `${all.length ? `(${all.length}) ` : ""}${store.documents.length ? worst : "…"} – tapline ${store.documents[0]?.node ?? ""}`;
}

/* What is new is said to who cannot see it: each problem once when it comes and once when it has gone. */
function announce(all) {
    const now = new Map(all.map((problem) => [problem.key, problem]));
    const news = [];
    if (announced !== null) {
        for (const [key, problem] of now)
            if (!announced.has(key)) news.push(`New ${LEVEL_WORDS[problem.severity]}, ${problem.component}: ${problem.text}`);
        for (const [key, problem] of announced) if (!now.has(key)) news.push(`Over: ${problem.component}, ${problem.code}.`);
    }
    if (news.length) say(byId("news"), news.slice(0, 5).join(" "));
    announced = now;
}

function tile(id, head, value, note, level = null) {
    if (!tiles.has(id)) {
        const made = {
            box: el("div", { id: `tile-${id}` }),
            value: el("dd", { class: "figure" }),
            note: el("dd", { class: "note" }),
            sign: el("span"),
        };
        made.box.append(el("dt", {}, made.sign, head), made.value, made.note);
        byId("tiles").append(made.box);
        tiles.set(id, made);
    }
    const made = tiles.get(id);
    say(made.value, value);
    say(made.note, note);
    if (made.level !== level) {
        made.level = level;
        made.box.className = level ?? "";
        made.sign.replaceChildren(...(level ? [sign(level), el("span", { class: "unseen" }, `${LEVEL_WORDS[level]}: `)] : []));
    }
}

function drawTotals() {
    const lagging = store.worst("file", "lag_seconds");
    const partition = store.worst("consumer_partition", "lag_seconds");
    const loss = store.worst("capture", "loss_ratio");
    const isFresh = store.rows("dead").some((row) => store.age(row.last_timestamp_seconds) <= 60);
    const lost = ["ingest.bytes_lost", "spool.bytes_lost"]
        .map((name) => store.total("run", name))
        .filter(isKnown)
        .reduce((a, b) => a + b, 0);
    const last = store.history[store.history.length - 1] ?? {};
    const levelOf = (row, kind) => (row && store.levelOf(row, kind) !== "ok" ? store.levelOf(row, kind) : null);
    tile("read", "Read", perSecond(last.read), `${count(store.total("run", "ingest.lines"))} lines in all`);
    tile("accepted", "Accepted", perSecond(last.accepted), `${count(store.total("run", "sink.accepted"))} by sinks in all`);
    if (store.process("feed-0") || tiles.has("indexed"))
        tile("indexed", "Indexed", perSecond(last.indexed), `${count(store.total("feed", "feed.indexed"))} in all`);
    tile(
        "lag",
        "Worst lag",
        span(lagging?.lag_seconds),
        lagging ? (lagging.lag_seconds > 0 ? tailOf(lagging.path) : "every log is caught up") : "no log",
        levelOf(lagging, "file"),
    );
    tile(
        "waiting",
        "Waiting in logs",
        bytes(last.waiting),
        `${plural(store.rows("file").filter((row) => row.lag_bytes > 0).length, "log")} of ${count(store.rows("file").length)}`,
    );
    if (partition || tiles.has("behind"))
        tile(
            "behind",
            "Feeder behind",
            count(store.sum("consumer_partition", "lag_records")),
            partition ? `records; worst ${span(partition.lag_seconds)}` : "records",
            levelOf(partition, "consumer_partition"),
        );
    const dead = store.sum("dead", "records") ?? store.total("run", "sink.dead");
    tile(
        "dead",
        "Dead letters",
        count(dead),
        isFresh ? "the last one within a minute" : "none in the last minute",
        isFresh ? "warn" : null,
    );
    tile(
        "lost",
        "Lost unread",
        bytes(lost),
        lost > 0 ? "see the log for which files" : "since tapline run was started",
        lost > 0 ? "error" : null,
    );
    if (loss || tiles.has("loss"))
        tile(
            "loss",
            "Packets lost",
            percent(loss?.loss_ratio),
            loss ? `${loss.sensor}, by ${loss.source}` : NONE,
            levelOf(loss, "capture"),
        );
}

// ---- all of it -----------------------------------------------------------------------------------------------------------------

function drawTables() {
    const rows = {};
    for (const [name, table] of Object.entries(tables)) {
        const details = table.place.closest("details");
        rows[name] = !details || details.open ? table.update(store) : 1;
    }
    const sections = {
        stages: rows.stages + rows.latency,
        partitions: rows.consumed + rows.produced,
        intel: rows.intel + rows.feeds,
        capture: rows.capture,
        other: others.update(store),
    };
    for (const [id, n] of Object.entries(sections)) {
        byId(id).hidden = n === 0;
        byId(`to-${id}`).hidden = n === 0;
    }
    control.show(store.hasControl, rows.supervised > 0, tables.supervised.table);
}

function drawAll() {
    if (store.documents.length === 0) return;
    drawProblems();
    drawTotals();
    picture.update(store);
    charts.update(store);
    drawTables();
    const own = store.process("serve") ?? store.documents[0];
    const left = store.documents.reduce((so, doc) => so + (doc.left_out ?? 0), 0);
    say(
        byId("foot"),
        `tapline ${own?.version ?? ""}. The same numbers: tapline top, /metrics, /api/health.${left ? ` ${count(left)} rows were too many for the board, and are not here.` : ""}`,
    );
}

function drawConnection() {
    const age = store.gotAt ? performance.now() / 1000 - store.gotAt : null;
    const lost = age !== null && age > SILENCE_S;
    const words =
        age === null
            ? "Connecting…"
            : lost
              ? `no connection, numbers are ${span(Math.floor(age))} old`
              : isPaused
                ? "paused"
                : "live";
    say(byId("connection"), words);
    set(byId("connection"), "class", lost ? "bad" : isPaused || age === null ? "" : "good");
    document.body.classList.toggle("stale", lost);
    if (lost !== isLost) {
        isLost = lost;
        byId("lost").hidden = !lost;
        say(
            byId("lost"),
            lost
                ? `Main does not answer since ${clock(Date.now() / 1000 - age)}. What stands below is as old as that. This page tries again by itself; look whether tapline serve runs.`
                : "",
        );
    }
}

function take(text) {
    let data;
    try {
        data = JSON.parse(text);
    } catch (failure) {
        return; // cut off: the next one comes in a second
    }
    store.take(data);
    if (!isPaused && !document.hidden) drawAll(); // nobody looks at a hidden page
    drawConnection();
}

/* The browser tries again by itself while it can; where it gave up (Main answered with an error), we do. */
function connect() {
    const source = new EventSource("api/events");
    source.addEventListener("health", (event) => take(event.data));
    source.addEventListener("error", () => {
        if (source.readyState !== EventSource.CLOSED) return;
        setTimeout(connect, AGAIN_MS);
    });
}

// ---- the page itself ----------------------------------------------------------------------------------------------------------

function remember(name, value) {
    try {
        localStorage.setItem(name, value);
    } catch (failure) {
        // without storage the theme is the system's again next time
    }
}

function recall(name) {
    try {
        return localStorage.getItem(name) ?? "";
    } catch (failure) {
        return "";
    }
}

function dress(theme) {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
}

function begin() {
    for (const section of document.querySelectorAll("main > section")) {
        if (section.id === "totals") continue;
        const head = section.id === "problems" ? "Problems" : section.querySelector("h2").textContent;
        byId("parts").append(el("li", { id: `to-${section.id}` }, el("a", { href: `#${section.id}` }, head)));
    }
    for (const [name, description] of Object.entries(describe(control))) {
        tables[name] = new Table(document.querySelector(`[data-table="${name}"]`), description);
    }
    for (const details of document.querySelectorAll("details")) details.addEventListener("toggle", drawAll);
    const theme = byId("theme");
    theme.value = recall("tapline-theme");
    dress(theme.value);
    theme.addEventListener("change", () => {
        dress(theme.value);
        remember("tapline-theme", theme.value);
    });
    const pause = byId("pause");
    pause.addEventListener("click", () => {
        isPaused = !isPaused;
        pause.setAttribute("aria-pressed", String(isPaused));
        if (!isPaused) drawAll();
        drawConnection();
    });
    document.addEventListener("visibilitychange", () => !document.hidden && !isPaused && drawAll());
    connect();
    setInterval(drawConnection, 1000);
}

begin();
