/* enrich/sync_spool.c: what a feed names, kept until all of it was read.
 *
 * On disk, because a feed can be longer than memory; a file without a name, so that nothing is left after a kill.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/sync_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SLOTS_FIRST ((size_t)1 << 12)
#define LOAD_OF_TEN 7
#define TEXTS 7 /* value provider tlp description reference tags id */
#define NO_TEXT UINT16_MAX

struct record {
    uint8_t type;
    bool is_gone;
    bool subdomains;
    int8_t confidence_tenths;
    uint16_t len[TEXTS]; /* NO_TEXT: NULL */
    int64_t first_seen, last_seen, expires;
};

struct sync_spool {
    FILE *file;
    const char *feed;
    uint64_t items_max;
    uint64_t items;
    uint64_t print;
    uint64_t *slots; /* 0: empty */
    size_t slots_len;
    char texts[ENRICH_VALUE_BYTES_MAX + TEXTS * (ENRICH_TEXT_BYTES_MAX + 1)];
};

static enum core_err spool_failed(const char *what, struct core_fail *fail) {
    return core_fail_errno(fail, "TMPDIR", "cannot %s the file that keeps a feed until all of it is read", what);
}

static FILE *file_open(void) {
    const char *folder = getenv("TMPDIR");
    char path[512];
    folder = folder != NULL && folder[0] != '\0' ? folder : "/tmp";
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) { /* a file system without such files */
        if (snprintf(path, sizeof path, "%s/tapline-sync-XXXXXX", folder) >= (int)sizeof path) {
            errno = ENAMETOOLONG;
            return NULL;
        }
        fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0) {
            (void)unlink(path);
        }
    }
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w+");
    if (fd >= 0 && file == NULL) {
        (void)close(fd);
    }
    return file;
}

enum core_err sync_spool_open(struct sync_spool **out, const char *feed, uint64_t items_max, struct core_fail *fail) {
    struct sync_spool *spool = calloc(1, sizeof *spool);
    MUST(spool != NULL);
    *out = NULL;
    spool->feed = feed;
    spool->items_max = items_max;
    spool->slots_len = SLOTS_FIRST;
    spool->slots = calloc(spool->slots_len, sizeof *spool->slots);
    spool->file = file_open();
    if (spool->file == NULL || spool->slots == NULL) {
        enum core_err err = spool_failed("make", fail);
        sync_spool_close(spool);
        return err;
    }
    *out = spool;
    return CORE_OK;
}

void sync_spool_close(struct sync_spool *spool) {
    if (spool != NULL) {
        if (spool->file != NULL) {
            (void)fclose(spool->file);
        }
        free(spool->slots);
        free(spool);
    }
}

/* ---- the set -------------------------------------------------------------------------------------------------------------------- */

static uint64_t name_hash(enum core_indicator type, struct core_span value, const char *provider) {
    uint64_t hash = core_hash64(value.ptr, value.len, (uint64_t)type);
    hash = core_hash64(provider, strlen(provider), hash);
    return hash != 0 ? hash : 1;
}

/* Where it is, or the empty slot where it would be. */
static size_t slot_of(const struct sync_spool *spool, uint64_t hash) {
    size_t at = (size_t)hash & (spool->slots_len - 1);
    while (spool->slots[at] != 0 && spool->slots[at] != hash) {
        at = (at + 1) & (spool->slots_len - 1);
    }
    return at;
}

