/* cmd/check.c: `tapline check`: everything that is wrong with a configuration and its maps, before it runs.
 *
 * Without --connect nothing outside the config, its maps and its @/path secrets is touched. Mistakes are found by the code
 * that would use the config, never by a second opinion of it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "cmd/config.h"
#include "core/json.h"

#include <stdio.h>
#include <stdlib.h>

#define CONNECT_TIMEOUT_MS 5000
#define JSON_BYTES_MAX CORE_MIB /* all mistakes there can be, each byte escaped */

static const struct cmd_option check_options[] = {
    {.name = "config", .letter = 'c', .arg = "FILE", .help = "The configuration to look at."},
    {.name = "connect", .help = "Reach each sink's server, and intelligence's, as well; 5 s each."},
    {.name = "json", .help = "Print what was found as one JSON object on stdout."},
    {0},
};

/* "file:line:col" taken apart from its end; line and column are 0 when there are none. */
struct place {
    struct core_span file;
    unsigned long line;
    unsigned long column;
};

static bool number_cut(struct core_span *text, unsigned long *number) {
    size_t at = text->len;
    while (at > 0 && text->ptr[at - 1] >= '0' && text->ptr[at - 1] <= '9') {
        at--;
    }
    if (at == text->len || at == 0 || text->ptr[at - 1] != ':') {
        return false;
    }
    *number = strtoul(text->ptr + at, NULL, 10);
    text->len = at - 1;
    return true;
}

static struct place place_of(const char *where) {
    struct place place = {.file = core_span_of(where)};
    unsigned long last = 0;
    if (!number_cut(&place.file, &last)) {
        return place;
    }
    place.line = last;
    if (number_cut(&place.file, &place.line)) {
        place.column = last;
    }
    return place;
}

static int by_place(const void *a, const void *b) {
    const struct core_fail *fails[2] = {a, b};
    struct place left = place_of(fails[0]->where);
    struct place right = place_of(fails[1]->where);
    size_t len = left.file.len < right.file.len ? left.file.len : right.file.len;
    int order = memcmp(left.file.ptr, right.file.ptr, len);
    if (order == 0 && left.file.len != right.file.len) {
        order = left.file.len < right.file.len ? -1 : 1;
    }
    if (order == 0 && left.line != right.line) {
        order = left.line < right.line ? -1 : 1;
    }
    if (order == 0 && left.column != right.column) {
        order = left.column < right.column ? -1 : 1;
    }
    return order != 0 ? order : strcmp(fails[0]->text, fails[1]->text);
}

void cmd_sort_mistakes(struct core_conf_mistakes *mistakes) {
    qsort(mistakes->fails, mistakes->len, sizeof(mistakes->fails[0]), by_place);
}

/* The maps, named by the config if it could be read. Mistakes are added. */
static void check_maps(const struct config *config, struct core_conf_mistakes *mistakes) {
    struct normalize_conf conf = cmd_normalize_conf(config == NULL ? NULL : &config->normalize);
    struct normalize_maps *maps = NULL;
    /* the result says no more than mistakes does */
    enum core_err err CORE_UNUSED = normalize_maps_open(&maps, &conf, NULL, mistakes);
    normalize_maps_close(maps);
}

/* What a batch passes, when the order of the file is not all there is to say. */
static void tell_order(const struct config *config) {
    const struct config_sink *last = &config->sinks[config->sinks_len - 1];
    if (last->ops->keeps_positions == NULL || !last->ops->keeps_positions(last->conf)) {
        return;
    }
    (void)fputs("sinks in their order: ", stderr);
    for (size_t i = 0; i < config->sinks_len; i++) {
        (void)fprintf(stderr, "%s%s", i == 0 ? "" : ", ", config->sinks[i].ops->name);
    }
    (void)fprintf(stderr, "%s\n",
                  config->sinks_len == 1 ? " (keeps the files' positions)"
                                         : " (keeps the files' positions, so it is the last one)");
}

/* Ask Redis for one indicator, as run does for what it sees. */
static enum core_err intel_connect(const struct config_intel *intel, struct core_fail *fail) {
    struct enrich_store *store = NULL;
    struct core_arena arena = {0};
    struct enrich_found found = {.type = CORE_INDICATOR_IP, .value = CORE_SPAN("192.0.2.1")};
    enum core_err err = core_arena_init(&arena, CORE_MIB, fail);
    if (err == CORE_OK) {
        err = enrich_store_open(&store, &intel->conf, &intel->redis, false, fail);
    }
    if (err == CORE_OK) {
        err = enrich_store_get(store, &found, 1, &arena, CONNECT_TIMEOUT_MS, fail);
    }
    enrich_store_close(store);
    core_arena_destroy(&arena);
    return err;
}

/* Returns how many servers cannot be reached; says it of each. */
static size_t check_connect(const struct config *config, struct core_fail *fails) {
    size_t fails_len = 0;
    for (size_t i = 0; i < config->sinks_len; i++) {
        const struct config_sink *sink = &config->sinks[i];
        if (sink->ops->connect == NULL) {
            (void)fprintf(stderr, "sinks.%s: nothing to reach\n", sink->ops->name);
        } else if (sink->ops->connect(sink->conf, CONNECT_TIMEOUT_MS, &fails[fails_len]) == CORE_OK) {
            (void)fprintf(stderr, "sinks.%s: reached\n", sink->ops->name);
        } else {
            fails_len++;
        }
    }
    if (config->intel.redis.urls.len > 0) {
        if (intel_connect(&config->intel, &fails[fails_len]) == CORE_OK) {
            (void)fputs("intel.redis: reached\n", stderr);
        } else {
            fails_len++;
        }
    }
    return fails_len;
}

