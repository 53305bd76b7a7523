/* cmd/intel_load.c: `tapline intel load`: files of indicators into the store.
 *
 * A file that cannot be read at all is said, and the others are loaded; a line that is no indicator is counted with its
 * reason, and the first of them are shown. What was put is in effect in chunks, so that an end by force leaves whole ones.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/intel.h"
#include "core/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SHOWN_MAX 10
#define REASONS_MAX 64
#define SHOWN_BYTES_MAX 200

struct reason {
    const char *why;
    uint64_t count;
};

struct loading {
    struct intel intel;
    struct enrich_feed_conf feed;
    char feed_name[ENRICH_FEED_NAME_BYTES_MAX + 1];
    int format; /* of the files; -1: told by content */
    bool is_dry;
    const char *path;   /* being read */
    const char *counts; /* what the numbers of its entries count */
    uint64_t limit;
    uint64_t items;
    uint64_t types[CORE_INDICATOR__MAX];
    uint64_t refused;
    struct reason reasons[REASONS_MAX];
    size_t reasons_len;
    uint64_t files;
    uint64_t files_bad;
    uint64_t bytes_before; /* of files that are done */
    uint64_t bytes;        /* of all */
    struct intel_bar bar;
    struct core_fail fail; /* of the store */
};

static const struct cmd_option load_options[] = {
    INTEL_CONFIG_OPTION,
    {.name = "feed",
     .letter = 'f',
     .arg = "NAME",
     .help = "Under which feed; if the configuration has it, with what it says of it (default: local)."},
    {.name = "format",
     .arg = "FORMAT",
     .help = "What the files are: zeek, list, csv, misp or stix (default: told by content)."},
    {.name = "type",
     .letter = 't',
     .arg = "TYPE",
     .help = "Of which type each line of a list or a table is (default: guessed)."},
    {.name = "expire-after",
     .arg = "TIME",
     .help = "How long what says no end of its own counts, e.g. 30d (default: for ever)."},
    {.name = "dry-run",
     .letter = 'n',
     .help = "Read and count, but put nothing into the store; needs no configuration."},
    {.name = "json", .help = "Print the summary as one JSON object on stdout."},
    {0},
};

/* ---- what is read ----------------------------------------------------------------------------------------------------------------- */

static void on_refused(void *ctx, uint64_t line, struct core_span what, const char *why) {
    struct loading *loading = ctx;
    loading->refused++;
    size_t i = 0;
    while (i < loading->reasons_len && strcmp(loading->reasons[i].why, why) != 0) {
        i++;
    }
    if (i == loading->reasons_len && i < REASONS_MAX) {
        loading->reasons[loading->reasons_len++] = (struct reason){.why = why};
    }
    if (i < loading->reasons_len) {
        loading->reasons[i].count++;
    }
    if (loading->refused > SHOWN_MAX) {
        return;
    }
    intel_bar_end(&loading->bar);
    if (line == 0) {
        (void)fprintf(stderr, "%s: left out ", loading->path);
    } else if (strcmp(loading->counts, "line") == 0) { /* as an editor takes it */
        (void)fprintf(stderr, "%s:%" PRIu64 ": left out ", loading->path, line);
    } else {
        (void)fprintf(stderr, "%s: %s %" PRIu64 ": left out ", loading->path, loading->counts, line);
    }
    bool is_cut = what.len > SHOWN_BYTES_MAX;
    what = core_utf8_cut(what, SHOWN_BYTES_MAX);
    cmd_print_json_string(stderr, what); /* a terminal's signs are shown, not obeyed */
    (void)fprintf(stderr, "%s: %s\n", is_cut ? "…" : "", why);
}

static bool on_item(void *ctx, const struct enrich_item *item) {
    struct loading *loading = ctx;
    if (loading->items == loading->limit) {
        on_refused(loading, 0, item->value, "the feed has more than its limit allows (limit)");
        return true;
    }
    struct core_fail too_long;
    if (enrich_item_check(item, &too_long) != CORE_OK) {
        on_refused(loading, 0, item->value, "what is said of it is longer than the store takes (8 KiB, with escapes)");
        return true;
    }
    loading->items++;
    loading->types[item->type]++;
    return loading->is_dry || enrich_store_put(loading->intel.store, item, &loading->fail) == CORE_OK;
}

