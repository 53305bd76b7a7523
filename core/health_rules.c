/* core/health_rules.c: problems: what the rules of health_rules_table.c find in the rows, and what threads complain of.
 *
 * Each turn (once a second) every rule looks at every row of its kind; complaints come first, and a rule says nothing about a row
 * that a complaint of its code, or of one that says it better, is about. A problem is known by code, kind and labels. It begins at
 * once and ends when nobody has said it for GONE_AFTER_NS (mere information: at once), so that what flickers is one problem with
 * one beginning. At most CODE_MAX problems have one code; the others of it are one more, "(others)": a dead disk with 500 files
 * is to be read, not counted. There are PROBLEMS_MAX slots; if they are all taken, a worse problem takes a lesser one's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_rules_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define PROBLEMS_MAX 256
#define CODE_MAX 16
#define MEMORIES_MAX 1024
#define GONE_AFTER_NS (3 * CORE_NS_PER_S)
#define COMPONENT_BYTES (CORE_HEALTH_LABEL_BYTES_MAX + 64)
#define OTHERS "(others)"
#define RULES_MAX 64

struct slot {
    uint64_t key; /* 0: free */
    size_t rule;
    bool is_said; /* in this turn */
    bool is_complaint;
    int64_t said_ns; /* core_tick_ns() of the last time */
    int64_t since_ns;
    enum core_health_kind kind;
    size_t labels_len;
    char labels[CORE_HEALTH_LABELS_MAX][CORE_HEALTH_LABEL_BYTES_MAX + 1];
    char component[COMPONENT_BYTES];
    char text[HEALTH_TEXT_BYTES];
};

struct core_health_rules {
    struct slot slots[PROBLEMS_MAX];
    struct core_health_problem shown[PROBLEMS_MAX];
    size_t shown_len;
    struct health_memory memories[MEMORIES_MAX];
    size_t memories_len;
    size_t others[RULES_MAX]; /* by rule: said in this turn, without a slot */
    bool is_changed;
    bool has_looked;
};

/* What a problem is about, for raise(). */
struct about {
    size_t rule;
    enum core_health_kind kind;
    const char *const *labels;
    const char *text;
    int64_t since_ns;
    int64_t tick_ns;
    bool is_complaint;
};

struct core_health_rules *core_health_rules_new(void) {
    MUST(health_rules_len <= RULES_MAX);
    struct core_health_rules *rules = calloc(1, sizeof(*rules));
    MUST(rules != NULL);
    return rules;
}

void core_health_rules_free(struct core_health_rules *rules) {
    free(rules);
}

bool core_health_rule_at(size_t i, const char **code, enum core_health_severity *severity, const char **meaning,
                         const char **help) {
    if (i >= health_rules_len) {
        return false;
    }
    *code = health_rules[i].code;
    *severity = health_rules[i].severity;
    *meaning = health_rules[i].meaning;
    *help = health_rules[i].help;
    return true;
}

/* ---- for the rules --------------------------------------------------------------------------------------------------------- */

static uint64_t key_of(size_t rule, enum core_health_kind kind, const char *const labels[]) {
    uint64_t key = core_hash64(&rule, sizeof rule, (uint64_t)kind + 1);
    for (size_t i = 0; i < CORE_HEALTH_LABELS_MAX && labels[i] != NULL; i++) {
        key = core_hash64(labels[i], strlen(labels[i]), key);
    }
    return key | 1;
}

struct health_memory *health_remember(struct health_look *look) {
    struct core_health_rules *rules = look->rules;
    uint64_t key = key_of(look->rule, look->row->kind, look->labels);
    for (size_t i = 0; i < rules->memories_len; i++) {
        if (rules->memories[i].key == key) {
            rules->memories[i].is_asked = true;
            return &rules->memories[i];
        }
    }
    if (rules->memories_len == MEMORIES_MAX) {
        return NULL;
    }
    struct health_memory *memory = &rules->memories[rules->memories_len++];
    *memory = (struct health_memory){.key = key, .is_new = true, .is_asked = true};
    return memory;
}

