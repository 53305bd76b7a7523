/* cmd/normalize.c: `tapline normalize`, the pure filter: sensor logs in, one document a record out, in the order of the
 * input. One thread, or with --jobs more (normalize_jobs.c); memory does not depend on the size of the input.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/normalize_internal.h"
#include "core/deadletter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define INTEL_FOR_EVER_NS (366 * 24 * 3600 * CORE_NS_PER_S)
#define INTEL_LOOK_NS (2 * CORE_NS_PER_MS)

/* ---- output -------------------------------------------------------------------------------------------------------------- */

/* Forget the first n bytes of the pieces. */
static void out_advance(struct out *out, size_t n, int *at) {
    while (*at < out->pieces_len && n >= out->pieces[*at].iov_len) {
        n -= out->pieces[(*at)++].iov_len;
    }
    if (n > 0) {
        out->pieces[*at].iov_base = (char *)out->pieces[*at].iov_base + n;
        out->pieces[*at].iov_len -= n;
    }
}

/* Called before a batch goes back, because the pieces are its documents. */
static void out_flush(struct out *out) {
    int at = 0;
    while (at < out->pieces_len && !out->is_broken) {
        ssize_t n = writev(out->fd, out->pieces + at, out->pieces_len - at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            struct core_fail fail = {0};
            (void)core_fail_errno(&fail, out->path, "cannot write documents there, giving up");
            core_log_fail(CORE_LEVEL_ERROR, "normalize", "output is broken", &fail);
            out->is_broken = true;
            break;
        }
        out_advance(out, (size_t)n, &at);
    }
    out->pieces_len = 0;
}

static void out_line(struct out *out, struct core_span text) {
    static char newline[] = "\n";
    if (out->fd < 0) {
        return;
    }
    if (out->pieces_len + 2 > OUT_PIECES) {
        out_flush(out);
    }
    out->pieces[out->pieces_len++] = (struct iovec){.iov_base = (char *)(uintptr_t)text.ptr, .iov_len = text.len};
    out->pieces[out->pieces_len++] = (struct iovec){.iov_base = newline, .iov_len = 1};
}

static enum core_err out_open(struct out *out, const char *path, int fd, struct core_fail *fail) {
    out->fd = fd;
    out->path = path;
    if (fd < 0 && path != NULL) {
        out->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
        if (out->fd < 0) {
            return core_fail_errno(fail, path, "cannot write dead letters there");
        }
    }
    return CORE_OK;
}

/* ---- input ---------------------------------------------------------------------------------------------------------------- */

void normalize_write(struct filter *filter, struct core_batch *batch) {
    /* with files in this process there is nobody to wait for: never CORE_AGAIN */
    MUST(filter->enrich == NULL || enrich_batch(filter->enrich, batch) == CORE_OK);
    for (uint32_t i = 0; i < batch->events_len; i++) {
        const struct core_event *event = &batch->events[i];
        out_line(event->is_dead ? &filter->dead : &filter->out, event->doc);
        filter->dead_letters += event->is_dead;
    }
    filter->records += batch->events_len + batch->tally.dropped;
    filter->dropped += batch->tally.dropped;
    out_flush(&filter->out);
    out_flush(&filter->dead);
}

/* What stands behind the damage of a .gz cannot be read: that is said where other unreadable records are. */
static void damage_write(struct filter *filter, const struct core_fail *fail) {
    char text[2048];
    char reason[1024];
    struct core_buf buf = {.start = text, .pos = text, .end = text + sizeof(text)};
    snprintf(reason, sizeof(reason), "%s; what follows cannot be read", fail->text);
    struct core_dead dead = {.reason = reason, .raw = {"", 0}};
    core_dead_write(&buf, &filter->stream, &dead, core_now_ns());
    if (!buf.is_full) {
        out_line(&filter->dead, core_buf_written(&buf));
        out_flush(&filter->dead);
    }
    filter->damaged++;
    core_log_fail(CORE_LEVEL_WARN, "normalize", "file is damaged", fail);
}

