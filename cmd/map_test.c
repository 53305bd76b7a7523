/* cmd/map_test.c: `tapline map test DIR…`: golden pairs. A case is a folder: a log, out.ndjson with the documents that must
 * come of it, and perhaps case.json with what an input would say of it. The project's own maps are tested by this, too.
 *
 * The program changes to the case's folder, so that log.file.path is the log's bare name wherever the cases are.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "cmd/json_tree.h"
#include "ingest/ingest.h"
#include "normalize/normalize.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <regex.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CASE_BYTES_MAX (256 * CORE_MIB) /* address space for the documents of one case, as trees */
#define DOCUMENTS_MAX 65536
#define SHOWN_MAX 5 /* documents of a case whose differences are printed */

static const struct cmd_option options[] = {
    {"maps", 0, "DIR", "Directory with logs.table, schema.tsv and maps/."},
    {"site-maps", 0, "DIR", "Directory of your own maps, which come before those."},
    {"quiet", 'q', NULL, "Say nothing of cases that are as they should be."},
    {0},
};

struct test {
    struct core_pool pool;
    struct core_counters counters;
    struct normalize_maps *maps;
    struct core_arena arena;
    bool is_quiet;
    size_t cases;
    size_t failed;
};

/* One case while it runs. */
struct one {
    struct test *test;
    const char *name;
    struct ingest_input input;
    int64_t mtime_ns; /* 0: the file's own */
    char log[NAME_MAX + 1];
    struct core_json_tree *expected[DOCUMENTS_MAX];
    size_t expected_len;
    size_t documents; /* that came */
    size_t next_document;
    size_t next_letter;
    size_t differing;
    bool is_told;
};

/* The case's first line, once, then what is wrong. */
static void one_tell(struct one *one) {
    if (!one->is_told) {
        printf("FAIL %s\n", one->name);
        one->is_told = true;
    }
}

static void one_fail(struct one *one, const char *fmt, ...) CORE_PRINTF(2, 3);

static void one_fail(struct one *one, const char *fmt, ...) {
    va_list args;
    one_tell(one);
    (void)fputs("    ", stdout);
    va_start(args, fmt);
    (void)vprintf(fmt, args);
    va_end(args);
    (void)fputc('\n', stdout);
}

/* ---- the case's files ---------------------------------------------------------------------------------------------------- */

/* The one file that is neither out.ndjson nor case.json. */
static bool log_find(struct one *one) {
    DIR *dir = opendir(".");
    size_t logs = 0;
    if (dir == NULL) {
        one_fail(one, "the folder cannot be listed: %s", strerror(errno));
        return false;
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        bool is_ours = strcmp(entry->d_name, "out.ndjson") == 0 || strcmp(entry->d_name, "case.json") == 0;
        if (entry->d_name[0] != '.' && !is_ours) {
            (void)snprintf(one->log, sizeof(one->log), "%s", entry->d_name);
            logs++;
        }
    }
    (void)closedir(dir);
    if (logs != 1) {
        one_fail(one, "a case is one log, out.ndjson and perhaps case.json; here are %zu other files", logs);
    }
    return logs == 1;
}

/* The file's text in the arena. False: it is not there, or cannot be read. */
static bool file_text(struct one *one, const char *path, struct core_span *text) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is_read = false;
    if (fd >= 0 && fstat(fd, &st) == 0) {
        char *bytes = core_arena_alloc(&one->test->arena, (size_t)st.st_size + 1);
        ssize_t len = bytes == NULL ? -1 : read(fd, bytes, (size_t)st.st_size);
        is_read = len == st.st_size;
        *text = (struct core_span){bytes, (size_t)(is_read ? len : 0)};
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return is_read;
}

/* The number that two or four digits of the text are. */
static unsigned digits(const char *text, size_t len) {
    unsigned number = 0;
    for (size_t i = 0; i < len; i++) {
        number = number * 10 + (unsigned)(text[i] - '0');
    }
    return number;
}

/* "2026-11-21T04:00:00Z" */
static bool stamp_parse(struct core_span text, int64_t *ns) {
    static const char form[] = "0000-00-00T00:00:00Z";
    bool is_stamp = text.len == sizeof(form) - 1;
    for (size_t i = 0; is_stamp && i < text.len; i++) {
        is_stamp = form[i] == '0' ? text.ptr[i] >= '0' && text.ptr[i] <= '9' : text.ptr[i] == form[i];
    }
    if (!is_stamp) {
        return false;
    }
    const char *p = text.ptr;
    int64_t day = core_days_from_civil(digits(p, 4), digits(p + 5, 2), digits(p + 8, 2));
    int64_t seconds = (int64_t)digits(p + 11, 2) * 3600 + digits(p + 14, 2) * 60 + digits(p + 17, 2);
    *ns = (day * 86400 + seconds) * CORE_NS_PER_S;
    return true;
}

