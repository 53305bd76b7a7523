// page_tables.js: all tables are made of the same description: {title, rows(store), columns, sort}. Each can be sorted by its heads;
// long ones get a filter, and show so many rows only, since thousands would make the page slow: the rest is counted, never silently
// left out. Rows stay the same elements from second to second, so that focus and selection do. SPDX-License-Identifier: Apache-2.0

import { LEVELS, LEVEL_WORDS, NONE, byId, count, el, isKnown, plural, say, set, sign } from "./page_words.js";

const SHOWN_MAX = 40;
const SHOWN_NARROW_MAX = 6; // where a row is a list
const NARROW = matchMedia("(max-width: 44rem)"); // as page.css has it
const ALL_MAX = 2000;
const FILTER_FROM = 8; // rows: below, a filter is only in the way

/* A column: head, v(row, store) its value, f(value, row) its text; is_text for what is not a number. */
export function text(head, v, more = {}) {
    return { head, v, f: (value) => (value === "" || !isKnown(value) ? NONE : String(value)), isText: true, ...more };
}

export function number(head, v, f = count, more = {}) {
    return { head, v, f, ...more };
}

/* A column with a sign and a word: v gives {level, word}. */
export function state(head, v) {
    return { head, v, isText: true, isState: true };
}

function compare(a, b) {
    if (!isKnown(a) || !isKnown(b)) return isKnown(a) ? 1 : isKnown(b) ? -1 : 0;
    return typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
}

export class Table {
    constructor(place, description) {
        this.description = description;
        this.columns = description.columns.map((column) => ({ ...column })); // a description may stand in several tables
        this.sort = { ...(description.sort ?? { column: null, isDown: false }) }; // null: as the documents have them
        this.filter = "";
        this.isAll = false;
        this.lines = new Map();
        this.build(place);
    }

