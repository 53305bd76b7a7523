/* ingest/ledger.c: the accounts: what became of all records of each generation, and whether that adds up.
 *
 * Design: each generation's account travels with its position: in the checkpoint while it is there, and, when it is finished
 * and forgotten, as one line of state_dir/ledger, which is only appended to. That file is bounded: at its maximum it becomes
 * ledger.old, in place of the one before. Every 30 s all accounts are added up: records = events + dead + dropped + lost, or
 * it is said which generation does not agree.
 *
 * On a crash a line may be half written: it is ended, and passed over by readers. A generation whose line was written, but
 * which the keeper of positions did not hear of as finished, comes back at the next start, and is written down again: the
 * last line counts. Thread: ingest's; ingest_ledger_read() is anybody's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define GENS_CAP_MIN 1024

static uint64_t accounted(const struct core_tally *tally) {
    return tally->events + tally->dead + tally->dropped + tally->lost;
}

static void add(struct core_tally *to, const struct core_tally *more) {
    to->records += more->records;
    to->events += more->events;
    to->dead += more->dead;
    to->dropped += more->dropped;
    to->lost += more->lost;
}

/* ---- numbers of generations ------------------------------------------------------------------------------------------------ */

static size_t slot_of(const struct ingest_gens *gens, uint64_t gen) {
    size_t at = (size_t)gen & (gens->cap - 1); /* a generation is a hash already */
    while (gens->slots[at] != 0 && gens->slots[at] != gen) {
        at = (at + 1) & (gens->cap - 1);
    }
    return at;
}

void ingest_gens_add(struct ingest_gens *gens, uint64_t gen) {
    if (gens->len * 2 >= gens->cap) {
        const struct ingest_gens old = *gens;
        gens->cap = old.cap == 0 ? GENS_CAP_MIN : old.cap * 2;
        gens->slots = calloc(gens->cap, sizeof(*gens->slots));
        MUST(gens->slots != NULL);
        for (size_t i = 0; i < old.cap; i++) {
            if (old.slots[i] != 0) {
                gens->slots[slot_of(gens, old.slots[i])] = old.slots[i];
            }
        }
        free(old.slots);
    }
    const size_t at = slot_of(gens, gen);
    gens->len += gens->slots[at] == 0 ? 1 : 0;
    gens->slots[at] = gen;
}

bool ingest_gens_has(const struct ingest_gens *gens, uint64_t gen) {
    return gens->cap > 0 && gens->slots[slot_of(gens, gen)] == gen;
}

bool ingest_gen_is_known(const struct ingest *ingest, const struct ingest_file *but, uint64_t gen) {
    for (const struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
        if (file != but && file->memory.first.len > 0 && file->memory.gen == gen) {
            return true;
        }
    }
    return gen == 0 || ingest_gens_has(&ingest->over_gens, gen); /* 0: of a stream that has none yet */
}

/* ---- what is over -------------------------------------------------------------------------------------------------------- */

void ingest_ledger_over(struct ingest *ingest, const struct ingest_file *file) {
    MUST(file->stream == NULL || ingest_stream_is_settled(file->stream));
    if (file->memory.first.len == 0) {
        return;
    }
    char line[INGEST_POSITION_BYTES_MAX];
    const int64_t now = core_now_ns();
    const size_t len = ingest_position_put_whole(line, file, now);
    ingest->is_dirty = true; /* the checkpoint is to be without it */
    ingest_gens_add(&ingest->over_gens, file->memory.gen);
    add(&ingest->over_tally, &file->memory.tally);
    ingest_commit_over(ingest, file->memory.gen, now, line, len);
    if (!ingest_lines_add(&ingest->over_lines, line, len) && !ingest->over_lines.is_full) {
        ingest->over_lines.is_full = true;
        core_log(
            CORE_LEVEL_ERROR, "ingest", "the ledger has no room for finished files",
            "file=%s/ledger bytes_max=%zu; it could not be written for long; those that follow will be missing in it. "
            "No record is lost; make node.state writable again",
            ingest->env.state_dir, (size_t)INGEST_LINES_BYTES_MAX);
    }
}

/* The last line may be half of one, from a crash: end it. */
static enum core_err end_half_line(int fd, off_t size, const char *where, struct core_fail *fail) {
    char last = '\n';
    if (size > 0 && pread(fd, &last, 1, size - 1) != 1) {
        return core_fail_errno(fail, where, "cannot read the ledger's end");
    }
    if (last != '\n' && write(fd, "\n", 1) != 1) {
        return core_fail_errno(fail, where, "cannot write the ledger (is the disk full?)");
    }
    return CORE_OK;
}

