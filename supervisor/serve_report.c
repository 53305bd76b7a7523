/* supervisor/serve_report.c: what a crash report says, as JSON for programs and as text for people.
 *
 * A report has a maximum: the outputs' tails give way first (halved until all fits), since what they say more is in the files
 * themselves. Values of the environment and of arguments whose names look like secrets are masked before anything is kept;
 * what a program printed itself is not looked at.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_diag_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define TAIL_BYTES_MIN 256
#define LINE_BYTES_MAX 1024

void serve_report_release(struct serve_report *report) {
    char *texts[] = {report->time,   report->end,  report->reason,    report->spec,    report->cwd,
                     report->output, report->core, report->backtrace, report->program, report->program_version};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        free(texts[i]);
    }
    *report = (struct serve_report){0};
}

/* ---- the last lines of a file ---------------------------------------------------------------------------------------------- */

char *serve_tail_read(const char *path, size_t lines_max, size_t bytes_max, bool *is_cut) {
    MUST(lines_max > 0);
    MUST(is_cut != NULL);
    struct stat st;
    char *text = NULL;
    *is_cut = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return NULL;
    }
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        off_t from = (uint64_t)st.st_size > bytes_max ? st.st_size - (off_t)bytes_max : 0;
        text = malloc(bytes_max + 1);
        MUST(text != NULL);
        ssize_t got = pread(fd, text, bytes_max, from);
        size_t len = got > 0 ? (size_t)got : 0;
        size_t begin = serve_lines_begin((struct core_span){text, len}, lines_max);
        *is_cut = from > 0 || begin > 0;
        memmove(text, text + begin, len - begin);
        text[len - begin] = '\0';
        for (char *nul = text; (nul = memchr(nul, '\0', len - begin - (size_t)(nul - text))) != NULL;) {
            *nul = '?'; /* a hole, or a program that writes such bytes */
        }
    } else {
        errno = EINVAL;
    }
    int error = errno;
    (void)close(fd);
    errno = error;
    return text;
}

/* ---- secrets --------------------------------------------------------------------------------------------------------------- */

bool serve_name_is_secret(struct core_span name) {
    static const char *const words[] = {"pass",    "secret",  "token",  "credential", "auth",      "private",
                                        "api_key", "api-key", "apikey", "access_key", "access-key"};
    char text[256];
    size_t len = name.len < sizeof(text) - 1 ? name.len : sizeof(text) - 1;
    for (size_t i = 0; i < len; i++) {
        text[i] = core_lower(name.ptr[i]);
    }
    text[len] = '\0';
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strstr(text, words[i]) != NULL) {
            return true;
        }
    }
    return len >= 3 && (strcmp(text + len - 3, "key") == 0 || strcmp(text + len - 3, "pwd") == 0);
}

/* One argument: --password=x, scheme://user:x@host. */
static void arg_mask(struct core_span arg, struct core_buf *out) {
    const char *equals = core_span_chr(arg, '=');
    struct core_span name = {.ptr = arg.ptr, .len = equals == NULL ? 0 : (size_t)(equals - arg.ptr)};
    if (equals != NULL && serve_name_is_secret(name)) {
        char text[300];
        int len = snprintf(text, sizeof(text), "%.*s=***", (int)(name.len < 256 ? name.len : 256), name.ptr);
        core_buf_string(out, (struct core_span){.ptr = text, .len = (size_t)len});
        return;
    }
    const char *scheme = arg.len > 3 ? memmem(arg.ptr, arg.len, "://", 3) : NULL;
    size_t rest = scheme == NULL ? 0 : arg.len - (size_t)(scheme + 3 - arg.ptr);
    const char *at = rest == 0 ? NULL : memchr(scheme + 3, '@', rest);
    const char *slash = rest == 0 ? NULL : memchr(scheme + 3, '/', rest);
    if (at == NULL || (slash != NULL && slash < at)) {
        core_buf_string(out, arg);
        return;
    }
    char *text = malloc(arg.len + 4);
    MUST(text != NULL);
    int len = snprintf(text, arg.len + 4, "%.*s***%.*s", (int)(scheme + 3 - arg.ptr), arg.ptr,
                       (int)(arg.len - (size_t)(at - arg.ptr)), at);
    core_buf_string(out, (struct core_span){.ptr = text, .len = (size_t)len});
    free(text);
}

