/* enrich/store_memory.c: indicators held in this process, read from intel.files: for a sensor without Redis.
 *
 * A file that has changed makes a new table, which is compared with the old one, and then takes its place.
 *
 * get() and follow() may run in two threads: a mutex guards which table is the present one. It is not waited for on the
 * data path but in the moment of the exchange, a few instructions once in a change of a file.
 * A file that cannot be read when it is read again leaves what is there, and the log says so. So does a pattern that named
 * files and names none any more: whoever writes them anew takes them away first. One of several that is gone is waited for.
 * What has a mistake is not read again before it has changed; what the disk does not give, once a minute.
 *
 * Reading ten million lines takes a while: a stop ends it (stop_fd), and meanwhile the old table answers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/table_internal.h"

#include <fnmatch.h>
#include <glob.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#define FILES_MAX 1024
#define REFUSED_SHOWN 5 /* of a file, in the log */
#define REFUSED_SHOWN_BYTES 128
#define CHANGES_MIN 64
#define TELL_BETWEEN 10000 /* indicators told between two looks whether to go on */
#define LOOK_NS CORE_NS_PER_S
#define GONE_NS (3 * CORE_NS_PER_S)   /* a file that is gone is waited for */
#define AGAIN_NS (60 * CORE_NS_PER_S) /* what the disk did not give is asked for again, changed or not */
#define PROVIDER_BYTES 256

/* ---- the store ------------------------------------------------------------------------------------------------------------ */

struct file_seen {
    char *path;
    struct stat info;
};

struct change {
    enum change_kind { CHANGE_ADD, CHANGE_REMOVE, CHANGE_ALLOW, CHANGE_UNALLOW } what;
    enum core_indicator type;
    bool subdomains;
    char *value; /* malloc'ed */
    size_t value_len;
};

struct memory {
    struct enrich_store store;
    pthread_mutex_t lock; /* over table and its contents, changes */
    struct table *table;
    struct core_conf_list patterns; /* the config's */
    struct file_seen *files;        /* as they were when they were last read */
    size_t files_len;
    bool is_read;            /* the table has what they say */
    struct core_fail failed; /* why the last reading failed; .err CORE_OK: it did not */
    int64_t again_ns;        /* if it was the disk, it is tried again then */
    int stop_fd;             /* readable: end; -1: nobody ends it */
    int64_t looked_ns;
    int64_t gone_ns;        /* since when a file has been gone; 0: none is */
    struct change *changes; /* of put(), remove(), allow(): not told to follow() yet */
    size_t changes_len;
    size_t changes_cap;
};

static struct memory *memory_of(struct enrich_store *store) {
    MUST(store->magic == ENRICH_STORE_MAGIC);
    return (struct memory *)store;
}

static void files_release(struct file_seen *files, size_t len) {
    for (size_t i = 0; i < len; i++) {
        free(files[i].path);
    }
    free(files);
}

static void changes_release(struct change *changes, size_t len) {
    for (size_t i = 0; i < len; i++) {
        free(changes[i].value);
    }
    free(changes);
}

static void memory_close(struct enrich_store *store) {
    struct memory *memory = memory_of(store);
    table_free(memory->table);
    files_release(memory->files, memory->files_len);
    changes_release(memory->changes, memory->changes_len);
    MUST(pthread_mutex_destroy(&memory->lock) == 0);
    free(memory);
}

static void change_add(struct memory *memory, enum change_kind what, const struct enrich_item *item) {
    if (memory->changes_len == memory->changes_cap) {
        memory->changes_cap = memory->changes_cap == 0 ? CHANGES_MIN : 2 * memory->changes_cap;
        memory->changes = realloc(memory->changes, memory->changes_cap * sizeof *memory->changes);
        MUST(memory->changes != NULL);
    }
    struct change *change = &memory->changes[memory->changes_len++];
    *change = (struct change){.what = what,
                              .type = item->type,
                              .subdomains = item->said.subdomains,
                              .value = malloc(item->value.len),
                              .value_len = item->value.len};
    MUST(change->value != NULL);
    memcpy(change->value, item->value.ptr, item->value.len);
}

