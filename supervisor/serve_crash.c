/* supervisor/serve_crash.c: a death that nobody asked for becomes a crash report, within 10 s, made by Main, which needs no right
 * for it but to read what the process wrote.
 *
 * At the event everything that is known is copied, for the mirror goes on. Then, side by side: the program's version, and a
 * backtrace if the kernel left a core file in the working directory (gdb in batch mode, GDB_TIMEOUT_NS at most; more than
 * GDBS_MAX at once are not run, and the report says how to do it by hand). When both are there the report is written, an
 * event `crash` tells of it, and it is mailed or posted if that is configured.
 *
 * On a crash of Main: crash_oldest holds back what is remembered as seen, so the next Main is told of the death again. The name
 * of a report follows from the death, so there are never two.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/http.h"
#include "supervisor/serve_diag_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define GDB_TIMEOUT_NS (6 * CORE_NS_PER_S)
#define VERSION_TIMEOUT_NS (3 * CORE_NS_PER_S)
#define GDBS_MAX 4
#define CRASHES_MAX 64                     /* whose report is being made at once; more are logged only */
#define CORE_SLACK_NS (10 * CORE_NS_PER_S) /* a core file is written before the end is seen, and takes a while */
#define CORE_LATE_NS (120 * CORE_NS_PER_S) /* … of a big process on a slow disk */
#define CORE_PATTERN "/proc/sys/kernel/core_pattern"
#define SPEC_TREE_BYTES (SUPERVISOR_SPEC_BYTES_MAX * CORE_JSON_TREE_PER_BYTE + CORE_JSON_TREE_BYTES_MIN)
#define EVENT_BYTES_MAX (8 * CORE_KIB)
#define ANSWER_FILE_BYTES_MAX (384 * CORE_KIB) /* so that diag.show can answer with both */

struct crash {
    struct serve *serve;
    struct crash *next;
    struct serve_report report;
    uint64_t seq;    /* of the event */
    int64_t time_ns; /* … and its time */
    struct serve_child *version;
    struct serve_child *gdb;
    char *sensors_directory; /* what report.disks points to */
    char *archive;
};

struct serve_diag *serve_diag_of(struct serve *serve) {
    MUST(serve->crash != NULL);
    return serve->crash;
}

struct work **serve_diag_works(struct serve *serve) {
    return &serve_diag_of(serve)->works;
}

static char *copy_span(struct core_span text) {
    char *copy = strndup(text.ptr == NULL ? "" : text.ptr, text.len);
    MUST(copy != NULL);
    return copy;
}

static void crash_free(struct crash *crash) {
    serve_child_stop(crash->version);
    serve_child_stop(crash->gdb);
    serve_report_release(&crash->report);
    free(crash->sensors_directory);
    free(crash->archive);
    free(crash);
}

/* The oldest death whose report is not written yet. */
static void oldest_set(struct serve *serve) {
    serve->crash_oldest = 0;
    for (const struct crash *crash = serve_diag_of(serve)->crashes; crash != NULL; crash = crash->next) {
        if (crash->seq != 0 && (serve->crash_oldest == 0 || crash->seq < serve->crash_oldest)) {
            serve->crash_oldest = crash->seq;
        }
    }
}

static void crash_end(struct crash *crash) {
    struct crash **at = &serve_diag_of(crash->serve)->crashes;
    while (*at != crash) {
        at = &(*at)->next;
    }
    *at = crash->next;
    oldest_set(crash->serve);
    crash_free(crash);
}

/* ---- the report is whole -------------------------------------------------------------------------------------------------- */

/* What diag.list says of it, and the event, whose own time is another. The inside of an object. */
static void summary_put(const struct serve_report *report, bool is_event, struct core_buf *out) {
    core_json_put_text(out, is_event ? "report" : "name", core_span_of(report->name));
    core_json_put_text(out, "node", core_span_of(report->node));
    core_json_put_text(out, "type", core_span_of(report->type));
    core_json_put_text(out, is_event ? "happened" : "time", core_span_of(report->time));
    core_json_put_text(out, "end", core_span_of(report->end));
    core_json_put_text(out, "text", core_utf8_cut(core_span_of(report->reason), 512));
    core_json_put_bool(out, "is_latched", report->is_latched);
    core_json_put_bool(out, "has_backtrace", report->has_backtrace);
    if (report->uptime_ns >= 0) {
        core_json_put_number(out, "uptime_ns", report->uptime_ns);
    }
}