static void file_run(struct filter *filter, const char *path) {
    struct core_fail fail = {0};
    struct ingest_reader *reader = NULL;
    if (ingest_reader_open(&reader, path, "", &filter->input.origin, &filter->counters, &fail) != CORE_OK) {
        core_log_fail(CORE_LEVEL_ERROR, "normalize", "file skipped", &fail);
        filter->files_failed++;
        return;
    }
    filter->files++;
    enum core_err err = CORE_OK;
    if (filter->jobs != NULL) {
        err = normalize_jobs_file(filter->jobs, reader, &fail);
    }
    while (filter->jobs == NULL && err == CORE_OK && !normalize_is_broken(filter)) {
        struct core_batch *batch = core_pool_take(&filter->pool);
        MUST(batch != NULL);
        err = ingest_reader_next(reader, batch, &fail);
        filter->stream = *batch->stream;
        batch->is_last = err != CORE_OK;
        normalize_batch(filter->worker, batch);
        normalize_write(filter, batch);
        core_pool_give(&filter->pool, batch);
    }
    if (err == CORE_IO) {
        damage_write(filter, &fail);
    }
    ingest_reader_close(reader);
}

/* ---- command --------------------------------------------------------------------------------------------------------------- */

static const struct cmd_option options[] = {
    {"input", 'i', "TYPE", "What the input is: zeek, snort, suricata, tapline or auto (default: auto, by content)."},
    {"format", 0, "FORMAT",
     "How it is written: zeek, snort_fast, snort_full, snort_cmg, snort_csv, snort_json, snort_syslog, unified2, "
     "suricata_eve, suricata_fast or auto (default: auto, by content)."},
    {"csv-fields", 0, "A,B,...", "Names of alert_csv's columns, as Snort's own `fields` has them."},
    {"timezone", 0, "ZONE", "Zone of stamps that name none (IANA name, as America/Chicago; default: UTC)."},
    {"sid-msg-map", 0, "FILE", "Snort's sid-msg.map: messages and references of rules, for unified2."},
    {"gen-msg-map", 0, "FILE", "Snort's gen-msg.map: messages of built-in rules, for unified2."},
    {"classification-config", 0, "FILE", "Snort's classification.config: texts of classes, for unified2."},
    {"dead-letter", 'd', "FILE",
     "Where records that cannot be read go, as NDJSON with the reason (default: counted only)."},
    {"strict", 's', NULL, "Exit 1 if there were dead letters."},
    {"keep-original", 0, NULL, "Add each record's own text as event.original."},
    {"community-id-seed", 0, "N", "Seed of the Community ID, 0 to 65535 (default: 0)."},
    {"networks", 0, "A,B,...", "The site's own networks, as 10.0.0.0/8: they tell network.direction."},
    {"networks-file", 0, "FILE", "More of them, one a line: zeekctl's networks.cfg."},
    {"geo-databases", 0, "A,B,...", "MaxMind DB files that tell where addresses are and whose."},
    {"intel", 0, "A,B,...",
     "Files of indicators (as intel.files: of Zeek, MISP, STIX, lists, tables), told by content; what they know is "
     "added "
     "to the documents."},
    {"jobs", 'j', "N",
     "Threads that map records, 1 to 64 (default: 1). The documents and their order are the same; a file of fewer than "
     "2,048 lines is not shared."},
    {"maps", 0, "DIR", "Directory with logs.table, schema.tsv and maps/."},
    {"site-maps", 0, "DIR", "Directory of your own maps, which come before those."},
    {0},
};

/* Options that are keys of an input, too. */
static const struct {
    const char *option;
    const char *key;
} input_keys[] = {
    {"input", "type"},
    {"format", "format"},
    {"csv-fields", "csv_fields"},
    {"timezone", "timezone"},
    {"sid-msg-map", "sid_msg_map"},
    {"gen-msg-map", "gen_msg_map"},
    {"classification-config", "classification_config"},
};

