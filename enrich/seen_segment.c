/* enrich/seen_segment.c: a file of sorted records.
 *
 *     block … block   each a gzip member (RFC 1952: with its length and checksum) of about 32 KiB of records, compressed or not
 *     index           one more: of each block its bytes, its records' plain bytes, and its first key
 *     footer          fixed: where the index is, and what the segment holds; with a checksum
 *
 * A record: how many bytes of its key are those of the record before (none at a block's start), the others; count, first
 * time, how much later the last; samples. Numbers are LEB128, signed ones folded.
 *
 * A segment is written under a temporary name, fsynced, renamed, and the folder is fsynced: it is there whole or not at all,
 * and never changed. The index is read when it is opened, a block when a record of it is asked for.
 * Thread: one at a time each.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/seen_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define READER_MAGIC 0x73726472u
#define PATH_BYTES 4096
#define NUMBER_BYTES 10
#define NUMBER_BITS 7
#define NUMBER_MORE 0x80u
#define FILE_MODE 0640
#define TEMPORARY "writing.tmp"
#define SAMPLE_BYTES_MAX (sizeof(uint64_t) + 2 * NUMBER_BYTES + SEEN_UID_BYTES_MAX)
#define RECORD_BYTES_MAX (SEEN_KEY_BYTES_MAX + 6 * NUMBER_BYTES + SEEN_SAMPLES_MAX * SAMPLE_BYTES_MAX)
#define INDEX_BYTES_MAX (CORE_MIB * 1024)

/* ---- the footer ------------------------------------------------------------------------------------------------------------- */

enum footer_word {
    FOOTER_INDEX_AT,
    FOOTER_INDEX_BYTES, /* plain */
    FOOTER_BLOCKS,
    FOOTER_RECORDS,
    FOOTER_COUNT,
    FOOTER_FIRST_US,
    FOOTER_LAST_US,
    FOOTER_SINCE_NS,
    FOOTER_UNTIL_NS,
    FOOTER_HASH, /* of all before it */
    FOOTER_MAGIC,
    FOOTER__WORDS
};
_Static_assert(SEEN_BLOCK_BYTES_MAX - SEEN_BLOCK_BYTES >= RECORD_BYTES_MAX, "one record more has room");
#define FOOTER_BYTES ((size_t)FOOTER__WORDS * sizeof(uint64_t))
#define FOOTER_MAGIC_WORD UINT64_C(0x746c7365656e3031) /* "tlseen01" */

static void footer_write(const uint64_t words[FOOTER__WORDS], unsigned char out[FOOTER_BYTES]) {
    for (size_t i = 0; i < FOOTER__WORDS; i++) {
        uint64_t word = words[i];
        if (i == FOOTER_HASH) {
            word = core_hash64(out, FOOTER_HASH * sizeof(uint64_t), FOOTER_MAGIC_WORD);
        }
        core_put_be64(out + i * sizeof(uint64_t), word);
    }
}

static bool footer_read(const unsigned char in[FOOTER_BYTES], uint64_t words[FOOTER__WORDS]) {
    for (size_t i = 0; i < FOOTER__WORDS; i++) {
        words[i] = 0;
        for (size_t at = 0; at < sizeof(uint64_t); at++) {
            words[i] = words[i] << 8 | in[i * sizeof(uint64_t) + at];
        }
    }
    return words[FOOTER_MAGIC] == FOOTER_MAGIC_WORD &&
           words[FOOTER_HASH] == core_hash64(in, FOOTER_HASH * sizeof(uint64_t), FOOTER_MAGIC_WORD);
}

/* ---- numbers ---------------------------------------------------------------------------------------------------------------- */

/* What is written goes behind what was; there is room for it. */
static char *number_write(char *out, uint64_t number) {
    while (number >= NUMBER_MORE) {
        *out++ = (char)(number | NUMBER_MORE);
        number >>= NUMBER_BITS;
    }
    *out++ = (char)number;
    return out;
}

static char *bytes_write(char *out, const char *bytes, size_t len) {
    memcpy(out, bytes, len);
    return out + len;
}

static uint64_t folded(int64_t number) {
    return (uint64_t)number << 1 ^ (number < 0 ? UINT64_MAX : 0);
}

