/* ingest/conf.c: what `inputs:` and `ingest:` may say, as rows, and the document members that `fields:` make.
 *
 * Design: dotted names become one nested object's text, once, when the config is read; the data path only copies it.
 * Thread: any; nothing here is shared.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "core/json.h"
#include "core/zone.h"

#define FIELDS_MAX 256     /* per input */
#define FIELD_DEPTH_MAX 16 /* dots in a name, plus one */
#define FIELDS_JSON_BYTES_MAX (64 * CORE_KIB)

/* In the order of enum core_origin_type, enum core_format and enum ingest_start. */
static const char *const type_choices[] = {"auto", "zeek", "snort", "suricata", "tapline", NULL};
static const char *const format_choices[] = {"auto",      "zeek",         "snort_fast",    "snort_full",
                                             "snort_cmg", "snort_csv",    "snort_json",    "snort_syslog",
                                             "unified2",  "suricata_eve", "suricata_fast", NULL};
/* Whose format it is, by enum core_format. */
static const enum core_origin_type format_types[] = {
    [CORE_FORMAT_AUTO] = CORE_ORIGIN_AUTO,
    [CORE_FORMAT_ZEEK] = CORE_ORIGIN_ZEEK,
    [CORE_FORMAT_SNORT_FAST] = CORE_ORIGIN_SNORT,
    [CORE_FORMAT_SNORT_FULL] = CORE_ORIGIN_SNORT,
    [CORE_FORMAT_SNORT_CMG] = CORE_ORIGIN_SNORT,
    [CORE_FORMAT_SNORT_CSV] = CORE_ORIGIN_SNORT,
    [CORE_FORMAT_SNORT_JSON] = CORE_ORIGIN_SNORT,
    [CORE_FORMAT_SNORT_SYSLOG] = CORE_ORIGIN_SNORT,
    [CORE_FORMAT_UNIFIED2] = CORE_ORIGIN_SNORT,
    [CORE_FORMAT_SURICATA_EVE] = CORE_ORIGIN_SURICATA,
    [CORE_FORMAT_SURICATA_FAST] = CORE_ORIGIN_SURICATA,
};
static const char *const start_choices[] = {"beginning", "end", NULL};

#define INPUT(member) offsetof(struct ingest_input, member)
const struct core_opt ingest_input_opts[] = {
    {.key = "type",
     .type = CORE_OPT_ENUM,
     .offset = INPUT(type),
     .def = "auto",
     .choices = type_choices,
     .help = "Which sensor writes these files; auto tells each file's format by its content. tapline: it wrote them "
             "itself (retro_match.log, sighting.log)."},
    {.key = "paths",
     .type = CORE_OPT_STRINGS,
     .offset = INPUT(paths),
     .is_required = true,
     .help = "Files to read, as globs (* ? [...]); files that match later are picked up when they appear."},
    {.key = "format",
     .type = CORE_OPT_ENUM,
     .offset = INPUT(format),
     .def = "auto",
     .choices = format_choices,
     .help = "How the sensor writes them; auto tells it by content. What is given holds for all of their records: "
             "others are "
             "dead letters."},
    {.key = "exclude",
     .type = CORE_OPT_STRINGS,
     .offset = INPUT(exclude),
     .help = "Files never to read, as globs on the whole path or on the name alone."},
    {.key = "archive",
     .type = CORE_OPT_STRINGS,
     .offset = INPUT(archive),
     .help =
         "Where files go when they leave paths, as globs (logs/*/*.log.gz): looked at only to finish files that are "
         "gone from paths with bytes to read; other files there are never read."},
    {.key = "start",
     .type = CORE_OPT_ENUM,
     .offset = INPUT(start),
     .def = "beginning",
     .choices = start_choices,
     .help =
         "Where to begin in files that are there when this input is seen for the first time; files that appear later "
         "are always read from their beginning."},
    {.key = "fields",
     .type = CORE_OPT_PAIRS,
     .offset = INPUT(fields),
     .help = "Members added to every document of this input, by dotted name; numbers and true/false keep their type."},
    {.key = "keep_original",
     .type = CORE_OPT_BOOL,
     .offset = INPUT(keep_original),
     .def = "no",
     .help = "Whether every document carries the record it was made from, as event.original (unified2: base64)."},
    {.key = "csv_fields",
     .type = CORE_OPT_STRINGS,
     .offset = INPUT(csv_fields),
     .help = "Names of alert_csv's columns in their order, as Snort's own `fields` has them."},
    {.key = "timezone",
     .type = CORE_OPT_STRING,
     .offset = INPUT(timezone),
     .help = "The zone (IANA name, as America/Chicago) of stamps that name none, as Snort's alerts; default: UTC."},
    {.key = "sid_msg_map",
     .type = CORE_OPT_STRING,
     .offset = INPUT(sid_msg_map),
     .help = "Path of Snort's sid-msg.map (v1 or v2): messages and references of rules, for unified2."},
    {.key = "gen_msg_map",
     .type = CORE_OPT_STRING,
     .offset = INPUT(gen_msg_map),
     .help = "Path of Snort's gen-msg.map: messages of built-in rules, for unified2."},
    {.key = "classification_config",
     .type = CORE_OPT_STRING,
     .offset = INPUT(classification_config),
     .help = "Path of Snort's classification.config: texts of classes, for unified2."},
    {.key = "metrics_url",
     .type = CORE_OPT_STRING,
     .offset = INPUT(metrics_url),
     .help = "Telemetry of the Zeek process that writes these files (in a cluster: the logger), such as "
             "http://127.0.0.1:9911/metrics; `tapline ledger` holds its counters against ours."},
};
const size_t ingest_input_opts_len = sizeof(ingest_input_opts) / sizeof(ingest_input_opts[0]);

