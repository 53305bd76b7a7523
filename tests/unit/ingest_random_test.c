/* tests/unit/ingest_random_test.c: writers, rotations, slow sinks and kills in random order; nothing lost, ids that never
 * change, nothing twice but what a kill explains, and every record behind its own header.
 *
 * A record is "h<header> L<serial> <padding>"; the header line that a decoder must have seen last is "#fields\th<header>".
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ingest_rig.h"

#include <sys/wait.h>
#include <zlib.h>

#define WRITERS 5
#define OLD_MAX 400
#define SERIALS_MAX 60000
#define STREAMS_MAX 512

/* A file that a sensor has open. */
struct writer {
    int fd; /* -1: it opens a new one at its next line */
    int header;
    bool is_partial;
    int number;    /* of the file: fate.file */
    bool is_known; /* to a checkpoint, when its reader is down */
};

/* What is known of a record that was written. */
struct fate {
    bool is_seen, is_sealed; /* sealed: accepted before a clean stop, must not come again */
    int file;
    int life; /* of the process that saw it last */
    uint64_t gen, start, end;
};

static struct rig rig;
static struct writer writers[WRITERS];
static struct fate fates[SERIALS_MAX];
static uint32_t serials;
static int rotations;
static int files;
static int life;
static uint32_t seed;
/* The header that the decoder of each live stream has. */
static struct {
    const struct core_stream *stream;
    char header[32];
} decoders[STREAMS_MAX];
static size_t decoders_len;

static uint32_t next_random(uint32_t below) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

static char *header_of(const struct core_stream *stream) {
    for (size_t i = 0; i < decoders_len; i++) {
        if (decoders[i].stream == stream) {
            return decoders[i].header;
        }
    }
    assert_true(decoders_len < STREAMS_MAX);
    decoders[decoders_len].stream = stream;
    decoders[decoders_len].header[0] = '\0';
    return decoders[decoders_len++].header;
}

static void drop_header(const struct core_stream *stream) {
    for (size_t i = 0; i < decoders_len; i++) {
        if (decoders[i].stream == stream) {
            decoders[i] = decoders[--decoders_len];
            return;
        }
    }
}

static void check_record(const struct core_stream *stream, const struct core_line *line, const char *header) {
    unsigned serial = 0;
    char head[32];
    char text[64];
    const size_t n = line->text.len < sizeof(text) - 1 ? line->text.len : sizeof(text) - 1;
    memcpy(text, line->text.ptr, n);
    text[n] = '\0';
    assert_int_equal(sscanf(text, "%31s L%u ", head, &serial), 2);
    assert_true(serial < serials);
    assert_string_equal(head, header);
    struct fate *fate = &fates[serial];
    if (fate->is_sealed) {
        fail_msg("seed: record %u came again after a clean stop", serial);
    }
    if (fate->is_seen) {
        if (fate->gen != stream->gen) {
            fail_msg("record %u of %s came as %016llx/%llu in life %d, and now as %016llx/%llu in life %d", serial,
                     stream->path, (unsigned long long)fate->gen, (unsigned long long)fate->start, fate->life,
                     (unsigned long long)stream->gen, (unsigned long long)line->start, life);
        }
        assert_int_equal(fate->start, line->start);
        assert_int_equal(fate->end, line->end);
    }
    *fate = (struct fate){
        .is_seen = true, .file = fate->file, .life = life, .gen = stream->gen, .start = line->start, .end = line->end};
}

static void on_batch(struct rig *r, const struct core_batch *batch) {
    (void)r;
    char *header = header_of(batch->stream);
    for (uint32_t i = 0; i < batch->lines_len; i++) {
        const struct core_line *line = &batch->lines[i];
        if ((line->flags & CORE_LINE_CONTEXT) == 0) {
            check_record(batch->stream, line, header);
        } else if (core_span_starts(line->text, CORE_SPAN("#fields\t"))) {
            (void)snprintf(header, 32, "%.*s", (int)(line->text.len - 8), line->text.ptr + 8);
        }
    }
    if (batch->is_last) {
        drop_header(batch->stream);
    }
    rig_forget(&rig); /* what was seen is in fates */
}

static void put(const struct writer *writer, const char *text, size_t len) {
    assert_int_equal(write(writer->fd, text, len), (ssize_t)len);
}

static void put_header(struct writer *writer) {
    char text[64];
    writer->header = (int)next_random(1000);
    const int len =
        snprintf(text, sizeof(text), "%s#separator x\n#fields\th%d\n%s", next_random(3) == 0 ? "#close\n\n" : "",
                 writer->header, next_random(3) == 0 ? "#types\n" : "");
    put(writer, text, (size_t)len);
}

static void live_name(size_t i, char out[32]) {
    (void)snprintf(out, 32, "w%zu.log", i);
}