static enum core_err memory_get(struct enrich_store *store, struct enrich_found *found, size_t len,
                                struct core_arena *arena, int timeout_ms, struct core_fail *fail) {
    struct memory *memory = memory_of(store);
    (void)timeout_ms;
    int64_t now_s = core_now_ns() / CORE_NS_PER_S;
    bool fits = true;
    MUST(pthread_mutex_lock(&memory->lock) == 0);
    for (size_t i = 0; i < len && fits; i++) {
        const struct entry *entry = table_find(memory->table, found[i].type, found[i].value);
        if (entry != NULL && entry->first != 0) {
            fits = table_show(memory->table, entry, now_s, arena, &found[i]);
        }
    }
    MUST(pthread_mutex_unlock(&memory->lock) == 0);
    return fits ? CORE_OK
                : core_fail_set(fail, CORE_LIMIT, "indicators",
                                "what is known does not fit into %zu bytes; fewer "
                                "indicators a call are asked for then",
                                arena->cap);
}

static enum core_err full(struct core_fail *fail) {
    return core_fail_set(fail, CORE_LIMIT, "intel.files",
                         "no room for further indicators: at most %zu, and as much memory as the system gives; those "
                         "beyond are left out. Use Redis for so many: intel.redis.urls",
                         TABLE_ITEMS_MAX);
}

static enum core_err memory_put(struct enrich_store *store, const struct enrich_item *item, struct core_fail *fail) {
    struct memory *memory = memory_of(store);
    MUST(pthread_mutex_lock(&memory->lock) == 0);
    enum put_result result = table_put(memory->table, item);
    if (result == PUT_NEW) {
        change_add(memory, CHANGE_ADD, item);
    }
    MUST(pthread_mutex_unlock(&memory->lock) == 0);
    store->put += result == PUT_NEW || result == PUT_CHANGED;
    store->same += result == PUT_SAME;
    store->refused += result == PUT_REFUSED;
    return result == PUT_FULL ? full(fail) : CORE_OK;
}

static enum core_err memory_remove(struct enrich_store *store, enum core_indicator type, struct core_span value,
                                   const char *feed, const char *provider, struct core_fail *fail) {
    struct memory *memory = memory_of(store);
    (void)fail;
    MUST(pthread_mutex_lock(&memory->lock) == 0);
    struct entry *entry = table_find(memory->table, type, value);
    size_t removed = entry == NULL ? 0 : table_remove(memory->table, entry, feed, provider);
    if (removed > 0 && entry->first == 0) {
        change_add(memory, CHANGE_REMOVE, &(struct enrich_item){.type = type, .value = value});
    }
    MUST(pthread_mutex_unlock(&memory->lock) == 0);
    store->removed += removed;
    return CORE_OK;
}

static enum core_err memory_flush(struct enrich_store *store, struct core_fail *fail) {
    (void)store, (void)fail;
    return CORE_OK;
}

/* In the allow-list first is 1 while it stands. Lists are short: they are walked. */
static enum core_err memory_allow(struct enrich_store *store, enum core_indicator type, struct core_span value,
                                  bool is_allowed, struct core_fail *fail) {
    struct memory *memory = memory_of(store);
    struct entry *entry;
    bool is_full = false;
    MUST(pthread_mutex_lock(&memory->lock) == 0);
    struct pool *allow = &memory->table->allow;
    for (size_t at = 0; (entry = table_entry_next(allow, &at)) != NULL;) {
        if (entry->type == type && core_span_eq(table_value(entry), value)) {
            break;
        }
    }
    bool was_allowed = entry != NULL && entry->first != 0;
    if (entry == NULL && is_allowed) {
        uint32_t place = table_entry_add(allow, type, value);
        entry = place == 0 ? NULL : table_at(allow, place);
        is_full = entry == NULL;
    }
    if (entry != NULL && was_allowed != is_allowed) {
        entry->first = is_allowed;
        change_add(memory, is_allowed ? CHANGE_ALLOW : CHANGE_UNALLOW,
                   &(struct enrich_item){.type = type, .value = value});
    }
    MUST(pthread_mutex_unlock(&memory->lock) == 0);
    return is_full ? full(fail) : CORE_OK;
}

#define WALK_ARENA_BYTES (CORE_MIB)

