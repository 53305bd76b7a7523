/* cmd/check.c: `tapline check`: everything that is wrong with a configuration and its maps, before it runs.
 *
 * Without --connect nothing outside the config, its maps and its @/path secrets is touched. Mistakes are found by the code
 * that would use the config, never by a second opinion of it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "cmd/config.h"
#include "cmd/control.h"
#include "core/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CONNECT_TIMEOUT_MS 5000
#define JSON_BYTES_MIN 256 /* of all names and numbers of an object */
#define ESCAPED_MAX 6      /* bytes of a byte in JSON */

static const struct cmd_option check_options[] = {
    {.name = "config", .letter = 'c', .arg = "FILE", .help = "The configuration to look at."},
    {.name = "connect",
     .help = "Reach each sink's server, feed's brokers and each Redis, 5 s each, read intel.files, and say how many "
             "indicators there are."},
    {.name = "sensors",
     .help =
         "Have tapline serve check the sensors' scripts and rules by their own programs, too: zeek -a, suricata -T."},
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

/* What a batch passes, when the order of the file is not all there is to say; or that nothing is to pass. */
static void tell_order(const struct config *config) {
    if (config->sinks_len == 0) {
        (void)fprintf(stderr, "nothing but %s, not for `tapline run`\n",
                      core_conf_get(core_conf_root(config->file), "sensors") != NULL ? "sensors: for `tapline serve`"
                                                                                     : "intel: for `tapline intel`");
        return;
    }
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

/* ---- servers and files ----------------------------------------------------------------------------------------------------- */

/* What --connect found. Owns: connected_free(). */
struct connected {
    struct core_fail
        *fails; /* of each server that cannot be reached, and of a file of indicators that cannot be read */
    size_t fails_len;
    struct store_seen {
        const char *where; /* the config's */
        uint64_t indicators;
        bool is_all; /* they were counted to the end */
    } * stores;      /* of indicators */
    size_t stores_len;
};

static void connected_free(struct connected *connected) {
    free(connected->fails);
    free(connected->stores);
}

struct counting {
    uint64_t indicators;
    int64_t deadline_ns;
    bool is_all;
};

static bool count_one(void *ctx, const struct enrich_found *found CORE_UNUSED) {
    struct counting *counting = ctx;
    counting->indicators++;
    counting->is_all = core_tick_ns() < counting->deadline_ns;
    return counting->is_all;
}

/* Open a store as run does, ask it for one indicator, as run does for what it sees, and count what it has. */
static enum core_err store_look(const struct enrich_conf *conf, const struct enrich_redis_conf *redis,
                                struct counting *counting, struct core_fail *fail) {
    struct enrich_store *store = NULL;
    struct core_arena arena = {0};
    struct enrich_found found = {.type = CORE_INDICATOR_IP, .value = CORE_SPAN("192.0.2.1")};
    enum core_err err = core_arena_init(&arena, CORE_MIB, fail);
    if (err == CORE_OK) {
        err = enrich_store_open(&store, conf, redis, false, fail);
    }
    if (err == CORE_OK) {
        err = enrich_store_get(store, &found, 1, &arena, CONNECT_TIMEOUT_MS, fail);
    }
    if (err == CORE_OK) {
        *counting =
            (struct counting){.deadline_ns = core_tick_ns() + CONNECT_TIMEOUT_MS * CORE_NS_PER_MS, .is_all = true};
        err = enrich_store_walk(store, false, count_one, counting, fail);
    }
    enrich_store_close(store);
    core_arena_destroy(&arena);
    return err;
}

/* Say of one store what it has. prefix: of Redis's keys; NULL: the store is files. */
static void store_tell(struct connected *connected, const char *where, const char *prefix,
                       const struct counting *counting) {
    const char *more = counting->is_all ? "" : "more than ";
    const char *plural = counting->indicators == 1 ? "" : "s";
    connected->stores[connected->stores_len++] = (struct store_seen){where, counting->indicators, counting->is_all};
    if (prefix != NULL) {
        (void)fprintf(stderr, "intel.redis: %s: reached, %s%" PRIu64 " indicator%s under \"%s\"\n", where, more,
                      counting->indicators, plural, prefix);
    } else {
        (void)fprintf(stderr, "%s: read, %s%" PRIu64 " indicator%s\n", where, more, counting->indicators, plural);
    }
}

/* Each url by itself, so that a replica that nobody can ask is found before the day it is needed. */
static void connect_redis(const struct config_intel *intel, struct connected *connected) {
    core_log_level(CORE_LEVEL_WARN); /* that Redis was reached is said below */
    for (size_t i = 0; i < intel->redis.urls.len; i++) {
        struct enrich_redis_conf one = intel->redis;
        struct counting counting = {0};
        one.urls = (struct core_conf_list){.items = &intel->redis.urls.items[i], .len = 1};
        const char *url = one.urls.items[0].value;
        if (store_look(&intel->conf, &one, &counting, &connected->fails[connected->fails_len]) != CORE_OK) {
            connected->fails_len++;
            continue;
        }
        store_tell(connected, url, one.prefix, &counting);
        if (counting.indicators == 0) {
            (void)fprintf(stderr,
                          "intel.redis: %s: warning: no key of an indicator begins with \"%s\" there, so nothing "
                          "would ever match; see to the database's number in the url and to intel.redis.prefix, or put "
                          "some in: tapline intel load, tapline intel sync\n",
                          url, one.prefix);
        }
    }
}

/* The log says how many each file has, and what was left out. */
static void connect_files(const struct config_intel *intel, struct connected *connected) {
    struct counting counting = {0};
    if (store_look(&intel->conf, NULL, &counting, &connected->fails[connected->fails_len]) != CORE_OK) {
        connected->fails_len++;
        return;
    }
    store_tell(connected, "intel.files", NULL, &counting);
    if (counting.indicators == 0) {
        (void)fputs("intel.files: warning: these files have no indicators, or the globs name no file, so nothing would "
                    "ever match\n",
                    stderr);
    }
}

/* Says of each server whether it can be reached. */
static void check_connect(const struct config *config, struct connected *out) {
    size_t stores_max = config->intel.redis.urls.len + 1;
    out->fails = calloc(config->sinks_len + 1 + stores_max, sizeof(*out->fails));
    out->stores = calloc(stores_max, sizeof(*out->stores));
    MUST(out->fails != NULL);
    MUST(out->stores != NULL);
    for (size_t i = 0; i < config->sinks_len; i++) {
        const struct config_sink *sink = &config->sinks[i];
        if (sink->ops->connect == NULL) {
            (void)fprintf(stderr, "sinks.%s: nothing to reach\n", sink->ops->name);
        } else if (sink->ops->connect(sink->conf, CONNECT_TIMEOUT_MS, &out->fails[out->fails_len]) == CORE_OK) {
            (void)fprintf(stderr, "sinks.%s: reached\n", sink->ops->name);
        } else {
            out->fails_len++;
        }
    }
    if (config->has_feed) {
        if (feed_conf_connect(&config->feed, CONNECT_TIMEOUT_MS, &out->fails[out->fails_len]) == CORE_OK) {
            (void)fputs("feed: reached\n", stderr);
        } else {
            out->fails_len++;
        }
    }
    if (config->intel.conf.files.len > 0) {
        connect_files(&config->intel, out);
    }
    connect_redis(&config->intel, out);
}

/* ---- the answer ------------------------------------------------------------------------------------------------------------ */

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

static void json_stores(struct core_buf *buf, const struct connected *connected) {
    core_buf_span(buf, CORE_SPAN("\"intel\":["));
    for (size_t i = 0; i < connected->stores_len; i++) {
        const struct store_seen *store = &connected->stores[i];
        core_buf_put(buf, ",", i == 0 ? 0 : 1);
        core_buf_span(buf, CORE_SPAN("{\"where\":"));
        core_buf_string(buf, core_span_of(store->where));
        core_buf_span(buf, CORE_SPAN(",\"indicators\":"));
        core_buf_u64(buf, store->indicators);
        core_buf_span(buf, store->is_all ? CORE_SPAN(",\"is_all\":true}") : CORE_SPAN(",\"is_all\":false}"));
    }
    core_buf_char(buf, ']');
}

/* sensors: what tapline serve said, or NULL. Returns false if stdout would not take it. */
static bool answer_json(const struct core_conf_mistakes *mistakes, const struct connected *connected,
                        const char *sensors) {
    size_t room = JSON_BYTES_MIN + (sensors == NULL ? 0 : strlen(sensors)) +
                  (mistakes->len + connected->fails_len) * sizeof(mistakes->fails[0]) * ESCAPED_MAX;
    for (size_t i = 0; i < connected->stores_len; i++) {
        room += JSON_BYTES_MIN + strlen(connected->stores[i].where) * ESCAPED_MAX;
    }
    char *bytes = malloc(room);
    MUST(bytes != NULL);
    struct core_buf buf = {.start = bytes, .pos = bytes, .end = bytes + room};
    core_buf_char(&buf, '{');
    json_fails(&buf, "mistakes", mistakes->fails, mistakes->len);
    core_buf_char(&buf, ',');
    json_fails(&buf, "unreachable", connected->fails, connected->fails_len);
    core_buf_char(&buf, ',');
    json_stores(&buf, connected);
    if (sensors != NULL) {
        core_buf_span(&buf, CORE_SPAN(",\"sensors\":"));
        core_buf_span(&buf, core_span_of(sensors));
    }
    core_buf_span(&buf, CORE_SPAN("}\n"));
    MUST(!buf.is_full);
    struct core_span text = core_buf_written(&buf);
    bool is_written = fwrite(text.ptr, 1, text.len, stdout) == text.len && fflush(stdout) == 0;
    free(bytes);
    return is_written;
}

static void answer_text(const char *path, const struct core_conf_mistakes *mistakes,
                        const struct connected *connected) {
    for (size_t i = 0; i < mistakes->len; i++) {
        (void)fprintf(stderr, "%s: %s\n", mistakes->fails[i].where, mistakes->fails[i].text);
    }
    for (size_t i = 0; i < connected->fails_len; i++) {
        (void)fprintf(stderr, "%s: %s\n", connected->fails[i].where, connected->fails[i].text);
    }
    if (mistakes->len == 0 && connected->fails_len == 0) {
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
    struct connected connected = {0};
    struct config *config = NULL;
    enum core_err err = config_load_any(&config, path, &mistakes);
    MUST((err == CORE_OK) == (config != NULL));
    check_maps(config, &mistakes);
    cmd_sort_mistakes(&mistakes);
    if (config != NULL && mistakes.len == 0 && cmd_value(cmd, &args, "connect") != NULL) {
        check_connect(config, &connected);
    }
    answer_text(path, &mistakes, &connected);
    if (config != NULL) {
        tell_order(config);
    }
    bool is_json = cmd_value(cmd, &args, "json") != NULL;
    char *sensors = NULL;
    int sensors_code = CORE_EXIT_DONE;
    if (mistakes.len == 0 && cmd_value(cmd, &args, "sensors") != NULL) {
        sensors_code = control_check_sensors(path, is_json ? &sensors : NULL);
    }
    bool is_told = !is_json || answer_json(&mistakes, &connected, sensors);
    exit_code = mistakes.len > 0                      ? CORE_EXIT_USAGE
                : connected.fails_len > 0 || !is_told ? CORE_EXIT_SYSTEM
                                                      : sensors_code;
    free(sensors);
    connected_free(&connected);
    config_free(config);
    return exit_code;
}

const struct cmd cmd_check = {
    .name = "check",
    .summary = "Find every mistake in a configuration and its maps.",
    .args = "",
    .about =
        "Reads the configuration and the maps as run does and prints each mistake as file:line:column: what is wrong. "
        "Touches nothing else, unless --connect is given: then each sink's server and feed's brokers are reached, too, "
        "and each of intel.redis.urls by itself; intel.files are read; and it is said how many indicators there are, "
        "with a warning where there are none. With --sensors tapline serve, which must run, checks the sensors of the "
        "configuration that it was started with by their own programs, and what they say is shown. Exits 0 if there is "
        "nothing wrong, 1 if a sensor's program found something, 100 if there are mistakes, 111 if a server cannot be "
        "reached or a file of indicators not be read.",
    .example = "tapline check -c /etc/tapline/tapline.yml --connect\n"
               "tapline check -c /etc/tapline/tapline.yml --sensors",
    .options = check_options,
    .run = check_main,
};