static bool input_make(const struct cmd *cmd, const struct cmd_args *args, struct ingest_input *input) {
    struct core_fail fail = {0};
    for (size_t i = 0; i < sizeof(input_keys) / sizeof(input_keys[0]); i++) {
        const char *text = cmd_value(cmd, args, input_keys[i].option);
        if (text != NULL && ingest_input_set(input, input_keys[i].key, text, &fail) != CORE_OK) {
            fprintf(stderr, "tapline normalize: --%s: %s\n", input_keys[i].option, fail.text);
            return false;
        }
    }
    input->keep_original = cmd_value(cmd, args, "keep-original") != NULL;
    if (ingest_input_finish(input, &fail) != CORE_OK) {
        fprintf(stderr, "tapline normalize: %s: %s\n", fail.where, fail.text);
        return false;
    }
    return true;
}

static bool seed_parse(const char *text, uint16_t *seed) {
    char *end = NULL;
    errno = 0;
    unsigned long v = strtoul(text, &end, 10);
    *seed = (uint16_t)v;
    return errno == 0 && end != text && *end == '\0' && text[0] != '-' && v <= UINT16_MAX;
}

#define LIST_ITEMS_MAX 64

/* An option's "a,b" as the config's list. Shape: texts and items are the caller's; cut at LIST_ITEMS_MAX. */
struct option_list {
    char text[4096];
    struct core_conf_item items[LIST_ITEMS_MAX];
};

static bool list_parse(const char *option, const char *text, struct option_list *room, struct core_conf_list *list) {
    char *rest = NULL;
    *list = (struct core_conf_list){.items = room->items};
    if (text == NULL) {
        return true;
    }
    if ((size_t)snprintf(room->text, sizeof(room->text), "%s", text) >= sizeof(room->text)) {
        fprintf(stderr, "tapline normalize: --%s: longer than %zu bytes\n", option, sizeof(room->text) - 1);
        return false;
    }
    for (char *item = strtok_r(room->text, ",", &rest); item != NULL; item = strtok_r(NULL, ",", &rest)) {
        if (list->len == LIST_ITEMS_MAX) {
            fprintf(stderr, "tapline normalize: --%s: more than %d items\n", option, LIST_ITEMS_MAX);
            return false;
        }
        room->items[list->len++] = (struct core_conf_item){.value = item};
    }
    return true;
}

/* 0: it is no such number. */
static unsigned jobs_parse(const char *text) {
    char *end = NULL;
    errno = 0;
    unsigned long v = strtoul(text, &end, 10);
    bool is_number = errno == 0 && end != text && *end == '\0' && text[0] != '-';
    return is_number && v <= JOBS_MAX ? (unsigned)v : 0;
}

static int options_apply(const struct cmd *cmd, const struct cmd_args *args, struct filter *filter) {
    const char *seed_text = cmd_value(cmd, args, "community-id-seed");
    struct normalize_conf conf = cmd_maps_conf(cmd, args);
    uint16_t seed = 0;
    struct core_conf_mistakes mistakes = {0};
    struct option_list networks;
    struct option_list databases;
    conf.networks_file = (char *)(uintptr_t)cmd_value(cmd, args, "networks-file");
    if (!input_make(cmd, args, &filter->input) ||
        !list_parse("networks", cmd_value(cmd, args, "networks"), &networks, &conf.networks) ||
        !list_parse("geo-databases", cmd_value(cmd, args, "geo-databases"), &databases, &conf.geo_databases)) {
        return CORE_EXIT_USAGE;
    }
    if (seed_text != NULL && !seed_parse(seed_text, &seed)) {
        fprintf(stderr, "tapline normalize: --community-id-seed is a number from 0 to 65535, not \"%s\"\n", seed_text);
        return CORE_EXIT_USAGE;
    }
    conf.community_id_seed = seed;
    if (normalize_maps_open(&filter->maps, &conf, NULL, &mistakes) != CORE_OK) {
        cmd_print_mistakes(&mistakes);
        return CORE_EXIT_USAGE;
    }
    return CORE_EXIT_DONE;
}