static enum core_err memory_walk(struct enrich_store *store, bool wants_providers,
                                 bool (*on_found)(void *ctx, const struct enrich_found *found), void *ctx,
                                 struct core_fail *fail) {
    struct memory *memory = memory_of(store);
    int64_t now_s = core_now_ns() / CORE_NS_PER_S;
    struct core_arena arena;
    enum core_err err = core_arena_init(&arena, WALK_ARENA_BYTES, fail);
    if (err != CORE_OK) {
        return err;
    }
    const struct entry *entry;
    for (size_t at = 0; (entry = table_entry_next(&memory->table->entries, &at)) != NULL;) {
        struct enrich_found found = {.type = entry->type, .value = table_value(entry)};
        core_arena_reset(&arena, arena.cap);
        MUST(table_show(memory->table, entry, now_s, &arena, &found)); /* 32 providers of 3 KiB: it fits */
        if (found.providers_len == 0) {
            continue;
        }
        found.providers_len = wants_providers ? found.providers_len : 0;
        if (!on_found(ctx, &found)) {
            break;
        }
    }
    core_arena_destroy(&arena);
    return CORE_OK;
}

static enum core_err memory_allowed(struct enrich_store *store,
                                    bool (*on_allowed)(void *ctx, enum core_indicator type, struct core_span value),
                                    void *ctx, struct core_fail *fail) {
    struct memory *memory = memory_of(store);
    const struct entry *entry;
    (void)fail;
    for (size_t at = 0; (entry = table_entry_next(&memory->table->allow, &at)) != NULL;) {
        if (entry->first != 0 && !on_allowed(ctx, entry->type, table_value(entry))) {
            break;
        }
    }
    return CORE_OK;
}

/* ---- files ---------------------------------------------------------------------------------------------------------------- */

static bool is_ended(const struct memory *memory) {
    struct pollfd fds = {.fd = memory->stop_fd, .events = POLLIN};
    return memory->stop_fd >= 0 && poll(&fds, 1, 0) > 0;
}

static enum core_err ended(struct core_fail *fail) {
    return core_fail_set(fail, CORE_AGAIN, "intel.files", "ended on request");
}

static bool may_go_on(const struct memory *memory, const struct store_changes *calls) {
    return !is_ended(memory) && (calls->goes_on == NULL || calls->goes_on(calls->ctx));
}

/* What a pattern names, behind what there is already. One that just went away is no mistake. */
static enum core_err files_add(struct file_seen *files, size_t *len, const glob_t *found, struct core_fail *fail) {
    for (size_t i = 0; i < found->gl_pathc; i++) {
        struct file_seen *file = &files[*len];
        if (*len + 1 >= FILES_MAX) {
            return core_fail_set(fail, CORE_LIMIT, found->gl_pathv[i], "more than %d files; name fewer in intel.files",
                                 FILES_MAX);
        }
        if (stat(found->gl_pathv[i], &file->info) == 0) {
            file->path = strdup(found->gl_pathv[i]);
            MUST(file->path != NULL);
            (*len)++;
        }
    }
    return CORE_OK;
}

/* Did the pattern name one of the files that were read? */
static bool was_named(const struct memory *memory, const char *pattern) {
    for (size_t i = 0; memory->is_read && i < memory->files_len; i++) {
        if (fnmatch(pattern, memory->files[i].path, FNM_PATHNAME | FNM_PERIOD) == 0) {
            return true;
        }
    }
    return false;
}

/* It names nothing. A pattern may come to name something later; but what it named is not taken away with its files. */
static enum core_err nothing_named(const struct memory *memory, const char *pattern, struct core_fail *fail) {
    if (strpbrk(pattern, "*?[") == NULL) {
        return core_fail_set(fail, CORE_BAD, pattern,
                             "there is no such file, or it may not be read; create it, or "
                             "remove it from intel.files");
    }
    if (was_named(memory, pattern)) {
        return core_fail_set(fail, CORE_BAD, pattern,
                             "it names no file any more; if there shall be no indicators, put an empty file there");
    }
    if (!memory->is_read) {
        core_log(CORE_LEVEL_WARN, "enrich", "a pattern of intel.files names no file; it is looked at again each second",
                 "pattern=\"%s\"", pattern);
    }
    return CORE_OK;
}