static void crash_event(struct crash *crash) {
    char bytes[EVENT_BYTES_MAX];
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes)};
    core_json_put_text(&out, "kind", CORE_SPAN("crash"));
    summary_put(&crash->report, true, &out);
    MUST(!out.is_full);
    serve_event(crash->serve, core_buf_written(&out));
}

static void crash_write(struct crash *crash) {
    struct serve *serve = crash->serve;
    const struct serve_report *report = &crash->report;
    char bytes[EVENT_BYTES_MAX];
    struct core_buf summary = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes)};
    struct serve_report_files files = {0};
    struct core_fail fail = {0};
    size_t bytes_max = (size_t)serve->conf->report_bytes_max / 2; /* two files of the same */
    size_t marks = 0;
    core_buf_char(&summary, '{');
    summary_put(report, false, &summary);
    core_buf_span(&summary, CORE_SPAN("}\n"));
    MUST(!summary.is_full);
    files.summary = core_buf_written(&summary);
    serve_report_write(report, bytes_max < ANSWER_FILE_BYTES_MAX ? bytes_max : ANSWER_FILE_BYTES_MAX, &files.json,
                       &files.text);
    if (serve->conf->report_mail != NULL) {
        files.marks[marks++] = SERVE_MARK_MAIL;
    }
    if (serve->conf->report_url != NULL) {
        files.marks[marks++] = SERVE_MARK_POST;
    }
    if (serve_report_save(serve, report->name, &files, &fail) == CORE_OK) {
        core_log(report->is_latched ? CORE_LEVEL_ERROR : CORE_LEVEL_WARN, "serve", "a process died",
                 "node=%s end=\"%s\" reason=\"%s\" report=%s help=\"tapline diag %s\"", report->node, report->end,
                 report->reason, report->name, report->name);
    } else {
        core_log(CORE_LEVEL_ERROR, "serve", "a process died, and its crash report cannot be written",
                 "node=%s end=\"%s\" reason=\"%s\" where=%s why=\"%s\" effect=\"it is restarted as ever\" help=\"make "
                 "room in "
                 "serve.state; its own output: tapline logs %s\"",
                 report->node, report->end, report->reason, fail.where, fail.text, report->node);
    }
    crash_event(crash);
    free((void *)(uintptr_t)files.json.ptr);
    free((void *)(uintptr_t)files.text.ptr);
    crash_end(crash);
    serve_outbox_look(serve);
}

static void crash_write_if_whole(struct crash *crash) {
    if (crash->version == NULL && crash->gdb == NULL) {
        crash_write(crash);
    }
}

/* ---- version ---------------------------------------------------------------------------------------------------------------- */

/* How a program tells its version; NULL: not asked (who knows what an unknown program does with the word). */
static const char *version_word(const char *program) {
    static const struct {
        const char *name;
        const char *word;
    } words[] = {{"zeek", "--version"}, {"suricata", "-V"}, {"snort", "-V"}, {"tapline", "version"}};
    const char *slash = strrchr(program, '/');
    const char *name = slash == NULL ? program : slash + 1;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(name, words[i].name) == 0) {
            return words[i].word;
        }
    }
    return NULL;
}

static void version_on_end(void *ctx, const struct serve_child_end *end) {
    struct crash *crash = ctx;
    struct core_span text = core_utf8_cut(core_span_trim(end->text), 400);
    crash->version = NULL;
    crash->report.program_version = end->status < 0     ? serve_copy("not known: it cannot be run")
                                    : end->is_timed_out ? serve_copy("not known: it did not answer in time")
                                                        : copy_span(text);
    for (char *nl = crash->report.program_version; (nl = strchr(nl, '\n')) != NULL;) {
        *nl = ' ';
    }
    crash_write_if_whole(crash);
}

