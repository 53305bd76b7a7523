/* supervisor/spec.c: what a process is to be, from JSON and to JSON.
 *
 * One table has a row a member, in the order in which they are written: its dotted name, its kind, where it lies, its limits.
 * Reading looks a member up in it, writing walks it and leaves out what is as by default, so that equal specs have equal texts
 * and a comparison of texts answers whether a process runs as it should. A kind is one function that reads and one that
 * writes. What cannot be written down again within SUPERVISOR_SPEC_BYTES_MAX is refused: the state file must hold it.
 *
 * Everything that can be known without looking at the system is checked here, when Main says it; whether a user or a file is
 * there shows at the start. Pure: no files, no threads, no memory but the arena.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define NS_MIN_OF_A_PAUSE CORE_NS_PER_MS /* a delay or timeout of nothing would be a busy loop */
#define ORDER_MAX 1000000
#define OUTPUT_BYTES_MIN 1024
#define OUTPUT_BYTES_MAX (INT64_C(1) << 40)
#define CPU_PERCENT_MAX (100 * SUPERVISOR_CPUS_MAX)
#define LOGS_MAX 64
#define WORDS_MAX 64 /* groups, capabilities, limits */
#define NAME_BYTES_SHOWN 96
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- the members ---------------------------------------------------------------------------------------------------------- */

struct member;

struct reading {
    struct core_arena *arena;
    struct core_fail *fail;
    char where[NAME_BYTES_SHOWN]; /* of the failure: the process */
    char name[NAME_BYTES_SHOWN];  /* dotted, of the member */
};

struct kind {
    enum core_err (*read)(struct reading *reading, const struct member *member, const struct core_json_tree *json,
                          void *out);
    void (*write)(const struct member *member, const void *value, struct core_buf *out);
    bool (*is_equal)(const struct member *member, const void *a, const void *b);
};

enum type { TYPE_I64, TYPE_U64, TYPE_U32, TYPE_INT };

struct member {
    const char *name;
    const struct kind *kind;
    enum type type; /* of what is a number */
    size_t at;      /* in struct supervisor_spec */
    size_t len_at;  /* of what has its length beside it */
    int64_t min;    /* of numbers; of lists: how many */
    int64_t max;
    bool (*is_good)(const char *text);  /* of texts; of the names of pairs */
    bool (*is_value)(const char *text); /* of pairs; NULL: any will do */
    const char *should_be;              /* "must be …" */
};

static enum core_err must_be(struct reading *reading, const char *what) {
    return core_fail_set(reading->fail, CORE_BAD, reading->where, "\"%s\" of the process must be %s", reading->name,
                         what);
}

static enum core_err no_room(struct reading *reading) {
    return core_fail_set(reading->fail, CORE_LIMIT, reading->where, "no room is left for \"%s\" of the process",
                         reading->name);
}

static void enter(struct reading *reading, const char *prefix, struct core_span key) {
    const int key_len = key.len < NAME_BYTES_SHOWN ? (int)key.len : NAME_BYTES_SHOWN;
    (void)snprintf(reading->name, sizeof(reading->name), "%s%s%.*s", prefix, *prefix == '\0' ? "" : ".", key_len,
                   key_len == 0 ? "" : key.ptr);
}

static enum core_err not_text(struct reading *reading) {
    return must_be(reading, "text in UTF-8, without a NUL");
}

static enum core_err take_text(struct reading *reading, const struct core_json_tree *json, const char **out) {
    if (json->kind != CORE_JSON_STRING || core_span_chr(json->text, '\0') != NULL || !core_utf8_is_valid(json->text)) {
        return not_text(reading);
    }
    *out = core_arena_copy(reading->arena, json->text);
    return *out == NULL ? no_room(reading) : CORE_OK;
}

/* ---- kind: a text ---- */

static enum core_err read_text(struct reading *reading, const struct member *member, const struct core_json_tree *json,
                               void *out) {
    const char **text = out;
    enum core_err err = take_text(reading, json, text);
    return err == CORE_OK && !member->is_good(*text) ? must_be(reading, member->should_be) : err;
}

