/* supervisor/serve_outbox.c: crash reports that are still to be mailed or posted.
 *
 * What is to be sent stands on the disk: a file unsent.mail or unsent.post beside the report, with the number of tries so far.
 * So a Main that is killed sends it later. One report is sent at a time, mail by sendmail as a child, POST by a thread. What
 * fails waits (WAITS_NS, one more for each try) and is given up after the last of them, with an error line; the report stays.
 * A server that says 4xx will say so again: given up at once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/http.h"
#include "supervisor/serve_diag_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAIL_TIMEOUT_NS (30 * CORE_NS_PER_S)
#define POST_TIMEOUT_MS 10000
#define POST_ANSWER_BYTES_MAX (64 * CORE_KIB)
#define FILE_BYTES_MAX (64 * CORE_MIB)
#define MARK_BYTES_MAX 64
#define LOOK_NS_MAX (60 * CORE_NS_PER_S)

static const int64_t WAITS_NS[] = {2 * CORE_NS_PER_S, 10 * CORE_NS_PER_S, 60 * CORE_NS_PER_S, 300 * CORE_NS_PER_S,
                                   1800 * CORE_NS_PER_S};
#define TRIES_MAX (1 + sizeof(WAITS_NS) / sizeof(WAITS_NS[0]))

/* One report on its way. */
struct sending {
    struct serve *serve;
    const char *mark;
    char path[SERVE_PATH_BYTES_MAX]; /* of the mark */
    char name[SERVE_REPORT_NAME_BYTES_MAX];
    char *to;                 /* address or URL */
    struct core_span content; /* malloc'ed */
    unsigned tries;
    int64_t due_ns; /* core_now_ns() */
    /* of the thread */
    enum core_err err;
    struct core_fail fail;
    const atomic_bool *stop;
};

static void sending_free(struct sending *sending) {
    free((void *)(uintptr_t)sending->content.ptr);
    free(sending->to);
    free(sending);
}

static void outbox_on_time(void *ctx) {
    serve_outbox_look(ctx);
}

static void outbox_again(struct serve *serve, int64_t in_ns) {
    struct serve_diag *diag = serve_diag_of(serve);
    diag->outbox_timer.on_time = outbox_on_time;
    diag->outbox_timer.ctx = serve;
    core_timer_set(serve->loop, &diag->outbox_timer, core_tick_ns() + in_ns);
}

/* Sent, or to be tried again, or given up. */
static void sending_ended(struct sending *sending, bool is_sent, bool is_final, const char *why) {
    struct serve *serve = sending->serve;
    int64_t wait_ns = 0;
    unsigned tries = sending->tries + 1;
    if (is_sent || is_final || tries >= TRIES_MAX) {
        (void)unlink(sending->path);
    } else {
        char text[MARK_BYTES_MAX];
        struct core_fail fail = {0};
        int len = snprintf(text, sizeof(text), "%u\n", tries);
        if (serve_file_write(sending->path, (struct core_span){.ptr = text, .len = (size_t)len}, &fail) != CORE_OK) {
            core_log(CORE_LEVEL_WARN, "serve", "cannot write down how often a report was sent",
                     "file=%s why=\"%s\" effect=\"after a restart it may be tried more often than meant\"", fail.where,
                     fail.text);
        }
        wait_ns = WAITS_NS[tries - 1];
    }
    if (is_sent) {
        core_log(CORE_LEVEL_INFO, "serve", "a crash report was sent", "report=%s to=%s", sending->name, sending->mark);
    } else if (wait_ns == 0) {
        core_log(CORE_LEVEL_ERROR, "serve", "a crash report could not be sent",
                 "report=%s why=\"%s\" tries=%u effect=\"not tried again; the report stays: tapline diag\" "
                 "help=\"look at serve.report_mail, serve.sendmail, serve.report_url\"",
                 sending->name, why, tries);
    } else {
        core_log(CORE_LEVEL_WARN, "serve", "a crash report was not sent yet",
                 "report=%s why=\"%s\" tries=%u again_in_s=%lld", sending->name, why, tries,
                 (long long)(wait_ns / CORE_NS_PER_S));
    }
    sending_free(sending);
    serve_diag_of(serve)->is_outbox_busy = false;
    outbox_again(serve, 0);
}