/* The files that the patterns name now, in the order of the patterns, then of the names. */
static enum core_err files_list(const struct memory *memory, struct file_seen **files, size_t *len,
                                struct core_fail *fail) {
    enum core_err err = CORE_OK;
    *files = calloc(FILES_MAX, sizeof **files);
    *len = 0;
    MUST(*files != NULL);
    for (size_t i = 0; i < memory->patterns.len && err == CORE_OK; i++) {
        glob_t found = {0};
        const char *pattern = memory->patterns.items[i].value;
        int result = glob(pattern, 0, NULL, &found);
        if (result == GLOB_NOMATCH) {
            err = nothing_named(memory, pattern, fail);
        } else if (result != 0) {
            err = core_fail_set(fail, CORE_IO, pattern, "the folder cannot be read; see its permissions");
        } else {
            err = files_add(*files, len, &found, fail);
        }
        globfree(&found);
    }
    if (err != CORE_OK) {
        files_release(*files, *len);
        *files = NULL;
        *len = 0;
    }
    return err;
}

static bool files_same(const struct file_seen *a, const struct file_seen *b, size_t len) {
    for (size_t i = 0; i < len; i++) {
        const struct stat *x = &a[i].info, *y = &b[i].info;
        if (strcmp(a[i].path, b[i].path) != 0 || x->st_ino != y->st_ino || x->st_size != y->st_size ||
            x->st_mtim.tv_sec != y->st_mtim.tv_sec || x->st_mtim.tv_nsec != y->st_mtim.tv_nsec ||
            x->st_ctim.tv_sec != y->st_ctim.tv_sec || x->st_ctim.tv_nsec != y->st_ctim.tv_nsec) {
            return false; /* the change of its rights, too: it may be readable now */
        }
    }
    return true;
}

/* They are those of the last reading, and reading them again would give the same. */
static bool are_seen(const struct memory *memory, const struct file_seen *files, size_t len) {
    bool may_pass = memory->failed.err == CORE_IO && core_tick_ns() >= memory->again_ns;
    return !may_pass && len == memory->files_len && files_same(files, memory->files, len);
}

/* So they were when they were read, and that became of it. */
static void files_keep(struct memory *memory, struct file_seen *files, size_t len, const struct core_fail *fail) {
    files_release(memory->files, memory->files_len);
    memory->files = files;
    memory->files_len = len;
    memory->failed = *fail;
    memory->again_ns = core_tick_ns() + AGAIN_NS;
}

struct loading {
    const struct memory *memory;
    struct table *table;
    const char *path;
    const char *counts;            /* what numbers of its entries count: lines, items */
    char provider[PROVIDER_BYTES]; /* the file's name: which of several lists it was */
    uint64_t items;
    uint64_t refused;
    bool is_full;
};

static bool loading_goes_on(void *ctx) {
    const struct loading *loading = ctx;
    return !is_ended(loading->memory);
}

static bool on_item(void *ctx, const struct enrich_item *item) {
    struct loading *loading = ctx;
    struct enrich_item named = *item;
    if (item->said.provider == item->said.feed) { /* source_give(): the file names nobody */
        named.said.provider = loading->provider;
    }
    enum put_result result = table_put(loading->table, &named);
    loading->refused += result == PUT_REFUSED;
    loading->is_full = result == PUT_FULL;
    return !loading->is_full && (++loading->items % TELL_BETWEEN != 0 || loading_goes_on(loading));
}

static void on_refused(void *ctx, uint64_t line, struct core_span what, const char *why) {
    struct loading *loading = ctx;
    if (loading->refused++ < REFUSED_SHOWN) {
        char shown[REFUSED_SHOWN_BYTES];
        source_show(what, shown, sizeof(shown));
        core_log(CORE_LEVEL_WARN, "enrich", "indicator left out", "file=%s %s=%llu indicator=\"%s\" why=\"%s\"",
                 loading->path, loading->counts, (unsigned long long)line, shown, why);
    }
}

