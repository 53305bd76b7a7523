/* cmd/intel.c: what the commands `tapline intel …` share.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/intel.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BAR_COLUMNS 30
#define BAR_NS (100 * CORE_NS_PER_MS)
#define PERCENT 100

/* ---- the store ---------------------------------------------------------------------------------------------------------------- */

static bool conf_read(struct intel *intel, const char *path, int *exit_code) {
    struct core_fail fail = {0};
    struct core_conf_mistakes *mistakes = calloc(1, sizeof(*mistakes));
    MUST(mistakes != NULL);
    enum core_err err = core_conf_open(&intel->file, path, &fail);
    if (err != CORE_OK) {
        *exit_code = intel_failed(intel, err, &fail);
    } else {
        config_intel_load(&intel->conf, intel->file, mistakes);
        cmd_print_mistakes(mistakes);
        *exit_code = mistakes->len > 0 ? CORE_EXIT_USAGE : CORE_EXIT_DONE;
    }
    free(mistakes);
    return *exit_code == CORE_EXIT_DONE;
}

static bool store_open(struct intel *intel, const char *path, enum intel_access access, int *exit_code) {
    struct core_fail fail = {0};
    bool has_redis = intel->conf.redis.urls.len > 0;
    if (!has_redis && access == INTEL_WRITES) {
        *exit_code = intel_wrong(intel,
                                 "%s has no intel.redis.urls: there is no store to write to. Without Redis, indicators "
                                 "are those of the files that intel.files names",
                                 path);
        return false;
    }
    if (!has_redis && intel->conf.conf.files.len == 0) {
        *exit_code =
            intel_wrong(intel, "%s has neither intel.redis.urls nor intel.files: there are no indicators", path);
        return false;
    }
    enum core_err err =
        enrich_store_open(&intel->store, &intel->conf.conf, &intel->conf.redis, access == INTEL_WRITES, &fail);
    if (err != CORE_OK) {
        *exit_code = intel_failed(intel, err, &fail);
    }
    return err == CORE_OK;
}

bool intel_parse(struct intel *intel, const struct cmd *cmd, int argc, char **argv, int *exit_code) {
    intel->cmd = cmd;
    if (!cmd_parse(cmd, argc, argv, &intel->args, exit_code)) {
        return false;
    }
    intel->is_json = intel_value(intel, "json") != NULL;
    return true;
}

bool intel_open(struct intel *intel, enum intel_access access, int *exit_code) {
    struct core_fail fail = {0};
    core_log_level(CORE_LEVEL_WARN); /* that Redis was reached is no news to who asked it */
    enum core_err err = core_arena_init(&intel->arena, INTEL_ARENA_BYTES, &fail);
    if (err != CORE_OK) {
        *exit_code = intel_failed(intel, err, &fail);
        return false;
    }
    const char *path = intel_value(intel, "config");
    if (path == NULL && access == INTEL_CONFIG_ONLY) {
        return true;
    }
    if (path == NULL) {
        *exit_code = intel_wrong(intel, "-c FILE is missing: which configuration names the store?");
        return false;
    }
    return conf_read(intel, path, exit_code) &&
           (access == INTEL_CONFIG_ONLY || store_open(intel, path, access, exit_code));
}

void intel_close(struct intel *intel) {
    enrich_store_close(intel->store);
    config_intel_release(&intel->conf);
    core_conf_close(intel->file);
    core_arena_destroy(&intel->arena);
}

int intel_failed(const struct intel *intel, enum core_err err, const struct core_fail *fail) {
    (void)fprintf(stderr, "tapline %s: %s: %s\n", intel->cmd->name, fail->where, fail->text);
    return err == CORE_BAD ? CORE_EXIT_USAGE : CORE_EXIT_SYSTEM;
}

int intel_wrong(const struct intel *intel, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    (void)fprintf(stderr, "tapline %s: ", intel->cmd->name);
    (void)vfprintf(stderr, fmt, args);
    (void)fputc('\n', stderr);
    va_end(args);
    return CORE_EXIT_USAGE;
}

/* ---- the command line ----------------------------------------------------------------------------------------------------------- */