/* ---- mail ------------------------------------------------------------------------------------------------------------------- */

static void mail_on_end(void *ctx, const struct serve_child_end *end) {
    struct sending *sending = ctx;
    char why[300] = "";
    bool is_sent = end->status >= 0 && !end->is_timed_out && WIFEXITED(end->status) && WEXITSTATUS(end->status) == 0;
    serve_diag_of(sending->serve)->mailer = NULL;
    if (!is_sent) {
        struct core_span text = core_utf8_cut(core_span_trim(end->text), 160);
        (void)snprintf(why, sizeof(why), "%s %s%s%.*s", sending->serve->conf->sendmail,
                       end->status < 0     ? "cannot be run"
                       : end->is_timed_out ? "did not end in time"
                                           : "said no",
                       text.len == 0 ? "" : ": ", (int)text.len, text.ptr == NULL ? "" : text.ptr);
    }
    sending_ended(sending, is_sent, false, why);
}

static void mail_send(struct sending *sending) {
    struct serve *serve = sending->serve;
    char host[256] = "";
    char head[1024];
    (void)gethostname(host, sizeof(host) - 1);
    const char *nl = memchr(sending->content.ptr, '\n', sending->content.len);
    int subject_len = nl == NULL ? 0 : (int)(nl - sending->content.ptr); /* "w1 (worker) ended: exit 1" */
    int len = snprintf(head, sizeof(head),
                       "To: %s\nSubject: [tapline] %.*s on %s\nMIME-Version: 1.0\n"
                       "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"
                       "Auto-Submitted: auto-generated\n\n",
                       sending->to, subject_len < 300 ? subject_len : 300, sending->content.ptr, host);
    size_t head_len = len < (int)sizeof(head) ? (size_t)len : sizeof(head) - 1;
    char *text = malloc(head_len + sending->content.len);
    MUST(text != NULL);
    memcpy(text, head, head_len);
    memcpy(text + head_len, sending->content.ptr, sending->content.len);
    const char *const argv[] = {serve->conf->sendmail, "-t", "-oi", NULL};
    const struct serve_child_run run = {
        .argv = argv,
        .input = {.ptr = text, .len = head_len + sending->content.len},
        .timeout_ns = MAIL_TIMEOUT_NS,
        .on_end = mail_on_end,
        .ctx = sending,
    };
    serve_diag_of(serve)->mailer = serve_child_start(serve, &run);
    serve_diag_of(serve)->mail = sending;
    free(text);
}

void serve_outbox_end(struct serve *serve) {
    struct serve_diag *diag = serve_diag_of(serve);
    core_timer_clear(&diag->outbox_timer);
    if (diag->mailer != NULL) {
        serve_child_stop(diag->mailer);
        sending_free(diag->mail);
        diag->mailer = NULL;
    }
}

/* ---- POST ------------------------------------------------------------------------------------------------------------------- */

static bool post_goes_on(void *ctx) {
    const struct sending *sending = ctx;
    return !atomic_load(sending->stop);
}

static void post_run(void *ctx, const atomic_bool *stop) {
    struct sending *sending = ctx;
    static const struct core_http_header headers[] = {{"Content-Type", "application/json"}};
    struct core_http_answer answer = {0};
    sending->stop = stop;
    const struct core_http_request request = {
        .method = "POST",
        .url = sending->to,
        .headers = headers,
        .headers_len = 1,
        .body = sending->content,
        .timeout_ms = POST_TIMEOUT_MS,
        .tries = 1,
        .bytes_max = POST_ANSWER_BYTES_MAX,
        .goes_on = post_goes_on,
        .ctx = sending,
    };
    sending->err = core_http_send(&request, &answer, &sending->fail);
    core_http_answer_release(&answer);
}

static void post_done(void *ctx, bool is_stopped) {
    struct sending *sending = ctx;
    if (is_stopped) { /* the mark stays: the next Main sends it */
        sending_free(sending);
        return;
    }
    sending_ended(sending, sending->err == CORE_OK, sending->err == CORE_BAD, sending->fail.text);
}