static void version_begin(struct crash *crash) {
    const char *word = crash->report.program == NULL ? NULL : version_word(crash->report.program);
    if (word == NULL) {
        return;
    }
    const char *const argv[] = {crash->report.program, word, NULL};
    const struct serve_child_run run = {
        .argv = argv, .timeout_ns = VERSION_TIMEOUT_NS, .on_end = version_on_end, .ctx = crash};
    crash->version = serve_child_start(crash->serve, &run);
}

/* ---- core file and gdb ------------------------------------------------------------------------------------------------------- */

bool serve_core_glob(const char *pattern, const char *cwd, char out[SERVE_PATH_BYTES_MAX], char why[256]) {
    if (pattern[0] == '|' || pattern[0] == '\0') {
        (void)snprintf(why, 256, "the kernel gives core files to another program (" CORE_PATTERN ": %.100s)%s", pattern,
                       strstr(pattern, "coredump") != NULL ? ": see coredumpctl" : "");
        return false;
    }
    size_t len = pattern[0] == '/' ? 0 : (size_t)snprintf(out, SERVE_PATH_BYTES_MAX, "%s/", cwd);
    const char *at = pattern;
    for (; *at != '\0' && len + sizeof("*") < SERVE_PATH_BYTES_MAX; at++) {
        bool is_field = *at == '%' && at[1] != '\0' && at[1] != '%';
        at += *at == '%' && at[1] != '\0' ? 1 : 0;
        out[len++] = is_field ? '*' : *at;
    }
    if (*at != '\0' || len + sizeof("*") > SERVE_PATH_BYTES_MAX) { /* then the kernel has no room for it either */
        (void)snprintf(why, 256, "no core file: its path would be longer than %d bytes", SERVE_PATH_BYTES_MAX - 1);
        return false;
    }
    if (strchr(pattern, '%') == NULL) {
        out[len++] = '*'; /* kernel.core_uses_pid adds .PID */
    }
    out[len] = '\0';
    return true;
}