static void write_text(const struct member *member, const void *value, struct core_buf *out) {
    (void)member;
    core_buf_string(out, core_span_of(*(const char *const *)value));
}

static bool equal_text(const struct member *member, const void *a, const void *b) {
    (void)member;
    const char *left = *(const char *const *)a;
    const char *right = *(const char *const *)b;
    return left == right || (left != NULL && right != NULL && strcmp(left, right) == 0);
}

/* ---- kind: several texts, NULL-terminated ---- */

static bool is_something(const char *text) {
    return text[0] != '\0';
}

static enum core_err read_texts(struct reading *reading, const struct member *member, const struct core_json_tree *json,
                                void *out) {
    int64_t len = 0;
    for (const struct core_json_tree *each = json->first; each != NULL; each = each->next) {
        len++;
    }
    if (json->kind != CORE_JSON_ARRAY || len < member->min || len > member->max) {
        return must_be(reading, member->should_be);
    }
    const char **texts = core_arena_alloc(reading->arena, ((size_t)len + 1) * sizeof(*texts));
    if (texts == NULL) {
        return no_room(reading);
    }
    size_t i = 0;
    for (const struct core_json_tree *each = json->first; each != NULL; each = each->next, i++) {
        enum core_err err = take_text(reading, each, &texts[i]);
        if (err != CORE_OK) {
            return err;
        }
        const bool is_argument = member->is_good == NULL && i > 0; /* may be anything */
        const bool is_good = member->is_good == NULL ? is_something(texts[i]) : member->is_good(texts[i]);
        if (!is_argument && !is_good) {
            return must_be(reading, member->should_be);
        }
    }
    texts[i] = NULL;
    *(const char *const **)out = texts;
    return CORE_OK;
}

static void write_texts(const struct member *member, const void *value, struct core_buf *out) {
    (void)member;
    core_buf_char(out, '[');
    for (const char *const *text = *(const char *const *const *)value; *text != NULL; text++) {
        core_buf_span(out, text == *(const char *const *const *)value ? CORE_SPAN("") : CORE_SPAN(","));
        core_buf_string(out, core_span_of(*text));
    }
    core_buf_char(out, ']');
}

/* Only ever asked against a default: none at all, or an empty list. */
static bool equal_texts(const struct member *member, const void *a, const void *b) {
    (void)member;
    const char *const *left = *(const char *const *const *)a;
    const char *const *right = *(const char *const *const *)b;
    return left == right || (left != NULL && right != NULL && *left == NULL && *right == NULL);
}

/* ---- kind: the rules, as many as there is room for in the struct ---- */

static enum core_err read_rules(struct reading *reading, const struct member *member, const struct core_json_tree *json,
                                void *out) {
    struct supervisor_spec *spec = out;
    const char *const *texts = NULL;
    enum core_err err = read_texts(reading, member, json, &texts);
    if (err != CORE_OK) {
        return err;
    }
    for (spec->ready.rules_len = 0; texts[spec->ready.rules_len] != NULL; spec->ready.rules_len++) {
        spec->ready.rules[spec->ready.rules_len] = texts[spec->ready.rules_len];
    }
    return CORE_OK;
}

static bool is_rule(const char *text) {
    enum supervisor_ready_rule rule = SUPERVISOR_READY_AFTER;
    const char *rest = NULL;
    return supervisor_rule_read(text, &rule, &rest);
}

static void write_rules(const struct member *member, const void *value, struct core_buf *out) {
    const struct supervisor_spec *spec = value;
    const char *texts[SUPERVISOR_READY_MAX + 1] = {NULL};
    memcpy(texts, spec->ready.rules, spec->ready.rules_len * sizeof(texts[0]));
    const char *const *first = texts;
    write_texts(member, &first, out);
}

static bool equal_rules(const struct member *member, const void *a, const void *b) {
    (void)member;
    return ((const struct supervisor_spec *)a)->ready.rules_len == 0 &&
           ((const struct supervisor_spec *)b)->ready.rules_len == 0;
}

/* ---- kind: the CPUs ---- */