static int64_t unfolded(uint64_t number) {
    return (int64_t)(number >> 1 ^ (number & 1 ? UINT64_MAX : 0));
}

/* What is left to read; is_bad once it said something impossible. */
struct input {
    const char *pos;
    const char *end;
    bool is_bad;
};

static uint64_t number_get(struct input *in) {
    uint64_t number = 0;
    for (unsigned bits = 0; in->pos < in->end && bits < NUMBER_BYTES * NUMBER_BITS; bits += NUMBER_BITS) {
        unsigned char byte = (unsigned char)*in->pos++;
        number |= (uint64_t)(byte & (NUMBER_MORE - 1)) << bits;
        if (byte < NUMBER_MORE) {
            return number;
        }
    }
    in->is_bad = true;
    return 0;
}

static struct core_span bytes_get(struct input *in, uint64_t len) {
    if (in->is_bad || len > (uint64_t)(in->end - in->pos)) {
        in->is_bad = true;
        return (struct core_span){NULL, 0};
    }
    struct core_span bytes = {in->pos, (size_t)len};
    in->pos += len;
    return bytes;
}

/* ---- writing ---------------------------------------------------------------------------------------------------------------- */

struct seen_writer {
    char dir[PATH_BYTES];
    int dir_fd;
    int fd;
    struct core_gzip *gzip;
    uint64_t at; /* bytes written */
    char block[SEEN_BLOCK_BYTES_MAX];
    struct core_buf buf;
    char key[SEEN_KEY_BYTES_MAX]; /* the last record's */
    size_t key_len;
    char first[SEEN_KEY_BYTES_MAX]; /* the block's first record's */
    size_t first_len;
    char *index;
    size_t index_len;
    size_t index_cap;
    uint64_t blocks;
    struct seen_info info;
};

static enum core_err write_out(void *ctx, const char *bytes, size_t len, struct core_fail *fail) {
    struct seen_writer *writer = ctx;
    while (len > 0) {
        ssize_t done = write(writer->fd, bytes, len);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return core_fail_errno(fail, writer->dir, "cannot write what was seen to " TEMPORARY " there");
        }
        bytes += done;
        len -= (size_t)done;
        writer->at += (uint64_t)done;
    }
    return CORE_OK;
}