/* ---- which one is next ------------------------------------------------------------------------------------------------------- */

/* The report of that name, if it has the mark. NULL: it has not. */
static struct sending *sending_new(struct serve *serve, const char *dir, const char *name, const char *mark) {
    char path[SERVE_PATH_BYTES_MAX];
    bool is_mail = strcmp(mark, SERVE_MARK_MAIL) == 0;
    const char *to = is_mail ? serve->conf->report_mail : serve->conf->report_url;
    struct core_span tries = {0};
    struct core_fail fail = {0};
    struct sending *sending = calloc(1, sizeof(*sending));
    MUST(sending != NULL);
    sending->serve = serve;
    sending->mark = mark;
    (void)snprintf(sending->name, sizeof(sending->name), "%s", name);
    bool is_there =
        (size_t)snprintf(sending->path, sizeof(sending->path), "%s/%s/%s", dir, name, mark) < sizeof(sending->path) &&
        serve_file_read(sending->path, MARK_BYTES_MAX, &tries, &fail) == CORE_OK;
    if (is_there) {
        struct stat st;
        unsigned long told = strtoul(tries.ptr, NULL, 10);
        sending->tries = told < TRIES_MAX ? (unsigned)told : TRIES_MAX - 1;
        if (sending->tries > 0 && stat(sending->path, &st) == 0) {
            sending->due_ns = st.st_mtim.tv_sec * CORE_NS_PER_S + st.st_mtim.tv_nsec + WAITS_NS[sending->tries - 1];
        }
    }
    free((void *)(uintptr_t)tries.ptr);
    if (is_there && to == NULL) { /* the configuration has changed */
        (void)unlink(sending->path);
        is_there = false;
    }
    is_there = is_there &&
               (size_t)snprintf(path, sizeof(path), "%s/%s/%s", dir, name, is_mail ? "report.txt" : "report.json") <
                   sizeof(path) &&
               serve_file_read(path, FILE_BYTES_MAX, &sending->content, &fail) == CORE_OK;
    if (!is_there) {
        sending_free(sending);
        return NULL;
    }
    sending->to = strdup(to);
    MUST(sending->to != NULL);
    return sending;
}

/* The one that is due first. NULL: nothing is to be sent. */
static struct sending *sending_next(struct serve *serve) {
    static const char *const marks[] = {SERVE_MARK_MAIL, SERVE_MARK_POST};
    char dir[SERVE_PATH_BYTES_MAX];
    char **names = NULL;
    struct sending *next = NULL;
    serve_reports_dir(serve, dir);
    size_t len = serve_reports_list(dir, &names);
    for (size_t i = 0; i < len * 2; i++) {
        struct sending *found = sending_new(serve, dir, names[i / 2], marks[i % 2]);
        if (found != NULL && (next == NULL || found->due_ns < next->due_ns)) {
            struct sending *other = next;
            next = found;
            found = other;
        }
        if (found != NULL) {
            sending_free(found);
        }
    }
    serve_reports_list_free(names, len);
    return next;
}

void serve_outbox_look(struct serve *serve) {
    struct serve_diag *diag = serve_diag_of(serve);
    struct sending *next = diag->is_outbox_busy || diag->is_ending ? NULL : sending_next(serve);
    if (next == NULL) {
        return;
    }
    int64_t wait_ns = next->due_ns - core_now_ns();
    if (wait_ns > 0) {
        sending_free(next);
        outbox_again(serve, wait_ns < LOOK_NS_MAX ? wait_ns : LOOK_NS_MAX); /* clocks are set back, too */
        return;
    }
    diag->is_outbox_busy = true;
    if (strcmp(next->mark, SERVE_MARK_MAIL) == 0) {
        mail_send(next);
    } else if (!serve_work_start(serve, &(struct serve_job){.run = post_run, .done = post_done, .ctx = next})) {
        diag->is_outbox_busy = false; /* not a try: the server was not asked */
        sending_free(next);
        outbox_again(serve, LOOK_NS_MAX);
    }
}