/* The newest core file that can be of this death. */
static char *core_find(const char *cwd, int64_t time_ns, char why[256]) {
    char pattern[512] = "";
    char paths[SERVE_PATH_BYTES_MAX];
    glob_t found = {0};
    char *core = NULL;
    int64_t newest_ns = time_ns - CORE_LATE_NS;
    int fd = open(CORE_PATTERN, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, pattern, sizeof(pattern) - 1);
    if (fd >= 0) {
        (void)close(fd);
    }
    pattern[got > 0 ? got : 0] = '\0';
    pattern[strcspn(pattern, "\n")] = '\0';
    if (cwd == NULL || !serve_core_glob(pattern, cwd, paths, why)) {
        return NULL;
    }
    if (glob(paths, GLOB_NOSORT, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            struct stat st;
            if (lstat(found.gl_pathv[i], &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0) {
                continue;
            }
            int64_t mtime_ns = st.st_mtim.tv_sec * CORE_NS_PER_S + st.st_mtim.tv_nsec;
            if (mtime_ns >= newest_ns && mtime_ns <= time_ns + CORE_SLACK_NS) {
                newest_ns = mtime_ns;
                free(core);
                core = serve_copy(found.gl_pathv[i]);
            }
        }
    }
    globfree(&found);
    if (core == NULL) {
        (void)snprintf(why, 256, "no core file: the node's limits may forbid it (limits: {core: unlimited})");
    }
    return core;
}

static void gdb_on_end(void *ctx, const struct serve_child_end *end) {
    struct crash *crash = ctx;
    struct serve_report *report = &crash->report;
    char *text = NULL;
    crash->gdb = NULL;
    if (end->status < 0) {
        MUST(asprintf(&text, "gdb cannot be run (is it installed?): %.*s", (int)end->text.len,
                      end->text.ptr == NULL ? "" : end->text.ptr) >= 0);
    } else if (end->is_timed_out) {
        MUST(asprintf(&text, "gdb was not done within %d s; by hand: gdb %s %s\n%.*s",
                      (int)(GDB_TIMEOUT_NS / CORE_NS_PER_S), report->program, report->core, (int)end->text.len,
                      end->text.ptr == NULL ? "" : end->text.ptr) >= 0);
    } else {
        text = copy_span(end->text);
        report->has_backtrace = strstr(text, "#0 ") != NULL;
    }
    report->backtrace = text;
    crash_write_if_whole(crash);
}

static bool signal_dumps(int64_t number) {
    switch (number) {
    case SIGSEGV:
    case SIGABRT:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGQUIT:
    case SIGSYS:
    case SIGTRAP:
    case SIGXCPU:
    case SIGXFSZ:
        return true;
    default:
        return false;
    }
}

static size_t gdbs(struct serve *serve) {
    size_t len = 0;
    for (const struct crash *crash = serve_diag_of(serve)->crashes; crash != NULL; crash = crash->next) {
        len += crash->gdb != NULL ? 1 : 0;
    }
    return len;
}

static void gdb_begin(struct crash *crash, int64_t time_ns) {
    struct serve_report *report = &crash->report;
    char why[256] = "";
    bool is_unknown = report->signal == 0 && report->exit_status < 0;
    if (!signal_dumps(report->signal) && !is_unknown) {
        report->backtrace = serve_copy("none: such an end leaves no core file");
        return;
    }
    report->core = core_find(report->cwd, time_ns, why);
    if (report->core == NULL) {
        report->backtrace = serve_copy(why[0] == '\0' ? "none: its working directory is not known" : why);
    } else if (access(report->core, R_OK) != 0) {
        MUST(asprintf(&report->backtrace, "the core file cannot be read: %s; by hand, as a user who may: gdb %s %s",
                      strerror(errno), report->program == NULL ? "" : report->program, report->core) >= 0);
    } else if (gdbs(crash->serve) >= GDBS_MAX) {
        MUST(asprintf(&report->backtrace, "%d other backtraces are being made; by hand: gdb %s %s", GDBS_MAX,
                      report->program == NULL ? "" : report->program, report->core) >= 0);
    } else {
        const char *argv[16] = {"gdb", "-nx", "-batch", "-ex", "set width 0", "-ex", "thread apply all backtrace 64"};
        size_t len = 7;
        if (report->program != NULL && strchr(report->program, '/') != NULL) {
            argv[len++] = report->program;
        }
        argv[len++] = "-c";
        argv[len] = report->core;
        static const char *const env[] = {"DEBUGINFOD_URLS=", NULL}; /* asks nobody on the network */
        const struct serve_child_run run = {
            .argv = argv, .cwd = "/", .env = env, .timeout_ns = GDB_TIMEOUT_NS, .on_end = gdb_on_end, .ctx = crash};
        crash->gdb = serve_child_start(crash->serve, &run);
    }
}

/* ---- the event ---------------------------------------------------------------------------------------------------------------- */

/* The report's name out of the event's time: 2026-11-22T04:05:06.123456Z. False: it has no such time. */
static bool name_make(struct core_span time, const char *node, char out[SERVE_REPORT_NAME_BYTES_MAX]) {
    size_t len = 0;
    for (size_t i = 0; i < time.len && len < 32; i++) {
        if (time.ptr[i] != '-' && time.ptr[i] != ':') {
            out[len++] = time.ptr[i];
        }
    }
    (void)snprintf(out + len, SERVE_REPORT_NAME_BYTES_MAX - len, "-%s", node);
    return serve_report_name_is(out);
}

static void report_end(struct serve_report *report, const struct core_json_tree *event) {
    report->signal = core_json_tree_integer(event, "signal", 0);
    report->exit_status = core_json_tree_integer(event, "exit", -1);
    if (report->signal != 0) {
        MUST(asprintf(&report->end, "signal %" PRId64 " (%s)", report->signal,
                      supervisor_signal_name((int)report->signal)) >= 0);
    } else if (report->exit_status >= 0) {
        MUST(asprintf(&report->end, "exit %" PRId64, report->exit_status) >= 0);
    } else {
        report->end = serve_copy("unknown: adopted, so its exit status is not to be had");
    }
}

/* argv[0], cwd, the outputs' directory, and the spec without its secrets. */
static void report_spec(struct serve_report *report, struct core_span spec) {
    struct core_arena arena = {0};
    struct core_json_tree *tree = NULL;
    struct core_fail fail = {0};
    if (core_arena_init(&arena, SPEC_TREE_BYTES, &fail) != CORE_OK) {
        return;
    }
    if (core_json_tree_read(&arena, spec, &tree, &fail) == CORE_OK && tree->kind == CORE_JSON_OBJECT) {
        size_t cap = spec.len * 2 + CORE_KIB;
        struct core_buf masked = {.start = malloc(cap)};
        MUST(masked.start != NULL);
        masked.pos = masked.start;
        masked.end = masked.start + cap - 1;
        serve_spec_mask(tree, &masked);
        MUST(!masked.is_full);
        *masked.pos = '\0';
        report->spec = masked.start;
        const struct core_json_tree *argv = core_json_tree_get(tree, "argv");
        struct core_span cwd = core_json_tree_text(tree, "cwd");
        struct core_span output = core_json_tree_text(core_json_tree_get(tree, "output"), "directory");
        report->program = argv == NULL || argv->first == NULL ? NULL : copy_span(argv->first->text);
        report->cwd = copy_span(cwd.len == 0 ? CORE_SPAN("/") : cwd);
        report->output = output.len == 0 ? serve_copy(report->cwd) : copy_span(output);
    }
    core_arena_destroy(&arena);
}

static void report_fill(struct crash *crash, const struct serve_process *process, const struct core_json_tree *event) {
    struct serve *serve = crash->serve;
    struct serve_report *report = &crash->report;
    const struct sensors_node *node = sensors_plan_find(&serve->deployed, core_span_of(process->name));
    (void)snprintf(report->node, sizeof(report->node), "%s", process->name);
    report->type = node == NULL ? "process" : sensor_type_names[node->type];
    report->time = copy_span(core_json_tree_text(event, "time"));
    report->reason = copy_span(core_json_tree_text(event, "reason"));
    report->is_latched = core_span_is(core_json_tree_text(event, "to"), supervisor_state_names[SUPERVISOR_LATCHED]);
    report->starts_again = core_span_is(core_json_tree_text(event, "to"), supervisor_state_names[SUPERVISOR_BACKOFF]);
    report->pid = core_json_tree_integer(event, "ended_pid", 0);
    report->uptime_ns = core_json_tree_integer(event, "uptime_ns", -1);
    report->starts = process->starts;
    report->deaths = process->deaths;
    report->rss_bytes = process->rss_bytes;
    report->tapline_version = serve->env->version;
    report_end(report, event);
    if (process->spec != NULL) {
        report_spec(report, core_span_of(process->spec));
    } else if (node != NULL) {
        report_spec(report, node->spec_json);
    }
    crash->sensors_directory = serve_copy(serve->sensors == NULL ? NULL : serve->sensors->directory);
    crash->archive = serve_copy(serve->sensors == NULL ? NULL : serve->sensors->archive);
    size_t disks = 0;
    report->disks[disks++] = serve->conf->state;
    if (crash->sensors_directory != NULL) {
        report->disks[disks++] = crash->sensors_directory;
    }
    if (crash->archive != NULL) {
        report->disks[disks] = crash->archive;
    }
}

/* Is a report of it being made? *len: of all. */
static bool is_under_way(struct serve *serve, const char *name, size_t *len) {
    bool is_same = false;
    *len = 0;
    for (const struct crash *crash = serve_diag_of(serve)->crashes; crash != NULL; crash = crash->next) {
        is_same = is_same || strcmp(crash->report.name, name) == 0;
        *len += 1;
    }
    return is_same;
}

/* All is known that the Supervisor can tell. */
static void crash_begin(struct crash *crash) {
    struct serve_report *report = &crash->report;
    size_t disks = 0;
    while (report->disks[disks] != NULL) {
        disks++;
    }
    MUST(disks < sizeof(report->disks) / sizeof(report->disks[0]));
    report->disks[disks] = report->cwd;
    gdb_begin(crash, crash->time_ns);
    version_begin(crash);
    crash_write_if_whole(crash);
}

/* The spec of a process that died before the mirror had it. */
static void crash_on_list(void *ctx, const struct core_rpc_answer *answer) {
    struct crash *crash = ctx;
    const struct core_json_tree *processes = core_json_tree_get(answer->result, "processes");
    const struct core_json_tree *spec =
        processes == NULL || processes->first == NULL ? NULL : core_json_tree_get(processes->first, "spec");
    if (spec != NULL && spec->kind == CORE_JSON_OBJECT) {
        struct core_buf text = {.start = malloc(SUPERVISOR_SPEC_BYTES_MAX * 2)};
        MUST(text.start != NULL);
        text.pos = text.start;
        text.end = text.start + SUPERVISOR_SPEC_BYTES_MAX * 2;
        core_json_put_tree(&text, spec);
        if (!text.is_full) {
            report_spec(&crash->report, core_buf_written(&text));
        }
        free(text.start);
    }
    crash_begin(crash);
}

static void crash_ask(struct crash *crash) {
    char text[SUPERVISOR_NAME_BYTES_MAX + 32]; /* a name has nothing that JSON escapes */
    int len = snprintf(text, sizeof(text), "{\"names\":[\"%s\"]}", crash->report.node);
    serve_ask(crash->serve, "process.list", (struct core_span){.ptr = text, .len = (size_t)len}, crash_on_list, crash);
}

void serve_crash_on_end(struct serve *serve, const struct serve_process *process, const struct core_json_tree *event) {
    MUST(process != NULL);
    char name[SERVE_REPORT_NAME_BYTES_MAX];
    size_t len = 0;
    struct core_span time = core_json_tree_text(event, "time");
    if (!name_make(time, process->name, name) || is_under_way(serve, name, &len) || serve_report_exists(serve, name)) {
        return; /* told again */
    }
    if (len >= CRASHES_MAX) {
        core_log(
            CORE_LEVEL_ERROR, "serve", "a process died; too many did at once for a crash report of each",
            "node=%s reason=\"%s\" max=%d effect=\"it is restarted as ever\" help=\"look at the reports of the others, "
            "mostly there is one cause: memory, a disk, a network card\"",
            process->name, process->reason, CRASHES_MAX);
        return;
    }
    struct serve_diag *diag = serve_diag_of(serve);
    struct crash *crash = calloc(1, sizeof(*crash));
    MUST(crash != NULL);
    crash->serve = serve;
    crash->seq = (uint64_t)core_json_tree_integer(event, "seq", 0);
    memcpy(crash->report.name, name, sizeof(name));
    report_fill(crash, process, event);
    crash->next = diag->crashes;
    diag->crashes = crash;
    oldest_set(serve);
    crash->time_ns = process->since_ns != 0 ? process->since_ns : core_now_ns();
    if (crash->report.spec == NULL) {
        crash_ask(crash);
    } else {
        crash_begin(crash);
    }
}

/* ---- life --------------------------------------------------------------------------------------------------------------------- */

void serve_crash_open(struct serve *serve) {
    MUST(serve->crash == NULL);
    char dir[SERVE_PATH_BYTES_MAX];
    serve->crash = calloc(1, sizeof(struct serve_diag));
    MUST(serve->crash != NULL);
    core_http_session_free(core_http_session_new()); /* libcurl sets itself up before there is a second thread */
    serve_reports_dir(serve, dir);
    serve_reports_tidy(dir);
    (void)serve_reports_trim(dir, serve->conf->reports_max);
    serve_outbox_look(serve);
}

void serve_crash_close(struct serve *serve) {
    if (serve->crash == NULL) {
        return;
    }
    struct serve_diag *diag = serve->crash;
    diag->is_ending = true;
    while (diag->crashes != NULL) { /* the next Main is told of these again: what was seen is held back */
        struct crash *crash = diag->crashes;
        diag->crashes = crash->next;
        crash_free(crash);
    }
    serve_work_end_all(serve);
    serve_outbox_end(serve);
    free(diag);
    serve->crash = NULL;
}