const char *intel_value(const struct intel *intel, const char *option) {
    for (size_t i = 0; intel->cmd->options[i].name != NULL; i++) {
        if (strcmp(intel->cmd->options[i].name, option) == 0) {
            return intel->args.values[i];
        }
    }
    return NULL;
}

bool intel_type(const struct intel *intel, enum core_indicator *type) {
    const char *words[CORE_INDICATOR__MAX];
    const char *text = intel_value(intel, "type");
    *type = CORE_INDICATOR_NONE;
    if (text == NULL) {
        return true;
    }
    *type = core_indicator_of(core_span_of(text));
    if (*type != CORE_INDICATOR_NONE) {
        return true;
    }
    size_t len = 0;
    for (int t = CORE_INDICATOR_IP; t < CORE_INDICATOR__MAX; t++) {
        words[len++] = core_indicator_word((enum core_indicator)t);
    }
    const char *near = core_conf_nearest(text, words, len);
    int code CORE_UNUSED = intel_wrong(intel, "\"%s\" is no type of indicators%s%s%s", text,
                                       near == NULL ? "; --help lists them" : ", did you mean ",
                                       near == NULL ? "" : near, near == NULL ? "" : "?");
    return false;
}

/* The text in the form of a type, kept in the arena. */
static bool form_of(struct intel *intel, enum core_indicator type, const char *text, struct intel_form *out,
                    const char **why) {
    char room[ENRICH_VALUE_BYTES_MAX];
    struct core_span value;
    if (!enrich_canonical(&type, core_span_of(text), room, &value, why)) {
        return false;
    }
    const char *copy = core_arena_copy(&intel->arena, value);
    *why = "there is no room for so many";
    *out = (struct intel_form){type, {copy, value.len}};
    return copy != NULL;
}

size_t intel_forms(struct intel *intel, enum core_indicator type, const char *text, struct intel_form *out,
                   const char **why) {
    if (type != CORE_INDICATOR_NONE) {
        return form_of(intel, type, text, out, why) ? 1 : 0;
    }
    size_t len = 0;
    for (int t = CORE_INDICATOR_IP; t < CORE_INDICATOR__MAX; t++) {
        struct intel_form form;
        bool is_new = form_of(intel, (enum core_indicator)t, text, &form, why);
        for (size_t i = 0; i < len && is_new; i++) { /* a domain that is an address is one, and the address */
            is_new = out[i].type != form.type;
        }
        if (is_new) {
            out[len++] = form;
        }
    }
    return len;
}

/* ---- showing --------------------------------------------------------------------------------------------------------------------- */

void intel_confidence(int tenths, char out[8]) {
    MUST(tenths >= 0 && tenths <= 100);
    if (tenths % 10 == 0) {
        (void)snprintf(out, 8, "%d", tenths / 10);
    } else {
        (void)snprintf(out, 8, "%d.%d", tenths / 10, tenths % 10);
    }
}

void intel_time(int64_t seconds, char out[32]) {
    char iso[28] = "";
    bool is_year = seconds < INT64_C(9000000000) && core_time_iso(seconds * CORE_NS_PER_S, iso);
    (void)snprintf(out, 32, "%.19s%s", is_year ? iso : "9999-12-31T23:59:59", "Z");
}

static void json_text(const char *name, const char *text) {
    if (text != NULL && text[0] != '\0') {
        printf(",\"%s\":", name);
        cmd_print_json_string(stdout, core_span_of(text));
    }
}

static void json_time(const char *name, int64_t seconds) {
    char text[32];
    if (seconds != 0) {
        intel_time(seconds, text);
        printf(",\"%s\":\"%s\"", name, text);
    }
}

void intel_print_provider(const struct enrich_provider *said) {
    char confidence[8];
    printf("{\"feed\":");
    cmd_print_json_string(stdout, core_span_of(said->feed));
    json_text("provider", said->provider);
    if (said->confidence_tenths != ENRICH_CONFIDENCE_NONE) {
        intel_confidence(said->confidence_tenths, confidence);
        printf(",\"confidence\":%s", confidence);
    }
    json_text("tlp", said->tlp);
    json_text("description", said->description);
    json_text("reference", said->reference);
    json_text("tags", said->tags);
    json_time("first_seen", said->first_seen);
    json_time("last_seen", said->last_seen);
    json_time("expires", said->expires);
    printf("%s", said->subdomains ? ",\"subdomains\":true" : "");
    json_text("id", said->id);
    printf("}");
}