static enum core_err read_cpus(struct reading *reading, const struct member *member, const struct core_json_tree *json,
                               void *out) {
    struct supervisor_spec *spec = out;
    if (json->kind != CORE_JSON_ARRAY) {
        return must_be(reading, member->should_be);
    }
    for (const struct core_json_tree *each = json->first; each != NULL; each = each->next) {
        int64_t cpu = 0;
        if (spec->cpus_len == SUPERVISOR_CPUS_MAX || !supervisor_json_integer(each, member->min, member->max, &cpu)) {
            return must_be(reading, member->should_be);
        }
        spec->cpus[spec->cpus_len++] = (uint16_t)cpu;
    }
    return CORE_OK;
}

static void write_cpus(const struct member *member, const void *value, struct core_buf *out) {
    (void)member;
    const struct supervisor_spec *spec = value;
    core_buf_char(out, '[');
    for (size_t i = 0; i < spec->cpus_len; i++) {
        core_buf_span(out, i == 0 ? CORE_SPAN("") : CORE_SPAN(","));
        core_buf_u64(out, spec->cpus[i]);
    }
    core_buf_char(out, ']');
}

static bool equal_cpus(const struct member *member, const void *a, const void *b) {
    (void)member;
    return ((const struct supervisor_spec *)a)->cpus_len == 0 && ((const struct supervisor_spec *)b)->cpus_len == 0;
}

/* ---- kind: pairs, an object ---- */

static bool is_before(const struct core_json_tree *object, const struct core_json_tree *member) {
    const struct core_json_tree *each = object->first;
    while (each != member && !core_span_eq(each->key, member->key)) {
        each = each->next;
    }
    return each != member;
}

static enum core_err twice(struct reading *reading) {
    return core_fail_set(reading->fail, CORE_BAD, reading->where, "\"%s\" of the process is there twice",
                         reading->name);
}

/* One, with its own check of keys and values. */
static enum core_err read_pair(struct reading *reading, const struct member *member, const struct core_json_tree *json,
                               struct supervisor_pair *out) {
    enter(reading, member->name, json->key);
    if (core_span_chr(json->key, '\0') != NULL || !core_utf8_is_valid(json->key)) {
        return not_text(reading);
    }
    enum core_err err = take_text(reading, json, &out->value);
    if (err != CORE_OK) {
        return err;
    }
    out->key = core_arena_copy(reading->arena, json->key);
    if (out->key == NULL) {
        return no_room(reading);
    }
    const bool is_good = member->is_good(out->key) && (member->is_value == NULL || member->is_value(out->value));
    return is_good ? CORE_OK : must_be(reading, member->should_be);
}

static enum core_err read_pairs(struct reading *reading, const struct member *member, const struct core_json_tree *json,
                                void *out) {
    struct supervisor_spec *spec = out;
    int64_t len = 0;
    for (const struct core_json_tree *each = json->first; each != NULL; each = each->next) {
        len++;
    }
    if (json->kind != CORE_JSON_OBJECT || len > member->max) {
        return must_be(reading, member->should_be);
    }
    struct supervisor_pair *pairs = core_arena_alloc(reading->arena, ((size_t)len + 1) * sizeof(*pairs));
    if (pairs == NULL) {
        return no_room(reading);
    }
    size_t i = 0;
    for (const struct core_json_tree *each = json->first; each != NULL; each = each->next, i++) {
        enum core_err err = read_pair(reading, member, each, &pairs[i]);
        err = err == CORE_OK && is_before(json, each) ? twice(reading) : err;
        if (err != CORE_OK) {
            return err;
        }
    }
    *(const struct supervisor_pair **)((char *)spec + member->at) = pairs;
    *(size_t *)((char *)spec + member->len_at) = i;
    return CORE_OK;
}

static size_t pairs_len(const struct member *member, const void *spec) {
    return *(const size_t *)((const char *)spec + member->len_at);
}