bool health_lasts(struct health_look *look, bool is_so, int64_t for_ns) {
    struct health_memory *memory = is_so ? health_remember(look) : NULL;
    if (memory == NULL) {
        return false; /* not asked for: forgotten at the end of the turn */
    }
    if (memory->is_new) {
        memory->is_new = false;
        memory->since_ns = look->tick_ns;
    }
    return look->tick_ns - memory->since_ns >= for_ns;
}

int64_t health_grown(struct health_look *look, int64_t count, int64_t start, int64_t window_ns) {
    struct health_memory *memory = health_remember(look);
    if (memory == NULL) {
        return 0;
    }
    if (memory->is_new) {
        memory->is_new = false;
        memory->part_ns = look->tick_ns;
        for (size_t i = 0; i <= HEALTH_PARTS; i++) {
            memory->counts[i] = start;
        }
    }
    int64_t part_ns = window_ns / HEALTH_PARTS;
    for (size_t i = 0; i <= HEALTH_PARTS && look->tick_ns - memory->part_ns >= part_ns; i++) {
        memmove(memory->counts + 1, memory->counts, HEALTH_PARTS * sizeof(memory->counts[0]));
        memory->counts[0] = count;
        memory->part_ns += part_ns;
    }
    if (look->tick_ns - memory->part_ns >= part_ns) { /* asleep for longer than the window */
        memory->part_ns = look->tick_ns;
    }
    return count - memory->counts[HEALTH_PARTS];
}

void health_say(struct health_look *look, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(look->text, HEALTH_TEXT_BYTES, fmt, args);
    va_end(args);
}

const char *health_age(char out[32], int64_t ns) {
    static const struct {
        long long seconds;
        const char *unit;
        long long part;
        const char *part_unit;
    } units[] = {{86400, "d", 3600, "h"}, {3600, "h", 60, "min"}, {60, "min", 1, "s"}};
    long long seconds = (long long)(ns / CORE_NS_PER_S);
    (void)snprintf(out, 32, seconds > 0 ? "%lld s" : "%lld ms",
                   seconds > 0 ? seconds : (long long)(ns / CORE_NS_PER_MS));
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (seconds >= units[i].seconds) {
            (void)snprintf(out, 32, "%lld %s %lld %s", seconds / units[i].seconds, units[i].unit,
                           seconds % units[i].seconds / units[i].part, units[i].part_unit);
            break;
        }
    }
    return out;
}

const char *health_bytes(char out[32], int64_t bytes) {
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    if (bytes < (int64_t)CORE_KIB) {
        (void)snprintf(out, 32, "%lld bytes", bytes == CORE_HEALTH_UNKNOWN ? 0LL : (long long)bytes);
        return out;
    }
    for (value /= (double)CORE_KIB; value >= (double)CORE_KIB && unit < 4; unit++) {
        value /= (double)CORE_KIB;
    }
    (void)snprintf(out, 32, "%.1f %s", value, units[unit]);
    return out;
}

/* ---- slots ------------------------------------------------------------------------------------------------------------------- */