enum core_err seen_writer_open(struct seen_writer **out, const char *dir, enum seen_pack pack, struct core_fail *fail) {
    struct seen_writer *writer = calloc(1, sizeof *writer);
    MUST(writer != NULL);
    *out = NULL;
    writer->fd = -1;
    writer->buf = (struct core_buf){writer->block, writer->block, writer->block + sizeof writer->block, false};
    writer->info = (struct seen_info){.first_us = INT64_MAX, .last_us = INT64_MIN};
    (void)snprintf(writer->dir, sizeof writer->dir, "%s", dir);
    enum core_err err = CORE_OK;
    writer->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (writer->dir_fd < 0) {
        err = core_fail_errno(fail, dir, "cannot open the folder of what was seen");
    }
    if (err == CORE_OK) {
        writer->fd = openat(writer->dir_fd, TEMPORARY, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
        err = writer->fd < 0 ? core_fail_errno(fail, dir, "cannot make " TEMPORARY " there") : CORE_OK;
    }
    if (err == CORE_OK) {
        err = core_gzip_open(&writer->gzip, write_out, writer, dir, fail);
    }
    if (err != CORE_OK) {
        seen_writer_drop(writer);
        return err;
    }
    if (pack == SEEN_STORED) {
        core_gzip_store(writer->gzip);
    }
    *out = writer;
    return CORE_OK;
}

void seen_writer_drop(struct seen_writer *writer) {
    if (writer == NULL) {
        return;
    }
    core_gzip_close(writer->gzip);
    if (writer->fd >= 0) {
        (void)unlinkat(writer->dir_fd, TEMPORARY, 0); /* gone already, if it was renamed */
        (void)close(writer->fd);
    }
    if (writer->dir_fd >= 0) {
        (void)close(writer->dir_fd);
    }
    free(writer->index);
    free(writer);
}

static void index_room(struct seen_writer *writer, size_t len) {
    if (writer->index_cap - writer->index_len >= len) {
        return;
    }
    writer->index_cap = (writer->index_cap + len) * 2;
    writer->index = realloc(writer->index, writer->index_cap);
    MUST(writer->index != NULL);
}

static enum core_err block_end(struct seen_writer *writer, struct core_fail *fail) {
    struct core_span plain = core_buf_written(&writer->buf);
    uint64_t at = writer->at;
    if (plain.len == 0) {
        return CORE_OK;
    }
    MUST(!writer->buf.is_full);
    enum core_err err = core_gzip_write(writer->gzip, plain.ptr, plain.len, fail);
    err = err == CORE_OK ? core_gzip_finish(writer->gzip, fail) : err;
    if (err != CORE_OK) {
        return err;
    }
    index_room(writer, 3 * NUMBER_BYTES + writer->first_len);
    char *index = writer->index + writer->index_len;
    index = number_write(index, writer->at - at);
    index = number_write(index, plain.len);
    index = number_write(index, writer->first_len);
    index = bytes_write(index, writer->first, writer->first_len);
    writer->index_len = (size_t)(index - writer->index);
    writer->blocks++;
    writer->buf.pos = writer->buf.start;
    writer->key_len = 0;
    return CORE_OK;
}

static void record_put(struct core_buf *buf, struct core_span before, const struct seen_record *record) {
    char *out = buf->pos;
    size_t same = 0;
    MUST((size_t)(buf->end - buf->pos) >= RECORD_BYTES_MAX);
    while (same < before.len && same < record->key.len && before.ptr[same] == record->key.ptr[same]) {
        same++;
    }
    out = number_write(out, same);
    out = number_write(out, record->key.len - same);
    out = bytes_write(out, record->key.ptr + same, record->key.len - same);
    out = number_write(out, record->count);
    out = number_write(out, folded(record->first_us));
    out = number_write(out, (uint64_t)record->last_us - (uint64_t)record->first_us);
    out = number_write(out, record->samples_len);
    for (unsigned i = 0; i < record->samples_len; i++) {
        const struct seen_sample *sample = &record->samples[i];
        core_put_be64((unsigned char *)out, sample->gen);
        out = number_write(out + sizeof sample->gen, sample->start);
        out = number_write(out, sample->uid_len);
        out = bytes_write(out, sample->uid, sample->uid_len);
    }
    buf->pos = out;
}

enum core_err seen_writer_put(struct seen_writer *writer, const struct seen_record *record, struct core_fail *fail) {
    MUST(record->key.len > 0 && record->key.len <= SEEN_KEY_BYTES_MAX);
    MUST(record->samples_len <= SEEN_SAMPLES_MAX);
    if (core_buf_written(&writer->buf).len >= SEEN_BLOCK_BYTES) {
        enum core_err err = block_end(writer, fail);
        if (err != CORE_OK) {
            return err;
        }
    }
    struct core_span before = {writer->key, writer->key_len};
    MUST(writer->key_len == 0 || seen_key_compare(before, record->key) < 0);
    if (writer->key_len == 0) {
        memcpy(writer->first, record->key.ptr, record->key.len);
        writer->first_len = record->key.len;
    }
    record_put(&writer->buf, before, record);
    memcpy(writer->key, record->key.ptr, record->key.len);
    writer->key_len = record->key.len;
    struct seen_info *info = &writer->info;
    info->records++;
    info->count += record->count;
    info->first_us = record->first_us < info->first_us ? record->first_us : info->first_us;
    info->last_us = record->last_us > info->last_us ? record->last_us : info->last_us;
    return CORE_OK;
}

static enum core_err tail_write(struct seen_writer *writer, struct core_fail *fail) {
    uint64_t words[FOOTER__WORDS] = {
        [FOOTER_INDEX_AT] = writer->at,
        [FOOTER_INDEX_BYTES] = writer->index_len,
        [FOOTER_BLOCKS] = writer->blocks,
        [FOOTER_RECORDS] = writer->info.records,
        [FOOTER_COUNT] = writer->info.count,
        [FOOTER_FIRST_US] = (uint64_t)writer->info.first_us,
        [FOOTER_LAST_US] = (uint64_t)writer->info.last_us,
        [FOOTER_SINCE_NS] = (uint64_t)writer->info.since_ns,
        [FOOTER_UNTIL_NS] = (uint64_t)writer->info.until_ns,
        [FOOTER_MAGIC] = FOOTER_MAGIC_WORD,
    };
    unsigned char footer[FOOTER_BYTES];
    footer_write(words, footer);
    enum core_err err = CORE_OK;
    if (writer->index_len > 0) {
        err = core_gzip_write(writer->gzip, writer->index, writer->index_len, fail);
        err = err == CORE_OK ? core_gzip_finish(writer->gzip, fail) : err;
    }
    return err == CORE_OK ? write_out(writer, (const char *)footer, sizeof footer, fail) : err;
}

enum core_err seen_writer_finish(struct seen_writer *writer, const char *name, struct seen_info *info,
                                 struct core_fail *fail) {
    writer->info.since_ns = info->since_ns;
    writer->info.until_ns = info->until_ns;
    enum core_err err = block_end(writer, fail);
    err = err == CORE_OK ? tail_write(writer, fail) : err;
    if (err == CORE_OK && fsync(writer->fd) != 0) {
        err = core_fail_errno(fail, writer->dir, "cannot fsync " TEMPORARY " there");
    }
    if (err == CORE_OK && renameat(writer->dir_fd, TEMPORARY, writer->dir_fd, name) != 0) {
        err = core_fail_errno(fail, writer->dir, "cannot rename " TEMPORARY " to %s there", name);
    }
    if (err == CORE_OK && fsync(writer->dir_fd) != 0) {
        err = core_fail_errno(fail, writer->dir, "cannot fsync the folder");
    }
    if (err == CORE_OK) {
        *info = writer->info;
        info->bytes = writer->at;
    }
    seen_writer_drop(writer);
    return err;
}

/* ---- reading ---------------------------------------------------------------------------------------------------------------- */

struct block {
    uint64_t at;
    uint32_t bytes;
    uint32_t plain;
    struct core_span first; /* into the reader's index */
};

struct seen_reader {
    uint32_t magic;
    char path[PATH_BYTES];
    int fd;
    struct seen_info info;
    char *index;
    struct block *blocks;
    size_t blocks_len;
    size_t block; /* that is read; blocks_len and beyond: the end */
    bool is_loaded;
    struct input in;
    char plain[SEEN_BLOCK_BYTES_MAX];
    struct seen_record record; /* its key is `key` */
    char key[SEEN_KEY_BYTES_MAX];
};

static enum core_err damaged(const struct seen_reader *reader, const char *what, struct core_fail *fail) {
    return core_fail_set(fail, CORE_BAD, reader->path, "%s: the file is damaged or no segment of what was seen", what);
}

/* Compressed bytes of a file from somewhere to somewhere. */
struct piece {
    int fd;
    const char *path;
    uint64_t at;
    uint64_t end;
};

static enum core_err piece_read(void *ctx, char *buf, size_t cap, size_t *len, struct core_fail *fail) {
    struct piece *piece = ctx;
    size_t want = piece->end - piece->at < cap ? (size_t)(piece->end - piece->at) : cap;
    *len = 0;
    while (want > 0) {
        ssize_t got = pread(piece->fd, buf, want, (off_t)piece->at);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return core_fail_errno(fail, piece->path, "cannot read it");
        }
        *len = (size_t)got;
        piece->at += (uint64_t)got;
        break;
    }
    return CORE_OK;
}