static void write_pairs(const struct member *member, const void *value, struct core_buf *out) {
    const struct supervisor_pair *pairs = *(const struct supervisor_pair *const *)((const char *)value + member->at);
    core_buf_char(out, '{');
    for (size_t i = 0; i < pairs_len(member, value); i++) {
        core_buf_span(out, i == 0 ? CORE_SPAN("") : CORE_SPAN(","));
        core_buf_string(out, core_span_of(pairs[i].key));
        core_buf_char(out, ':');
        core_buf_string(out, core_span_of(pairs[i].value));
    }
    core_buf_char(out, '}');
}

static bool equal_pairs(const struct member *member, const void *a, const void *b) {
    return pairs_len(member, a) == 0 && pairs_len(member, b) == 0;
}

static bool is_env_name(const char *text) {
    return text[0] != '\0' && strchr(text, '=') == NULL && strcmp(text, "TAPLINE_COOKIE") != 0 &&
           strcmp(text, "TAPLINE_READY_FD") != 0;
}

static bool is_limit_name(const char *text) {
    return supervisor_limit_of(text) >= 0;
}

static bool is_limit_value(const char *text) {
    uint64_t value = 0;
    return supervisor_limit_value(text, &value);
}

/* ---- kinds: numbers ---- */

bool supervisor_json_integer(const struct core_json_tree *json, int64_t min, int64_t max, int64_t *out) {
    if (json == NULL || json->kind != CORE_JSON_NUMBER || json->text.len == 0) {
        return false;
    }
    const bool is_negative = json->text.ptr[0] == '-';
    int64_t number = 0;
    for (size_t i = is_negative ? 1 : 0; i < json->text.len; i++) {
        if (!core_is_digit(json->text.ptr[i]) || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_sub_overflow(number, json->text.ptr[i] - '0', &number)) { /* downwards: there is one more */
            return false;
        }
    }
    if (!is_negative && __builtin_sub_overflow(0, number, &number)) {
        return false;
    }
    *out = number;
    return number >= min && number <= max;
}

static int64_t number_at(const struct member *member, const void *value) {
    switch (member->type) {
    case TYPE_INT:
        return *(const int *)value;
    case TYPE_U32:
        return *(const uint32_t *)value;
    case TYPE_U64:
        return (int64_t)(*(const uint64_t *)value);
    case TYPE_I64:
        break;
    }
    return *(const int64_t *)value;
}

static void number_put(const struct member *member, int64_t number, void *out) {
    switch (member->type) {
    case TYPE_INT:
        *(int *)out = (int)number;
        break;
    case TYPE_U32:
        *(uint32_t *)out = (uint32_t)number;
        break;
    case TYPE_U64:
        *(uint64_t *)out = (uint64_t)number;
        break;
    case TYPE_I64:
        *(int64_t *)out = number;
        break;
    }
}

static enum core_err read_number(struct reading *reading, const struct member *member,
                                 const struct core_json_tree *json, void *out) {
    int64_t number = 0;
    if (!supervisor_json_integer(json, member->min, member->max, &number)) {
        char what[NAME_BYTES_SHOWN];
        (void)snprintf(what, sizeof(what), "a whole number from %lld to %lld", (long long)member->min,
                       (long long)member->max);
        return must_be(reading, what);
    }
    number_put(member, number, out);
    return CORE_OK;
}

static void write_number(const struct member *member, const void *value, struct core_buf *out) {
    core_buf_i64(out, number_at(member, value));
}

static bool equal_number(const struct member *member, const void *a, const void *b) {
    return number_at(member, a) == number_at(member, b);
}

/* ---- kinds: numbers that are written as words ---- */

static const char *const policy_names[] = {
    [SUPERVISOR_ALWAYS] = "always",
    [SUPERVISOR_ON_FAILURE] = "on_failure",
    [SUPERVISOR_NEVER] = "never",
};

static enum core_err read_umask(struct reading *reading, const struct member *member, const struct core_json_tree *json,
                                void *out) {
    const char *text = json->kind == CORE_JSON_STRING ? json->text.ptr : "";
    const size_t len = json->kind == CORE_JSON_STRING ? json->text.len : 0;
    const size_t digits = strspn(text, "01234567");
    const unsigned long mask = digits == 0 ? ULONG_MAX : strtoul(text, NULL, 8);
    if (digits != len || len > 4 || mask > (unsigned long)member->max) {
        return must_be(reading, member->should_be);
    }
    *(uint32_t *)out = (uint32_t)mask;
    return CORE_OK;
}