#define CONF(member) offsetof(struct ingest_conf, member)
const struct core_opt ingest_opts[] = {
    {.key = "scan_interval",
     .type = CORE_OPT_DURATION,
     .offset = CONF(scan_interval_ns),
     .def = "1s",
     .min = "10ms",
     .max = "1h",
     .help = "How often the globs and all files are looked at again, beside inotify."},
    {.key = "poll_interval",
     .type = CORE_OPT_DURATION,
     .offset = CONF(poll_interval_ns),
     .def = "1s",
     .min = "10ms",
     .max = "1h",
     .help = "How often files are looked at where inotify is not to be had."},
    {.key = "close_after",
     .type = CORE_OPT_DURATION,
     .offset = CONF(close_after_ns),
     .def = "30s",
     .min = "0",
     .max = "24h",
     .help = "How long a renamed or removed file must stand still before it is closed."},
    {.key = "checkpoint_interval",
     .type = CORE_OPT_DURATION,
     .offset = CONF(checkpoint_interval_ns),
     .def = "1s",
     .min = "10ms",
     .max = "10m",
     .help =
         "How long at most between two writes of the checkpoint while there is progress; what was delivered since the "
         "last write is delivered again after a crash."},
    {.key = "record_wait",
     .type = CORE_OPT_DURATION,
     .offset = CONF(record_wait_ns),
     .def = "1s",
     .min = "10ms",
     .max = "10m",
     .help = "How long a file must stand still before its last record is taken as complete, where only the next record "
             "would "
             "tell: alert_full, alert_cmg and unified2. Logs of lines do not wait."},
    {.key = "remember",
     .type = CORE_OPT_DURATION,
     .offset = CONF(remember_ns),
     .def = "7d",
     .min = "1m",
     .max = "365d",
     .help =
         "How long the keeper of positions (Kafka, with delivery exactly_once) remembers a file that is finished and "
         "gone, so that `tapline verify` can tell that it is complete. This machine's own ledger remembers longer. "
         "Also how long (a day at least) a file "
         "that is gone before it was read to its end is looked for."},
    {.key = "files_max",
     .type = CORE_OPT_UINT,
     .offset = CONF(files_max),
     .def = "4096",
     .min = "1",
     .max = "1000000",
     .help =
         "How many files may be open at a time; past it the one that stood still longest is closed, and opened again "
         "when it grows."},
    {.key = "use_inotify",
     .type = CORE_OPT_BOOL,
     .offset = CONF(use_inotify),
     .def = "yes",
     .help = "Whether to have the kernel tell of new bytes; off, files are looked at by poll_interval only."},
};
const size_t ingest_opts_len = sizeof(ingest_opts) / sizeof(ingest_opts[0]);