static enum core_err file_load(const struct memory *memory, const char *path, struct table *table,
                               struct core_fail *fail) {
    struct enrich_feed_conf feed = {.name = (char *)"local", .limit = TABLE_ITEMS_MAX};
    struct loading loading = {.memory = memory, .table = table, .path = path};
    struct enrich_read_calls calls = {.on_item = on_item,
                                      .on_refused = on_refused,
                                      .goes_on = loading_goes_on,
                                      .ctx = &loading,
                                      .counts = &loading.counts};
    const char *slash = strrchr(path, '/');
    source_show(core_span_of(slash == NULL ? path : slash + 1), loading.provider, sizeof loading.provider);
    enum core_err err = enrich_read_file(path, -1, &feed, &calls, fail);
    if (loading.is_full) {
        return full(fail);
    }
    if (err == CORE_AGAIN) {
        return ended(fail);
    }
    if (err == CORE_OK) {
        core_log(CORE_LEVEL_INFO, "enrich", "indicators read", "file=%s indicators=%llu refused=%llu", path,
                 (unsigned long long)loading.items, (unsigned long long)loading.refused);
    }
    return err;
}

static enum core_err files_load(const struct memory *memory, const struct file_seen *files, size_t len,
                                struct table **out, struct core_fail *fail) {
    struct table *table = calloc(1, sizeof *table);
    MUST(table != NULL);
    enum core_err err = CORE_OK;
    for (size_t i = 0; i < len && err == CORE_OK; i++) {
        err = file_load(memory, files[i].path, table, fail);
    }
    if (err != CORE_OK) {
        table_free(table);
        table = NULL;
    }
    *out = table;
    return err;
}

/* The new table is the present one; the allow-list goes with it. Returns the one before. */
static struct table *table_exchange(struct memory *memory, struct table *table) {
    struct table *before = memory->table;
    MUST(pthread_mutex_lock(&memory->lock) == 0);
    table->allow = before->allow;
    memory->table = table;
    before->allow = (struct pool){0};
    MUST(pthread_mutex_unlock(&memory->lock) == 0);
    return before;
}

/* Read them for the first time. What failed fails again, without reading, until the files are others. */
static enum core_err files_ready(struct memory *memory, struct core_fail *fail) {
    struct file_seen *files;
    struct table *table;
    size_t len;
    if (memory->is_read) {
        return CORE_OK;
    }
    enum core_err err = files_list(memory, &files, &len, fail);
    if (err != CORE_OK) {
        return err;
    }
    if (memory->failed.err != CORE_OK && are_seen(memory, files, len)) {
        files_release(files, len);
        return core_fail_set(fail, memory->failed.err, memory->failed.where, "%s", memory->failed.text);
    }
    struct core_fail why = {0};
    err = files_load(memory, files, len, &table, &why);
    files_keep(memory, files, len, &why);
    memory->looked_ns = core_tick_ns();
    if (err != CORE_OK) {
        return core_fail_set(fail, why.err, why.where, "%s", why.text);
    }
    memory->is_read = true;
    table_free(table_exchange(memory, table));
    return CORE_OK;
}

/* Tell what a new table has that the old one had not, and the other way round. Returns how much that was. */
static size_t tables_compare(const struct memory *memory, const struct table *before,
                             const struct store_changes *calls) {
    const struct table *now = memory->table;
    const struct entry *entry;
    int64_t now_s = core_now_ns() / CORE_NS_PER_S;
    size_t changes = 0, told = 0;
    for (size_t at = 0; (entry = table_entry_next(&now->entries, &at)) != NULL;) {
        const struct entry *other = table_find(before, entry->type, table_value(entry));
        bool was_there = other != NULL && table_holds(before, other, now_s);
        bool subdomains = table_subdomains(now, entry);
        if (++told % TELL_BETWEEN == 0 && !may_go_on(memory, calls)) {
            return changes;
        }
        if (table_holds(now, entry, now_s) && (!was_there || (subdomains && !table_subdomains(before, other)))) {
            calls->on_add(calls->ctx, entry->type, table_value(entry), subdomains);
            changes++;
        }
    }
    for (size_t at = 0; (entry = table_entry_next(&before->entries, &at)) != NULL;) {
        const struct entry *other = table_find(now, entry->type, table_value(entry));
        if (++told % TELL_BETWEEN == 0 && !may_go_on(memory, calls)) {
            return changes;
        }
        if (table_holds(before, entry, now_s) && (other == NULL || !table_holds(now, other, now_s))) {
            calls->on_remove(calls->ctx, entry->type, table_value(entry));
            changes++;
        }
    }
    return changes;
}

