/* supervisor/state.c: what the Supervisor must know again after its own death, in one small text file.
 *
 *   tapline-supervisor-state 1
 *   {"boot_id":"…","instance":"…","next_seq":8}
 *   {"state":"up","wanted":true,"pid":4711,"start_ticks":…,"cookie":"…",…}<TAB>{spec}[<TAB>{spec it runs with}]
 *   end 1 0123456789abcdef
 *
 * One line a process; the last line has their number and a hash of all bytes before it. A person can read it; nobody should
 * edit it, and the hash says so if someone does. It is readable by its owner only, for environments are in it.
 *
 * On a crash: the text goes to supervisor.state.tmp, is fsynced, renamed over supervisor.state, and the directory fsynced. So
 * there is always one whole file, the old or the new; the old one stays as supervisor.state.old, a second name given before the
 * rename, so that supervisor.state is never missing in between. A save that fails (no space, no right) leaves both as they are.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATE_NAME "supervisor.state"
#define STATE_TMP "supervisor.state.tmp"
#define STATE_OLD "supervisor.state.old"
#define STATE_OLD_TMP "supervisor.state.old.tmp"
#define STATE_DAMAGED "supervisor.state.damaged"

#define FORMAT_LINE "tapline-supervisor-state 1\n"
#define SMALL_BYTES_MAX 4096 /* any line without its specs */
#define FILE_BYTES_MAX ((size_t)SUPERVISOR_PROCESSES_MAX * (2 * SUPERVISOR_SPEC_BYTES_MAX + SMALL_BYTES_MAX))

/* ---- writing -------------------------------------------------------------------------------------------------------------- */

static void put_numbers(struct core_buf *out, const char *name, const int64_t *numbers, size_t len) {
    core_json_put_key(out, name);
    core_buf_char(out, '[');
    for (size_t i = 0; i < len; i++) {
        core_buf_span(out, i == 0 ? CORE_SPAN("") : CORE_SPAN(","));
        core_buf_i64(out, numbers[i]);
    }
    core_buf_char(out, ']');
}

static void put_spec(struct core_buf *out, struct core_span spec) {
    MUST(core_span_chr(spec, '\n') == NULL);
    MUST(core_span_chr(spec, '\t') == NULL);
    core_buf_char(out, '\t');
    core_buf_span(out, spec);
}

static void put_row(struct core_buf *out, const struct supervisor_row *row) {
    MUST(row->deaths_len <= SUPERVISOR_DEATHS_MAX);
    MUST(row->spec.len > 0);
    const int64_t output_from[2] = {row->pid.output_from[0], row->pid.output_from[1]};
    core_buf_char(out, '{');
    core_json_put_text(out, "state", core_span_of(supervisor_state_names[row->state]));
    core_json_put_bool(out, "wanted", row->is_wanted);
    core_json_put_number(out, "since_ns", row->state_since_ns);
    core_json_put_number(out, "starts", (int64_t)row->starts);
    core_json_put_number(out, "deaths", (int64_t)row->deaths);
    put_numbers(out, "deaths_ns", row->deaths_ns, row->deaths_len);
    core_json_put_number(out, "end_ns", row->end_ns);
    core_json_put_number(out, "end_status", row->end_status);
    core_json_put_number(out, "pid", row->pid.pid);
    core_json_put_number(out, "start_ticks", (int64_t)row->pid.start_ticks);
    core_json_put_text(out, "cookie", core_span_of(row->pid.cookie));
    core_json_put_bool(out, "child", row->pid.is_child);
    core_json_put_number(out, "spawned_ns", row->pid.spawned_ns);
    put_numbers(out, "output_from", output_from, 2);
    core_buf_char(out, '}');
    put_spec(out, row->spec);
    if (row->running_spec.len > 0) {
        put_spec(out, row->running_spec);
    }
    core_buf_char(out, '\n');
}

