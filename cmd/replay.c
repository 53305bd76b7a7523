/* cmd/replay.c: `tapline replay`: recorded logs written out again as their sensors would: load generator, demo sensor.
 *
 * One thread. Time is cut into slices: each writes the records that are due by now (rate × time since the start − those
 * written), shares them among the files by the numbers of their records, so that all end together, and hands whole lines
 * to the system. At rates of up to 1000/s a slice is one record, above that about a millisecond's. A stall of more than a
 * second (a suspended machine, a slow disk) is not made good by a burst. SIGTERM and SIGINT end it as they end Zeek: all
 * is written and `#close` stands at the end.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"
#include "cmd/replay_internal.h"
#include "core/conf.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REPLAY_SLICE_LINES 4096 /* at most, so that signals and rotation are looked at often */
#define REPLAY_SLEEP_MAX_NS (100 * CORE_NS_PER_MS)
#define REPLAY_SLEEP_MIN_NS CORE_NS_PER_MS
#define REPLAY_RATE_MAX UINT64_C(1000000000)

static const struct cmd_option options[] = {
    {"rate", 'r', "N[/s]|max", "Records a second over all files, or max (default: 1000)."},
    {"to", 't', "DIR", "Directory to write to; made if its parent exists."},
    {"rotate", 0, "DURATION", "Rotate a file when it is this old, e.g. 1m."},
    {"rotate-lines", 0, "N", "Rotate a file when it has N records."},
    {"loop", 0, "N", "Go over the files N times; 0: until stopped (default: 1)."},
    {"json", 0, NULL, "Print the summary on stdout as JSON."},
    {0},
};

struct replay {
    uint64_t rate; /* 0: max */
    uint64_t rotate_lines;
    int64_t rotate_ns;
    uint64_t loops; /* 0: for ever */
    const char *to;
    bool is_json;
    bool is_shown; /* progress, to a person */
    struct core_pool pool;
    struct replay_file files[REPLAY_FILES_MAX];
    size_t files_len;
    uint64_t lines_all;   /* of a round; 0 with one file, which needs no share */
    uint64_t round_lines; /* written in this round */
    uint64_t lines;       /* written in all */
    int64_t start_ns;
    int64_t due_start_ns; /* start_ns, moved on by stalls */
    int64_t shown_ns;
    bool is_damaged;
};

static volatile sig_atomic_t replay_stopped;

static void replay_on_signal(int number) {
    (void)number;
    replay_stopped = 1;
}

/* ---- options --------------------------------------------------------------------------------------------------------- */

static bool replay_number(const char *text, uint64_t max, uint64_t *out) {
    char *end = NULL;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || n > max) {
        return false;
    }
    *out = n;
    return true;
}

static bool replay_rate(const char *text, uint64_t *rate) {
    char digits[32];
    if (strcmp(text, "max") == 0) {
        *rate = 0;
        return true;
    }
    size_t len = strlen(text);
    if (len > 2 && strcmp(text + len - 2, "/s") == 0) {
        len -= 2;
    }
    if (len >= sizeof(digits)) {
        return false;
    }
    memcpy(digits, text, len);
    digits[len] = '\0';
    return replay_number(digits, REPLAY_RATE_MAX, rate) && *rate > 0;
}

static bool replay_options(struct replay *replay, const struct cmd *cmd, const struct cmd_args *args) {
    const char *rate = cmd_value(cmd, args, "rate");
    const char *rotate = cmd_value(cmd, args, "rotate");
    const char *rotate_lines = cmd_value(cmd, args, "rotate-lines");
    const char *loop = cmd_value(cmd, args, "loop");
    replay->to = cmd_value(cmd, args, "to");
    replay->is_json = cmd_value(cmd, args, "json") != NULL;
    replay->is_shown = !replay->is_json && isatty(STDERR_FILENO) != 0;
    replay->rate = 1000;
    replay->loops = 1;
    const char *wrong = NULL;
    if (replay->to == NULL) {
        wrong = "--to DIR is missing: where shall the logs be written?";
    } else if (args->files_len == 0) {
        wrong = "no FILE is given: which recorded logs?";
    } else if (args->files_len > REPLAY_FILES_MAX) {
        wrong = "more than 64 files; start a second one for the rest";
    } else if (rate != NULL && !replay_rate(rate, &replay->rate)) {
        wrong = "--rate is a whole number of records a second (5000, 5000/s) or max";
    } else if (rotate != NULL &&
               (!core_parse_duration(rotate, &replay->rotate_ns) || replay->rotate_ns < CORE_NS_PER_S)) {
        wrong = "--rotate is a duration of at least a second with its unit, such as 30s or 1h";
    } else if (rotate_lines != NULL &&
               !(replay_number(rotate_lines, UINT64_MAX, &replay->rotate_lines) && replay->rotate_lines > 0)) {
        wrong = "--rotate-lines is a whole number above 0";
    } else if (loop != NULL && !replay_number(loop, UINT64_MAX, &replay->loops)) {
        wrong = "--loop is a whole number; 0 means until stopped";
    }
    if (wrong != NULL) {
        fprintf(stderr, "tapline replay: %s\n", wrong);
    }
    return wrong == NULL;
}