/* One that was read is not there now: it may be back in a moment. */
static bool is_one_gone(struct memory *memory, const struct file_seen *files, size_t len) {
    size_t there = 0;
    for (size_t i = 0; i < memory->files_len; i++) {
        bool is_there = false;
        for (size_t j = 0; j < len && !is_there; j++) {
            is_there = strcmp(files[j].path, memory->files[i].path) == 0;
        }
        there += is_there;
    }
    int64_t now = core_tick_ns();
    memory->gone_ns = there == memory->files_len ? 0 : memory->gone_ns == 0 ? now : memory->gone_ns;
    return memory->gone_ns != 0 && now - memory->gone_ns < GONE_NS;
}

/* Have the files changed? Then read them, tell the difference, and exchange the table. */
static size_t files_look(struct memory *memory, const struct store_changes *calls) {
    struct core_fail fail = {0};
    struct file_seen *files;
    size_t len;
    struct table *table = NULL;
    memory->looked_ns = core_tick_ns();
    if (memory->patterns.len == 0) {
        return 0;
    }
    enum core_err err = files_list(memory, &files, &len, &fail);
    if (err != CORE_OK) {
        core_log_fail(CORE_LEVEL_WARN, "enrich", "what was read from intel.files before stays in effect", &fail);
        return 0;
    }
    bool is_same = are_seen(memory, files, len);
    memory->gone_ns = is_same ? 0 : memory->gone_ns;
    if (is_same || is_one_gone(memory, files, len)) {
        files_release(files, len);
        return 0;
    }
    err = files_load(memory, files, len, &table, &fail);
    files_keep(memory, files, len, &fail); /* also of a bad file: it is read again when it changes again */
    memory->gone_ns = 0;
    if (err != CORE_OK) {
        if (err != CORE_AGAIN) {
            core_log_fail(CORE_LEVEL_ERROR, "enrich", "what was read from intel.files before stays in effect", &fail);
        }
        return 0;
    }
    struct table *before = table_exchange(memory, table);
    size_t changes = tables_compare(memory, before, calls);
    table_free(before);
    return changes;
}

static enum core_err memory_count(struct enrich_store *store, uint64_t *items, struct core_fail *fail) {
    struct memory *memory = memory_of(store);
    enum core_err err = files_ready(memory, fail);
    *items = err == CORE_OK ? table_count(memory->table, core_now_ns() / CORE_NS_PER_S) : 0;
    return err;
}

static enum core_err memory_build(struct enrich_store *store, struct store_cursor *cursor,
                                  const struct store_changes *calls, struct core_fail *fail) {
    struct memory *memory = memory_of(store);
    const struct entry *entry;
    int64_t now_s = core_now_ns() / CORE_NS_PER_S;
    size_t told = 0;
    enum core_err err = files_ready(memory, fail);
    if (err != CORE_OK) {
        return err;
    }
    *cursor = (struct store_cursor){.epoch = "memory", .id = "0"};
    MUST(pthread_mutex_lock(&memory->lock) == 0);
    changes_release(memory->changes, memory->changes_len);
    memory->changes = NULL;
    memory->changes_len = memory->changes_cap = 0;
    MUST(pthread_mutex_unlock(&memory->lock) == 0);
    for (size_t at = 0; (entry = table_entry_next(&memory->table->entries, &at)) != NULL;) {
        if (++told % TELL_BETWEEN == 0 && !may_go_on(memory, calls)) {
            return ended(fail);
        }
        if (table_holds(memory->table, entry, now_s)) {
            calls->on_add(calls->ctx, entry->type, table_value(entry), table_subdomains(memory->table, entry));
        }
    }
    for (size_t at = 0; (entry = table_entry_next(&memory->table->allow, &at)) != NULL;) {
        if (entry->first != 0) {
            calls->on_allow(calls->ctx, entry->type, table_value(entry), true);
        }
    }
    return CORE_OK;
}