static void write_umask(const struct member *member, const void *value, struct core_buf *out) {
    (void)member;
    char text[16];
    (void)snprintf(text, sizeof(text), "\"%04o\"", *(const uint32_t *)value);
    core_buf_span(out, core_span_of(text));
}

static enum core_err read_policy(struct reading *reading, const struct member *member,
                                 const struct core_json_tree *json, void *out) {
    for (size_t i = 0; i < COUNT_OF(policy_names); i++) {
        if (json->kind == CORE_JSON_STRING && core_span_is(json->text, policy_names[i])) {
            *(enum supervisor_policy *)out = (enum supervisor_policy)i;
            return CORE_OK;
        }
    }
    return must_be(reading, member->should_be);
}

static void write_policy(const struct member *member, const void *value, struct core_buf *out) {
    (void)member;
    core_buf_string(out, core_span_of(policy_names[*(const enum supervisor_policy *)value]));
}

static bool equal_policy(const struct member *member, const void *a, const void *b) {
    (void)member;
    return *(const enum supervisor_policy *)a == *(const enum supervisor_policy *)b;
}

static enum core_err read_signal(struct reading *reading, const struct member *member,
                                 const struct core_json_tree *json, void *out) {
    const bool is_text = json->kind == CORE_JSON_STRING && strlen(json->text.ptr) == json->text.len;
    const int number = is_text ? supervisor_signal_of(json->text.ptr) : 0;
    if (number == 0) {
        return must_be(reading, member->should_be);
    }
    *(int *)out = number;
    return CORE_OK;
}

static void write_signal(const struct member *member, const void *value, struct core_buf *out) {
    (void)member;
    const int number = *(const int *)value;
    char text[16];
    (void)snprintf(text, sizeof(text), "%d", number); /* a realtime one has no name */
    const char *name = supervisor_signal_name(number);
    core_buf_string(out, core_span_of(*name == '?' ? text : name));
}

/* ---- the table ------------------------------------------------------------------------------------------------------------ */

static const struct kind kind_number = {read_number, write_number, equal_number};
static const struct kind kind_text = {read_text, write_text, equal_text};
static const struct kind kind_texts = {read_texts, write_texts, equal_texts};
static const struct kind kind_rules = {read_rules, write_rules, equal_rules};
static const struct kind kind_cpus = {read_cpus, write_cpus, equal_cpus};
static const struct kind kind_pairs = {read_pairs, write_pairs, equal_pairs};
static const struct kind kind_umask = {read_umask, write_umask, equal_number};
static const struct kind kind_policy = {read_policy, write_policy, equal_policy};
static const struct kind kind_signal = {read_signal, write_signal, equal_number};

static bool is_name(const char *text) {
    return supervisor_name_is_good(core_span_of(text));
}

static bool is_name_or_nothing(const char *text) {
    return *text == '\0' || is_name(text);
}

static bool is_user(const char *text) {
    return *text != '\0' && strlen(text) <= SUPERVISOR_NAME_BYTES_MAX && strpbrk(text, ":/\n") == NULL;
}

static bool is_capability(const char *text) {
    return strncmp(text, "cap_", 4) == 0 && text[4] != '\0' &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz_") == strlen(text);
}

#define AT(path) offsetof(struct supervisor_spec, path)
#define PATH_WORDS "a path from the root, \"/…\""

