// page_words.js: how numbers and states are said, and the small tools that everything is drawn with. What comes from documents
// (paths, reasons, names: anybody on the network can have made them up) gets into the page by textContent only: el() and draw()
// know no other way. SPDX-License-Identifier: Apache-2.0

const SVG = "http://www.w3.org/2000/svg";
const KIB = 1024;
const MINUTE_S = 60;
const HOUR_S = 3600;
const DAY_S = 86400;
const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export const NONE = "–"; // not known
export const LEVELS = ["idle", "ok", "info", "warn", "error"]; // the later, the worse
export const LEVEL_WORDS = { idle: "idle", ok: "ok", info: "note", warn: "warning", error: "error" };
export const NODE_STATES = ["down", "starting", "ready", "up", "stopping", "backoff", "latched"]; // as core/counters.def counts them
export const INTEL_STATES = ["", "building", "ready", "stale", "unavailable"];

export function worse(a, b) {
    return LEVELS.indexOf(a) >= LEVELS.indexOf(b) ? a : b;
}

// ---- numbers -------------------------------------------------------------------------------------------------------------

export function isKnown(value) {
    return value !== null && value !== undefined;
}

export function count(value) {
    return isKnown(value) ? grouped.format(value) : NONE;
}

export function rate(value) {
    if (!isKnown(value)) return NONE;
    if (value >= 1e6) return `${(value / 1e6).toFixed(value >= 1e7 ? 1 : 2)} M`;
    if (value >= 1e5) return `${(value / 1e3).toFixed(0)} k`;
    if (value >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
    return value >= 10 || value === 0 ? grouped.format(value) : value.toFixed(1);
}

export function perSecond(value) {
    return isKnown(value) ? `${rate(value)}/s` : NONE;
}

export function bytes(value) {
    if (!isKnown(value)) return NONE;
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let at = 0;
    let shown = value;
    while (shown >= KIB && at < units.length - 1) {
        shown /= KIB;
        at += 1;
    }
    return `${at === 0 || shown >= 100 ? grouped.format(shown) : shown.toFixed(1)} ${units[at]}`;
}

export function bytesPerSecond(value) {
    return isKnown(value) ? `${bytes(value)}/s` : NONE;
}

/* An age or a lag. */
export function span(seconds) {
    if (!isKnown(seconds)) return NONE;
    if (seconds < 10) return `${seconds === 0 ? 0 : seconds.toFixed(1)} s`;
    if (seconds < 2 * MINUTE_S) return `${Math.round(seconds)} s`;
    if (seconds < 2 * HOUR_S) return `${Math.floor(seconds / MINUTE_S)} min ${Math.floor(seconds % MINUTE_S)} s`;
    if (seconds < 2 * DAY_S) return `${Math.floor(seconds / HOUR_S)} h ${Math.floor((seconds % HOUR_S) / MINUTE_S)} min`;
    return `${Math.floor(seconds / DAY_S)} d ${Math.floor((seconds % DAY_S) / HOUR_S)} h`;
}

/* How long something took: mostly milliseconds. */
export function took(seconds) {
    if (!isKnown(seconds)) return NONE;
    if (seconds >= HOUR_S) return "over 1 h"; // histograms tell no more
    if (seconds < 1) return `${seconds < 0.01 ? (seconds * 1000).toFixed(1) : Math.round(seconds * 1000)} ms`;
    return seconds < 10 ? `${seconds.toFixed(2)} s` : span(seconds);
}

export function percent(ratio) {
    if (!isKnown(ratio)) return NONE;
    const value = ratio * 100;
    if (value > 0 && value < 0.001) return "< 0.001 %";
    return `${value === 0 || value >= 10 ? Math.round(value) : value.toFixed(value < 0.1 ? 3 : 1)} %`;
}

export function clock(seconds) {
    return new Date(seconds * 1000).toLocaleTimeString("en-GB");
}

export function plural(n, one, many) {
    return `${count(n)} ${n === 1 ? one : (many ?? `${one}s`)}`;
}

/* The end of a long path says more than its beginning. */
export function cutMiddle(text, max) {
    const letters = Array.from(text);
    if (letters.length <= max) return text;
    const head = Math.floor((max - 1) / 3);
    return `${letters.slice(0, head).join("")}…${letters.slice(letters.length - (max - 1 - head)).join("")}`;
}

/* The last folders of a path, as far as they tell it from its neighbours. */
export function tailOf(path) {
    const parts = path.split("/");
    return parts.length <= 4 ? path : `…/${parts.slice(-3).join("/")}`;
}

export function baseName(path) {
    return path.slice(path.lastIndexOf("/") + 1) || path;
}

// ---- elements ------------------------------------------------------------------------------------------------------------

function fill(made, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
        if (value === true) made.setAttribute(name, "");
        else if (value !== false && isKnown(value)) made.setAttribute(name, value);
    }
    made.append(...children); // texts become text nodes, never markup
    return made;
}

export function el(tag, attributes = {}, ...children) {
    return fill(document.createElement(tag), attributes, children);
}

export function draw(tag, attributes = {}, ...children) {
    return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function say(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

export function set(element, name, value) {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export function byId(id) {
    return document.getElementById(id);
}

/* A level's sign: each has a shape of its own, so that nobody needs to see its colour. Beside it stands its word. */
export function sign(level, attributes = {}) {
    const shapes = {
        idle: [draw("circle", { cx: 8, cy: 8, r: 5.5, class: "hollow" })],
        ok: [draw("circle", { cx: 8, cy: 8, r: 7 }), draw("path", { d: "M4.6 8.3l2.3 2.4 4.5-5", class: "ink" })],
        info: [
            draw("rect", { x: 1.5, y: 1.5, width: 13, height: 13, rx: 3 }),
            draw("path", { d: "M8 7.3v4M8 4.6v.1", class: "ink" }),
        ],
        warn: [draw("path", { d: "M8 .8l7.6 13.6H.4z" }), draw("path", { d: "M8 5.6v4.2M8 12.2v.1", class: "ink" })],
        error: [
            draw("path", { d: "M4.9.8h6.2l4.1 4.1v6.2l-4.1 4.1H4.9L.8 11.1V4.9z" }),
            draw("path", { d: "M5.2 5.2l5.6 5.6M10.8 5.2l-5.6 5.6", class: "ink" }),
        ],
    };
    return draw(
        "svg",
        { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true", class: `sign ${level}`, ...attributes },
        ...shapes[level],
    );
}