static enum core_err append(int fd, const struct ingest_lines *lines, const char *where, struct core_fail *fail) {
    if (!ingest_write_all(fd, lines->text, lines->len)) {
        return core_fail_errno(fail, where, "cannot write the ledger (is the disk full?)");
    }
    return fdatasync(fd) == 0 ? CORE_OK : core_fail_errno(fail, where, "cannot sync the ledger");
}

static enum core_err write_lines(int dir_fd, const struct ingest_lines *lines, const char *where,
                                 struct core_fail *fail) {
    struct stat st;
    if (fstatat(dir_fd, "ledger", &st, 0) == 0 && (size_t)st.st_size + lines->len > INGEST_LEDGER_BYTES_MAX &&
        st.st_size > 0 && renameat(dir_fd, "ledger", dir_fd, "ledger.old") != 0) {
        return core_fail_errno(fail, where, "cannot rename ledger to ledger.old there");
    }
    const int fd = openat(dir_fd, "ledger", O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0) {
        return core_fail_errno(fail, where, "cannot open the ledger there");
    }
    enum core_err err = fstat(fd, &st) == 0 ? end_half_line(fd, st.st_size, where, fail)
                                            : core_fail_errno(fail, where, "cannot look at the ledger there");
    if (err == CORE_OK) {
        err = append(fd, lines, where, fail);
    }
    (void)close(fd);
    return err;
}

/* What could not be written is tried again at ingest.checkpoint_interval. A line that was written in part comes again whole. */
static void write_over(struct ingest *ingest) {
    struct ingest_lines *lines = &ingest->over_lines;
    const int64_t now = core_tick_ns();
    if (lines->len == 0 || now < ingest->over_tick) {
        return;
    }
    struct core_fail fail = {0};
    const char *dir = ingest->env.state_dir;
    const int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const enum core_err err = dir_fd < 0 ? core_fail_errno(&fail, dir, "cannot open the state directory (node.state)")
                                         : write_lines(dir_fd, lines, dir, &fail);
    if (dir_fd >= 0) {
        (void)close(dir_fd);
    }
    if (err != CORE_OK) {
        ingest->over_tick = now + ingest->conf.checkpoint_interval_ns;
        core_log(CORE_LEVEL_ERROR, "ingest", "the ledger was not written",
                 "where=%s reason=\"%s\"; finished files wait to be written down (%zu bytes), tried again every "
                 "ingest.checkpoint_interval; delivery goes on",
                 fail.where, fail.text, lines->len);
        return;
    }
    lines->len = 0;
    lines->is_full = false;
}

/* ---- does it add up? --------------------------------------------------------------------------------------------------------- */

/* Name a generation that does not, when its numbers are new. */
static bool tell_difference(struct ingest_file *file) {
    const struct core_tally *tally = &file->memory.tally;
    const uint64_t difference = tally->records - accounted(tally);
    if (difference == 0 || difference == file->told_difference) {
        return false;
    }
    file->told_difference = difference;
    core_log(CORE_LEVEL_ERROR, "ledger", "records are unaccounted for",
             "file=%s generation=%016" PRIx64 " records=%" PRIu64 " events=%" PRIu64 " dead=%" PRIu64
             " dropped=%" PRIu64 " lost=%" PRIu64 " difference=%" PRId64
             "; what was read of it is not what was delivered: run `tapline verify` "
             "for this node, and keep the file",
             file->path, file->memory.gen, tally->records, tally->events, tally->dead, tally->dropped, tally->lost,
             (int64_t)difference);
    return true;
}

static void add_up(struct ingest *ingest) {
    const int64_t now = core_tick_ns();
    if (ingest->ledger_tick == 0) {
        ingest->ledger_tick = now + INGEST_LEDGER_NS;
    }
    if (now < ingest->ledger_tick) {
        return;
    }
    ingest->ledger_tick = now + INGEST_LEDGER_NS;
    struct core_tally sum = ingest->over_tally;
    int told = 0;
    for (struct ingest_file *file = ingest->files; file != NULL; file = file->next) {
        add(&sum, &file->memory.tally);
        told += told < INGEST_LEDGER_TOLD_MAX && tell_difference(file) ? 1 : 0;
    }
    const int64_t difference = (int64_t)(sum.records - accounted(&sum));
    core_log(difference == 0 ? CORE_LEVEL_INFO : CORE_LEVEL_ERROR, "ledger",
             difference == 0 ? "records are accounted for" : "records are not all accounted for",
             "records=%" PRIu64 " events=%" PRIu64 " dead=%" PRIu64 " dropped=%" PRIu64 " lost=%" PRIu64
             " difference=%" PRId64 " files=%zu%s",
             sum.records, sum.events, sum.dead, sum.dropped, sum.lost, difference, ingest->files_len,
             difference == 0 ? "" : "; `tapline ledger` names the files");
}

