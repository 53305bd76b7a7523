/* supervisor/serve_disk.c: the disk guard: each disk_interval, archived logs that are too old go, and the oldest ones while less
 * than free_bytes_min is free; crash reports of the same file system go after them. Nothing goes that was not delivered.
 *
 * The work is a job (serve_work.c): an archive may have very many files, and be on a slow disk. Of what happened the log and an
 * event `disk` tell; that there is too little room and nothing may go is an error, said when it begins and then every hour,
 * for only a person can help: more room, or a `tapline run` that delivers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_diag_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define TELL_NS (3600 * CORE_NS_PER_S)
#define REPORTS_LEFT 3 /* the newest stay */
#define EVENT_BYTES_MAX (8 * CORE_KIB)

struct look {
    struct serve *serve;
    char *archive;
    char *reports;
    struct serve_disk_want want;
    struct serve_disk_done done;
    size_t reports_gone;
    enum core_err err;
    struct core_fail fail;
};

static void look_free(struct look *look) {
    free(look->archive);
    free(look->reports);
    free(look);
}

/* ---- in the thread ----------------------------------------------------------------------------------------------------------- */

static bool nothing_is_delivered(void *ctx, const char *path) {
    (void)ctx;
    (void)path;
    return false;
}

/* Reports help only where they lie on the same file system. */
static void reports_expire(struct look *look) {
    struct stat archive;
    struct stat reports;
    struct statvfs fs;
    if (stat(look->archive, &archive) != 0 || stat(look->reports, &reports) != 0 || archive.st_dev != reports.st_dev) {
        return;
    }
    look->reports_gone = serve_reports_trim(look->reports, REPORTS_LEFT);
    if (look->reports_gone > 0 && statvfs(look->archive, &fs) == 0) {
        look->done.free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
        look->done.is_low = look->done.free_bytes < look->want.free_min;
    }
}

static void look_run(void *ctx, const atomic_bool *stop) {
    struct look *look = ctx;
    look->want.stop = stop;
    look->err = serve_archive_expire(&look->want, &look->done, &look->fail);
    if (look->err == CORE_OK && look->done.is_low && !atomic_load(stop)) {
        reports_expire(look);
    }
}

/* ---- in the loop ------------------------------------------------------------------------------------------------------------- */

static void disk_event(struct look *look, const char *text) {
    const struct serve_disk_done *done = &look->done;
    char bytes[EVENT_BYTES_MAX];
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes)};
    core_json_put_text(&out, "kind", CORE_SPAN("disk"));
    core_json_put_text(&out, "path", core_utf8_cut(core_span_of(look->archive), 512));
    core_json_put_number(&out, "removed", (int64_t)done->removed);
    core_json_put_number(&out, "removed_bytes", (int64_t)done->removed_bytes);
    core_json_put_number(&out, "reports_removed", (int64_t)look->reports_gone);
    core_json_put_number(&out, "undelivered", (int64_t)done->undelivered);
    core_json_put_number(&out, "undelivered_bytes", (int64_t)done->undelivered_bytes);
    core_json_put_number(&out, "failed", (int64_t)done->failed);
    core_json_put_number(&out, "free_bytes", (int64_t)done->free_bytes);
    core_json_put_bool(&out, "is_low", done->is_low);
    core_json_put_text(&out, "text", core_span_of(text));
    if (!out.is_full) {
        serve_event(look->serve, core_buf_written(&out));
    }
}