/* Text without what would break a line of columns. */
static void column(const char *text) {
    (void)fputc('\t', stdout);
    for (; text != NULL && *text != '\0'; text++) {
        (void)fputc(*text == '\t' || *text == '\n' || *text == '\r' ? ' ' : *text, stdout);
    }
}

static void text_provider(const struct enrich_found *found, const struct enrich_provider *said) {
    char confidence[8] = "-";
    if (said->confidence_tenths != ENRICH_CONFIDENCE_NONE) {
        intel_confidence(said->confidence_tenths, confidence);
    }
    printf("%s\t%.*s", core_indicator_word(found->type), (int)found->value.len, found->value.ptr);
    column(said->feed);
    column(said->provider);
    column(confidence);
    column(said->tlp == NULL ? "-" : said->tlp);
    column(said->tags == NULL ? "-" : said->tags);
    column(said->subdomains ? "with subdomains" : "-");
    column(said->description == NULL ? "-" : said->description);
    (void)fputc('\n', stdout);
}

void intel_print(const struct intel *intel, const struct enrich_found *found) {
    if (!intel->is_json) {
        for (size_t i = 0; i < found->providers_len; i++) {
            text_provider(found, &found->providers[i]);
        }
        return;
    }
    printf("{\"type\":\"%s\",\"value\":", core_indicator_word(found->type));
    cmd_print_json_string(stdout, found->value);
    printf(",\"providers\":[");
    for (size_t i = 0; i < found->providers_len; i++) {
        printf("%s", i == 0 ? "" : ",");
        intel_print_provider(&found->providers[i]);
    }
    printf("]}\n");
}

/* ---- progress -------------------------------------------------------------------------------------------------------------------- */

struct intel_bar intel_bar_new(const char *what) {
    return (struct intel_bar){.is_shown = isatty(STDERR_FILENO) == 1, .what = what};
}

void intel_bar_tell(struct intel_bar *bar, double share, uint64_t items) {
    int64_t now = core_tick_ns();
    if (!bar->is_shown || now - bar->told_tick < BAR_NS) {
        return;
    }
    bar->told_tick = now;
    (void)fprintf(stderr, "\r%s ", bar->what);
    if (share >= 0) {
        char columns[BAR_COLUMNS + 1];
        int filled = (int)((share > 1 ? 1 : share) * BAR_COLUMNS);
        memset(columns, '-', BAR_COLUMNS);
        memset(columns, '#', (size_t)filled);
        columns[BAR_COLUMNS] = '\0';
        (void)fprintf(stderr, "[%s] %3d %% ", columns, (int)((share > 1 ? 1 : share) * PERCENT));
    }
    (void)fprintf(stderr, "%" PRIu64 " indicators \033[K", items);
}

void intel_bar_end(struct intel_bar *bar) {
    if (bar->is_shown && bar->told_tick != 0) {
        (void)fprintf(stderr, "\r\033[K");
    }
}

/* ---- all of the store --------------------------------------------------------------------------------------------------------------- */

struct walking {
    const struct intel_walk *walk;
    struct intel_bar bar;
    uint64_t walked;
    uint64_t all; /* about */
};

static bool on_walked(void *ctx, const struct enrich_found *found) {
    struct walking *walking = ctx;
    walking->walked++;
    intel_bar_tell(&walking->bar, walking->all == 0 ? -1 : (double)walking->walked / (double)walking->all,
                   walking->walked);
    return walking->walk->on_found(walking->walk->ctx, found);
}

enum core_err intel_walk_all(struct intel *intel, const struct intel_walk *walk, struct core_fail *fail) {
    struct walking walking = {.walk = walk, .bar = intel_bar_new(walk->what)};
    walking.bar.is_shown = walking.bar.is_shown && !(walk->prints && isatty(STDOUT_FILENO) == 1);
    enum core_err err = walking.bar.is_shown ? enrich_store_count(intel->store, &walking.all, fail) : CORE_OK;
    err = err == CORE_OK ? enrich_store_walk(intel->store, true, on_walked, &walking, fail) : err;
    intel_bar_end(&walking.bar);
    return err;
}