    build(place) {
        const { title } = this.description;
        const id = place.dataset.table;
        const heads = this.columns.map((column, at) => this.buildHead(column, at));
        this.body = el("tbody", { role: "rowgroup" });
        this.table = el(
            "table",
            { role: "table", "aria-label": title },
            el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads)),
            this.body,
        );
        this.input = el("input", { type: "search", id: `filter-${id}`, placeholder: "part of a name", autocomplete: "off" });
        this.bar = el("div", { class: "filter", hidden: true }, el("label", { for: `filter-${id}` }, "Show only"), this.input);
        this.note = el("p", { class: "note", hidden: true });
        this.more = el("button", { type: "button", hidden: true });
        this.input.addEventListener("input", () => {
            this.filter = this.input.value.toLowerCase();
            this.update(this.store);
        });
        this.more.addEventListener("click", () => {
            this.isAll = !this.isAll;
            this.update(this.store);
        });
        this.head = place.dataset.head ? el("h3", {}, place.dataset.head) : null;
        if (this.head) place.append(this.head);
        place.append(
            this.bar,
            el("div", { class: "scroll", role: "region", "aria-label": title, tabindex: 0 }, this.table),
            el("div", { class: "under" }, this.note, this.more),
        );
        this.place = place;
    }

    buildHead(column, at) {
        const button = el(
            "button",
            { type: "button", title: column.tip },
            column.head,
            el("span", { class: "arrow", "aria-hidden": "true" }),
        );
        button.addEventListener("click", () => {
            const isSame = this.sort.column === at;
            this.sort = { column: at, isDown: isSame ? !this.sort.isDown : !column.isText };
            this.update(this.store);
        });
        column.th = el("th", { scope: "col", role: "columnheader", class: column.isText ? null : "number" }, button);
        return column.th;
    }

    /* What to show, in which order. */
    choose(rows) {
        const column = this.columns[this.sort.column] ?? null;
        const valueOf = (row) => {
            const value = column.v(row, this.store);
            return column.isState ? LEVELS.indexOf(value.level) : value;
        };
        const wanted =
            this.filter === ""
                ? rows
                : rows.filter((row) =>
                      this.columns.some((one) => one.isText && this.textOf(one, row).toLowerCase().includes(this.filter)),
                  );
        if (column === null) return wanted;
        const sorted = wanted
            .map((row) => [valueOf(row), row])
            .sort((a, b) => {
                const order = compare(a[0], b[0]);
                return (this.sort.isDown ? -order : order) || compare(a[1].key, b[1].key);
            });
        return sorted.map(([, row]) => row);
    }

    textOf(column, row) {
        const value = column.v(row, this.store);
        return column.isState ? value.word : column.f(value, row);
    }

    update(store) {
        this.store = store;
        const rows = this.description.rows(store);
        const chosen = this.choose(rows);
        this.max = NARROW.matches ? SHOWN_NARROW_MAX : SHOWN_MAX;
        const shown = chosen.slice(0, this.isAll ? ALL_MAX : this.max);
        this.place.hidden = rows.length === 0 && !this.description.none;
        this.bar.hidden = rows.length < FILTER_FROM && this.filter === "";
        this.columns.forEach((column, at) => {
            set(column.th, "aria-sort", at !== this.sort.column ? "none" : this.sort.isDown ? "descending" : "ascending");
        });
        this.arrange(shown);
        this.tell(rows.length, chosen.length, shown.length);
        return rows.length;
    }

    tell(all, chosen, shown) {
        let words = "";
        if (all === 0) words = this.description.none ?? "";
        else if (shown < chosen)
            words = `${count(shown)} of ${plural(chosen, "row")} are shown, ${count(chosen - shown)} are not.`;
        else if (chosen < all) words = `${plural(chosen, "row")} of ${count(all)} match.`;
        say(this.note, words);
        this.note.hidden = words === "";
        this.table.hidden = all === 0;
        this.table.classList.toggle("few", all < 4);
        this.more.hidden = chosen <= this.max;
        say(this.more, this.isAll ? `Show ${this.max} only` : chosen > ALL_MAX ? `Show ${count(ALL_MAX)}` : "Show all");
    }

    arrange(rows) {
        const focused = document.activeElement;
        const gone = new Set(this.lines.keys());
        rows.forEach((row, at) => {
            gone.delete(row.key);
            let line = this.lines.get(row.key);
            if (!line) this.lines.set(row.key, (line = this.buildLine(row)));
            this.updateLine(line, row);
            if (this.body.children[at] !== line.tr) this.body.insertBefore(line.tr, this.body.children[at] ?? null);
        });
        for (const key of gone) {
            this.lines.get(key).tr.remove();
            this.lines.delete(key);
        }
        if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    }

    buildLine(row) {
        const line = { row, cells: [] };
        line.tr = el("tr", { role: "row" });
        this.columns.forEach((column, at) => {
            const cell =
                at === 0
                    ? el("th", { scope: "row", role: "rowheader" })
                    : el("td", { role: "cell", class: column.isText ? null : "number" });
            cell.dataset.head = column.head; // said before the value where the table is too narrow for heads
            line.cells.push(cell);
            line.tr.append(cell);
        });
        return line;
    }

    updateLine(line, row) {
        line.row = row;
        line.tr.classList.toggle("old", Boolean(row.of?.isOld));
        this.columns.forEach((column, at) => {
            const cell = line.cells[at];
            const value = column.v(row, this.store);
            if (column.show) column.show(cell, row, this.store);
            else if (column.isState) showState(cell, value);
            else {
                say(cell, column.f(value, row));
                if (!column.isText) set(cell, "data-value", String(value ?? ""));
            }
            if (column.title) set(cell, "title", String(column.title(row)));
        });
    }
}

export function showState(cell, { level, word }) {
    const said = word ?? LEVEL_WORDS[level];
    if (cell.dataset.level === level && cell.dataset.word === said) return;
    cell.dataset.level = level;
    cell.dataset.word = said;
    cell.replaceChildren(el("span", { class: `word ${level}` }, sign(level), said));
}

/* A table for each kind of row that this page does not know: a newer tapline may have some. */
export class OtherTables {
    constructor(known) {
        this.known = known;
        this.tables = new Map();
    }

    update(store) {
        for (const doc of store.documents) {
            for (const [kind, rows] of Object.entries(doc.rows)) {
                if (rows.length > 0 && !this.known.has(kind) && !this.tables.has(kind)) this.add(kind, rows[0], store);
            }
        }
        let shown = 0;
        for (const table of this.tables.values()) shown += table.update(store);
        return shown;
    }

    add(kind, example, store) {
        const names = Object.keys(example).filter((name) => !["of", "key"].includes(name) && typeof example[name] !== "object");
        const columns = names.map((name) => {
            const head = name.replaceAll("_", " ");
            return typeof example[name] === "string"
                ? text(head, (row) => row[name])
                : number(
                      head,
                      (row) => row[name],
                      (value) => (isKnown(value) ? String(value) : NONE),
                  );
        });
        columns.unshift(text("process", (row) => row.of.name));
        const place = el("div", { "data-table": `other-${kind}`, "data-head": kind.replaceAll("_", " ") });
        byId("other-tables").append(place);
        const rows = (now) => now.rows(kind).map((row, at) => ({ ...row, key: `${row.key} ${at}` })); // its labels are not known
        this.tables.set(kind, new Table(place, { title: kind.replaceAll("_", " "), rows, columns }));
        this.tables.get(kind).update(store);
    }
}