/* clang-format off */
static const struct member members[] = {
    {"name",                     &kind_text,   .at = AT(name),                     .is_good = is_name, .should_be = "up to 64 letters, digits, '-', '_' and '.', the first a letter or digit"},
    {"argv",                     &kind_texts,  .at = AT(argv),                     .min = 1, .max = SUPERVISOR_ARGS_MAX, .should_be = "a list of 1 to 256 texts, the first the program"},
    {"group",                    &kind_text,   .at = AT(group),                    .is_good = is_name_or_nothing, .should_be = "up to 64 letters, digits, '-', '_' and '.'"},
    {"order",                    &kind_number, .at = AT(order),                    .type = TYPE_I64, .min = -ORDER_MAX, .max = ORDER_MAX},
    {"cwd",                      &kind_text,   .at = AT(cwd),                      .is_good = supervisor_path_is_good, .should_be = PATH_WORDS},
    {"env",                      &kind_pairs,  .at = AT(env),                      .len_at = AT(env_len), .max = SUPERVISOR_ENV_MAX, .is_good = is_env_name, .should_be = "an object of at most 128 texts, without '=' in the names and none of TAPLINE_COOKIE, TAPLINE_READY_FD"},
    {"user",                     &kind_text,   .at = AT(user),                     .is_good = is_user, .should_be = "the name of a user"},
    {"groups",                   &kind_texts,  .at = AT(groups),                   .max = WORDS_MAX, .is_good = is_user, .should_be = "a list of at most 64 names of groups"},
    {"capabilities",             &kind_texts,  .at = AT(capabilities),             .max = WORDS_MAX, .is_good = is_capability, .should_be = "a list of capabilities, each as \"cap_net_raw\""},
    {"umask",                    &kind_umask,  .at = AT(umask),                    .type = TYPE_U32, .max = 0777, .should_be = "octal digits as text, e.g. \"0027\""},
    {"nice",                     &kind_number, .at = AT(nice),                     .type = TYPE_INT, .min = -20, .max = 19},
    {"cpus",                     &kind_cpus,   .at = AT(cpus),                     .max = SUPERVISOR_CPUS_MAX - 1, .should_be = "a list of at most 1024 numbers of CPUs, each below 1024"},
    {"memory_max_bytes",         &kind_number, .at = AT(memory_max_bytes),         .type = TYPE_U64, .max = INT64_MAX},
    {"cpu_max_percent",          &kind_number, .at = AT(cpu_max_percent),          .type = TYPE_U32, .max = CPU_PERCENT_MAX},
    {"limits",                   &kind_pairs,  .at = AT(limits),                   .len_at = AT(limits_len), .max = WORDS_MAX, .is_good = is_limit_name, .is_value = is_limit_value, .should_be = "an object such as {\"nofile\":\"65536\",\"core\":\"unlimited\"}, its names those of setrlimit(2)"},
    {"output.directory",         &kind_text,   .at = AT(output.directory),         .is_good = supervisor_path_is_good, .should_be = PATH_WORDS},
    {"output.bytes_max",         &kind_number, .at = AT(output.bytes_max),         .type = TYPE_U64, .min = OUTPUT_BYTES_MIN, .max = OUTPUT_BYTES_MAX},
    {"logs",                     &kind_texts,  .at = AT(logs),                     .max = LOGS_MAX, .is_good = is_something, .should_be = "a list of at most 64 patterns of file names"},
    {"ready.rules",              &kind_rules,  .at = 0,                            .max = SUPERVISOR_READY_MAX, .is_good = is_rule, .should_be = "a list of at most 4 of \"after 5s\", \"file /PATH\", \"fd\", \"tcp [HOST:]PORT\", \"output TEXT\", \"log_written\""},
    {"ready.timeout_ns",         &kind_number, .at = AT(ready.timeout_ns),         .type = TYPE_I64, .max = SUPERVISOR_NS_MAX},
    {"settle_ns",                &kind_number, .at = AT(settle_ns),                .type = TYPE_I64, .max = SUPERVISOR_NS_MAX},
    {"watchdog.timeout_ns",      &kind_number, .at = AT(watchdog.timeout_ns),      .type = TYPE_I64, .max = SUPERVISOR_NS_MAX},
    {"watchdog.counter",         &kind_text,   .at = AT(watchdog.counter),         .is_good = supervisor_path_is_good, .should_be = PATH_WORDS},
    {"watchdog.interface",       &kind_text,   .at = AT(watchdog.interface),       .is_good = is_user, .should_be = "the name of an interface"},
    {"restart.policy",           &kind_policy, .at = AT(restart.policy),           .should_be = "\"always\", \"on_failure\" or \"never\""},
    {"restart.delay_min_ns",     &kind_number, .at = AT(restart.delay_min_ns),     .type = TYPE_I64, .min = NS_MIN_OF_A_PAUSE, .max = SUPERVISOR_NS_MAX},
    {"restart.delay_max_ns",     &kind_number, .at = AT(restart.delay_max_ns),     .type = TYPE_I64, .min = NS_MIN_OF_A_PAUSE, .max = SUPERVISOR_NS_MAX},
    {"restart.deaths_max",       &kind_number, .at = AT(restart.deaths_max),       .type = TYPE_U32, .min = 1, .max = SUPERVISOR_DEATHS_MAX},
    {"restart.deaths_within_ns", &kind_number, .at = AT(restart.deaths_within_ns), .type = TYPE_I64, .max = SUPERVISOR_NS_MAX},
    {"stop.signal",              &kind_signal, .at = AT(stop.signal),              .type = TYPE_INT, .should_be = "the name of a signal, e.g. \"TERM\""},
    {"stop.timeout_ns",          &kind_number, .at = AT(stop.timeout_ns),          .type = TYPE_I64, .min = NS_MIN_OF_A_PAUSE, .max = SUPERVISOR_NS_MAX},
};
/* clang-format on */

