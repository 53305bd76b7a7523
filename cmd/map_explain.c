/* cmd/map_explain.c: `tapline map explain FILE`: for the first records, which row of which map made which field.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "core/json.h"
#include "ingest/ingest.h"
#include "normalize/normalize.h"

#include <stdio.h>
#include <stdlib.h>

static const struct cmd_option options[] = {
    {"records", 'n', "N", "How many records of each file (default: 1)."},
    {"maps", 0, "DIR", "Directory with logs.table, schema.tsv and maps/."},
    {"site-maps", 0, "DIR", "Directory of your own maps, which come before those."},
    {0},
};

static void on_row(void *ctx, struct core_span from, const char *row, const char *to, struct core_span value) {
    (void)ctx;
    printf("  %-24.*s %-22s %-36s %.*s\n", (int)from.len, from.ptr, row, to, (int)value.len, value.ptr);
}

/* What intelligence would be asked about. */
static void observables_print(const struct core_event *event) {
    for (uint16_t i = 0; i < event->observables_len; i++) {
        const struct core_observable *one = &event->observables[i];
        const char *word = core_indicator_word((enum core_indicator)one->type);
        char text[64 * 1024];
        struct core_buf buf = {.start = text, .pos = text, .end = text + sizeof(text)};
        core_buf_string(&buf, (struct core_span){one->ptr, one->len});
        struct core_span value = buf.is_full ? CORE_SPAN("(longer than 64 KiB)") : core_buf_written(&buf);
        printf("  observable %-36s %-12s %.*s\n", one->field, word, (int)value.len, value.ptr);
    }
    if (event->observables_left > 0) {
        printf("  observable (and %u more, which are not looked at)\n", event->observables_left);
    }
}

/* Explain one record at a time: the lines of a batch are cut short to it. */
static void batch_explain(struct normalize_worker *worker, struct core_batch *batch, uint64_t *left) {
    static const struct normalize_explain explain = {.row = on_row};
    struct core_line *lines = batch->lines;
    uint32_t lines_len = batch->lines_len;
    bool is_last = batch->is_last;
    for (uint32_t i = 0; i<lines_len && * left> 0; i++) {
        batch->lines = &lines[i];
        batch->lines_len = 1;
        batch->is_last = false;
        bool is_record = (lines[i].flags & CORE_LINE_CONTEXT) == 0;
        if (is_record) {
            printf("%s:%llu: %.*s\n", batch->stream->path, (unsigned long long)lines[i].number,
                   (int)(lines[i].text.len < 160 ? lines[i].text.len : 160), lines[i].text.ptr);
        }
        normalize_explain(worker, batch, &explain);
        if (is_record) {
            const struct core_event *event = &batch->events[0];
            if (batch->events_len == 0) {
                printf("  => no document: dropped by that rule\n");
            } else {
                observables_print(event);
                printf("  => %s: %.*s\n", event->dataset, (int)event->doc.len, event->doc.ptr);
            }
            --*left;
        }
    }
    batch->lines = lines;
    batch->lines_len = 0;
    batch->is_last = is_last;
}

static bool file_explain(struct core_pool *pool, struct normalize_worker *worker, const char *path, uint64_t records) {
    struct core_counters counters = {0};
    struct core_fail fail = {0};
    struct ingest_reader *reader = NULL;
    if (ingest_reader_open(&reader, path, "", NULL, &counters, &fail) != CORE_OK) {
        fprintf(stderr, "tapline map explain: %s: %s\n", fail.where, fail.text);
        return false;
    }
    for (enum core_err err = CORE_OK; err == CORE_OK;) {
        struct core_batch *batch = core_pool_take(pool);
        MUST(batch != NULL);
        err = ingest_reader_next(reader, batch, &fail);
        batch_explain(worker, batch, &records);
        err = records == 0 ? CORE_GONE : err;
        batch->is_last = err != CORE_OK;
        normalize_batch(worker, batch);
        core_pool_give(pool, batch);
    }
    ingest_reader_close(reader);
    return true;
}

static int run(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args;
    struct core_conf_mistakes mistakes = {0};
    struct core_fail fail = {0};
    struct core_counters counters = {0};
    struct core_pool pool = {0};
    struct normalize_maps *maps = NULL;
    int code;
    if (!cmd_parse(cmd, argc, argv, &args, &code)) {
        return code;
    }
    const char *records = cmd_value(cmd, &args, "records");
    struct normalize_conf conf = cmd_maps_conf(cmd, &args);
    uint64_t n = records == NULL ? 1 : strtoull(records, NULL, 10);
    if (args.files_len == 0 || n == 0) {
        fprintf(stderr, "tapline map explain: name a file, and at least one record\n");
        return CORE_EXIT_USAGE;
    }
    if (normalize_maps_open(&maps, &conf, NULL, &mistakes) != CORE_OK) {
        cmd_print_mistakes(&mistakes);
        return CORE_EXIT_USAGE;
    }
    if (core_pool_init(&pool, 1, &fail) != CORE_OK) {
        fprintf(stderr, "tapline map explain: %s\n", fail.text);
        normalize_maps_close(maps);
        return CORE_EXIT_SYSTEM;
    }
    struct normalize_worker *worker = normalize_worker_new(maps, &counters);
    normalize_worker_observe(worker, true);
    for (int i = 0; i < args.files_len; i++) {
        code = file_explain(&pool, worker, args.files[i], n) ? code : CORE_EXIT_SYSTEM;
    }
    normalize_worker_free(worker);
    core_pool_destroy(&pool);
    normalize_maps_close(maps);
    return code;
}

const struct cmd cmd_map_explain = {
    .name = "map explain",
    .summary = "say which row of which map made which field",
    .args = "FILE...",
    .about = "Reads the first records of each file and prints, field by field: the source field, the map's row as "
             "file:line, the document's field and its value; then the observables that enrichment would look up; then "
             "the whole document.",
    .example = "tapline map explain -n 2 conn.log",
    .options = options,
    .run = run,
};