/* Errors: said. */
static int intel_open(const struct cmd *cmd, const struct cmd_args *args, struct filter *filter,
                      struct option_list *files) {
    const char *text = cmd_value(cmd, args, "intel");
    if (text == NULL) {
        return CORE_EXIT_DONE;
    }
    filter->intel_conf = (struct enrich_conf){
        .on_unavailable = ENRICH_PASS, .timeout_ns = INTEL_FOR_EVER_NS, .stale_after_ns = INTEL_FOR_EVER_NS};
    if (!list_parse("intel", text, files, &filter->intel_conf.files)) {
        return CORE_EXIT_USAGE;
    }
    struct core_fail fail = {0};
    struct enrich_env env = {.node = "", .state_dir = NULL, .counters = &filter->counters};
    static const struct enrich_redis_conf none;
    if (enrich_open(&filter->enrich, &filter->intel_conf, &none, &env, &fail) != CORE_OK) {
        fprintf(stderr, "tapline normalize: %s: %s\n", fail.where, fail.text);
        return CORE_EXIT_SYSTEM;
    }
    struct enrich_status status;
    const struct timespec pause = {.tv_nsec = INTEL_LOOK_NS};
    for (enrich_status(filter->enrich, &status); status.state == ENRICH_BUILDING;
         enrich_status(filter->enrich, &status)) {
        (void)nanosleep(&pause, NULL); /* the files are read by a thread of enrich's */
    }
    if (status.state != ENRICH_READY) {
        core_log_flush();
        fprintf(stderr, "tapline normalize: --intel: the log above says why; nothing was read\n");
        return CORE_EXIT_USAGE;
    }
    return CORE_EXIT_DONE;
}

static int filter_open(const struct cmd *cmd, const struct cmd_args *args, struct filter *filter,
                       struct option_list *intel_files) {
    struct core_fail fail = {0};
    const char *jobs_text = cmd_value(cmd, args, "jobs");
    unsigned jobs = jobs_text == NULL ? 1 : jobs_parse(jobs_text);
    if (jobs == 0) {
        fprintf(stderr, "tapline normalize: --jobs is a number from 1 to %d, not \"%s\"\n", JOBS_MAX, jobs_text);
        return CORE_EXIT_USAGE;
    }
    int code = options_apply(cmd, args, filter);
    if (code == CORE_EXIT_DONE) {
        code = intel_open(cmd, args, filter, intel_files);
    }
    if (code != CORE_EXIT_DONE) {
        return code;
    }
    if (core_pool_init(&filter->pool, jobs == 1 ? 1 : normalize_jobs_batches(jobs), &fail) != CORE_OK ||
        out_open(&filter->out, "stdout", STDOUT_FILENO, &fail) != CORE_OK ||
        out_open(&filter->dead, cmd_value(cmd, args, "dead-letter"), -1, &fail) != CORE_OK) {
        fprintf(stderr, "tapline normalize: %s: %s\n", fail.where, fail.text);
        return CORE_EXIT_SYSTEM;
    }
    filter->worker = normalize_worker_new(filter->maps, &filter->counters);
    normalize_worker_observe(filter->worker, filter->enrich != NULL);
    if (jobs > 1 && normalize_jobs_open(&filter->jobs, filter, jobs, &fail) != CORE_OK) {
        fprintf(stderr, "tapline normalize: %s: %s\n", fail.where, fail.text);
        return CORE_EXIT_SYSTEM;
    }
    return CORE_EXIT_DONE;
}