static void look_tell(struct look *look) {
    struct serve_diag *diag = serve_diag_of(look->serve);
    const struct serve_disk_done *done = &look->done;
    bool did = done->removed > 0 || look->reports_gone > 0;
    bool is_due = core_tick_ns() - diag->disk_told_tick >= TELL_NS;
    if (did) {
        core_log(CORE_LEVEL_INFO, "disk", "archived logs were removed",
                 "archive=%s files=%" PRIu64 " bytes=%" PRIu64 " crash_reports=%zu free_bytes=%" PRIu64, look->archive,
                 done->removed, done->removed_bytes, look->reports_gone, done->free_bytes);
    }
    if (done->is_low && (!diag->is_disk_low || is_due)) {
        diag->disk_told_tick = core_tick_ns();
        core_log(CORE_LEVEL_ERROR, "disk", "too little room, and nothing more may be removed",
                 "archive=%s free_bytes=%" PRIu64 " wanted=%" PRIu64 " undelivered=%" PRIu64
                 " undelivered_bytes=%" PRIu64 " oldest=\"%s\" failed=%" PRIu64
                 " why=\"%s\" help=\"make room; let tapline run read these files (inputs: "
                 "paths or archive) and deliver them: tapline ledger\"",
                 look->archive, done->free_bytes, look->want.free_min, done->undelivered, done->undelivered_bytes,
                 done->undelivered_first, done->failed, done->text);
        disk_event(look, "too little room, and nothing more may be removed");
    } else if (!done->is_low && diag->is_disk_low) {
        core_log(CORE_LEVEL_INFO, "disk", "there is room again", "archive=%s free_bytes=%" PRIu64, look->archive,
                 done->free_bytes);
        disk_event(look, "there is room again");
    } else if (did) {
        disk_event(look, "archived logs were removed");
    } else if ((done->undelivered > 0 || done->failed > 0) && is_due) {
        diag->disk_told_tick = core_tick_ns();
        core_log(CORE_LEVEL_WARN, "disk", "archived logs are due and stay",
                 "archive=%s undelivered=%" PRIu64 " undelivered_bytes=%" PRIu64 " oldest=\"%s\" failed=%" PRIu64
                 " why=\"%s\" help=\"does tapline run read them? tapline ledger\"",
                 look->archive, done->undelivered, done->undelivered_bytes, done->undelivered_first, done->failed,
                 done->text);
        disk_event(look, "archived logs are due and stay");
    }
    diag->is_disk_low = done->is_low;
}

static void disk_on_time(void *ctx);

static void disk_again(struct serve *serve) {
    serve->disk_timer.on_time = disk_on_time;
    serve->disk_timer.ctx = serve;
    core_timer_set(serve->loop, &serve->disk_timer, core_tick_ns() + serve->conf->disk_interval_ns);
}

static void look_done(void *ctx, bool is_stopped) {
    struct look *look = ctx;
    struct serve *serve = look->serve;
    if (!is_stopped && look->err == CORE_OK) {
        look_tell(look);
    } else if (!is_stopped && look->err != CORE_GONE) {
        core_log(CORE_LEVEL_WARN, "disk", "cannot look after the archive",
                 "where=%s why=\"%s\" effect=\"nothing is removed; looked at again in serve.disk_interval\" "
                 "help=\"is it mounted, and may this user read it?\"",
                 look->fail.where, look->fail.text);
    }
    if (!is_stopped) {
        disk_again(serve);
    }
    look_free(look);
}

static void disk_on_time(void *ctx) {
    struct serve *serve = ctx;
    const struct serve_conf *conf = serve->conf;
    const char *archive = serve->sensors == NULL ? NULL : serve->sensors->archive;
    if (archive == NULL || (conf->archive_keep_ns == 0 && conf->free_bytes_min == 0)) {
        disk_again(serve); /* a SIGHUP may change that */
        return;
    }
    char reports[SERVE_PATH_BYTES_MAX];
    serve_reports_dir(serve, reports);
    struct look *look = calloc(1, sizeof(*look));
    MUST(look != NULL);
    look->serve = serve;
    look->archive = strdup(archive);
    look->reports = strdup(reports);
    MUST(look->archive != NULL);
    MUST(look->reports != NULL);
    look->want = (struct serve_disk_want){
        .archive = look->archive,
        .keep_ns = conf->archive_keep_ns,
        .free_min = conf->free_bytes_min,
        .is_delivered = serve->env->is_delivered == NULL ? nothing_is_delivered : serve->env->is_delivered,
        .ctx = serve->env->ctx,
    };
    if (!serve_work_start(serve, &(struct serve_job){.run = look_run, .done = look_done, .ctx = look})) {
        disk_again(serve);
        look_free(look);
    }
}

void serve_disk_begin(struct serve *serve) {
    serve_diag_of(serve)->disk_told_tick = core_tick_ns() - TELL_NS;
    disk_again(serve);
}