/* "file /var/log/zeek/conn.log", "partition 3 of tapline.zeek.conn": what a person calls it. */
static void component_write(const struct core_health *health, enum core_health_kind kind, const char *const labels[],
                            char out[COMPONENT_BYTES]) {
    const char *first = labels[0] == NULL ? "" : labels[0];
    bool is_ours = kind == CORE_HEALTH_SUPERVISED && (strcmp(labels[1], "tapline") == 0 || labels[1][0] == '\0');
    if (kind == CORE_HEALTH_PROCESS) {
        bool has_number = strcmp(health->env.process, "feed") == 0;
        char number[16];
        (void)snprintf(number, sizeof number, "-%u", health->env.instance);
        (void)snprintf(out, COMPONENT_BYTES, "process %s%s", health->env.process, has_number ? number : "");
    } else if (kind == CORE_HEALTH_INTEL) {
        (void)snprintf(out, COMPONENT_BYTES, "intelligence");
    } else if (kind == CORE_HEALTH_BROKER) {
        (void)snprintf(out, COMPONENT_BYTES, "brokers of %s", first);
    } else if (kind == CORE_HEALTH_CONSUMED && labels[2] != NULL && labels[2][0] != '\0') {
        (void)snprintf(out, COMPONENT_BYTES, "partition %s of %s", labels[2], labels[1]);
    } else if (kind == CORE_HEALTH_SUPERVISED || kind == CORE_HEALTH_CAPTURE) {
        (void)snprintf(out, COMPONENT_BYTES, "%s %s", is_ours ? "process" : "sensor", first);
    } else {
        const char *word = kind == CORE_HEALTH_DEAD     ? "stage"
                           : kind == CORE_HEALTH_PEER   ? "process"
                           : kind == CORE_HEALTH_SYNCED ? "feed of indicators"
                                                        : core_health_kind_info(kind)->name;
        (void)snprintf(out, COMPONENT_BYTES, "%s %s", word, first);
    }
}

/* A free slot, or that of a lesser problem. */
static struct slot *slot_take(struct core_health_rules *rules, enum core_health_severity severity) {
    struct slot *least = NULL;
    for (size_t i = 0; i < PROBLEMS_MAX; i++) {
        struct slot *slot = &rules->slots[i];
        if (slot->key == 0) {
            return slot;
        }
        enum core_health_severity is = health_rules[slot->rule].severity;
        if (is < severity && (least == NULL || is < health_rules[least->rule].severity)) {
            least = slot;
        }
    }
    return least;
}

static void raise_problem(struct core_health *health, const struct about *about) {
    struct core_health_rules *rules = health->rules;
    uint64_t key = key_of(about->rule, about->kind, about->labels);
    struct slot *slot = NULL;
    size_t of_code = 0;
    for (size_t i = 0; i < PROBLEMS_MAX && slot == NULL; i++) {
        slot = rules->slots[i].key == key ? &rules->slots[i] : NULL;
        of_code += rules->slots[i].key != 0 && rules->slots[i].rule == about->rule ? 1 : 0;
    }
    bool is_others = about->labels[0] != NULL && strcmp(about->labels[0], OTHERS) == 0;
    if (slot == NULL && of_code >= CODE_MAX && !is_others) {
        rules->others[about->rule]++;
        return;
    }
    if (slot == NULL) {
        slot = slot_take(rules, health_rules[about->rule].severity);
        if (slot == NULL) {
            rules->others[about->rule]++;
            return;
        }
        *slot = (struct slot){.key = key, .rule = about->rule, .kind = about->kind, .since_ns = about->since_ns};
        for (; slot->labels_len < CORE_HEALTH_LABELS_MAX && about->labels[slot->labels_len] != NULL;
             slot->labels_len++) {
            (void)snprintf(slot->labels[slot->labels_len], sizeof slot->labels[0], "%s",
                           about->labels[slot->labels_len]);
        }
        component_write(health, about->kind, about->labels, slot->component);
        rules->is_changed = true;
    }
    slot->is_said = true;
    slot->is_complaint = about->is_complaint;
    slot->said_ns = about->tick_ns;
    slot->since_ns = about->since_ns < slot->since_ns ? about->since_ns : slot->since_ns;
    struct core_span text = core_utf8_cut(core_span_of(about->text), HEALTH_TEXT_BYTES - 1);
    memcpy(slot->text, text.ptr, text.len);
    slot->text[text.len] = '\0';
}