static const char *const full_choices[] = {"block", "drop_oldest", NULL}; /* in the order of enum ingest_spool_full */

#define SPOOL(member) offsetof(struct ingest_spool_conf, member)
const struct core_opt ingest_spool_opts[] = {
    {.key = "dir",
     .type = CORE_OPT_STRING,
     .offset = SPOOL(dir),
     .help = "Where copies of rotated files are kept; default: spool, below node.state."},
    {.key = "size_max",
     .type = CORE_OPT_SIZE,
     .offset = SPOOL(size_max),
     .def = "1GiB",
     .min = "0",
     .max = "1000000GiB",
     .help =
         "How much all copies together may take, compressed (logs shrink to about a tenth); 0: no copies are made."},
    {.key = "when_full",
     .type = CORE_OPT_ENUM,
     .offset = SPOOL(when_full),
     .def = "block",
     .choices = full_choices,
     .help = "What to do when size_max is reached: block makes no more copies (rotated files stay open, and their disk "
             "space taken, as long as tapline runs); drop_oldest gives up the oldest copy, and counts its bytes and "
             "lines."},
    {.key = "after",
     .type = CORE_OPT_DURATION,
     .offset = SPOOL(after_ns),
     .def = "60s",
     .min = "0",
     .max = "24h",
     .help = "How long nothing was delivered before files that are rotated away with bytes to read are copied."},
};
const size_t ingest_spool_opts_len = sizeof(ingest_spool_opts) / sizeof(ingest_spool_opts[0]);

/* ---- fields: dotted names to one object ------------------------------------------------------------------------------- */

/* By parts, so that the names below one object stand together: '.' sorts before every other byte. */
static int compare_names(const void *a, const void *b) {
    const char *x = (*(const struct core_conf_item *const *)a)->key;
    const char *y = (*(const struct core_conf_item *const *)b)->key;
    while (*x != '\0' && *x == *y) {
        x++;
        y++;
    }
    const int cx = *x == '.' ? 1 : *x == '\0' ? 0 : (unsigned char)*x + 1;
    const int cy = *y == '.' ? 1 : *y == '\0' ? 0 : (unsigned char)*y + 1;
    return cx - cy;
}

static size_t split_name(const char *name, struct core_span parts[FIELD_DEPTH_MAX]) {
    size_t len = 0;
    for (const char *at = name;; len++) {
        const char *dot = strchr(at, '.');
        const size_t part_len = dot == NULL ? strlen(at) : (size_t)(dot - at);
        if (part_len == 0 || len == FIELD_DEPTH_MAX) {
            return 0;
        }
        parts[len] = (struct core_span){.ptr = at, .len = part_len};
        if (dot == NULL) {
            return len + 1;
        }
        at = dot + 1;
    }
}

static void put_value(struct core_buf *buf, const struct core_conf_item *item) {
    const struct core_span text = core_span_of(item->value);
    if (item->is_number && core_json_is_number(text)) {
        core_buf_span(buf, text);
    } else if (item->is_number && (strcasecmp(item->value, "true") == 0 || strcasecmp(item->value, "false") == 0)) {
        core_buf_span(buf, strcasecmp(item->value, "true") == 0 ? CORE_SPAN("true") : CORE_SPAN("false"));
    } else {
        core_buf_string(buf, text);
    }
}

