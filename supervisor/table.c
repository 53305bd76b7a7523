/* supervisor/table.c: what the Supervisor does about a process, as a table: states × events, after s6-supervise's actions[][]
 * (docs/adr/0045).
 *
 * A cell says one thing to do and the state that follows; process.c does it and knows nothing else. What is not a matter of
 * state is decided before an event is made: whether a death is one too many (DIED_OFTEN), whether the policy wants another
 * start (DIED_AGAIN, DIED_LAST), and whether the end of a stopping was wanted (ENDED, ENDED_WANTED) or is a death all the
 * same, because the Supervisor itself stopped a process that did not get ready or was stuck. A start that fails before there
 * is a process is a death out of `starting`.
 *
 * Every cell is written down: an event that cannot come in a state is IMPOSSIBLE, which process.c takes for a bug of ours.
 * Requests of people are never impossible; what comes from a timer or a descriptor is, once that is cleared. No state is
 * without a way out: see the test, which walks the table beside a model.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

const char *const supervisor_state_names[SUPERVISOR_STATE__MAX] = {
    [SUPERVISOR_DOWN] = "down",       [SUPERVISOR_STARTING] = "starting", [SUPERVISOR_READY] = "ready",
    [SUPERVISOR_UP] = "up",           [SUPERVISOR_STOPPING] = "stopping", [SUPERVISOR_BACKOFF] = "backoff",
    [SUPERVISOR_LATCHED] = "latched",
};

const char *const supervisor_event_names[SUPERVISOR_EVENT__MAX] = {
    [SUPERVISOR_ON_START] = "start",
    [SUPERVISOR_ON_STOP] = "stop",
    [SUPERVISOR_ON_RESTART] = "restart",
    [SUPERVISOR_ON_READY] = "ready",
    [SUPERVISOR_ON_UNREADY] = "unready",
    [SUPERVISOR_ON_SETTLED] = "settled",
    [SUPERVISOR_ON_STUCK] = "stuck",
    [SUPERVISOR_ON_DIED_AGAIN] = "died again",
    [SUPERVISOR_ON_DIED_OFTEN] = "died often",
    [SUPERVISOR_ON_DIED_LAST] = "died last",
    [SUPERVISOR_ON_ENDED_WANTED] = "ended wanted",
    [SUPERVISOR_ON_ENDED] = "ended",
    [SUPERVISOR_ON_DELAY_OVER] = "delay over",
    [SUPERVISOR_ON_STOP_TIMEOUT] = "stop timeout",
};

#define DO(what, then)                                                                                                 \
    { SUPERVISOR_##what, SUPERVISOR_##then }
#define STAY(state)                                                                                                    \
    { SUPERVISOR_NOTHING, SUPERVISOR_##state }
#define NEVER(state)                                                                                                   \
    { SUPERVISOR_IMPOSSIBLE, SUPERVISOR_##state }

/* clang-format off */
const struct supervisor_cell supervisor_table[SUPERVISOR_STATE__MAX][SUPERVISOR_EVENT__MAX] = {
    [SUPERVISOR_DOWN] = {
        [SUPERVISOR_ON_START]        = DO(SPAWN_ANEW, STARTING),
        [SUPERVISOR_ON_STOP]         = STAY(DOWN),
        [SUPERVISOR_ON_RESTART]      = DO(SPAWN_ANEW, STARTING),
        [SUPERVISOR_ON_READY]        = NEVER(DOWN),
        [SUPERVISOR_ON_UNREADY]      = NEVER(DOWN),
        [SUPERVISOR_ON_SETTLED]      = NEVER(DOWN),
        [SUPERVISOR_ON_STUCK]        = NEVER(DOWN),
        [SUPERVISOR_ON_DIED_AGAIN]   = NEVER(DOWN),
        [SUPERVISOR_ON_DIED_OFTEN]   = NEVER(DOWN),
        [SUPERVISOR_ON_DIED_LAST]    = NEVER(DOWN),
        [SUPERVISOR_ON_ENDED_WANTED] = NEVER(DOWN),
        [SUPERVISOR_ON_ENDED]        = NEVER(DOWN),
        [SUPERVISOR_ON_DELAY_OVER]   = NEVER(DOWN),
        [SUPERVISOR_ON_STOP_TIMEOUT] = NEVER(DOWN),
    },
    [SUPERVISOR_STARTING] = {
        [SUPERVISOR_ON_START]        = STAY(STARTING),
        [SUPERVISOR_ON_STOP]         = DO(TERM,   STOPPING),
        [SUPERVISOR_ON_RESTART]      = DO(TERM,   STOPPING),
        [SUPERVISOR_ON_READY]        = DO(SETTLE, READY),
        [SUPERVISOR_ON_UNREADY]      = DO(TERM,   STOPPING), /* a death: the end of this stopping is DIED_… */
        [SUPERVISOR_ON_SETTLED]      = NEVER(STARTING),
        [SUPERVISOR_ON_STUCK]        = NEVER(STARTING),      /* the watchdog begins when it is ready */
        [SUPERVISOR_ON_DIED_AGAIN]   = DO(DELAY,  BACKOFF),
        [SUPERVISOR_ON_DIED_OFTEN]   = DO(ALARM,  LATCHED),
        [SUPERVISOR_ON_DIED_LAST]    = DO(CLEAN,  DOWN),
        [SUPERVISOR_ON_ENDED_WANTED] = NEVER(STARTING),
        [SUPERVISOR_ON_ENDED]        = NEVER(STARTING),
        [SUPERVISOR_ON_DELAY_OVER]   = NEVER(STARTING),
        [SUPERVISOR_ON_STOP_TIMEOUT] = NEVER(STARTING),
    },
    [SUPERVISOR_READY] = {
        [SUPERVISOR_ON_START]        = STAY(READY),
        [SUPERVISOR_ON_STOP]         = DO(TERM,   STOPPING),
        [SUPERVISOR_ON_RESTART]      = DO(TERM,   STOPPING),
        [SUPERVISOR_ON_READY]        = NEVER(READY),
        [SUPERVISOR_ON_UNREADY]      = NEVER(READY),
        [SUPERVISOR_ON_SETTLED]      = DO(FORGET, UP),
        [SUPERVISOR_ON_STUCK]        = DO(TERM,   STOPPING), /* a death, too */
        [SUPERVISOR_ON_DIED_AGAIN]   = DO(DELAY,  BACKOFF),
        [SUPERVISOR_ON_DIED_OFTEN]   = DO(ALARM,  LATCHED),
        [SUPERVISOR_ON_DIED_LAST]    = DO(CLEAN,  DOWN),
        [SUPERVISOR_ON_ENDED_WANTED] = NEVER(READY),
        [SUPERVISOR_ON_ENDED]        = NEVER(READY),
        [SUPERVISOR_ON_DELAY_OVER]   = NEVER(READY),
        [SUPERVISOR_ON_STOP_TIMEOUT] = NEVER(READY),
    },
    [SUPERVISOR_UP] = {
        [SUPERVISOR_ON_START]        = STAY(UP),
        [SUPERVISOR_ON_STOP]         = DO(TERM,   STOPPING),
        [SUPERVISOR_ON_RESTART]      = DO(TERM,   STOPPING),
        [SUPERVISOR_ON_READY]        = NEVER(UP),
        [SUPERVISOR_ON_UNREADY]      = NEVER(UP),
        [SUPERVISOR_ON_SETTLED]      = NEVER(UP),
        [SUPERVISOR_ON_STUCK]        = DO(TERM,   STOPPING),
        [SUPERVISOR_ON_DIED_AGAIN]   = DO(DELAY,  BACKOFF),
        [SUPERVISOR_ON_DIED_OFTEN]   = DO(ALARM,  LATCHED),  /* where one death is one too many */
        [SUPERVISOR_ON_DIED_LAST]    = DO(CLEAN,  DOWN),
        [SUPERVISOR_ON_ENDED_WANTED] = NEVER(UP),
        [SUPERVISOR_ON_ENDED]        = NEVER(UP),
        [SUPERVISOR_ON_DELAY_OVER]   = NEVER(UP),
        [SUPERVISOR_ON_STOP_TIMEOUT] = NEVER(UP),
    },
    [SUPERVISOR_STOPPING] = { /* what is wanted after it is process.c's to remember: it makes the last event another one */
        [SUPERVISOR_ON_START]        = STAY(STOPPING),
        [SUPERVISOR_ON_STOP]         = STAY(STOPPING),
        [SUPERVISOR_ON_RESTART]      = STAY(STOPPING),
        [SUPERVISOR_ON_READY]        = NEVER(STOPPING),
        [SUPERVISOR_ON_UNREADY]      = NEVER(STOPPING),
        [SUPERVISOR_ON_SETTLED]      = NEVER(STOPPING),
        [SUPERVISOR_ON_STUCK]        = NEVER(STOPPING),
        [SUPERVISOR_ON_DIED_AGAIN]   = DO(DELAY,      BACKOFF),
        [SUPERVISOR_ON_DIED_OFTEN]   = DO(ALARM,      LATCHED),
        [SUPERVISOR_ON_DIED_LAST]    = DO(CLEAN,      DOWN),
        [SUPERVISOR_ON_ENDED_WANTED] = DO(SPAWN_ANEW, STARTING), /* only a person's word leads here */
        [SUPERVISOR_ON_ENDED]        = DO(CLEAN,      DOWN),
        [SUPERVISOR_ON_DELAY_OVER]   = NEVER(STOPPING),
        [SUPERVISOR_ON_STOP_TIMEOUT] = DO(KILL,       STOPPING), /* again and again until it ends */
    },
    [SUPERVISOR_BACKOFF] = {
        [SUPERVISOR_ON_START]        = DO(SPAWN_ANEW, STARTING),
        [SUPERVISOR_ON_STOP]         = DO(CLEAN,      DOWN),
        [SUPERVISOR_ON_RESTART]      = DO(SPAWN_ANEW, STARTING),
        [SUPERVISOR_ON_READY]        = NEVER(BACKOFF),
        [SUPERVISOR_ON_UNREADY]      = NEVER(BACKOFF),
        [SUPERVISOR_ON_SETTLED]      = NEVER(BACKOFF),
        [SUPERVISOR_ON_STUCK]        = NEVER(BACKOFF),
        [SUPERVISOR_ON_DIED_AGAIN]   = NEVER(BACKOFF),
        [SUPERVISOR_ON_DIED_OFTEN]   = NEVER(BACKOFF),
        [SUPERVISOR_ON_DIED_LAST]    = NEVER(BACKOFF),
        [SUPERVISOR_ON_ENDED_WANTED] = NEVER(BACKOFF),
        [SUPERVISOR_ON_ENDED]        = NEVER(BACKOFF),
        [SUPERVISOR_ON_DELAY_OVER]   = DO(SPAWN,      STARTING),
        [SUPERVISOR_ON_STOP_TIMEOUT] = NEVER(BACKOFF),
    },
    [SUPERVISOR_LATCHED] = {
        [SUPERVISOR_ON_START]        = DO(SPAWN_ANEW, STARTING),
        [SUPERVISOR_ON_STOP]         = DO(CLEAN,      DOWN),
        [SUPERVISOR_ON_RESTART]      = DO(SPAWN_ANEW, STARTING),
        [SUPERVISOR_ON_READY]        = NEVER(LATCHED),
        [SUPERVISOR_ON_UNREADY]      = NEVER(LATCHED),
        [SUPERVISOR_ON_SETTLED]      = NEVER(LATCHED),
        [SUPERVISOR_ON_STUCK]        = NEVER(LATCHED),
        [SUPERVISOR_ON_DIED_AGAIN]   = NEVER(LATCHED),
        [SUPERVISOR_ON_DIED_OFTEN]   = NEVER(LATCHED),
        [SUPERVISOR_ON_DIED_LAST]    = NEVER(LATCHED),
        [SUPERVISOR_ON_ENDED_WANTED] = NEVER(LATCHED),
        [SUPERVISOR_ON_ENDED]        = NEVER(LATCHED),
        [SUPERVISOR_ON_DELAY_OVER]   = NEVER(LATCHED),
        [SUPERVISOR_ON_STOP_TIMEOUT] = NEVER(LATCHED),
    },
};
/* clang-format on */

#define JITTER_PART 5 /* ± a fifth */

int64_t supervisor_delay_ns(const struct supervisor_spec *spec, uint32_t deaths, uint32_t random) {
    MUST(deaths >= 1);
    const int64_t max = spec->restart.delay_max_ns;
    int64_t delay = spec->restart.delay_min_ns < max ? spec->restart.delay_min_ns : max;
    MUST(delay >= 0);
    for (uint32_t i = 1; i < deaths && delay > 0 && delay < max; i++) {
        delay = delay > max / 2 ? max : delay * 2;
    }
    /* width × random / UINT32_MAX, in parts that do not overflow */
    const uint64_t width = (uint64_t)(delay / JITTER_PART) * 2;
    const uint64_t part = width / UINT32_MAX * random + width % UINT32_MAX * random / UINT32_MAX;
    return delay - delay / JITTER_PART + (int64_t)part;
}