static void argv_mask(const struct core_json_tree *argv, struct core_buf *out) {
    bool is_value = false; /* of the option before */
    core_buf_char(out, '[');
    for (const struct core_json_tree *arg = argv->first; arg != NULL; arg = arg->next) {
        core_buf_put(out, ",", arg == argv->first ? 0 : 1);
        if (is_value) {
            core_buf_string(out, CORE_SPAN("***"));
        } else {
            arg_mask(arg->text, out);
        }
        is_value = !is_value && arg->text.len > 1 && arg->text.ptr[0] == '-' && core_span_chr(arg->text, '=') == NULL &&
                   serve_name_is_secret(arg->text);
    }
    core_buf_char(out, ']');
}

static void env_mask(const struct core_json_tree *env, struct core_buf *out) {
    core_buf_char(out, '{');
    for (const struct core_json_tree *pair = env->first; pair != NULL; pair = pair->next) {
        core_buf_put(out, ",", pair == env->first ? 0 : 1);
        core_buf_string(out, pair->key);
        core_buf_char(out, ':');
        if (serve_name_is_secret(pair->key)) {
            core_buf_string(out, CORE_SPAN("***"));
        } else {
            arg_mask(pair->text, out);
        }
    }
    core_buf_char(out, '}');
}

void serve_spec_mask(const struct core_json_tree *spec, struct core_buf *out) {
    MUST(spec != NULL);
    core_buf_char(out, '{');
    for (const struct core_json_tree *member = spec->first; member != NULL; member = member->next) {
        core_buf_put(out, ",", member == spec->first ? 0 : 1);
        core_buf_string(out, member->key);
        core_buf_char(out, ':');
        if (core_span_is(member->key, "argv") && member->kind == CORE_JSON_ARRAY) {
            argv_mask(member, out);
        } else if (core_span_is(member->key, "env") && member->kind == CORE_JSON_OBJECT) {
            env_mask(member, out);
        } else {
            core_json_put_tree(out, member);
        }
    }
    core_buf_char(out, '}');
}

/* ---- resources ------------------------------------------------------------------------------------------------------------- */

struct resources {
    double load[3];
    uint64_t memory_total;
    uint64_t memory_available;
};

static uint64_t meminfo_of(const char *text, const char *name) {
    const char *at = strstr(text, name);
    return at == NULL ? 0 : strtoull(at + strlen(name), NULL, 10) * CORE_KIB;
}

static void resources_read(struct resources *out) {
    char text[4096] = "";
    *out = (struct resources){0};
    if (getloadavg(out->load, 3) != 3) {
        out->load[0] = out->load[1] = out->load[2] = 0;
    }
    int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t got = read(fd, text, sizeof(text) - 1);
        text[got > 0 ? got : 0] = '\0';
        (void)close(fd);
    }
    out->memory_total = meminfo_of(text, "MemTotal:");
    out->memory_available = meminfo_of(text, "MemAvailable:");
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------------- */

static const char *const outputs[] = {"stdout.log", "stderr.log", "reporter.log"};
#define OUTPUTS_LEN (sizeof(outputs) / sizeof(outputs[0]))

/* The tail of one of the outputs, or why it is not there. */
struct tail {
    char path[SERVE_PATH_BYTES_MAX];
    char *text; /* NULL: why says it */
    char why[128];
    bool is_cut;
};

static void tail_fill(struct tail *tail, const struct serve_report *report, size_t which, size_t bytes_max) {
    const char *dir = which == 2 || report->output == NULL ? report->cwd : report->output;
    *tail = (struct tail){0};
    if (dir == NULL ||
        (size_t)snprintf(tail->path, sizeof(tail->path), "%s/%s", dir, outputs[which]) >= sizeof(tail->path)) {
        (void)snprintf(tail->why, sizeof(tail->why), "its directory is not known");
        return;
    }
    tail->text = serve_tail_read(tail->path, SERVE_TAIL_LINES, bytes_max, &tail->is_cut);
    if (tail->text == NULL) {
        (void)snprintf(tail->why, sizeof(tail->why), errno == ENOENT ? "there is none" : "it cannot be read: %s",
                       strerror(errno));
    }
}

static void text_put(struct core_buf *out, const char *key, const char *text) {
    if (text != NULL) {
        core_json_put_text(out, key, core_span_of(text));
    }
}

static void raw_put(struct core_buf *out, const char *key, struct core_span json) {
    core_buf_put(out, ",", 1);
    core_buf_string(out, core_span_of(key));
    core_buf_char(out, ':');
    core_buf_span(out, json);
}

static void json_outputs(const struct tail *tails, struct core_buf *out) {
    raw_put(out, "output", CORE_SPAN("{"));
    for (size_t i = 0; i < OUTPUTS_LEN; i++) {
        core_buf_put(out, ",", i == 0 ? 0 : 1);
        core_buf_string(out, core_span_of(outputs[i]));
        core_buf_span(out, CORE_SPAN(":{"));
        core_json_put_text(out, "path", core_span_of(tails[i].path));
        text_put(out, tails[i].text != NULL ? "text" : "why", tails[i].text != NULL ? tails[i].text : tails[i].why);
        core_json_put_bool(out, "is_cut", tails[i].is_cut);
        core_buf_char(out, '}');
    }
    core_buf_char(out, '}');
}