/* ---- start ----------------------------------------------------------------------------------------------------------- */

static void replay_tell(const struct core_fail *fail) {
    fprintf(stderr, "tapline replay: %s: %s\n", fail->where, fail->text);
}

static enum core_err replay_names_differ(const struct replay *replay, struct core_fail *fail) {
    for (size_t i = 0; i < replay->files_len; i++) {
        struct stat in;
        struct stat out;
        const struct replay_file *file = &replay->files[i];
        if (stat(file->path, &in) == 0 && stat(file->out_path, &out) == 0 && in.st_dev == out.st_dev &&
            in.st_ino == out.st_ino) {
            return core_fail_set(fail, CORE_BAD, file->path, "would be written onto itself: give another --to");
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(file->out_path, replay->files[k].out_path) == 0) {
                return core_fail_set(fail, CORE_BAD, file->path,
                                     "and %s would both be written to %s: replay one after the other, or join them",
                                     replay->files[k].path, file->out_path);
            }
        }
    }
    return CORE_OK;
}

static enum core_err replay_open_all(struct replay *replay, const struct cmd_args *args, struct core_fail *fail) {
    if (mkdir(replay->to, 0755) != 0 && errno != EEXIST) {
        return core_fail_errno(fail, replay->to, "cannot make the directory to write to");
    }
    enum core_err err = core_pool_init(&replay->pool, (uint32_t)args->files_len, fail);
    for (int i = 0; i < args->files_len && err == CORE_OK; i++) {
        struct replay_file *file = &replay->files[replay->files_len++];
        err = replay_file_init(file, args->files[i], replay->to, fail);
        file->pool = &replay->pool;
    }
    if (err == CORE_OK) {
        err = replay_names_differ(replay, fail);
    }
    /* Shares need the numbers; a single file needs no share, and is not read twice. */
    for (size_t i = 0; i < replay->files_len && replay->files_len > 1 && err == CORE_OK; i++) {
        err = replay_file_count(&replay->files[i], fail);
        replay->lines_all += replay->files[i].lines_all;
    }
    return err;
}

static enum core_err replay_start_round(struct replay *replay, struct core_fail *fail) {
    replay->round_lines = 0;
    for (size_t i = 0; i < replay->files_len; i++) {
        enum core_err err = replay_file_start(&replay->files[i], fail);
        if (err != CORE_OK) {
            return err;
        }
    }
    return CORE_OK;
}

static void replay_catch_signals(void) {
    const struct sigaction action = {.sa_handler = replay_on_signal}; /* no SA_RESTART: a sleep ends at once */
    replay_stopped = 0;
    MUST(sigaction(SIGTERM, &action, NULL) == 0);
    MUST(sigaction(SIGINT, &action, NULL) == 0);
}

/* ---- the loop -------------------------------------------------------------------------------------------------------- */

static void replay_sleep(int64_t ns) {
    const struct timespec pause = {.tv_sec = 0, .tv_nsec = ns};
    (void)nanosleep(&pause, NULL); /* a signal may cut it short: that is what it is for */
}