static size_t changes_tell(struct memory *memory, const struct store_changes *calls) {
    MUST(pthread_mutex_lock(&memory->lock) == 0);
    struct change *changes = memory->changes;
    size_t len = memory->changes_len;
    memory->changes = NULL;
    memory->changes_len = memory->changes_cap = 0;
    MUST(pthread_mutex_unlock(&memory->lock) == 0);
    for (size_t i = 0; i < len; i++) {
        struct core_span value = {changes[i].value, changes[i].value_len};
        switch (changes[i].what) {
        case CHANGE_ADD:
            calls->on_add(calls->ctx, changes[i].type, value, changes[i].subdomains);
            break;
        case CHANGE_REMOVE:
            calls->on_remove(calls->ctx, changes[i].type, value);
            break;
        case CHANGE_ALLOW:
        case CHANGE_UNALLOW:
            calls->on_allow(calls->ctx, changes[i].type, value, changes[i].what == CHANGE_ALLOW);
            break;
        }
    }
    changes_release(changes, len);
    return len;
}

static enum core_err memory_follow(struct enrich_store *store, struct store_cursor *cursor,
                                   const struct store_changes *calls, int timeout_ms, struct core_fail *fail) {
    struct memory *memory = memory_of(store);
    int64_t deadline_ns = core_tick_ns() + timeout_ms * CORE_NS_PER_MS;
    (void)cursor, (void)fail;
    for (;;) {
        size_t changes = changes_tell(memory, calls);
        int64_t now_ns = core_tick_ns();
        changes += now_ns - memory->looked_ns >= LOOK_NS ? files_look(memory, calls) : 0;
        now_ns = core_tick_ns();
        if (changes > 0 || now_ns >= deadline_ns) {
            return changes > 0 ? CORE_OK : CORE_AGAIN;
        }
        int64_t wait_ns = deadline_ns - now_ns < LOOK_NS / 10 ? deadline_ns - now_ns : LOOK_NS / 10;
        struct timespec wait = {.tv_nsec = wait_ns};
        clock_nanosleep(CLOCK_MONOTONIC, 0, &wait, NULL); /* woken early: one look more */
    }
}

static void memory_where(const struct enrich_store *store, char *out, size_t len) {
    MUST(store->ops->where == memory_where);
    (void)snprintf(out, len, "intel.files");
}

static const struct store_ops memory_ops = {.name = "memory",
                                            .is_current = true,
                                            .where = memory_where,
                                            .close = memory_close,
                                            .get = memory_get,
                                            .put = memory_put,
                                            .remove = memory_remove,
                                            .flush = memory_flush,
                                            .allow = memory_allow,
                                            .walk = memory_walk,
                                            .allowed = memory_allowed,
                                            .count = memory_count,
                                            .build = memory_build,
                                            .follow = memory_follow};

/* The allow-list of the config. */
static enum core_err allow_load(struct memory *memory, const struct core_conf_list *list, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    for (size_t i = 0; i < list->len && err == CORE_OK; i++) {
        char room[ENRICH_VALUE_BYTES_MAX];
        const char *why;
        struct core_span text = core_span_of(list->items[i].value), value;
        enum core_indicator type = CORE_INDICATOR_NONE;
        if (!enrich_allow_canonical(&type, text, room, &value, &why)) {
            return core_fail_set(fail, CORE_BAD, "intel.allow", "\"%s\": %s", list->items[i].value, why);
        }
        err = memory_allow(&memory->store, type, value, true, fail);
    }
    return err;
}

enum core_err store_memory_open(struct enrich_store **out, const struct enrich_conf *conf, bool reads_now, int stop_fd,
                                struct core_fail *fail) {
    struct memory *memory = calloc(1, sizeof *memory);
    MUST(memory != NULL);
    MUST(pthread_mutex_init(&memory->lock, NULL) == 0);
    memory->store = (struct enrich_store){.magic = ENRICH_STORE_MAGIC, .ops = &memory_ops};
    memory->patterns = conf == NULL ? (struct core_conf_list){0} : conf->files;
    memory->stop_fd = stop_fd;
    memory->table = calloc(1, sizeof *memory->table);
    MUST(memory->table != NULL);
    enum core_err err = conf == NULL ? CORE_OK : allow_load(memory, &conf->allow, fail);
    if (err == CORE_OK && reads_now) {
        err = files_ready(memory, fail);
    }
    if (err != CORE_OK) {
        memory_close(&memory->store);
        return err;
    }
    *out = &memory->store;
    return CORE_OK;
}