static void json_resources(const struct serve_report *report, const struct resources *resources, struct core_buf *out) {
    char load[96];
    int len =
        snprintf(load, sizeof(load), "[%.2f,%.2f,%.2f]", resources->load[0], resources->load[1], resources->load[2]);
    raw_put(out, "resources", CORE_SPAN("{\"load\":"));
    core_buf_put(out, load, (size_t)len);
    core_json_put_number(out, "memory_total_bytes", (int64_t)resources->memory_total);
    core_json_put_number(out, "memory_available_bytes", (int64_t)resources->memory_available);
    core_json_put_number(out, "rss_bytes", (int64_t)report->rss_bytes);
    raw_put(out, "disks", CORE_SPAN("["));
    for (size_t i = 0; i < sizeof(report->disks) / sizeof(report->disks[0]) && report->disks[i] != NULL; i++) {
        struct statvfs fs;
        bool is_there = statvfs(report->disks[i], &fs) == 0;
        core_buf_put(out, ",", i == 0 ? 0 : 1);
        core_buf_char(out, '{');
        core_json_put_text(out, "path", core_span_of(report->disks[i]));
        if (is_there) {
            core_json_put_number(out, "free_bytes", (int64_t)(fs.f_bavail * fs.f_frsize));
            core_json_put_number(out, "size_bytes", (int64_t)(fs.f_blocks * fs.f_frsize));
            core_json_put_number(out, "free_inodes", (int64_t)fs.f_favail);
        }
        core_buf_char(out, '}');
    }
    core_buf_span(out, CORE_SPAN("]}"));
}

static void json_write(const struct serve_report *report, const struct tail *tails, const struct resources *resources,
                       struct core_buf *out) {
    core_buf_char(out, '{');
    core_json_put_number(out, "format", 1);
    core_json_put_text(out, "report", core_span_of(report->name));
    core_json_put_text(out, "node", core_span_of(report->node));
    text_put(out, "type", report->type);
    text_put(out, "time", report->time);
    text_put(out, "end", report->end);
    if (report->signal != 0) {
        core_json_put_number(out, "signal", report->signal);
    } else if (report->exit_status >= 0) {
        core_json_put_number(out, "exit", report->exit_status);
    }
    text_put(out, "reason", report->reason);
    core_json_put_bool(out, "is_latched", report->is_latched);
    core_json_put_bool(out, "starts_again", report->starts_again);
    if (report->pid != 0) {
        core_json_put_number(out, "pid", report->pid);
    }
    if (report->uptime_ns >= 0) {
        core_json_put_number(out, "uptime_ns", report->uptime_ns);
    }
    core_json_put_number(out, "starts", (int64_t)report->starts);
    core_json_put_number(out, "deaths", (int64_t)report->deaths);
    text_put(out, "core", report->core);
    text_put(out, "backtrace", report->backtrace);
    core_json_put_bool(out, "has_backtrace", report->has_backtrace);
    raw_put(out, "versions", CORE_SPAN("{"));
    text_put(out, "tapline", report->tapline_version);
    text_put(out, "program", report->program_version);
    core_buf_char(out, '}');
    text_put(out, "program", report->program);
    json_resources(report, resources, out);
    json_outputs(tails, out);
    if (report->spec != NULL) {
        raw_put(out, "spec", core_span_of(report->spec));
    }
    core_buf_span(out, CORE_SPAN("}\n"));
}

/* ---- text ------------------------------------------------------------------------------------------------------------------- */

static void put(struct core_buf *out, const char *fmt, ...) CORE_PRINTF(2, 3);
static void put(struct core_buf *out, const char *fmt, ...) {
    char line[LINE_BYTES_MAX];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    core_buf_put(out, line, len < 0 ? 0 : len < (int)sizeof(line) ? (size_t)len : sizeof(line) - 1);
}

static void text_row(struct core_buf *out, const char *name, const char *value) {
    if (value != NULL && value[0] != '\0') {
        put(out, "%-12s ", name);
        core_buf_span(out, core_span_of(value));
        core_buf_char(out, '\n');
    }
}