void ingest_ledger_turn(struct ingest *ingest) {
    write_over(ingest);
    add_up(ingest);
}

/* ---- reading ----------------------------------------------------------------------------------------------------------------- */

struct reader {
    void (*on_row)(void *ctx, const struct ingest_ledger_row *row);
    void *ctx;
};

/* Any line of a checkpoint: only files are of interest. */
static bool on_checkpoint_line(void *ctx, char *line) {
    const struct reader *reader = ctx;
    struct ingest_ledger_row row;
    if (strncmp(line, "file ", 5) != 0) {
        return true;
    }
    if (!ingest_ledger_line(line, &row)) {
        return false;
    }
    reader->on_row(reader->ctx, &row);
    return true;
}

/* No file there: *in is NULL. */
static enum core_err open_ledger(const char *state_dir, const char *name, FILE **in, struct core_fail *fail) {
    char path[PATH_MAX];
    const int len = snprintf(path, sizeof(path), "%s/%s", state_dir, name);
    if (len < 0 || (size_t)len >= sizeof(path)) {
        return core_fail_set(fail, CORE_BAD, state_dir, "node.state is too long a path; name a shorter one");
    }
    *in = fopen(path, "re");
    return *in != NULL || errno == ENOENT ? CORE_OK : core_fail_errno(fail, path, "cannot open the ledger");
}

static enum core_err read_ledger(const struct reader *reader, FILE *in, const char *state_dir, struct core_fail *fail) {
    char line[INGEST_POSITION_BYTES_MAX];
    while (in != NULL && fgets(line, sizeof(line), in) != NULL) {
        struct ingest_ledger_row row;
        char *nl = strchr(line, '\n');
        if (nl == NULL) {
            continue; /* being written just now, or half written at a crash */
        }
        *nl = '\0';
        if (ingest_ledger_line(line, &row)) {
            reader->on_row(reader->ctx, &row);
        }
    }
    return in == NULL || ferror(in) == 0 ? CORE_OK : core_fail_errno(fail, state_dir, "cannot read the ledger there");
}

/* A process that runs beside us moves rows one way: from the checkpoint to the ledger, and with the whole of it to
 * ledger.old. So what is read last is opened first: a row that moves meanwhile is seen twice, never not at all. */
static enum core_err read_ledgers(const struct reader *reader, const char *state_dir, struct core_fail *fail) {
    FILE *now = NULL;
    FILE *old = NULL;
    enum core_err err = open_ledger(state_dir, "ledger", &now, fail);
    if (err == CORE_OK) {
        err = open_ledger(state_dir, "ledger.old", &old, fail);
    }
    if (err == CORE_OK) {
        err = read_ledger(reader, old, state_dir, fail);
    }
    if (err == CORE_OK) {
        err = read_ledger(reader, now, state_dir, fail);
    }
    if (old != NULL) {
        (void)fclose(old);
    }
    if (now != NULL) {
        (void)fclose(now);
    }
    return err;
}

static void learn_row(void *ctx, const struct ingest_ledger_row *row) {
    struct ingest *ingest = ctx;
    ingest_gens_add(&ingest->over_gens, row->gen);
}

void ingest_ledger_learn(struct ingest *ingest) {
    const struct reader reader = {.on_row = learn_row, .ctx = ingest};
    struct core_fail fail = {0};
    if (read_ledgers(&reader, ingest->env.state_dir, &fail) != CORE_OK) {
        core_log(
            CORE_LEVEL_ERROR, "ingest", "cannot read the ledger",
            "where=%s reason=\"%s\"; reading begins all the same: a log that begins with the same record as a "
            "finished one of its name may get the same generation, and `tapline verify` would take the two for one",
            fail.where, fail.text);
    }
}

enum core_err ingest_ledger_read(const char *state_dir, void (*on_row)(void *ctx, const struct ingest_ledger_row *row),
                                 void *ctx, struct core_fail *fail) {
    struct reader reader = {.on_row = on_row, .ctx = ctx};
    int checkpoint = -1;
    enum core_err err = ingest_checkpoint_open(state_dir, &checkpoint, fail);
    if (err == CORE_OK) {
        err = read_ledgers(&reader, state_dir, fail);
    }
    if (err != CORE_OK) {
        if (checkpoint >= 0) {
            (void)close(checkpoint);
        }
        return err;
    }
    return ingest_checkpoint_lines(checkpoint, state_dir, on_checkpoint_line, &reader, fail);
}