/* Exactly so many plain bytes out of so many compressed ones. */
static enum core_err unpack(const struct seen_reader *reader, struct piece piece, char *out, size_t len,
                            struct core_fail *fail) {
    struct core_gunzip *gunzip;
    enum core_err err = core_gunzip_open(&gunzip, piece_read, &piece, reader->path, fail);
    size_t done = 0;
    while (err == CORE_OK && done < len) {
        size_t got;
        err = core_gunzip_read(gunzip, out + done, len - done, &got, fail);
        done += got;
    }
    char beyond;
    size_t more = 0;
    if (err == CORE_OK) { /* the checksum is judged at the end */
        err = core_gunzip_read(gunzip, &beyond, 1, &more, fail);
        err = err == CORE_GONE ? CORE_OK : err == CORE_OK ? damaged(reader, "a block is too long", fail) : err;
    } else if (err == CORE_GONE) {
        err = damaged(reader, "a block is too short", fail);
    }
    core_gunzip_close(gunzip);
    return err;
}

static enum core_err index_parse(struct seen_reader *reader, size_t len, uint64_t end, struct core_fail *fail) {
    struct input in = {reader->index, reader->index + len, false};
    uint64_t at = 0;
    for (size_t i = 0; i < reader->blocks_len && !in.is_bad; i++) {
        struct block *block = &reader->blocks[i];
        block->at = at;
        block->bytes = (uint32_t)number_get(&in);
        block->plain = (uint32_t)number_get(&in);
        block->first = bytes_get(&in, number_get(&in));
        at += block->bytes;
        in.is_bad = in.is_bad || block->plain > SEEN_BLOCK_BYTES_MAX || block->first.len == 0 || at > end;
    }
    return in.is_bad || at != end ? damaged(reader, "its index is wrong", fail) : CORE_OK;
}