static bool setting_apply(struct one *one, const struct core_json_tree *member) {
    static const char *const keys[] = {"type",        "format",      "csv_fields",           "timezone",
                                       "sid_msg_map", "gen_msg_map", "classification_config"};
    struct core_fail fail = {0};
    if (core_span_is(member->key, "mtime") && stamp_parse(member->text, &one->mtime_ns)) {
        return true;
    }
    if (core_span_is(member->key, "keep_original") && member->kind == CORE_JSON_BOOL) {
        one->input.keep_original = core_span_is(member->text, "true");
        return true;
    }
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (core_span_is(member->key, keys[i]) && member->kind == CORE_JSON_STRING) {
            enum core_err err = ingest_input_set(&one->input, keys[i], member->text.ptr, &fail);
            if (err != CORE_OK) {
                one_fail(one, "case.json: %s: %s", keys[i], fail.text);
            }
            return err == CORE_OK;
        }
    }
    one_fail(one,
             "case.json: \"%s\" is none of mtime (\"2026-11-21T04:00:00Z\"), keep_original (true), or an input's type, "
             "format, csv_fields, timezone, sid_msg_map, gen_msg_map, classification_config (texts)",
             member->key.ptr);
    return false;
}

static bool settings_read(struct one *one) {
    struct core_span text;
    struct core_fail fail = {0};
    struct core_json_tree *tree = NULL;
    if (access("case.json", F_OK) == 0) {
        if (!file_text(one, "case.json", &text) ||
            core_json_tree_read(&one->test->arena, text, &tree, &fail) != CORE_OK || tree->kind != CORE_JSON_OBJECT) {
            one_fail(one, "case.json is no JSON object that can be read: %s", fail.text);
            return false;
        }
        for (const struct core_json_tree *member = tree->first; member != NULL; member = member->next) {
            if (!setting_apply(one, member)) {
                return false;
            }
        }
    }
    if (ingest_input_finish(&one->input, &fail) != CORE_OK) {
        one_fail(one, "case.json: %s: %s", fail.where, fail.text);
        return false;
    }
    return true;
}

static bool expected_read(struct one *one) {
    struct core_span text;
    if (!file_text(one, "out.ndjson", &text)) {
        one_fail(one, "out.ndjson cannot be read: %s", strerror(errno));
        return false;
    }
    for (size_t number = 1; text.len > 0; number++) {
        const char *end = core_span_chr(text, '\n');
        size_t len = end == NULL ? text.len : (size_t)(end - text.ptr);
        struct core_fail fail = {0};
        struct core_json_tree *tree = NULL;
        if (len > 0) {
            enum core_err err = core_json_tree_read(&one->test->arena, (struct core_span){text.ptr, len}, &tree, &fail);
            if (err != CORE_OK || tree->kind != CORE_JSON_OBJECT || one->expected_len == DOCUMENTS_MAX) {
                one_fail(one, "out.ndjson:%zu: no JSON object, or one too many: %s", number, fail.text);
                return false;
            }
            one->expected[one->expected_len++] = tree;
        }
        size_t skip = end == NULL ? len : len + 1;
        text = (struct core_span){text.ptr + skip, text.len - skip};
    }
    return true;
}

/* ---- what came ------------------------------------------------------------------------------------------------------------ */

/* The next expected one from *at on that is a dead letter or is not; NULL: no more. */
static const struct core_json_tree *expected_next(const struct one *one, size_t *at, bool is_dead) {
    while (*at < one->expected_len) {
        const struct core_json_tree *tree = one->expected[(*at)++];
        if ((core_json_tree_get(tree, "dead") != NULL) == is_dead) {
            return tree;
        }
    }
    return NULL;
}

static bool reason_fits(struct one *one, const char *pattern, const char *reason) {
    regex_t regex;
    int err = regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB);
    if (err != 0) {
        char text[256];
        (void)regerror(err, &regex, text, sizeof(text));
        one_fail(one, "out.ndjson: \"%s\" is no regular expression: %s", pattern, text);
        return false;
    }
    bool is_match = regexec(&regex, reason, 0, NULL, 0) == 0;
    regfree(&regex);
    return is_match;
}