static void on_progress(void *ctx, size_t done, size_t total) {
    struct loading *loading = ctx;
    struct stat stat_now;
    double file = stat(loading->path, &stat_now) == 0 ? (double)stat_now.st_size : 0;
    double share = loading->bytes == 0 || total == 0
                       ? 0
                       : ((double)loading->bytes_before + file * (double)done / (double)total) / (double)loading->bytes;
    intel_bar_tell(&loading->bar, share, loading->items);
}

static uint64_t size_of(const char *path) {
    struct stat now;
    return stat(path, &now) == 0 ? (uint64_t)now.st_size : 0;
}

/* Returns false if the store failed. */
static bool file_load(struct loading *loading, const char *path) {
    struct core_fail fail = {0};
    struct enrich_read_calls calls = {.on_item = on_item,
                                      .on_refused = on_refused,
                                      .ctx = loading,
                                      .on_progress = on_progress,
                                      .counts = &loading->counts};
    loading->path = strcmp(path, "-") == 0 ? "/dev/stdin" : path;
    enum core_err err = enrich_read_file(loading->path, loading->format, &loading->feed, &calls, &fail);
    loading->bytes_before += size_of(path);
    if (err == CORE_AGAIN) {
        return false;
    }
    loading->files++;
    if (err != CORE_OK) {
        loading->files_bad++;
        intel_bar_end(&loading->bar);
        int code CORE_UNUSED = intel_failed(&loading->intel, err, &fail);
    }
    return true;
}

/* ---- the summary ------------------------------------------------------------------------------------------------------------------ */

static void summary_json(const struct loading *loading) {
    bool is_first = true;
    printf("{\"feed\":\"%s\",\"files\":%" PRIu64 ",\"files_not_read\":%" PRIu64 ",\"indicators\":%" PRIu64
           ",\"types\":{",
           loading->feed_name, loading->files, loading->files_bad, loading->items);
    for (int type = CORE_INDICATOR_IP; type < CORE_INDICATOR__MAX; type++) {
        if (loading->types[type] > 0) {
            printf("%s\"%s\":%" PRIu64, is_first ? "" : ",", core_indicator_word((enum core_indicator)type),
                   loading->types[type]);
            is_first = false;
        }
    }
    printf("},\"refused\":%" PRIu64 ",\"reasons\":{", loading->refused);
    for (size_t i = 0; i < loading->reasons_len; i++) {
        printf("%s", i == 0 ? "" : ",");
        cmd_print_json_string(stdout, core_span_of(loading->reasons[i].why));
        printf(":%" PRIu64, loading->reasons[i].count);
    }
    printf("},\"dry_run\":%s}\n", loading->is_dry ? "true" : "false");
}

static void summary_text(const struct loading *loading) {
    printf("%s %" PRIu64 " indicators of %" PRIu64 " file%s as feed %s", loading->is_dry ? "read" : "loaded",
           loading->items, loading->files, loading->files == 1 ? "" : "s", loading->feed_name);
    const char *between = ":";
    for (int type = CORE_INDICATOR_IP; type < CORE_INDICATOR__MAX; type++) {
        if (loading->types[type] > 0) {
            printf("%s %" PRIu64 " %s", between, loading->types[type], core_indicator_word((enum core_indicator)type));
            between = ",";
        }
    }
    printf("\n");
    if (loading->files_bad > 0) {
        printf("%" PRIu64 " file%s not read\n", loading->files_bad, loading->files_bad == 1 ? "" : "s");
    }
    if (loading->refused > 0) {
        printf("left out: %" PRIu64 "\n", loading->refused);
    }
    for (size_t i = 0; i < loading->reasons_len; i++) {
        printf("%8" PRIu64 " %s\n", loading->reasons[i].count, loading->reasons[i].why);
    }
}

/* ---- the command line ------------------------------------------------------------------------------------------------------------- */

/* The feed of the configuration, or one with this name; then what the command line says. Returns CORE_EXIT_DONE or what was
 * said to be wrong. */