/* The whole text. Owns: the caller frees out->start, NULL if there is no memory. */
static void make_text(const struct supervisor_saved *saved, struct core_buf *out) {
    size_t cap = 2 * SMALL_BYTES_MAX;
    for (size_t i = 0; i < saved->rows_len; i++) {
        cap += SMALL_BYTES_MAX + saved->rows[i].spec.len + saved->rows[i].running_spec.len;
    }
    char *text = malloc(cap);
    *out = (struct core_buf){.start = text, .pos = text, .end = text == NULL ? NULL : text + cap};
    if (text == NULL) {
        return;
    }
    core_buf_span(out, CORE_SPAN(FORMAT_LINE "{"));
    core_json_put_text(out, "boot_id", core_span_of(saved->boot_id));
    core_json_put_text(out, "instance", core_span_of(saved->instance));
    core_json_put_number(out, "next_seq", (int64_t)saved->next_seq);
    core_buf_span(out, CORE_SPAN("}\n"));
    for (size_t i = 0; i < saved->rows_len; i++) {
        put_row(out, &saved->rows[i]);
    }
    char end[64];
    const struct core_span body = core_buf_written(out);
    (void)snprintf(end, sizeof(end), "end %zu %016" PRIx64 "\n", saved->rows_len, core_hash64(body.ptr, body.len, 0));
    core_buf_span(out, core_span_of(end));
    MUST(!out->is_full);
}

static bool write_all(int fd, struct core_span text) {
    while (text.len > 0) {
        const ssize_t put = write(fd, text.ptr, text.len);
        if (put < 0 && errno != EINTR) {
            return false;
        }
        text.ptr += put < 0 ? 0 : put;
        text.len -= put < 0 ? 0 : (size_t)put;
    }
    return true;
}

static enum core_err write_tmp(int dir_fd, const char *dir, struct core_span text, struct core_fail *fail) {
    const int fd = openat(dir_fd, STATE_TMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return core_fail_errno(fail, dir, "cannot create " STATE_TMP " there");
    }
    enum core_err err = CORE_OK;
    if (!write_all(fd, text)) {
        err = core_fail_errno(fail, dir, "cannot write " STATE_TMP " there");
    }
    if (err == CORE_OK && fsync(fd) != 0) {
        err = core_fail_errno(fail, dir, "cannot fsync " STATE_TMP " there");
    }
    if (close(fd) != 0 && err == CORE_OK) {
        err = core_fail_errno(fail, dir, "cannot close " STATE_TMP " there");
    }
    return err;
}

/* A second name for what is there, before it loses its first. There may be nothing yet, and a file system may know no second
 * names: then there is no file before this one, which only matters if this one gets damaged. */
static void keep_old(int dir_fd) {
    (void)unlinkat(dir_fd, STATE_OLD_TMP, 0);
    if (linkat(dir_fd, STATE_NAME, dir_fd, STATE_OLD_TMP, 0) == 0) {
        (void)renameat(dir_fd, STATE_OLD_TMP, dir_fd, STATE_OLD);
        (void)unlinkat(dir_fd, STATE_OLD_TMP, 0); /* a rename onto another name of the same file leaves both */
    }
}

static enum core_err open_dir(const char *dir, int *out, struct core_fail *fail) {
    *out = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *out < 0 ? core_fail_errno(fail, dir, "cannot open the Supervisor's state directory") : CORE_OK;
}

enum core_err supervisor_state_save(const char *dir, const struct supervisor_saved *saved, struct core_fail *fail) {
    MUST(saved->rows_len <= SUPERVISOR_PROCESSES_MAX);
    struct core_buf text = {0};
    int dir_fd = -1;
    enum core_err err = open_dir(dir, &dir_fd, fail);
    if (err != CORE_OK) {
        goto out;
    }
    make_text(saved, &text);
    if (text.start == NULL) {
        err = core_fail_errno(fail, dir, "no memory to write " STATE_NAME);
        goto out;
    }
    err = write_tmp(dir_fd, dir, core_buf_written(&text), fail);
    if (err == CORE_OK) {
        keep_old(dir_fd);
        if (renameat(dir_fd, STATE_TMP, dir_fd, STATE_NAME) != 0) {
            err = core_fail_errno(fail, dir, "cannot rename " STATE_TMP " to " STATE_NAME " there");
        } else if (fsync(dir_fd) != 0) {
            err = core_fail_errno(fail, dir, "cannot fsync the directory");
        }
    }
    if (err != CORE_OK) {
        (void)unlinkat(dir_fd, STATE_TMP, 0); /* it may take the space that others need */
    }
out:
    free(text.start);
    if (dir_fd >= 0) {
        (void)close(dir_fd);
    }
    return err;
}