/* Those for which there was no slot of their own. */
static void others_raise(struct core_health *health, int64_t now_ns, int64_t tick_ns) {
    for (size_t i = 0; i < health_rules_len; i++) {
        size_t others = health->rules->others[i];
        if (others == 0) {
            continue;
        }
        char text[HEALTH_TEXT_BYTES];
        const char *labels[CORE_HEALTH_LABELS_MAX] = {0};
        const struct core_health_kind_info *info = core_health_kind_info(health_rules[i].kind);
        for (size_t label = 0; label < CORE_HEALTH_LABELS_MAX && info->label_names[label] != NULL; label++) {
            labels[label] = label == 0 ? OTHERS : "";
        }
        (void)snprintf(text, sizeof text, "%zu more like these: %s", others, health_rules[i].meaning);
        raise_problem(health, &(struct about){.rule = i,
                                              .kind = health_rules[i].kind,
                                              .labels = labels,
                                              .text = text,
                                              .since_ns = now_ns,
                                              .tick_ns = tick_ns});
    }
}

/* ---- a turn -------------------------------------------------------------------------------------------------------------------- */

static void complaints_take(struct core_health *health, int64_t now_ns, int64_t tick_ns) {
    size_t len = 0;
    const struct core_health_complaint *complaints = core_health_complaints(health, &health->arena, &len);
    for (size_t i = 0; i < len; i++) {
        size_t rule = 0;
        while (rule < health_rules_len && strcmp(health_rules[rule].code, complaints[i].code) != 0) {
            rule++;
        }
        MUST(rule < health_rules_len); /* a code that health_rules_table.c does not have */
        raise_problem(health, &(struct about){.rule = rule,
                                              .kind = complaints[i].kind,
                                              .labels = complaints[i].labels,
                                              .text = complaints[i].text,
                                              .since_ns = now_ns,
                                              .tick_ns = tick_ns,
                                              .is_complaint = true});
    }
}