/* Where a kind finds its value: what has more than one field gets the whole spec. */
static size_t value_at(const struct member *member) {
    const bool is_whole = member->kind == &kind_pairs || member->kind == &kind_cpus || member->kind == &kind_rules;
    return is_whole ? 0 : member->at;
}

/* "output" of "output.directory"; empty if it stands alone. */
static struct core_span section_of(const struct member *member) {
    const char *dot = strchr(member->name, '.');
    return (struct core_span){member->name, dot == NULL ? 0 : (size_t)(dot - member->name)};
}

void supervisor_spec_init(struct supervisor_spec *spec) {
    static const char *const none[] = {NULL};
    *spec = (struct supervisor_spec){
        .group = "",
        .order = 50,
        .cwd = "/",
        .umask = 0027,
        .output.bytes_max = 8 * CORE_MIB,
        .logs = none,
        .ready.timeout_ns = 60 * CORE_NS_PER_S,
        .settle_ns = 10 * CORE_NS_PER_S,
        .restart = {.policy = SUPERVISOR_ALWAYS,
                    .delay_min_ns = CORE_NS_PER_S,
                    .delay_max_ns = 60 * CORE_NS_PER_S,
                    .deaths_max = 5,
                    .deaths_within_ns = 300 * CORE_NS_PER_S},
        .stop = {.signal = SIGTERM, .timeout_ns = 30 * CORE_NS_PER_S},
    };
}

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

static enum core_err read_section(struct reading *reading, const char *prefix, const struct core_json_tree *json,
                                  struct supervisor_spec *spec);

static enum core_err read_member(struct reading *reading, const char *prefix, const struct core_json_tree *json,
                                 struct supervisor_spec *spec) {
    char name[NAME_BYTES_SHOWN];
    enter(reading, prefix, json->key);
    memcpy(name, reading->name, sizeof(name));
    const struct core_span whole = core_span_of(name);
    const bool is_one = core_span_chr(json->key, '.') == NULL && /* and not cut short by enter() */
                        whole.len == json->key.len + (*prefix == '\0' ? 0 : strlen(prefix) + 1);
    for (size_t i = 0; is_one && i < COUNT_OF(members); i++) {
        if (core_span_is(whole, members[i].name)) {
            return members[i].kind->read(reading, &members[i], json, (char *)spec + value_at(&members[i]));
        }
        if (*prefix == '\0' && whole.len > 0 && core_span_eq(section_of(&members[i]), whole)) {
            return json->kind == CORE_JSON_OBJECT ? read_section(reading, name, json, spec)
                                                  : must_be(reading, "an object");
        }
    }
    return core_fail_set(reading->fail, CORE_BAD, reading->where, "\"%s\" is nothing that a process has",
                         reading->name);
}