static void letter_came(struct one *one, const struct core_json_tree *letter) {
    const struct core_json_tree *error = core_json_tree_get(letter, "error");
    const struct core_json_tree *reason = error == NULL ? NULL : core_json_tree_get(error, "message");
    MUST(reason != NULL);
    const struct core_json_tree *expected = expected_next(one, &one->next_letter, true);
    if (expected == NULL) {
        one_fail(one, "a dead letter that was not expected: %s", reason->text.ptr);
    } else if (!reason_fits(one, core_json_tree_get(expected, "dead")->text.ptr, reason->text.ptr)) {
        one_fail(one, "a dead letter for another reason:\n      - %s\n      + %s",
                 core_json_tree_get(expected, "dead")->text.ptr, reason->text.ptr);
    }
}

static void document_came(struct one *one, const struct core_json_tree *document) {
    const struct core_json_tree *expected = expected_next(one, &one->next_document, false);
    one->documents++;
    if (expected == NULL) {
        if (++one->differing <= SHOWN_MAX) {
            one_fail(one, "document %zu was not expected:", one->documents);
            (void)fputs("      + ", stdout);
            json_tree_print(stdout, document);
            (void)fputc('\n', stdout);
        }
        return;
    }
    if (json_tree_diff(NULL, expected, document) > 0 && ++one->differing <= SHOWN_MAX) {
        one_fail(one, "document %zu:", one->documents);
        (void)json_tree_diff(stdout, expected, document);
    }
}

static void event_came(struct one *one, const struct core_event *event) {
    struct core_fail fail = {0};
    struct core_json_tree *tree = NULL;
    if (core_json_tree_read(&one->test->arena, event->doc, &tree, &fail) != CORE_OK) {
        one_fail(one, "a document that is no JSON: %s", fail.text);
    } else if (event->is_dead) {
        letter_came(one, tree);
    } else {
        document_came(one, tree);
    }
}

static void rest_tell(struct one *one) {
    size_t left = 0;
    for (const struct core_json_tree *e = expected_next(one, &one->next_document, false); e != NULL;
         e = expected_next(one, &one->next_document, false)) {
        left++;
    }
    if (left > 0) {
        one_fail(one, "%zu more documents were expected than came", left);
    }
    const struct core_json_tree *letter = expected_next(one, &one->next_letter, true);
    if (letter != NULL) {
        one_fail(one, "a dead letter was expected and none came: %s", core_json_tree_get(letter, "dead")->text.ptr);
    }
    if (one->differing > SHOWN_MAX) {
        one_fail(one, "… and %zu more documents differ", one->differing - SHOWN_MAX);
    }
}

static void log_run(struct one *one, struct normalize_worker *worker) {
    struct test *test = one->test;
    struct core_fail fail = {0};
    struct ingest_reader *reader = NULL;
    if (ingest_reader_open(&reader, one->log, "", &one->input.origin, &test->counters, &fail) != CORE_OK) {
        one_fail(one, "%s: %s", fail.where, fail.text);
        return;
    }
    for (enum core_err err = CORE_OK; err == CORE_OK;) {
        struct core_batch *batch = core_pool_take(&test->pool);
        MUST(batch != NULL);
        err = ingest_reader_next(reader, batch, &fail);
        batch->is_last = err != CORE_OK;
        if (one->mtime_ns != 0) {
            batch->stream->mtime_ns = one->mtime_ns;
        }
        normalize_batch(worker, batch);
        for (uint32_t i = 0; i < batch->events_len; i++) {
            event_came(one, &batch->events[i]);
        }
        core_pool_give(&test->pool, batch);
        if (err == CORE_IO) {
            one_fail(one, "%s: %s", fail.where, fail.text);
        }
    }
    ingest_reader_close(reader);
    rest_tell(one);
}

/* ---- cases --------------------------------------------------------------------------------------------------------------- */

static void case_run(struct test *test, const char *name) {
    struct one *one = calloc(1, sizeof(*one));
    MUST(one != NULL);
    one->test = test;
    one->name = name;
    core_arena_reset(&test->arena, CORE_MIB);
    if (log_find(one) && settings_read(one) && expected_read(one)) {
        struct normalize_worker *worker = normalize_worker_new(test->maps, &test->counters);
        log_run(one, worker);
        normalize_worker_free(worker);
    }
    if (!one->is_told && !test->is_quiet) {
        printf("ok   %s\n", name);
    }
    test->cases++;
    test->failed += one->is_told ? 1 : 0;
    ingest_input_release(&one->input);
    free(one);
}