/* Records that are due now; sleeps a little and returns 0 if none is. */
static uint64_t replay_due(struct replay *replay) {
    if (replay->rate == 0) {
        return REPLAY_SLICE_LINES;
    }
    int64_t now = core_tick_ns();
    unsigned __int128 elapsed = (unsigned __int128)(now - replay->due_start_ns);
    uint64_t target = (uint64_t)(elapsed * replay->rate / (uint64_t)CORE_NS_PER_S);
    if (target > replay->lines) {
        uint64_t due = target - replay->lines;
        if (due > replay->rate + 1) { /* more than a second behind: go on from here */
            uint64_t late_ns = (uint64_t)((unsigned __int128)(due - 1) * (uint64_t)CORE_NS_PER_S / replay->rate);
            replay->due_start_ns += (int64_t)late_ns;
            due = 1;
        }
        return due < REPLAY_SLICE_LINES ? due : REPLAY_SLICE_LINES;
    }
    unsigned __int128 next = (unsigned __int128)(replay->lines + 1) * (uint64_t)CORE_NS_PER_S / replay->rate + 1;
    int64_t sleep_ns = replay->due_start_ns + (int64_t)next - now;
    sleep_ns = sleep_ns < REPLAY_SLEEP_MIN_NS ? REPLAY_SLEEP_MIN_NS : sleep_ns;
    sleep_ns = sleep_ns > REPLAY_SLEEP_MAX_NS ? REPLAY_SLEEP_MAX_NS : sleep_ns;
    replay_sleep(sleep_ns);
    return 0;
}

/* How many of the round's first `target` records are file i's: the differences of the rounded sums, so that all shares
 * together are exactly target. */
static uint64_t replay_share(const struct replay *replay, size_t i, uint64_t target) {
    unsigned __int128 before = 0;
    for (size_t k = 0; k < i; k++) {
        before += replay->files[k].lines_all;
    }
    unsigned __int128 with = before + replay->files[i].lines_all;
    return (uint64_t)(with * target / replay->lines_all - before * target / replay->lines_all);
}

static enum core_err replay_slice(struct replay *replay, uint64_t due, struct core_fail *fail) {
    uint64_t target = replay->round_lines + due;
    /* A file that grew since it was counted has records that no share foresaw: they come at the end. */
    bool is_shared = replay->lines_all > 0 && target <= replay->lines_all;
    for (size_t i = 0; i < replay->files_len; i++) {
        struct replay_file *file = &replay->files[i];
        uint64_t written = 0;
        if (file->is_done) {
            continue;
        }
        uint64_t share = is_shared ? replay_share(replay, i, target) : file->round_lines + due;
        share = share > file->round_lines ? share - file->round_lines : 0;
        enum core_err err = replay_file_write(file, share, replay->rotate_lines, &written, fail);
        replay->round_lines += written;
        replay->lines += written;
        if (err == CORE_IO && file->is_done && strcmp(fail->where, file->path) == 0) {
            replay_tell(fail); /* a damaged recording: its neighbours go on */
            replay->is_damaged = true;
        } else if (err != CORE_OK && err != CORE_GONE) {
            return err;
        }
        err = replay_file_flush(file, fail);
        if (err != CORE_OK) {
            return err;
        }
    }
    return CORE_OK;
}

static enum core_err replay_rotate_old(struct replay *replay, struct core_fail *fail) {
    int64_t now = replay->rotate_ns > 0 ? core_tick_ns() : 0;
    for (size_t i = 0; i < replay->files_len && replay->rotate_ns > 0; i++) {
        struct replay_file *file = &replay->files[i];
        if (file->fd >= 0 && now - file->opened_tick_ns >= replay->rotate_ns) {
            enum core_err err = replay_file_rotate(file, fail);
            if (err != CORE_OK) {
                return err;
            }
        }
    }
    return CORE_OK;
}

static void replay_show(struct replay *replay, bool is_end) {
    int64_t now = core_tick_ns();
    if (!replay->is_shown || (!is_end && now - replay->shown_ns < CORE_NS_PER_S)) {
        return;
    }
    replay->shown_ns = now;
    double seconds = (double)(now - replay->start_ns) / (double)CORE_NS_PER_S;
    fprintf(stderr, "\r%llu records, %.0f/s%s", (unsigned long long)replay->lines,
            seconds > 0 ? (double)replay->lines / seconds : 0.0, is_end ? "\n" : " ");
}

static bool replay_round_is_over(const struct replay *replay) {
    for (size_t i = 0; i < replay->files_len; i++) {
        if (!replay->files[i].is_done) {
            return false;
        }
    }
    return true;
}

static enum core_err replay_loop(struct replay *replay, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    for (uint64_t round = 0; (replay->loops == 0 || round < replay->loops) && replay_stopped == 0; round++) {
        err = replay_start_round(replay, fail);
        while (err == CORE_OK && replay_stopped == 0 && !replay_round_is_over(replay)) {
            uint64_t due = replay_due(replay);
            uint64_t before = replay->lines;
            if (due > 0) {
                err = replay_slice(replay, due, fail);
            }
            if (due > 0 && replay->lines == before) { /* a file that shrank since it was counted */
                replay_sleep(REPLAY_SLEEP_MIN_NS);
            }
            if (err == CORE_OK) {
                err = replay_rotate_old(replay, fail);
            }
            replay_show(replay, false);
        }
        if (err != CORE_OK || (replay->loops == 0 && replay->round_lines == 0)) {
            break; /* nothing to write, for ever, is no work */
        }
    }
    for (size_t i = 0; i < replay->files_len; i++) {
        struct core_fail last;
        enum core_err finished = replay_file_finish(&replay->files[i], err == CORE_OK ? fail : &last);
        err = err == CORE_OK ? finished : err;
    }
    return err;
}