static void append(size_t i) {
    struct writer *writer = &writers[i];
    char text[3000];
    if (writer->fd < 0) {
        char name[32];
        char path[192];
        live_name(i, name);
        rig_path(&rig, name, path);
        *writer = (struct writer){.fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600), .number = files++};
        assert_true(writer->fd >= 0);
        put_header(writer);
    }
    if (writer->is_partial) {
        put(writer, "rest\n", 5);
        writer->is_partial = false;
    }
    for (uint32_t k = next_random(next_random(20) == 0 ? 300 : 6); k > 0 && serials < SERIALS_MAX; k--) {
        if (next_random(30) == 0) {
            put_header(writer);
        }
        const size_t pad = next_random(next_random(10) == 0 ? 2500 : 40);
        int len = snprintf(text, sizeof(text), "h%d L%u ", writer->header, serials);
        memset(text + len, 'p', pad);
        len += (int)pad;
        fates[serials++].file = writer->number;
        if (k == 1 && next_random(3) == 0) {
            writer->is_partial = true;
        } else {
            len += snprintf(text + len, 4, "%s", next_random(4) == 0 ? "\r\n" : "\n");
        }
        put(writer, text, (size_t)len);
    }
}

/* Did ingest ever see this file under a name that a glob matches? Else no reader could find it under another. */
static bool is_noticed(const struct writer *writer) {
    struct stat st;
    struct statx stx;
    assert_int_equal(fstat(writer->fd, &st), 0);
    assert_int_equal(statx(writer->fd, "", AT_EMPTY_PATH, STATX_BTIME, &stx), 0);
    const struct ingest_file *file = ingest_file_by_inode(rig.ingest, st.st_dev, st.st_ino);
    /* An inode number may be that of a file deleted before; and without births nothing can be known over a restart. */
    return file != NULL && !file->is_unlinked && (stx.stx_mask & STATX_BTIME) != 0 &&
           file->born_ns == stx.stx_btime.tv_sec * CORE_NS_PER_S + stx.stx_btime.tv_nsec;
}

/* The bytes of a rotated file go to another inode: moved over a mount, or compressed. */
static void transform(const char *name) {
    static char bytes[8 * CORE_MIB];
    char from[192];
    char to[192];
    char to_name[64];
    const uint32_t how = next_random(4);
    rig_path(&rig, name, from);
    const int fd = open(from, O_RDONLY);
    assert_true(fd >= 0);
    const ssize_t len = read(fd, bytes, sizeof(bytes));
    assert_true(len > 0 && (size_t)len < sizeof(bytes));
    close(fd);
    if (how == 0) {
        (void)snprintf(to_name, sizeof(to_name), "m%d.log", rotations++);
        rig_write(&rig, to_name, O_TRUNC, bytes, (size_t)len);
    } else if (how == 1) {
        (void)snprintf(to_name, sizeof(to_name), "%s.gz", name);
        rig_path(&rig, to_name, to);
        gzFile gz = gzopen(to, "wb1");
        assert_int_equal(gzwrite(gz, bytes, (unsigned)len), (int)len);
        assert_int_equal(gzclose(gz), Z_OK);
    } else {
        return;
    }
    rig_unlink(&rig, name);
}

/* As Zeek does: rename, and for a while go on in the file renamed. */
static void rotate(size_t i) {
    char from[32];
    char to[64];
    struct writer *writer = &writers[i];
    if (writer->fd < 0) {
        return;
    }
    live_name(i, from);
    const bool is_known = is_noticed(writer);
    (void)snprintf(to, sizeof(to), !is_known || next_random(2) == 0 ? "w%zu.%d.log" : "w%zu.%d.old", i, rotations++);
    rig_rename(&rig, from, to);
    if (next_random(2) == 0) {
        rig_turn(&rig);
    }
    append(i);
    if (writer->is_partial) {
        put(writer, "rest\n", 5);
    }
    close(writer->fd);
    writer->fd = -1;
    if (is_known) {
        transform(to);
    }
}

static bool is_all_accepted(void) {
    if (rig.out_len > 0 || rig.is_holding) {
        return false;
    }
    for (const struct ingest_file *file = rig.ingest->files; file != NULL; file = file->next) {
        if (file->queue != INGEST_QUEUE_NONE) {
            return false;
        }
    }
    return true;
}

/* Truncation and deletion lose at the source what is not read: only when nothing is. */
static void truncate_or_delete(size_t i) {
    struct writer *writer = &writers[i];
    char name[32];
    if (writer->fd < 0 || writer->is_partial) {
        return;
    }
    rig.is_holding = false;
    rig_settle(&rig);
    assert_true(is_all_accepted());
    for (uint32_t k = 0; k < serials; k++) {
        fates[k].is_sealed = fates[k].is_sealed || (fates[k].file == writer->number && fates[k].is_seen);
    }
    if (next_random(2) == 0) {
        assert_int_equal(ftruncate(writer->fd, 0), 0);
        put_header(writer);
    } else {
        struct stat st;
        assert_int_equal(fstat(writer->fd, &st), 0);
        const struct ingest_file *file = ingest_file_by_inode(rig.ingest, st.st_dev, st.st_ino);
        const bool is_open = file != NULL && file->source.fd >= 0; /* not closed for want of room */
        live_name(i, name);
        rig_unlink(&rig, name);
        if (is_open) { /* the sensor did not notice yet */
            append(i);
            if (writer->is_partial) {
                put(writer, "rest\n", 5);
            }
            rig_settle(&rig);
        }
        close(writer->fd);
        writer->fd = -1;
    }
}