static enum core_err read_section(struct reading *reading, const char *prefix, const struct core_json_tree *json,
                                  struct supervisor_spec *spec) {
    for (const struct core_json_tree *each = json->first; each != NULL; each = each->next) {
        enum core_err err = read_member(reading, prefix, each, spec);
        if (err == CORE_OK && is_before(json, each)) {
            enter(reading, prefix, each->key);
            err = twice(reading);
        }
        if (err != CORE_OK) {
            return err;
        }
    }
    return CORE_OK;
}

/* What several members must be together. */
static enum core_err check_whole(struct reading *reading, const struct supervisor_spec *spec) {
    if (spec->name == NULL || spec->argv == NULL) {
        (void)snprintf(reading->name, sizeof(reading->name), "%s", spec->name == NULL ? "name" : "argv");
        return must_be(reading, "there");
    }
    if (spec->restart.delay_min_ns > spec->restart.delay_max_ns) {
        (void)snprintf(reading->name, sizeof(reading->name), "restart.delay_min_ns");
        return must_be(reading, "at most restart.delay_max_ns");
    }
    char text[SUPERVISOR_SPEC_BYTES_MAX];
    struct core_buf buf = {.start = text, .pos = text, .end = text + sizeof(text)};
    supervisor_spec_write(spec, &buf);
    if (buf.is_full) {
        return core_fail_set(reading->fail, CORE_LIMIT, reading->where,
                             "what the process is to be takes more than %zu bytes", sizeof(text));
    }
    return CORE_OK;
}

enum core_err supervisor_spec_read(struct core_arena *arena, const struct core_json_tree *json,
                                   struct supervisor_spec *out, struct core_fail *fail) {
    MUST(arena != NULL);
    MUST(out != NULL);
    struct reading reading = {.arena = arena, .fail = fail, .where = "process"};
    supervisor_spec_init(out);
    if (json == NULL || json->kind != CORE_JSON_OBJECT) {
        return core_fail_set(fail, CORE_BAD, reading.where,
                             "what a process is to be must be an object with name and argv");
    }
    const struct core_span name = core_json_tree_text(json, "name");
    if (supervisor_name_is_good(name)) {
        memcpy(reading.where, name.ptr, name.len + 1);
    }
    enum core_err err = read_section(&reading, "", json, out);
    if (err == CORE_OK && out->output.directory == NULL) {
        out->output.directory = out->cwd;
    }
    return err == CORE_OK ? check_whole(&reading, out) : err;
}

/* ---- writing -------------------------------------------------------------------------------------------------------------- */

static bool is_as_by_default(const struct supervisor_spec *spec, const struct member *member) {
    struct supervisor_spec plain;
    supervisor_spec_init(&plain);
    plain.output.directory = spec->output.directory == NULL ? NULL : spec->cwd;
    const size_t at = value_at(member);
    return member->kind->is_equal(member, (const char *)spec + at, (const char *)&plain + at);
}

void supervisor_spec_write(const struct supervisor_spec *spec, struct core_buf *out) {
    MUST(spec->name != NULL);
    MUST(spec->argv != NULL);
    struct core_span section = {"", 0};
    bool is_first = true; /* in the object that is open */
    core_buf_char(out, '{');
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        if (is_as_by_default(spec, &members[i])) {
            continue;
        }
        const struct core_span its = section_of(&members[i]);
        if (section.len > 0 && !core_span_eq(its, section)) {
            core_buf_char(out, '}');
        }
        if (!is_first) {
            core_buf_char(out, ',');
        }
        if (its.len > 0 && !core_span_eq(its, section)) {
            core_buf_string(out, its);
            core_buf_span(out, CORE_SPAN(":{"));
        }
        section = its;
        is_first = false;
        core_buf_string(out, core_span_of(members[i].name + (its.len == 0 ? 0 : its.len + 1)));
        core_buf_char(out, ':');
        members[i].kind->write(&members[i], (const char *)spec + value_at(&members[i]), out);
    }
    core_buf_span(out, section.len > 0 ? CORE_SPAN("}}") : CORE_SPAN("}"));
}