/* One name and value behind those before it: close the objects it is not in, open those it is. */
static enum core_err put_field(struct core_buf *buf, const struct core_conf_item *item, struct core_span open[],
                               size_t *open_len, struct core_fail *fail) {
    struct core_span parts[FIELD_DEPTH_MAX];
    char where[64];
    (void)snprintf(where, sizeof(where), "inputs[].fields, line %d:%d", item->line, item->column);
    const size_t len = split_name(item->key, parts);
    if (len == 0) {
        return core_fail_set(fail, CORE_BAD, where,
                             "\"%s\" is no field name: it must be words with single dots between, at most %d of them",
                             item->key, FIELD_DEPTH_MAX);
    }
    size_t same = 0;
    while (same < len && same < *open_len && core_span_eq(parts[same], open[same])) {
        same++;
    }
    if (same == *open_len && same > 0) {
        return core_fail_set(
            fail, CORE_BAD, where,
            "\"%s\" is given twice, or is both a value and an object that holds others; keep one of them", item->key);
    }
    for (size_t i = *open_len; i > same + 1; i--) {
        core_buf_char(buf, '}');
    }
    if (*open_len > 0) {
        core_buf_char(buf, ',');
    }
    for (size_t i = same; i < len; i++) {
        core_buf_string(buf, parts[i]);
        core_buf_char(buf, ':');
        if (i + 1 < len) {
            core_buf_char(buf, '{');
        }
        open[i] = parts[i];
    }
    *open_len = len;
    put_value(buf, item);
    return CORE_OK;
}

static enum core_err make_fields(const struct core_conf_list *fields, char **out, struct core_fail *fail) {
    const struct core_conf_item *sorted[FIELDS_MAX];
    struct core_span open[FIELD_DEPTH_MAX];
    size_t open_len = 0;
    if (fields->len > FIELDS_MAX) {
        return core_fail_set(fail, CORE_BAD, "inputs[].fields", "%zu fields are too many: the maximum is %d",
                             fields->len, FIELDS_MAX);
    }
    char *text = malloc(FIELDS_JSON_BYTES_MAX);
    if (text == NULL) {
        return core_fail_errno(fail, "inputs[].fields", "no memory for them");
    }
    for (size_t i = 0; i < fields->len; i++) {
        sorted[i] = &fields->items[i];
    }
    qsort(sorted, fields->len, sizeof(sorted[0]), compare_names);
    struct core_buf buf = {.start = text, .pos = text, .end = text + FIELDS_JSON_BYTES_MAX - 1};
    enum core_err err = CORE_OK;
    core_buf_char(&buf, '{');
    for (size_t i = 0; i < fields->len && err == CORE_OK; i++) {
        err = put_field(&buf, sorted[i], open, &open_len, fail);
    }
    for (size_t i = 0; i < open_len; i++) {
        core_buf_char(&buf, '}');
    }
    if (err == CORE_OK && buf.is_full) {
        err = core_fail_set(fail, CORE_BAD, "inputs[].fields", "they make more than %zu bytes of JSON; say less",
                            (size_t)FIELDS_JSON_BYTES_MAX);
    }
    if (err != CORE_OK) {
        free(text);
        return err;
    }
    *buf.pos = '\0';
    *out = text;
    return CORE_OK;
}

/* ---- what the sensor wrote --------------------------------------------------------------------------------------------- */

#define CSV_FIELDS_BYTES_MAX (4 * CORE_KIB)

/* Is it a name as Snort's fields have, and none of those in `names` (commas between)? */
static enum core_err check_csv_field(struct core_span names, struct core_span name, struct core_fail *fail) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz_";
    static const char others[] = "abcdefghijklmnopqrstuvwxyz_0123456789";
    if (memchr(letters, name.ptr[0], sizeof(letters) - 1) == NULL || strspn(name.ptr, others) < name.len) {
        return core_fail_set(fail, CORE_BAD, "inputs[].csv_fields",
                             "'%.*s' is no field: their names are small letters, digits and _", (int)name.len,
                             name.ptr);
    }
    while (names.len > 0) {
        const char *comma = core_span_chr(names, ',');
        const size_t len = comma == NULL ? names.len : (size_t)(comma - names.ptr);
        if (core_span_eq((struct core_span){names.ptr, len}, name)) {
            return core_fail_set(fail, CORE_BAD, "inputs[].csv_fields", "'%.*s' stands twice", (int)name.len, name.ptr);
        }
        const size_t cut = comma == NULL ? names.len : len + 1;
        names = (struct core_span){names.ptr + cut, names.len - cut};
    }
    return CORE_OK;
}