/* Is code one of the words of list? */
static bool has_word(const char *list, const char *code) {
    size_t len = strlen(code);
    for (const char *at = list; at != NULL && (at = strstr(at, code)) != NULL; at += len) {
        if ((at == list || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0')) {
            return true;
        }
    }
    return false;
}

/* Does a complaint speak of the same thing? One with an empty label, or about the process itself, means all of them. */
static bool is_covered(const struct health_look *look) {
    const struct health_rule *rule = &health_rules[look->rule];
    for (size_t i = 0; i < PROBLEMS_MAX; i++) {
        const struct slot *slot = &look->rules->slots[i];
        if (slot->key == 0 || !slot->is_said || !slot->is_complaint ||
            (slot->kind != look->row->kind && slot->labels_len > 0) ||
            (slot->rule != look->rule && !has_word(rule->covered_by, health_rules[slot->rule].code))) {
            continue;
        }
        bool is_same = true;
        for (size_t label = 0; label < slot->labels_len && is_same; label++) {
            is_same = slot->labels[label][0] == '\0' || strcmp(slot->labels[label], look->labels[label]) == 0;
        }
        if (is_same) {
            return true;
        }
    }
    return false;
}

static void rows_look(struct core_health *health, size_t rule, int64_t now_ns, int64_t tick_ns) {
    char text[HEALTH_TEXT_BYTES];
    for (size_t i = 0; i < health->rows_len; i++) {
        const struct core_health_row *row = &health->rows[i];
        if (row->kind != health_rules[rule].kind) {
            continue;
        }
        struct health_look look = {.health = health,
                                   .row = row,
                                   .now_ns = now_ns,
                                   .tick_ns = tick_ns,
                                   .text = text,
                                   .rules = health->rules,
                                   .rule = rule};
        memcpy(look.labels, row->labels, sizeof look.labels);
        if (health_rules[rule].is_wrong(&look) && !is_covered(&look)) {
            raise_problem(health, &(struct about){.rule = rule,
                                                  .kind = row->kind,
                                                  .labels = look.labels,
                                                  .text = text,
                                                  .since_ns = look.since_ns == 0 ? now_ns : look.since_ns,
                                                  .tick_ns = tick_ns});
        }
    }
}

static int worst_first(const void *a, const void *b) {
    const struct core_health_problem *left = a;
    const struct core_health_problem *right = b;
    if (left->severity != right->severity) {
        return left->severity > right->severity ? -1 : 1;
    }
    if (left->since_ns != right->since_ns) {
        return left->since_ns < right->since_ns ? -1 : 1;
    }
    int by_code = strcmp(left->code, right->code);
    return by_code != 0 ? by_code : strcmp(left->component, right->component);
}

/* What is over goes; what is left is shown. */
static void slots_show(struct core_health_rules *rules, int64_t tick_ns) {
    rules->shown_len = 0;
    for (size_t i = 0; i < PROBLEMS_MAX; i++) {
        struct slot *slot = &rules->slots[i];
        bool is_info = health_rules[slot->rule].severity == CORE_HEALTH_INFO;
        if (slot->key != 0 && tick_ns - slot->said_ns >= (is_info ? 1 : GONE_AFTER_NS)) {
            slot->key = 0;
            rules->is_changed = true;
        }
        if (slot->key == 0) {
            continue;
        }
        const struct health_rule *rule = &health_rules[slot->rule];
        struct core_health_problem *shown = &rules->shown[rules->shown_len++];
        *shown = (struct core_health_problem){.code = rule->code,
                                              .severity = rule->severity,
                                              .component = slot->component,
                                              .since_ns = slot->since_ns,
                                              .text = slot->text,
                                              .help = rule->help,
                                              .kind = slot->kind};
        for (size_t label = 0; label < slot->labels_len; label++) {
            shown->labels[label] = slot->labels[label];
        }
    }
    qsort(rules->shown, rules->shown_len, sizeof(rules->shown[0]), worst_first);
}

static void memories_forget(struct core_health_rules *rules) {
    size_t kept = 0;
    for (size_t i = 0; i < rules->memories_len; i++) {
        if (rules->memories[i].is_asked) {
            rules->memories[kept] = rules->memories[i];
            rules->memories[kept++].is_asked = false;
        }
    }
    rules->memories_len = kept;
}

bool core_health_rules_turn(struct core_health *health) {
    struct core_health_rules *rules = health->rules;
    bool was_ready = core_health_is_ready(health);
    int64_t now_ns = core_now_ns();
    int64_t tick_ns = core_tick_ns();
    rules->is_changed = false;
    memset(rules->others, 0, sizeof rules->others);
    for (size_t i = 0; i < PROBLEMS_MAX; i++) {
        rules->slots[i].is_said = false;
    }
    complaints_take(health, now_ns, tick_ns);
    for (size_t rule = 0; rule < health_rules_len; rule++) {
        if (health_rules[rule].is_wrong != NULL) {
            rows_look(health, rule, now_ns, tick_ns);
        }
    }
    others_raise(health, now_ns, tick_ns);
    memories_forget(rules);
    slots_show(rules, tick_ns);
    rules->has_looked = true;
    return rules->is_changed || was_ready != core_health_is_ready(health);
}

const struct core_health_problem *core_health_problems(const struct core_health *health, size_t *len) {
    *len = health->rules->shown_len;
    return health->rules->shown;
}

/* A problem that ends is still shown for a while; until then it counts. */
bool core_health_is_ready(const struct core_health *health) {
    for (size_t i = 0; i < PROBLEMS_MAX; i++) {
        const struct slot *slot = &health->rules->slots[i];
        if (slot->key != 0 && health_rules[slot->rule].stops) {
            return false;
        }
    }
    return health->rules->has_looked;
}

const char *core_health_state(const struct core_health *health) {
    size_t len = 0;
    const struct core_health_problem *problems = core_health_problems(health, &len);
    enum core_health_severity worst = len == 0 ? CORE_HEALTH_INFO : problems[0].severity;
    return worst == CORE_HEALTH_ERROR ? "failing" : worst == CORE_HEALTH_WARN ? "degraded" : "ok";
}
