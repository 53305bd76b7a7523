/* ingest/conf.c: what `inputs:` and `ingest:` may say, as rows, and the document members that `fields:` make.
 *
 * Design: dotted names become one nested object's text, once, when the config is read; the data path only copies it.
 * Thread: any; nothing here is shared.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/json.h"

#define FIELDS_MAX 256     /* per input */
#define FIELD_DEPTH_MAX 16 /* dots in a name, plus one */
#define FIELDS_JSON_BYTES_MAX (64 * CORE_KIB)

/* In the order of enum core_origin_type and enum ingest_start. */
static const char *const type_choices[] = {"auto", "zeek", "snort", "suricata", NULL};
static const char *const start_choices[] = {"beginning", "end", NULL};

#define INPUT(member) offsetof(struct ingest_input, member)
const struct core_opt ingest_input_opts[] = {
    {.key = "type",
     .type = CORE_OPT_ENUM,
     .offset = INPUT(type),
     .def = "auto",
     .choices = type_choices,
     .help = "Which sensor writes these files; auto tells each file's format by its content."},
    {.key = "paths",
     .type = CORE_OPT_STRINGS,
     .offset = INPUT(paths),
     .is_required = true,
     .help = "Files to read, as globs (* ? [...]); files that match later are picked up when they appear."},
    {.key = "exclude",
     .type = CORE_OPT_STRINGS,
     .offset = INPUT(exclude),
     .help = "Files never to read, as globs on the whole path or on the name alone."},
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
     .help = "Whether every document carries the line it was made from, as event.original."},
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

enum core_err ingest_input_finish(struct ingest_input *input, struct core_fail *fail) {
    MUST(input != NULL);
    for (size_t i = 0; i < input->paths.len; i++) {
        if (input->paths.items[i].value[0] == '\0') {
            return core_fail_set(fail, CORE_BAD, "inputs[].paths", "an empty path (item %zu) names no file", i + 1);
        }
    }
    free(input->fields_json);
    input->fields_json = NULL;
    if (input->fields.len > 0) {
        const enum core_err err = make_fields(&input->fields, &input->fields_json, fail);
        if (err != CORE_OK) {
            return err;
        }
    }
    input->origin = (struct core_origin){
        .type = (enum core_origin_type)input->type,
        .keep_original = input->keep_original,
        .fields_json = input->fields_json,
    };
    return CORE_OK;
}

void ingest_input_release(struct ingest_input *input) {
    if (input == NULL) {
        return;
    }
    core_conf_release(ingest_input_opts, ingest_input_opts_len, input);
    free(input->fields_json);
    *input = (struct ingest_input){0};
}