/* "timestamp,gid,sid" of a list whose items may themselves be lists with blanks or commas, as Snort's `fields` is. */
static enum core_err make_csv_fields(const struct core_conf_list *list, char **out, struct core_fail *fail) {
    char *text = malloc(CSV_FIELDS_BYTES_MAX);
    if (text == NULL) {
        return core_fail_errno(fail, "inputs[].csv_fields", "no memory for them");
    }
    struct core_buf buf = {.start = text, .pos = text, .end = text + CSV_FIELDS_BYTES_MAX - 1};
    for (size_t i = 0; i < list->len; i++) {
        const char *at = list->items[i].value;
        while (*(at += strspn(at, ", \t")) != '\0') {
            const size_t len = strcspn(at, ", \t");
            enum core_err err = check_csv_field(core_buf_written(&buf), (struct core_span){at, len}, fail);
            if (err != CORE_OK) {
                free(text);
                return err;
            }
            if (buf.pos > buf.start) {
                core_buf_char(&buf, ',');
            }
            core_buf_put(&buf, at, len);
            at += len;
        }
    }
    if (buf.is_full || buf.pos == buf.start) {
        const bool is_empty = !buf.is_full;
        free(text);
        return is_empty ? core_fail_set(fail, CORE_BAD, "inputs[].csv_fields", "it names no field")
                        : core_fail_set(fail, CORE_BAD, "inputs[].csv_fields", "more than %zu bytes of names",
                                        (size_t)CSV_FIELDS_BYTES_MAX);
    }
    *buf.pos = '\0';
    *out = text;
    return CORE_OK;
}

static const char *none_if_empty(const char *text) {
    return text == NULL || text[0] == '\0' ? NULL : text;
}

/* Do the keys agree with each other? */
static enum core_err check_format(const struct ingest_input *input, struct core_fail *fail) {
    const enum core_origin_type owner = format_types[input->format];
    if (owner != CORE_ORIGIN_AUTO && input->type != CORE_ORIGIN_AUTO && (int)owner != input->type) {
        return core_fail_set(fail, CORE_BAD, "inputs[].format",
                             "%s is no format of %s's: leave one of type and format out", format_choices[input->format],
                             type_choices[input->type]);
    }
    if (input->csv_fields.len > 0 && input->format != CORE_FORMAT_AUTO && input->format != CORE_FORMAT_SNORT_CSV) {
        return core_fail_set(fail, CORE_BAD, "inputs[].csv_fields", "format %s has no such fields: only snort_csv has",
                             format_choices[input->format]);
    }
    const bool has_names = none_if_empty(input->sid_msg_map) != NULL || none_if_empty(input->gen_msg_map) != NULL ||
                           none_if_empty(input->classification_config) != NULL;
    if (has_names && input->format != CORE_FORMAT_AUTO && input->format != CORE_FORMAT_UNIFIED2) {
        return core_fail_set(fail, CORE_BAD, "inputs[].format",
                             "sid_msg_map, gen_msg_map and classification_config are for unified2; %s has the names "
                             "in its records",
                             format_choices[input->format]);
    }
    const char *const files[] = {input->sid_msg_map, input->gen_msg_map, input->classification_config};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (none_if_empty(files[i]) != NULL && access(files[i], R_OK) != 0) {
            return core_fail_errno(fail, files[i], "%s: a file of names that cannot be read", files[i]);
        }
    }
    if (none_if_empty(input->timezone) != NULL) {
        struct core_zone *zone = NULL;
        const enum core_err err = core_zone_open(&zone, input->timezone, fail);
        core_zone_close(zone);
        return err;
    }
    return CORE_OK;
}