static void filter_close(struct filter *filter) {
    normalize_jobs_close(filter->jobs);
    enrich_close(filter->enrich);
    normalize_worker_free(filter->worker);
    normalize_maps_close(filter->maps);
    core_pool_destroy(&filter->pool);
    ingest_input_release(&filter->input);
    if (filter->dead.fd > STDERR_FILENO) {
        (void)close(filter->dead.fd);
    }
}

/* The books: every record is one of three, and each rule answers for what it dropped. */
static void summary_print(const struct filter *filter, int64_t elapsed_ns) {
    char dropped[64] = "";
    if (filter->dropped > 0) {
        snprintf(dropped, sizeof(dropped), " + %llu dropped by rule", (unsigned long long)filter->dropped);
    }
    fprintf(stderr,
            "tapline normalize: %llu records = %llu documents + %llu dead letters%s, from %llu files (%llu damaged, "
            "%llu not to be opened), in %.2f s\n",
            (unsigned long long)filter->records,
            (unsigned long long)(filter->records - filter->dead_letters - filter->dropped),
            (unsigned long long)filter->dead_letters, dropped, (unsigned long long)filter->files,
            (unsigned long long)filter->damaged, (unsigned long long)filter->files_failed,
            (double)elapsed_ns / (double)CORE_NS_PER_S);
    if (filter->enrich != NULL) {
        fprintf(stderr, "tapline normalize: %llu hits of intelligence, on %llu documents\n",
                (unsigned long long)core_counted(&filter->counters, CORE_COUNT_ENRICH_HITS),
                (unsigned long long)core_counted(&filter->counters, CORE_COUNT_ENRICH_EVENTS));
    }
    struct normalize_drop drop;
    for (size_t i = 0; normalize_drop_at(filter->maps, i, &drop); i++) {
        if (drop.dropped > 0) {
            fprintf(stderr, "tapline normalize: %llu dropped by %s\n", (unsigned long long)drop.dropped, drop.rule);
        }
    }
}

static int run(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args;
    struct option_list intel_files;
    struct filter filter = {.out = {.fd = -1}, .dead = {.fd = -1}};
    int code;
    if (!cmd_parse(cmd, argc, argv, &args, &code)) {
        return code;
    }
    code = filter_open(cmd, &args, &filter, &intel_files);
    if (code == CORE_EXIT_DONE) {
        int64_t began = core_tick_ns();
        char *only_stdin[] = {"-"};
        char **files = args.files_len == 0 ? only_stdin : args.files;
        int files_len = args.files_len == 0 ? 1 : args.files_len;
        for (int i = 0; i < files_len && !normalize_is_broken(&filter); i++) {
            file_run(&filter, files[i]);
        }
        core_log_flush();
        summary_print(&filter, core_tick_ns() - began);
        bool is_failed = filter.out.is_broken || filter.dead.is_broken || filter.files_failed > 0;
        bool is_no = cmd_value(cmd, &args, "strict") != NULL && filter.dead_letters + filter.damaged > 0;
        code = is_failed ? CORE_EXIT_SYSTEM : is_no ? CORE_EXIT_NO : CORE_EXIT_DONE;
    }
    filter_close(&filter);
    return code;
}

const struct cmd cmd_normalize = {
    .name = "normalize",
    .summary = "turn sensor logs into ECS documents, one JSON line a record",
    .args = "[FILE...|-]",
    .about = "A pure filter: reads Zeek TSV and JSON, the formats of Snort and Suricata, plain or gzipped, and writes "
             "one document a record to stdout, in input order. The format is found by content; the log's name by "
             "#path, _path or _stream, a wrapping key, or the file's name. Records that cannot be read go to the dead "
             "letter file and the rest goes on. Exit: 0; 1 with --strict if there were dead letters; 100 wrong usage; "
             "111 a file or the output failed.",
    .example = "tapline normalize conn.log | jq .source.ip\n"
               "zcat dns.log.gz | tapline normalize --input zeek --dead-letter dead.ndjson -",
    .options = options,
    .run = run,
};