static enum core_err index_load(struct seen_reader *reader, const uint64_t words[FOOTER__WORDS],
                                struct core_fail *fail) {
    uint64_t end = reader->info.bytes - FOOTER_BYTES;
    size_t len = (size_t)words[FOOTER_INDEX_BYTES];
    if (words[FOOTER_INDEX_AT] > end || len > INDEX_BYTES_MAX || words[FOOTER_BLOCKS] > len / 3) {
        return damaged(reader, "its footer is wrong", fail);
    }
    reader->blocks_len = (size_t)words[FOOTER_BLOCKS];
    reader->blocks = calloc(reader->blocks_len + 1, sizeof *reader->blocks);
    reader->index = malloc(len + 1);
    MUST(reader->blocks != NULL && reader->index != NULL);
    if (reader->blocks_len == 0) {
        return CORE_OK;
    }
    struct piece piece = {reader->fd, reader->path, words[FOOTER_INDEX_AT], end};
    enum core_err err = unpack(reader, piece, reader->index, len, fail);
    return err == CORE_OK ? index_parse(reader, len, words[FOOTER_INDEX_AT], fail) : err;
}

static enum core_err footer_load(struct seen_reader *reader, struct core_fail *fail) {
    unsigned char footer[FOOTER_BYTES];
    uint64_t words[FOOTER__WORDS];
    struct stat info;
    if (fstat(reader->fd, &info) != 0) {
        return core_fail_errno(fail, reader->path, "cannot read it");
    }
    if (info.st_size < (off_t)FOOTER_BYTES) {
        return damaged(reader, "it is too short", fail);
    }
    ssize_t got = pread(reader->fd, footer, FOOTER_BYTES, info.st_size - (off_t)FOOTER_BYTES);
    if (got < 0) {
        return core_fail_errno(fail, reader->path, "cannot read it");
    }
    if (got != (ssize_t)FOOTER_BYTES || !footer_read(footer, words)) {
        return damaged(reader, "its footer is wrong", fail);
    }
    reader->info = (struct seen_info){.records = words[FOOTER_RECORDS],
                                      .count = words[FOOTER_COUNT],
                                      .first_us = (int64_t)words[FOOTER_FIRST_US],
                                      .last_us = (int64_t)words[FOOTER_LAST_US],
                                      .since_ns = (int64_t)words[FOOTER_SINCE_NS],
                                      .until_ns = (int64_t)words[FOOTER_UNTIL_NS],
                                      .bytes = (uint64_t)info.st_size};
    return index_load(reader, words, fail);
}

enum core_err seen_reader_open(struct seen_reader **out, const char *dir, const char *name, struct core_fail *fail) {
    struct seen_reader *reader = calloc(1, sizeof *reader);
    MUST(reader != NULL);
    *out = NULL;
    reader->magic = READER_MAGIC;
    (void)snprintf(reader->path, sizeof reader->path, "%s/%s", dir, name);
    reader->fd = open(reader->path, O_RDONLY | O_CLOEXEC);
    enum core_err err = reader->fd < 0 ? core_fail_errno(fail, reader->path, "cannot open it") : CORE_OK;
    err = err == CORE_OK ? footer_load(reader, fail) : err;
    if (err != CORE_OK) {
        seen_reader_close(reader);
        return err;
    }
    *out = reader;
    return CORE_OK;
}