static void restart(bool is_kill) {
    for (size_t i = 0; i < WRITERS; i++) {
        writers[i].is_known = writers[i].fd >= 0 && is_noticed(&writers[i]) && (!is_kill || !rig.ingest->is_dirty);
    }
    if (is_kill) {
        rig_kill(&rig);
    } else {
        rig_stop(&rig);
        for (uint32_t i = 0; i < serials; i++) {
            fates[i].is_sealed = fates[i].is_sealed || (fates[i].is_seen && fates[i].life == life);
        }
    }
    life++;
    decoders_len = 0;
    for (uint32_t k = next_random(3); k > 0; k--) { /* the world goes on meanwhile */
        const size_t i = next_random(WRITERS);
        if (writers[i].fd >= 0 && next_random(2) == 0) {
            char from[32];
            char to[64];
            live_name(i, from);
            (void)snprintf(to, sizeof(to), writers[i].is_known ? "w%zu.%d.old" : "w%zu.%d.log", i, rotations++);
            append(i);
            if (writers[i].is_partial) {
                put(&writers[i], "rest\n", 5);
            }
            rig_rename(&rig, from, to);
            close(writers[i].fd);
            writers[i].fd = -1;
            transform(to);
        }
        append(i);
    }
    rig_open(&rig);
}

static void one_history(uint32_t with_seed) {
    seed = with_seed;
    serials = 0;
    rotations = 0;
    decoders_len = 0;
    memset(fates, 0, sizeof(fates));
    rig_setup(&rig, 3 + next_random(10));
    rig.on_batch = on_batch;
    rig_glob(&rig, 1, "*.gz");
    rig.conf.files_max = 3 + next_random(20);
    rig.conf.use_inotify = next_random(2) == 0;
    rig.conf.checkpoint_interval_ns = next_random(2) == 0 ? 0 : 5 * CORE_NS_PER_MS;
    for (size_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.fd = -1};
    }
    rig_open(&rig);
    for (int step = 0; step < 400; step++) {
        const uint32_t what = next_random(100);
        const size_t i = next_random(WRITERS);
        if (what < 50) {
            append(i);
        } else if (what < 58) {
            rotate(i);
        } else if (what < 60) {
            truncate_or_delete(i);
        } else if (what < 64) {
            restart(next_random(3) > 0);
        } else if (what < 70) {
            rig.is_holding = !rig.is_holding;
        } else if (what < 74) {
            rig.is_backwards = !rig.is_backwards;
        } else {
            rig.ingest->scan_tick = next_random(2) == 0 ? 0 : rig.ingest->scan_tick;
            rig_turn(&rig);
        }
    }
    for (size_t i = 0; i < WRITERS; i++) {
        if (writers[i].fd >= 0 && writers[i].is_partial) {
            put(&writers[i], "rest\n", 5);
        }
        if (writers[i].fd >= 0) {
            close(writers[i].fd);
        }
    }
    rig.is_holding = false;
    rig_settle(&rig);
    for (uint32_t i = 0; i < serials; i++) {
        if (!fates[i].is_seen) {
            fail_msg("seed %u: record %u of %u was lost", with_seed, i, serials);
        }
    }
    rig_stop(&rig);
    rig_teardown(&rig);
}

static int compare_fates(const void *a, const void *b) {
    const struct fate *x = a;
    const struct fate *y = b;
    return x->gen != y->gen ? (x->gen < y->gen ? -1 : 1) : x->start != y->start ? (x->start < y->start ? -1 : 1) : 0;
}

static void no_history_loses_or_changes_a_record(void **state) {
    (void)state;
    const char *from = getenv("TAPLINE_RANDOM_SEED");
    const char *count = getenv("TAPLINE_RANDOM_COUNT");
    const uint32_t first = from == NULL ? 1 : (uint32_t)strtoul(from, NULL, 10);
    const uint32_t n = count == NULL ? 6 : (uint32_t)strtoul(count, NULL, 10);
    for (uint32_t i = 0; i < n; i++) {
        if (count != NULL) {
            (void)fprintf(stderr, "seed %u\n", first + i);
        }
        one_history(first + i);
        assert_true(serials > 100);
        /* Ids are unique, and the spans of a generation do not overlap. */
        qsort(fates, serials, sizeof(fates[0]), compare_fates);
        for (uint32_t k = 1; k < serials; k++) {
            if (fates[k].gen == fates[k - 1].gen) {
                assert_true(fates[k].start >= fates[k - 1].end);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_history_loses_or_changes_a_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