static void json_fails(struct core_buf *buf, const char *name, const struct core_fail *fails, size_t len) {
    core_buf_string(buf, core_span_of(name));
    core_buf_span(buf, CORE_SPAN(":["));
    for (size_t i = 0; i < len; i++) {
        struct place place = place_of(fails[i].where);
        core_buf_put(buf, ",", i == 0 ? 0 : 1);
        core_buf_span(buf, CORE_SPAN("{\"where\":"));
        core_buf_string(buf, place.file);
        core_buf_span(buf, CORE_SPAN(",\"line\":"));
        core_buf_u64(buf, place.line);
        core_buf_span(buf, CORE_SPAN(",\"column\":"));
        core_buf_u64(buf, place.column);
        core_buf_span(buf, CORE_SPAN(",\"text\":"));
        core_buf_string(buf, core_span_of(fails[i].text));
        core_buf_char(buf, '}');
    }
    core_buf_char(buf, ']');
}

/* Returns false if stdout would not take it. */
static bool answer_json(const struct core_conf_mistakes *mistakes, const struct core_fail *fails, size_t fails_len) {
    char *bytes = malloc(JSON_BYTES_MAX);
    MUST(bytes != NULL);
    struct core_buf buf = {.start = bytes, .pos = bytes, .end = bytes + JSON_BYTES_MAX};
    core_buf_char(&buf, '{');
    json_fails(&buf, "mistakes", mistakes->fails, mistakes->len);
    core_buf_char(&buf, ',');
    json_fails(&buf, "unreachable", fails, fails_len);
    core_buf_span(&buf, CORE_SPAN("}\n"));
    MUST(!buf.is_full);
    struct core_span text = core_buf_written(&buf);
    bool is_written = fwrite(text.ptr, 1, text.len, stdout) == text.len && fflush(stdout) == 0;
    free(bytes);
    return is_written;
}

static void answer_text(const char *path, const struct core_conf_mistakes *mistakes, const struct core_fail *fails,
                        size_t fails_len) {
    for (size_t i = 0; i < mistakes->len; i++) {
        (void)fprintf(stderr, "%s: %s\n", mistakes->fails[i].where, mistakes->fails[i].text);
    }
    for (size_t i = 0; i < fails_len; i++) {
        (void)fprintf(stderr, "%s: %s\n", fails[i].where, fails[i].text);
    }
    if (mistakes->len == 0 && fails_len == 0) {
        (void)fprintf(stderr, "%s: no mistakes\n", path);
    } else if (mistakes->len == sizeof(mistakes->fails) / sizeof(mistakes->fails[0])) {
        (void)fprintf(stderr, "%zu mistakes, perhaps more: mend these and check again\n", mistakes->len);
    }
}

static int check_main(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args = {0};
    int exit_code = CORE_EXIT_USAGE;
    if (!cmd_parse(cmd, argc, argv, &args, &exit_code)) {
        return exit_code;
    }
    const char *path = cmd_value(cmd, &args, "config");
    if (path == NULL || args.files_len > 0) {
        (void)fprintf(stderr, "tapline check: %s\n",
                      path == NULL ? "which configuration? give it with -c FILE"
                                   : "takes one configuration, given with -c FILE");
        return CORE_EXIT_USAGE;
    }
    struct core_conf_mistakes mistakes = {0};
    struct core_fail fails[CONFIG_SINKS_MAX + 1] = {0}; /* and intelligence's */
    size_t fails_len = 0;
    struct config *config = NULL;
    enum core_err err = config_load(&config, path, &mistakes);
    MUST((err == CORE_OK) == (config != NULL));
    check_maps(config, &mistakes);
    cmd_sort_mistakes(&mistakes);
    if (config != NULL && mistakes.len == 0 && cmd_value(cmd, &args, "connect") != NULL) {
        fails_len = check_connect(config, fails);
    }
    bool is_told = true;
    answer_text(path, &mistakes, fails, fails_len);
    if (config != NULL) {
        tell_order(config);
    }
    if (cmd_value(cmd, &args, "json") != NULL) {
        is_told = answer_json(&mistakes, fails, fails_len);
    }
    config_free(config);
    if (mistakes.len > 0) {
        return CORE_EXIT_USAGE;
    }
    return fails_len > 0 || !is_told ? CORE_EXIT_SYSTEM : CORE_EXIT_DONE;
}

const struct cmd cmd_check = {
    .name = "check",
    .summary = "Find every mistake in a configuration and its maps.",
    .args = "",
    .about =
        "Reads the configuration and the maps as run does and prints each mistake as file:line:column: what is wrong. "
        "Touches nothing else, unless --connect is given: then each sink's server is reached, too, and the Redis of "
        "intel. Exits 0 if there "
        "is nothing wrong, 100 if there are mistakes, 111 if a server cannot be reached.",
    .example = "tapline check -c /etc/tapline/tapline.yml --connect",
    .options = check_options,
    .run = check_main,
};