void seen_reader_close(struct seen_reader *reader) {
    if (reader == NULL) {
        return;
    }
    MUST(reader->magic == READER_MAGIC);
    if (reader->fd >= 0) {
        (void)close(reader->fd);
    }
    free(reader->index);
    free(reader->blocks);
    reader->magic = 0;
    free(reader);
}

const struct seen_info *seen_reader_info(const struct seen_reader *reader) {
    return &reader->info;
}

const struct seen_record *seen_reader_record(const struct seen_reader *reader) {
    return &reader->record;
}

static enum core_err block_load(struct seen_reader *reader, struct core_fail *fail) {
    const struct block *block = &reader->blocks[reader->block];
    struct piece piece = {reader->fd, reader->path, block->at, block->at + block->bytes};
    reader->record.key = (struct core_span){reader->key, 0};
    enum core_err err = unpack(reader, piece, reader->plain, block->plain, fail);
    reader->in = (struct input){reader->plain, reader->plain + (err == CORE_OK ? block->plain : 0), false};
    reader->is_loaded = true;
    return err;
}

static void sample_get(struct input *in, struct seen_sample *sample) {
    struct core_span gen = bytes_get(in, sizeof(uint64_t));
    sample->gen = 0;
    for (size_t i = 0; i < gen.len; i++) {
        sample->gen = sample->gen << 8 | (unsigned char)gen.ptr[i];
    }
    sample->start = number_get(in);
    struct core_span uid = bytes_get(in, number_get(in));
    in->is_bad = in->is_bad || uid.len > SEEN_UID_BYTES_MAX;
    sample->uid_len = in->is_bad ? 0 : (uint8_t)uid.len;
    if (sample->uid_len > 0) {
        memcpy(sample->uid, uid.ptr, uid.len);
    }
}

/* The next record of the block. false: what is there is none. */
static bool record_get(struct seen_reader *reader) {
    struct input *in = &reader->in;
    struct seen_record *record = &reader->record;
    uint64_t same = number_get(in);
    struct core_span rest = bytes_get(in, number_get(in));
    if (in->is_bad || same > record->key.len || same + rest.len > sizeof reader->key || rest.len == 0) {
        return false;
    }
    memcpy(reader->key + same, rest.ptr, rest.len);
    record->key = (struct core_span){reader->key, (size_t)same + rest.len};
    record->count = number_get(in);
    record->first_us = unfolded(number_get(in));
    record->last_us = (int64_t)((uint64_t)record->first_us + number_get(in));
    record->samples_len = (unsigned)number_get(in);
    if (in->is_bad || record->samples_len > SEEN_SAMPLES_MAX) {
        return false;
    }
    for (unsigned i = 0; i < record->samples_len; i++) {
        sample_get(in, &record->samples[i]);
    }
    return !in->is_bad;
}

/* The last block that begins at or before the key, or the one that is being read. */
static void block_find(struct seen_reader *reader, struct core_span from) {
    size_t low = reader->block;
    size_t high = reader->blocks_len;
    while (from.len > 0 && low + 1 < high) {
        size_t middle = low + (high - low) / 2;
        if (seen_key_compare(reader->blocks[middle].first, from) <= 0) {
            low = middle;
        } else {
            high = middle;
        }
    }
    if (low != reader->block) {
        reader->block = low;
        reader->is_loaded = false;
    }
}

enum core_err seen_reader_next(struct seen_reader *reader, struct core_span from, struct core_fail *fail) {
    MUST(reader->magic == READER_MAGIC);
    block_find(reader, from);
    while (reader->block < reader->blocks_len) {
        bool is_good = true;
        if (!reader->is_loaded) {
            enum core_err err = block_load(reader, fail);
            if (err != CORE_OK && err != CORE_BAD) {
                return err;
            }
            is_good = err == CORE_OK;
        }
        while (is_good && reader->in.pos < reader->in.end) {
            is_good = record_get(reader);
            if (is_good && seen_key_compare(reader->record.key, from) >= 0) {
                return CORE_OK;
            }
        }
        if (!is_good) {
            core_log(CORE_LEVEL_ERROR, "lookback",
                     "a part of what was seen is damaged on disk, and is passed over; the disk should be looked at",
                     "path=%s block=%zu", reader->path, reader->block);
        }
        reader->block++;
        reader->is_loaded = false;
    }
    return CORE_GONE;
}