enum core_err ingest_input_finish(struct ingest_input *input, struct core_fail *fail) {
    MUST(input != NULL);
    MUST(input->format >= 0);
    MUST((size_t)input->format < sizeof(format_types) / sizeof(format_types[0]));
    for (size_t i = 0; i < input->paths.len; i++) {
        if (input->paths.items[i].value[0] == '\0') {
            return core_fail_set(fail, CORE_BAD, "inputs[].paths", "an empty path (item %zu) names no file", i + 1);
        }
    }
    free(input->fields_json);
    free(input->csv_fields_text);
    input->fields_json = input->csv_fields_text = NULL;
    enum core_err err = check_format(input, fail);
    if (err == CORE_OK && input->fields.len > 0) {
        err = make_fields(&input->fields, &input->fields_json, fail);
    }
    if (err == CORE_OK && input->csv_fields.len > 0) {
        err = make_csv_fields(&input->csv_fields, &input->csv_fields_text, fail);
    }
    if (err != CORE_OK) {
        return err;
    }
    const enum core_origin_type owner = format_types[input->format];
    input->origin = (struct core_origin){
        .type = owner != CORE_ORIGIN_AUTO ? owner : (enum core_origin_type)input->type,
        .format = (enum core_format)input->format,
        .keep_original = input->keep_original,
        .fields_json = input->fields_json,
        .csv_fields = input->csv_fields_text,
        .timezone = none_if_empty(input->timezone),
        .sid_msg_map = none_if_empty(input->sid_msg_map),
        .gen_msg_map = none_if_empty(input->gen_msg_map),
        .classification_config = none_if_empty(input->classification_config),
    };
    return CORE_OK;
}

/* ---- one key, as the command line has it ---------------------------------------------------------------------------------- */

static enum core_err set_choice(const struct core_opt *opt, const char *text, int *out, struct core_fail *fail) {
    char words[256];
    struct core_buf buf = {.start = words, .pos = words, .end = words + sizeof(words) - 1};
    for (int i = 0; opt->choices[i] != NULL; i++) {
        if (strcmp(opt->choices[i], text) == 0) {
            *out = i;
            return CORE_OK;
        }
        core_buf_put(&buf, i == 0 ? "" : ", ", i == 0 ? 0 : 2);
        core_buf_span(&buf, core_span_of(opt->choices[i]));
    }
    *buf.pos = '\0';
    return core_fail_set(fail, CORE_BAD, opt->key, "\"%s\" is none of: %s", text, words);
}

static void set_list(struct core_conf_list *list, const char *text) {
    list->items = realloc(list->items, (list->len + 1) * sizeof(*list->items));
    MUST(list->items != NULL);
    list->items[list->len++] = (struct core_conf_item){.value = ingest_strdup(text)};
}

enum core_err ingest_input_set(struct ingest_input *input, const char *key, const char *text, struct core_fail *fail) {
    MUST(input != NULL);
    MUST(text != NULL);
    for (size_t i = 0; i < ingest_input_opts_len; i++) {
        const struct core_opt *opt = &ingest_input_opts[i];
        char *at = (char *)input + opt->offset;
        if (strcmp(opt->key, key) != 0) {
            continue;
        }
        if (opt->type == CORE_OPT_ENUM) {
            return set_choice(opt, text, (int *)(void *)at, fail);
        }
        if (opt->type == CORE_OPT_STRINGS) {
            set_list((struct core_conf_list *)(void *)at, text);
        } else {
            MUST(opt->type == CORE_OPT_STRING);
            free(*(char **)(void *)at);
            *(char **)(void *)at = ingest_strdup(text);
        }
        return CORE_OK;
    }
    MUST(!"a key of ingest_input_opts");
    return CORE_BAD;
}

void ingest_input_release(struct ingest_input *input) {
    if (input == NULL) {
        return;
    }
    core_conf_release(ingest_input_opts, ingest_input_opts_len, input);
    free(input->fields_json);
    free(input->csv_fields_text);
    *input = (struct ingest_input){0};
}