enum core_err supervisor_state_set_aside(const char *dir, struct core_fail *fail) {
    int dir_fd = -1;
    enum core_err err = open_dir(dir, &dir_fd, fail);
    if (err != CORE_OK) {
        return err;
    }
    (void)unlinkat(dir_fd, STATE_DAMAGED, 0);
    bool is_done = false;
    if (linkat(dir_fd, STATE_NAME, dir_fd, STATE_DAMAGED, 0) == 0) {
        is_done = renameat(dir_fd, STATE_OLD, dir_fd, STATE_NAME) == 0 ||
                  (errno == ENOENT && unlinkat(dir_fd, STATE_NAME, 0) == 0);
    } else { /* no second names here, so there is no file before it either */
        is_done = renameat(dir_fd, STATE_NAME, dir_fd, STATE_DAMAGED) == 0;
    }
    if (!is_done) {
        err = core_fail_errno(fail, dir, "cannot set the damaged " STATE_NAME " aside as " STATE_DAMAGED);
    }
    (void)close(dir_fd);
    return err;
}

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

/* The members of one line; is_bad stays once one was not as it should be. */
struct row_json {
    const struct core_json_tree *tree;
    bool is_bad;
};

static int64_t get_number(struct row_json *json, const char *name, int64_t min, int64_t max) {
    int64_t number = 0;
    if (!supervisor_json_integer(core_json_tree_get(json->tree, name), min, max, &number)) {
        json->is_bad = true;
    }
    return number;
}

static void get_text(struct row_json *json, const char *name, char *out, size_t out_cap) {
    const struct core_json_tree *text = core_json_tree_get(json->tree, name);
    if (text == NULL || text->kind != CORE_JSON_STRING || text->text.len >= out_cap) {
        json->is_bad = true;
        return;
    }
    memcpy(out, text->text.ptr, text->text.len + 1);
}

static bool get_bool(struct row_json *json, const char *name) {
    const struct core_json_tree *value = core_json_tree_get(json->tree, name);
    if (value == NULL || value->kind != CORE_JSON_BOOL) {
        json->is_bad = true;
        return false;
    }
    return core_span_is(value->text, "true");
}

static size_t get_numbers(struct row_json *json, const char *name, int64_t *out, size_t max) {
    const struct core_json_tree *list = core_json_tree_get(json->tree, name);
    size_t len = 0;
    if (list == NULL || list->kind != CORE_JSON_ARRAY) {
        json->is_bad = true;
        return 0;
    }
    for (const struct core_json_tree *each = list->first; each != NULL && !json->is_bad; each = each->next) {
        json->is_bad = len == max || !supervisor_json_integer(each, INT64_MIN, INT64_MAX, &out[len]);
        len += json->is_bad ? 0 : 1;
    }
    return len;
}

static enum supervisor_state get_state(struct row_json *json) {
    char name[16] = "";
    get_text(json, "state", name, sizeof(name));
    for (int state = 0; state < SUPERVISOR_STATE__MAX; state++) {
        if (strcmp(name, supervisor_state_names[state]) == 0) {
            return (enum supervisor_state)state;
        }
    }
    json->is_bad = true;
    return SUPERVISOR_DOWN;
}

static bool get_row(const struct core_json_tree *tree, struct supervisor_row *row) {
    struct row_json json = {.tree = tree};
    int64_t output_from[2] = {0, 0};
    row->state = get_state(&json);
    row->is_wanted = get_bool(&json, "wanted");
    row->state_since_ns = get_number(&json, "since_ns", INT64_MIN, INT64_MAX);
    row->starts = (uint64_t)get_number(&json, "starts", 0, INT64_MAX);
    row->deaths = (uint64_t)get_number(&json, "deaths", 0, INT64_MAX);
    row->deaths_len = (uint32_t)get_numbers(&json, "deaths_ns", row->deaths_ns, SUPERVISOR_DEATHS_MAX);
    row->end_ns = get_number(&json, "end_ns", INT64_MIN, INT64_MAX);
    row->end_status = (int)get_number(&json, "end_status", INT32_MIN, INT32_MAX);
    row->pid.pid = (pid_t)get_number(&json, "pid", 0, INT32_MAX);
    row->pid.start_ticks = (uint64_t)get_number(&json, "start_ticks", 0, INT64_MAX);
    get_text(&json, "cookie", row->pid.cookie, sizeof(row->pid.cookie));
    row->pid.is_child = get_bool(&json, "child");
    row->pid.spawned_ns = get_number(&json, "spawned_ns", INT64_MIN, INT64_MAX);
    json.is_bad = get_numbers(&json, "output_from", output_from, 2) != 2 || json.is_bad;
    row->pid.output_from[0] = (off_t)output_from[0];
    row->pid.output_from[1] = (off_t)output_from[1];
    row->pid.pidfd = -1;
    row->pid.ready_fd = -1;
    return !json.is_bad;
}