/* ---- summary --------------------------------------------------------------------------------------------------------- */

static void replay_summary(const struct replay *replay) {
    double seconds = (double)(core_tick_ns() - replay->start_ns) / (double)CORE_NS_PER_S;
    double rate = seconds > 0 ? (double)replay->lines / seconds : 0;
    if (replay->is_json) {
        printf("{\"records\":%llu,\"seconds\":%.3f,\"records_per_second\":%.0f,\"files\":[",
               (unsigned long long)replay->lines, seconds, rate);
    }
    for (size_t i = 0; i < replay->files_len; i++) {
        const struct replay_file *file = &replay->files[i];
        if (replay->is_json) {
            printf("%s{\"path\":", i == 0 ? "" : ",");
            cmd_print_json_string(stdout, core_span_of(file->out_path));
            printf(",\"records\":%llu,\"bytes\":%llu,\"rotations\":%llu,\"skipped\":%llu}",
                   (unsigned long long)file->lines, (unsigned long long)file->bytes,
                   (unsigned long long)file->rotations, (unsigned long long)file->skipped);
        } else {
            fprintf(stderr, "%s: %llu records, %llu bytes, %llu rotations\n", file->out_path,
                    (unsigned long long)file->lines, (unsigned long long)file->bytes,
                    (unsigned long long)file->rotations);
        }
        if (file->skipped > 0) {
            fprintf(stderr, "tapline replay: %s: left out %llu lines longer than 1 MiB\n", file->path,
                    (unsigned long long)file->skipped);
        }
    }
    if (replay->is_json) {
        printf("]}\n");
    } else {
        fprintf(stderr, "%llu records in %.1f s: %.0f/s%s\n", (unsigned long long)replay->lines, seconds, rate,
                replay_stopped != 0 ? ", stopped by a signal" : "");
    }
}

static int replay_run(const struct cmd *cmd, int argc, char **argv) {
    struct cmd_args args;
    int code = CORE_EXIT_DONE;
    if (!cmd_parse(cmd, argc, argv, &args, &code)) {
        return code;
    }
    struct replay *replay = calloc(1, sizeof(*replay));
    MUST(replay != NULL);
    struct core_fail fail = {0};
    enum core_err err = CORE_BAD;
    if (replay_options(replay, cmd, &args)) {
        replay_catch_signals();
        err = replay_open_all(replay, &args, &fail);
        replay->start_ns = replay->due_start_ns = core_tick_ns();
        if (err == CORE_OK) {
            err = replay_loop(replay, &fail);
            replay_show(replay, true);
            replay_summary(replay);
        }
        if (err != CORE_OK) {
            replay_tell(&fail);
        }
    }
    code = err == CORE_OK ? CORE_EXIT_DONE : err == CORE_BAD ? CORE_EXIT_USAGE : CORE_EXIT_SYSTEM;
    if (err == CORE_OK && replay->is_damaged) {
        code = CORE_EXIT_SYSTEM;
    }
    for (size_t i = 0; i < replay->files_len; i++) {
        replay_file_release(&replay->files[i]);
    }
    core_pool_destroy(&replay->pool);
    free(replay);
    return code;
}

const struct cmd cmd_replay = {
    .name = "replay",
    .summary = "write recorded logs out again, as a sensor would",
    .args = "FILE…",
    .about = "Writes each FILE (Zeek, Snort, Suricata; .gz too) record by record into a file of its name in DIR, at a "
             "steady rate, several files side by side in proportion to their sizes. Zeek logs get a fresh #open and "
             "#close, and are "
             "rotated to name.YYYY-mm-dd-HH-MM-SS.log; others are appended to. The records themselves are not changed: "
             "their "
             "times stay those of the recording. SIGTERM ends it cleanly.",
    .example = "tapline replay --rate 5000 --rotate 1m --to /tmp/logs conn.log dns.log.gz\n"
               "tapline replay --rate max --loop 10 --to /tmp/logs conn.log",
    .options = options,
    .run = replay_run,
};