static int entry_is_case(const struct dirent *entry) {
    char path[NAME_MAX + 32];
    (void)snprintf(path, sizeof(path), "%s/out.ndjson", entry->d_name);
    /* A folder that cannot be looked into counts: entering it says why. */
    return entry->d_name[0] != '.' && (access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR));
}

/* The folder is a case, or its folders are. False: neither, or it cannot be entered. */
static bool folder_run(struct test *test, const char *path) {
    if (chdir(path) != 0) {
        (void)fprintf(stderr, "tapline map test: %s: %s\n", path, strerror(errno));
        return false;
    }
    if (access("out.ndjson", F_OK) == 0) {
        case_run(test, path);
        return true;
    }
    struct dirent **entries = NULL;
    int len = scandir(".", &entries, entry_is_case, alphasort);
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_entered = here >= 0;
    for (int i = 0; i < len; i++) {
        if (here >= 0 && chdir(entries[i]->d_name) == 0) {
            case_run(test, entries[i]->d_name);
            MUST(fchdir(here) == 0); /* a case may be a link, and its parent another folder */
        } else {
            (void)fprintf(stderr, "tapline map test: %s/%s: %s\n", path, entries[i]->d_name, strerror(errno));
            is_entered = false;
        }
        free(entries[i]);
    }
    if (here >= 0) {
        (void)close(here);
    }
    free(entries);
    if (len <= 0) {
        (void)fprintf(stderr, "tapline map test: %s: no case: neither it nor a folder in it has an out.ndjson\n", path);
    }
    return len > 0 && is_entered;
}

static int folders_run(struct test *test, const struct cmd_args *args) {
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (here < 0) {
        (void)fprintf(stderr, "tapline map test: the current directory cannot be opened: %s\n", strerror(errno));
        return CORE_EXIT_SYSTEM;
    }
    bool is_good = true;
    for (int i = 0; i < args->files_len; i++) {
        is_good = folder_run(test, args->files[i]) && is_good;
        MUST(fchdir(here) == 0);
    }
    (void)close(here);
    printf("%zu cases, %zu failed%s\n", test->cases, test->failed, test->failed > 0 ? " ( - expected, + came )" : "");
    return !is_good ? CORE_EXIT_USAGE : test->failed > 0 ? CORE_EXIT_NO : CORE_EXIT_DONE;
}

static int run(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args;
    struct core_conf_mistakes mistakes = {0};
    struct core_fail fail = {0};
    struct test test = {0};
    int code;
    if (!cmd_parse(cmd, argc, argv, &args, &code)) {
        return code;
    }
    if (args.files_len == 0) {
        (void)fprintf(stderr, "tapline map test: name a folder of cases, or a case\n");
        return CORE_EXIT_USAGE;
    }
    struct normalize_conf conf = cmd_maps_conf(cmd, &args);
    if (normalize_maps_open(&test.maps, &conf, NULL, &mistakes) != CORE_OK) {
        cmd_print_mistakes(&mistakes);
        return CORE_EXIT_USAGE;
    }
    test.is_quiet = cmd_value(cmd, &args, "quiet") != NULL;
    if (core_pool_init(&test.pool, 1, &fail) != CORE_OK ||
        core_arena_init(&test.arena, CASE_BYTES_MAX, &fail) != CORE_OK) {
        (void)fprintf(stderr, "tapline map test: %s: %s\n", fail.where, fail.text);
        code = CORE_EXIT_SYSTEM;
    } else {
        code = folders_run(&test, &args);
    }
    core_arena_destroy(&test.arena);
    core_pool_destroy(&test.pool);
    normalize_maps_close(test.maps);
    return code;
}

const struct cmd cmd_map_test = {
    .name = "map test",
    .summary = "run golden pairs: a log, and the documents that must come of it",
    .args = "DIR...",
    .about =
        "A case is a folder with one log, out.ndjson (the documents that must come, in order; {\"dead\": \"REGEX\"} "
        "for "
        "a dead letter whose reason fits) and perhaps case.json: an input's keys as texts (type, format, csv_fields, "
        "timezone, sid_msg_map, gen_msg_map, classification_config), keep_original, and mtime, when the log was last "
        "written. DIR is a case or holds cases. Documents are compared as JSON: members in any order, numbers by their "
        "value, lists in order, but related.* as sets; each field that differs is printed. Exits 0 if all is as it "
        "should be, 1 if not.",
    .example = "tapline map test --site-maps /etc/tapline/site /etc/tapline/site/tests",
    .options = options,
    .run = run,
};