struct loading {
    struct core_arena *arena;
    struct core_arena scratch; /* of one line's tree */
    struct core_span left;     /* lines not yet read */
    const char *dir;
    struct supervisor_saved *out;
};

/* Up to the next end mark, which is taken away; all if there is none. */
static struct core_span cut_at(struct core_span *text, char mark) {
    const char *end = core_span_chr(*text, mark);
    struct core_span part = {text->ptr, end == NULL ? text->len : (size_t)(end - text->ptr)};
    const size_t used = part.len + (end == NULL ? 0 : 1);
    *text = (struct core_span){text->ptr + used, text->len - used};
    return part;
}

static const struct core_json_tree *read_small(struct loading *loading, struct core_span json) {
    struct core_json_tree *tree = NULL;
    core_arena_reset(&loading->scratch, loading->scratch.cap);
    const bool is_read =
        json.len <= SMALL_BYTES_MAX && core_json_tree_read(&loading->scratch, json, &tree, NULL) == CORE_OK;
    return is_read ? tree : NULL;
}

static bool is_spec_size(struct core_span spec) {
    return spec.len > 0 && spec.len <= SUPERVISOR_SPEC_BYTES_MAX;
}

/* Owns: the copy lies in the arena. */
static bool keep(struct loading *loading, struct core_span *text) {
    text->ptr = core_arena_copy(loading->arena, *text);
    return text->ptr != NULL;
}

static enum core_err load_rows(struct loading *loading, const char **what, struct core_fail *fail) {
    struct supervisor_saved *out = loading->out;
    for (size_t i = 0; i < out->rows_len; i++) {
        struct core_span line = cut_at(&loading->left, '\n');
        struct supervisor_row *row = &out->rows[i];
        *row = (struct supervisor_row){0};
        const struct core_json_tree *tree = read_small(loading, cut_at(&line, '\t'));
        row->spec = cut_at(&line, '\t');
        row->running_spec = line;
        const bool is_whole = tree != NULL && is_spec_size(row->spec) && (line.len == 0 || is_spec_size(line));
        if (!is_whole || !get_row(tree, row)) {
            *what = "a line is not what it should be";
            return CORE_BAD;
        }
        if (!keep(loading, &row->spec) || (row->running_spec.len > 0 && !keep(loading, &row->running_spec))) {
            return core_fail_set(fail, CORE_LIMIT, loading->dir, STATE_NAME " does not fit the memory there is for it");
        }
    }
    *what = loading->left.len == 0 ? NULL : "there are more lines than it says";
    return *what == NULL ? CORE_OK : CORE_BAD;
}

/* Check the whole before any of it is believed: the last line, and its hash. Leaves what is between first and last line. */
static const char *check_ends(struct core_span *text, int64_t *rows_len) {
    if (!core_span_starts(*text, CORE_SPAN(FORMAT_LINE))) {
        return "it does not begin with \"tapline-supervisor-state 1\": of another version, or damaged";
    }
    const char *before = text->ptr[text->len - 1] == '\n' ? memrchr(text->ptr, '\n', text->len - 1) : NULL;
    if (before == NULL) {
        return "its end is missing";
    }
    const size_t body = (size_t)(before + 1 - text->ptr);
    char last[64] = "";
    char right[64] = "";
    if (text->len - body < sizeof(last)) {
        memcpy(last, before + 1, text->len - body);
    }
    char *space = strncmp(last, "end ", 4) == 0 ? strchr(last + 4, ' ') : NULL;
    if (space == NULL) {
        return "its end is missing";
    }
    *space = '\0';
    *rows_len = supervisor_number_of(last + 4, SUPERVISOR_PROCESSES_MAX);
    *space = ' ';
    (void)snprintf(right, sizeof(right), "end %" PRId64 " %016" PRIx64 "\n", *rows_len,
                   core_hash64(text->ptr, body, 0));
    if (*rows_len < 0 || strcmp(last, right) != 0) {
        return "its checksum is wrong";
    }
    const size_t first = sizeof(FORMAT_LINE) - 1;
    *text = (struct core_span){text->ptr + first, body - first};
    return NULL;
}