static int feed_set(struct loading *loading) {
    const struct intel *intel = &loading->intel;
    const char *name = intel_value(intel, "feed");
    const char *format = intel_value(intel, "format");
    const char *expire = intel_value(intel, "expire-after");
    enum core_indicator type;
    name = name == NULL ? "local" : name;
    (void)snprintf(loading->feed_name, sizeof(loading->feed_name), "%s", name);
    if (!enrich_is_feed_name(name)) {
        return intel_wrong(intel, "\"%s\" is no name for a feed: up to %d of a-z 0-9 _ . and - are", name,
                           ENRICH_FEED_NAME_BYTES_MAX);
    }
    const struct enrich_feed_conf *known = config_intel_feed(&intel->conf, name);
    loading->limit = UINT64_MAX;
    loading->format = -1;
    if (known != NULL) {
        loading->feed = *known;
        loading->limit = known->limit;
    }
    loading->feed.name = loading->feed_name;
    if (format != NULL && (loading->format = enrich_feed_type(format)) < 0) {
        return intel_wrong(intel, "\"%s\" is no format of files: zeek, list, csv, misp and stix are", format);
    }
    if (!intel_type(intel, &type)) {
        return CORE_EXIT_USAGE;
    }
    if (type != CORE_INDICATOR_NONE) {
        loading->feed.format = (char *)core_indicator_word(type); /* read only */
    }
    if (expire != NULL &&
        (!core_parse_duration(expire, &loading->feed.expire_after_ns) || loading->feed.expire_after_ns <= 0)) {
        return intel_wrong(intel, "--expire-after %s: a time with its unit is needed, e.g. 30d", expire);
    }
    return CORE_EXIT_DONE;
}

static int files_load(struct loading *loading) {
    const struct cmd_args *args = &loading->intel.args;
    if (args->files_len == 0) {
        return intel_wrong(&loading->intel, "which files?");
    }
    for (int i = 0; i < args->files_len; i++) {
        loading->bytes += size_of(args->files[i]);
    }
    loading->bar = intel_bar_new(loading->is_dry ? "reading" : "loading");
    bool is_good = true;
    for (int i = 0; i < args->files_len && is_good; i++) {
        is_good = file_load(loading, args->files[i]);
    }
    enum core_err err = is_good || loading->is_dry ? CORE_OK : loading->fail.err;
    if (err == CORE_OK && !loading->is_dry) {
        err = enrich_store_flush(loading->intel.store, &loading->fail);
    }
    intel_bar_end(&loading->bar);
    if (err != CORE_OK) {
        int code = intel_failed(&loading->intel, err, &loading->fail);
        (void)fprintf(stderr,
                      "tapline intel load: %" PRIu64 " of the %" PRIu64
                      " indicators that were read are in effect; mend it, and run the same command again\n",
                      enrich_store_done(loading->intel.store), loading->items);
        return code;
    }
    if (loading->refused > SHOWN_MAX) {
        (void)fprintf(stderr, "… and %" PRIu64 " more left out\n", loading->refused - SHOWN_MAX);
    }
    (loading->intel.is_json ? summary_json : summary_text)(loading);
    return loading->files_bad > 0 ? CORE_EXIT_NO : CORE_EXIT_DONE;
}

static int load_main(const struct cmd *cmd, int argc, char **argv) {
    struct loading *loading = calloc(1, sizeof(*loading));
    MUST(loading != NULL);
    int code = CORE_EXIT_DONE;
    if (intel_parse(&loading->intel, cmd, argc, argv, &code)) {
        loading->is_dry = intel_value(&loading->intel, "dry-run") != NULL;
        if (intel_open(&loading->intel, loading->is_dry ? INTEL_CONFIG_ONLY : INTEL_WRITES, &code)) {
            code = feed_set(loading);
            code = code == CORE_EXIT_DONE ? files_load(loading) : code;
        }
    }
    intel_close(&loading->intel);
    free(loading);
    return code;
}

const struct cmd cmd_intel_load = {
    .name = "intel load",
    .summary = "put files of indicators into the store",
    .args = "FILE…|-",
    .about =
        "Reads files of indicators and puts them into Redis, for all sensors: Zeek's intelligence framework, plain "
        "lists, CSV, events of MISP, STIX 2 bundles; plain or .gz; of which kind they are is told by content. The "
        "same indicator of two feeds is one with two providers; loading a feed again replaces what it said, and "
        "takes nothing away: `tapline intel sync` does. What is no indicator is left out, and said: the first ten, "
        "and how many for which reason. Ends with 1 if a file could not be read at all.",
    .example = "tapline intel load -c /etc/tapline/tapline.yml intel.dat\n"
               "tapline intel load -c tapline.yml --feed blocklist --type ip --expire-after 7d block.txt\n"
               "tapline intel load --dry-run *.intel.gz",
    .options = load_options,
    .run = load_main,
};