static bool slots_grow(struct sync_spool *spool) {
    uint64_t *old = spool->slots;
    size_t old_len = spool->slots_len;
    uint64_t *grown = calloc(old_len * 2, sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    spool->slots = grown;
    spool->slots_len = old_len * 2;
    for (size_t i = 0; i < old_len; i++) {
        if (old[i] != 0) {
            grown[slot_of(spool, old[i])] = old[i];
        }
    }
    free(old);
    return true;
}

bool sync_spool_has(const struct sync_spool *spool, enum core_indicator type, struct core_span value,
                    const char *provider) {
    return spool->slots[slot_of(spool, name_hash(type, value, provider))] != 0;
}

uint64_t sync_spool_items(const struct sync_spool *spool) {
    return spool->items;
}

uint64_t sync_spool_print(const struct sync_spool *spool) {
    return spool->print;
}

/* ---- the file -------------------------------------------------------------------------------------------------------------------- */

static void texts_of(const struct enrich_item *item, struct core_span out[TEXTS]) {
    const struct enrich_provider *said = &item->said;
    const char *const texts[TEXTS] = {NULL,       said->provider, said->tlp, said->description, said->reference,
                                      said->tags, said->id};
    out[0] = item->value;
    for (size_t i = 1; i < TEXTS; i++) {
        out[i] = texts[i] == NULL ? (struct core_span){NULL, 0} : core_span_of(texts[i]);
    }
}

static enum core_err file_add(struct sync_spool *spool, const struct enrich_item *item, bool is_gone,
                              struct core_fail *fail) {
    struct core_span texts[TEXTS];
    struct record record = {.type = (uint8_t)item->type,
                            .is_gone = is_gone,
                            .subdomains = item->said.subdomains,
                            .confidence_tenths = (int8_t)item->said.confidence_tenths,
                            .first_seen = item->said.first_seen,
                            .last_seen = item->said.last_seen,
                            .expires = item->said.expires};
    texts_of(item, texts);
    for (size_t i = 0; i < TEXTS; i++) {
        MUST(texts[i].len <= (i == 0 ? ENRICH_VALUE_BYTES_MAX : ENRICH_TEXT_BYTES_MAX));
        record.len[i] = texts[i].ptr == NULL ? NO_TEXT : (uint16_t)texts[i].len;
    }
    bool is_written = fwrite(&record, sizeof record, 1, spool->file) == 1;
    for (size_t i = 0; i < TEXTS && is_written; i++) {
        is_written = texts[i].len == 0 || fwrite(texts[i].ptr, texts[i].len, 1, spool->file) == 1;
    }
    return is_written ? CORE_OK : spool_failed("write", fail);
}

enum core_err sync_spool_add(struct sync_spool *spool, const struct enrich_item *item, bool is_gone,
                             struct core_fail *fail) {
    MUST(item->said.provider != NULL);
    if (is_gone) {
        return file_add(spool, item, true, fail);
    }
    uint64_t hash = name_hash(item->type, item->value, item->said.provider);
    if (spool->slots[slot_of(spool, hash)] != 0) {
        return CORE_AGAIN;
    }
    if (spool->items >= spool->items_max) {
        return CORE_LIMIT;
    }
    if ((spool->items + 1) * 10 > spool->slots_len * LOAD_OF_TEN && !slots_grow(spool)) {
        return core_fail_set(fail, CORE_IO, spool->feed, "there is no memory for %zu names", spool->slots_len * 2);
    }
    spool->slots[slot_of(spool, hash)] = hash;
    spool->items++;
    spool->print += hash;
    return file_add(spool, item, false, fail);
}

enum core_err sync_spool_rewind(struct sync_spool *spool, struct core_fail *fail) {
    return fflush(spool->file) == 0 && fseeko(spool->file, 0, SEEK_SET) == 0 ? CORE_OK : spool_failed("write", fail);
}

enum core_err sync_spool_next(struct sync_spool *spool, struct enrich_item *item, bool *is_gone,
                              struct core_fail *fail) {
    struct record record;
    const char *texts[TEXTS];
    char *at = spool->texts;
    errno = 0;
    if (fread(&record, sizeof record, 1, spool->file) != 1) {
        return feof(spool->file) ? CORE_GONE : spool_failed("read", fail);
    }
    for (size_t i = 0; i < TEXTS; i++) {
        texts[i] = record.len[i] == NO_TEXT ? NULL : at;
        if (record.len[i] == NO_TEXT) {
            continue;
        }
        MUST((size_t)(spool->texts + sizeof spool->texts - at) > record.len[i]);
        if (record.len[i] > 0 && fread(at, record.len[i], 1, spool->file) != 1) {
            return spool_failed("read", fail);
        }
        at[record.len[i]] = '\0';
        at += record.len[i] + 1;
    }
    *is_gone = record.is_gone;
    *item = (struct enrich_item){.type = (enum core_indicator)record.type,
                                 .value = {texts[0], record.len[0]},
                                 .said = {.feed = spool->feed,
                                          .provider = texts[1],
                                          .tlp = texts[2],
                                          .description = texts[3],
                                          .reference = texts[4],
                                          .tags = texts[5],
                                          .id = texts[6],
                                          .confidence_tenths = record.confidence_tenths,
                                          .first_seen = record.first_seen,
                                          .last_seen = record.last_seen,
                                          .expires = record.expires,
                                          .subdomains = record.subdomains}};
    return CORE_OK;
}
