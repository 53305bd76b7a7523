// page_control.js: start, stop and restart, for who has typed the control token. The token is kept in this module only: not in
// any storage, and not in a cookie, so no other page can make the browser send it. Stop and restart ask first.
// SPDX-License-Identifier: Apache-2.0

import { NODE_STATES, byId, el, say } from "./page_words.js";

const PATIENCE_MS = 120000; // a stop takes as long as the node's stop_timeout
const TEXTS = {
    stop: (node) => [
        `Stop ${node}?`,
        "It stays stopped until somebody starts it. What passes meanwhile, it does not see.",
        "Stop",
    ],
    restart: (node) => [
        `Restart ${node}?`,
        "It is stopped and started again. What passes meanwhile, it does not see.",
        "Restart",
    ],
};
const DONE = { start: "started", stop: "stopped", restart: "restarted" };

export class Control {
    constructor(onChange) {
        this.token = null;
        this.busy = new Set();
        this.onChange = onChange;
        byId("unlock").addEventListener("submit", (event) => {
            event.preventDefault();
            this.unlock(byId("token").value);
        });
        byId("lock").addEventListener("click", () => this.lock("Locked. The token is forgotten."));
    }

    show(hasControl, hasNodes, table) {
        table.classList.toggle("locked", this.token === null); // the column of buttons is not there
        byId("unlock").hidden = !hasControl || this.token !== null || !hasNodes;
        byId("unlocked").hidden = this.token === null;
        byId("no-control").hidden = hasControl || !hasNodes;
    }

    say(text, isBad) {
        const place = byId("control-said");
        say(place, text);
        place.classList.toggle("bad", Boolean(isBad));
    }

    lock(text, isBad = false) {
        this.token = null;
        byId("token").value = "";
        this.say(text, isBad);
        this.onChange();
        if (!byId("unlock").hidden) byId("token").focus();
    }

    async unlock(token) {
        if (token === "") return this.say("Type the token first.", true);
        this.say("Asking Main …");
        const answer = await post(token, { action: "check" });
        if (!answer.ok) return this.lock(answer.error, true);
        this.token = token;
        byId("token").value = "";
        this.say("Start and stop are unlocked.");
        this.onChange();
        byId("lock").focus();
        return undefined;
    }

    async act(action, node) {
        if (TEXTS[action] && !(await confirm(...TEXTS[action](node)))) return;
        this.busy.add(node);
        this.say(`${node}: ${action} …`);
        this.onChange();
        const answer = await post(this.token, { action, node });
        this.busy.delete(node);
        if (answer.status === 401 || answer.status === 403) this.lock(`${node} was not ${DONE[action]}: ${answer.error}`, true);
        else this.tell(action, node, answer);
        this.onChange();
    }

    tell(action, node, answer) {
        const outcome = (answer.nodes ?? []).find((one) => one.name === node);
        const isOk = answer.ok && (!outcome || outcome.ok !== false);
        const why = answer.error ?? outcome?.reason;
        if (isOk) this.say(`${node} is ${DONE[action]}${outcome?.state ? `: ${outcome.state}` : ""}.`);
        else this.say(`${node} was not ${DONE[action]}${why ? `: ${why}` : ""}`, true);
    }

    /* The buttons of a supervised process; without a token there are none. */
    cell(cell, row) {
        const isBusy = this.busy.has(row.node);
        const isDown = !row.wanted || ["down", "latched"].includes(NODE_STATES[row.state]);
        const look = `${this.token !== null} ${isBusy} ${isDown} ${row.wanted}`;
        if (cell.dataset.look === look) return;
        cell.dataset.look = look;
        if (this.token === null) {
            cell.replaceChildren();
            return;
        }
        const focused = cell.contains(document.activeElement) ? document.activeElement.dataset.action : null;
        const button = (action, word, isOff) => {
            const made = el(
                "button",
                { type: "button", "aria-label": `${word} ${row.node}`, "data-action": action, disabled: isOff || isBusy },
                word,
            );
            made.addEventListener("click", () => this.act(action, row.node));
            return made;
        };
        cell.replaceChildren(
            button("start", "Start", !isDown),
            button("stop", "Stop", !row.wanted),
            button("restart", "Restart", isDown),
        );
        if (focused)
            (
                cell.querySelector(`[data-action=${focused}]:not(:disabled)`) ?? cell.querySelector("button:not(:disabled)")
            )?.focus();
    }
}

/* What Main says to it: its answer, with ok, status and, if it refused, error. */
async function post(token, body) {
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), PATIENCE_MS);
    try {
        const answer = await fetch("api/control", {
            method: "POST",
            credentials: "omit",
            signal: stop.signal,
            body: JSON.stringify(body),
            headers: { "Content-Type": "application/json", Authorization: `Bearer ${utf8(token)}` },
        });
        const said = await answer.json().catch(() => ({}));
        const error = said.error ?? (answer.ok ? null : `Main answered ${answer.status}.`); // one known late comes with a 200
        return { ...said, ok: error === null, status: answer.status, error };
    } catch (failure) {
        return {
            ok: false,
            status: 0,
            error: stop.signal.aborted ? "Main has not answered for two minutes. See its log." : "Main cannot be reached.",
        };
    } finally {
        clearTimeout(timer);
    }
}

/* A header takes bytes only: as UTF-8, as the configuration has it. */
function utf8(token) {
    return String.fromCharCode(...new TextEncoder().encode(token));
}

function confirm(head, text, word) {
    const dialog = byId("confirm");
    say(byId("confirm-head"), head);
    say(byId("confirm-text"), text);
    say(byId("confirm-yes"), word);
    dialog.returnValue = "no";
    dialog.showModal();
    return new Promise((resolve) => {
        dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    });
}