static void text_head(const struct serve_report *report, const struct resources *resources, struct core_buf *out) {
    put(out, "%s (%s) ended: %s\n\n", report->node, report->type, report->end);
    text_row(out, "report", report->name);
    text_row(out, "time", report->time);
    text_row(out, "reason", report->reason);
    if (report->uptime_ns >= 0) {
        put(out, "%-12s %.1f s\n", "had run", (double)report->uptime_ns / (double)CORE_NS_PER_S);
    }
    if (report->pid != 0) {
        put(out, "%-12s %" PRId64 "\n", "pid", report->pid);
    }
    put(out, "%-12s %" PRIu64 " starts, %" PRIu64 " ends that nobody asked for\n", "so far", report->starts,
        report->deaths);
    text_row(out, "what now",
             report->is_latched     ? "it stays down: it died too often. Look below, mend it, then: tapline start NODE"
             : report->starts_again ? "the Supervisor starts it again after a delay"
                                    : "it stays down, as its restart policy says; by hand: tapline start NODE");
    text_row(out, "program", report->program);
    text_row(out, "version", report->program_version);
    text_row(out, "tapline", report->tapline_version);
    put(out,
        "%-12s load %.2f %.2f %.2f, memory available %" PRIu64 " of %" PRIu64 " MiB, its own last seen %" PRIu64
        " MiB\n",
        "machine", resources->load[0], resources->load[1], resources->load[2], resources->memory_available / CORE_MIB,
        resources->memory_total / CORE_MIB, report->rss_bytes / CORE_MIB);
    for (size_t i = 0; i < sizeof(report->disks) / sizeof(report->disks[0]) && report->disks[i] != NULL; i++) {
        struct statvfs fs;
        if (statvfs(report->disks[i], &fs) == 0) {
            put(out, "%-12s %s: %" PRIu64 " MiB free\n", "disk", report->disks[i],
                (uint64_t)fs.f_bavail * fs.f_frsize / CORE_MIB);
        }
    }
}

static void text_write(const struct serve_report *report, const struct tail *tails, const struct resources *resources,
                       struct core_buf *out) {
    text_head(report, resources, out);
    put(out, "\n==== backtrace%s%s\n", report->core == NULL ? "" : " of ", report->core == NULL ? "" : report->core);
    core_buf_span(out, core_span_of(report->backtrace == NULL ? "none" : report->backtrace));
    core_buf_char(out, '\n');
    for (size_t i = 0; i < OUTPUTS_LEN; i++) {
        const struct tail *tail = &tails[i];
        put(out, "\n==== %s%s\n", tail->path[0] == '\0' ? outputs[i] : tail->path,
            tail->is_cut ? " (its last lines)" : "");
        core_buf_span(out, core_span_of(tail->text != NULL ? tail->text : tail->why));
        core_buf_char(out, '\n');
    }
    if (report->spec != NULL) {
        put(out, "\n==== what it was to be (secrets masked)\n");
        core_buf_span(out, core_span_of(report->spec));
        core_buf_char(out, '\n');
    }
}

/* ---- both, within the maximum ------------------------------------------------------------------------------------------------ */

/* One of the two, with tails of at most tail_max bytes each. False: it does not fit. */
static bool write_try(const struct serve_report *report, size_t tail_max, bool is_json, struct core_buf *out) {
    struct tail tails[OUTPUTS_LEN];
    struct resources resources;
    resources_read(&resources);
    out->pos = out->start;
    out->is_full = false;
    for (size_t i = 0; i < OUTPUTS_LEN; i++) {
        tail_fill(&tails[i], report, i, tail_max);
    }
    (is_json ? json_write : text_write)(report, tails, &resources, out);
    for (size_t i = 0; i < OUTPUTS_LEN; i++) {
        free(tails[i].text);
    }
    return !out->is_full;
}

static struct core_span write_one(const struct serve_report *report, size_t bytes_max, bool is_json) {
    struct core_buf out = {.start = malloc(bytes_max)};
    MUST(out.start != NULL);
    out.pos = out.start;
    out.end = out.start + bytes_max;
    size_t tail_max = bytes_max / 4;
    while (!write_try(report, tail_max, is_json, &out) && tail_max > TAIL_BYTES_MIN) {
        tail_max /= 2;
    }
    if (out.is_full) { /* a spec or a backtrace as long as the maximum: without them */
        struct serve_report less = *report;
        less.spec = NULL;
        less.backtrace = (char *)(uintptr_t) "left out: the report would be longer than serve.report_bytes_max";
        less.has_backtrace = false;
        (void)write_try(&less, TAIL_BYTES_MIN, is_json, &out);
    }
    return core_buf_written(&out);
}

void serve_report_write(const struct serve_report *report, size_t bytes_max, struct core_span *json,
                        struct core_span *text) {
    MUST(report->end != NULL);
    MUST(report->type != NULL);
    *json = write_one(report, bytes_max, true);
    *text = write_one(report, bytes_max, false);
}