/* What is for all, the second line. */
static bool load_common(struct loading *loading) {
    struct row_json json = {.tree = read_small(loading, cut_at(&loading->left, '\n'))};
    get_text(&json, "boot_id", loading->out->boot_id, sizeof(loading->out->boot_id));
    get_text(&json, "instance", loading->out->instance, sizeof(loading->out->instance));
    loading->out->next_seq = (uint64_t)get_number(&json, "next_seq", 0, INT64_MAX);
    return !json.is_bad;
}

enum core_err supervisor_state_parse(struct core_span text, const char *dir, struct core_arena *arena,
                                     struct supervisor_saved *out, struct core_fail *fail) {
    struct loading loading = {.arena = arena, .left = text, .dir = dir, .out = out};
    int64_t rows_len = 0;
    enum core_err err = CORE_BAD;
    *out = (struct supervisor_saved){0};
    const char *what = check_ends(&loading.left, &rows_len);
    if (what != NULL) {
        goto out;
    }
    err = core_arena_init(&loading.scratch, SMALL_BYTES_MAX * CORE_JSON_TREE_PER_BYTE + CORE_JSON_TREE_BYTES_MIN, fail);
    if (err != CORE_OK) {
        goto out;
    }
    out->rows = core_arena_alloc(arena, ((size_t)rows_len + 1) * sizeof(*out->rows));
    if (out->rows == NULL) {
        err = core_fail_set(fail, CORE_LIMIT, dir, STATE_NAME " does not fit the memory there is for it");
        goto out;
    }
    out->rows_len = (size_t)rows_len;
    what = load_common(&loading) ? NULL : "its second line is not what it should be";
    err = what == NULL ? load_rows(&loading, &what, fail) : CORE_BAD;
out:
    core_arena_destroy(&loading.scratch);
    if (err != CORE_OK) {
        *out = (struct supervisor_saved){0};
    }
    return what == NULL ? err : core_fail_set(fail, CORE_BAD, dir, STATE_NAME " is damaged: %s", what);
}

static enum core_err read_all(int fd, const char *dir, char **out, size_t *out_len, struct core_fail *fail) {
    struct stat stat;
    if (fstat(fd, &stat) != 0) {
        return core_fail_errno(fail, dir, "cannot look at " STATE_NAME " there");
    }
    if (!S_ISREG(stat.st_mode) || (uint64_t)stat.st_size > FILE_BYTES_MAX) {
        return core_fail_set(fail, CORE_BAD, dir,
                             STATE_NAME " is damaged: no file of the Supervisor's is of that kind or size");
    }
    const size_t size = (size_t)stat.st_size;
    char *text = malloc(size + 1);
    if (text == NULL) {
        return core_fail_errno(fail, dir, "no memory to read " STATE_NAME);
    }
    size_t len = 0;
    while (len < size) {
        const ssize_t got = read(fd, text + len, size - len);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            free(text);
            return core_fail_errno(fail, dir, "cannot read " STATE_NAME " there");
        }
        if (got == 0) {
            break;
        }
        len += (size_t)got;
    }
    *out = text;
    *out_len = len;
    return CORE_OK;
}

enum core_err supervisor_state_load(const char *dir, struct core_arena *arena, struct supervisor_saved *out,
                                    struct core_fail *fail) {
    *out = (struct supervisor_saved){0};
    char *text = NULL;
    size_t len = 0;
    int fd = -1;
    int dir_fd = -1;
    enum core_err err = open_dir(dir, &dir_fd, fail);
    if (err != CORE_OK) {
        return err;
    }
    fd = openat(dir_fd, STATE_NAME, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno != ENOENT) {
        err = core_fail_errno(fail, dir, "cannot open " STATE_NAME " there");
    } else if (fd >= 0) {
        err = read_all(fd, dir, &text, &len, fail);
        err = err == CORE_OK ? supervisor_state_parse((struct core_span){text, len}, dir, arena, out, fail) : err;
    }
    free(text);
    if (fd >= 0) {
        (void)close(fd);
    }
    (void)close(dir_fd);
    return err;
}
