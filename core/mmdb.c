/* core/mmdb.c: wraps libmaxminddb. SPDX-License-Identifier: Apache-2.0 */
#include "core/mmdb.h"

#include <arpa/inet.h>
#include <errno.h>
#include <maxminddb.h>
#include <stdlib.h>

struct core_mmdb {
    MMDB_s file;
};

enum core_err core_mmdb_open(struct core_mmdb **out, const char *path, struct core_fail *fail) {
    struct core_mmdb *db = calloc(1, sizeof(*db));
    MUST(db != NULL);
    *out = NULL;
    int status = MMDB_open(path, MMDB_MODE_MMAP, &db->file);
    if (status == MMDB_SUCCESS) {
        *out = db;
        return CORE_OK;
    }
    free(db);
    bool is_empty = status == MMDB_IO_ERROR && errno == EINVAL; /* nothing to map */
    if (status == MMDB_FILE_OPEN_ERROR || (status == MMDB_IO_ERROR && !is_empty)) {
        return core_fail_errno(fail, path, "cannot read this database of addresses");
    }
    return core_fail_set(fail, CORE_BAD, path,
                         "this is no MaxMind DB file, or a damaged one: %s; fetch it again, unpacked (.mmdb)",
                         MMDB_strerror(status));
}

void core_mmdb_close(struct core_mmdb *db) {
    if (db != NULL) {
        MMDB_close(&db->file);
        free(db);
    }
}

const char *core_mmdb_kind(const struct core_mmdb *db) {
    return db->file.metadata.database_type == NULL ? "" : db->file.metadata.database_type;
}

enum core_err core_mmdb_find(const struct core_mmdb *db, const uint8_t *addr, size_t len, struct core_mmdb_entry *out) {
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    struct sockaddr_in four = {.sin_family = AF_INET};
    int error = MMDB_SUCCESS;
    MUST(len == sizeof(four.sin_addr) || len == sizeof(six.sin6_addr));
    if (len == sizeof(four.sin_addr)) {
        memcpy(&four.sin_addr, addr, len);
    } else if (db->file.metadata.ip_version == 4) {
        return CORE_AGAIN;
    } else {
        memcpy(&six.sin6_addr, addr, len);
    }
    const struct sockaddr *at = len == sizeof(four.sin_addr) ? (const struct sockaddr *)(const void *)&four
                                                             : (const struct sockaddr *)(const void *)&six;
    MMDB_lookup_result_s result = MMDB_lookup_sockaddr(&db->file, at, &error);
    if (error != MMDB_SUCCESS) {
        return CORE_BAD;
    }
    if (!result.found_entry) {
        return CORE_AGAIN;
    }
    *out = (struct core_mmdb_entry){.db = db, .at = result.entry.offset};
    return CORE_OK;
}

static bool value_at(const struct core_mmdb_entry *entry, const char *const *path, MMDB_entry_data_s *out) {
    MMDB_entry_s start = {.mmdb = &entry->db->file, .offset = entry->at};
    return MMDB_aget_value(&start, out, path) == MMDB_SUCCESS && out->has_data;
}

bool core_mmdb_text(const struct core_mmdb_entry *entry, const char *const *path, struct core_span *out) {
    MMDB_entry_data_s data;
    if (!value_at(entry, path, &data) || data.type != MMDB_DATA_TYPE_UTF8_STRING) {
        return false;
    }
    *out = (struct core_span){data.utf8_string, data.data_size};
    return true;
}

bool core_mmdb_u64(const struct core_mmdb_entry *entry, const char *const *path, uint64_t *out) {
    MMDB_entry_data_s data;
    if (!value_at(entry, path, &data)) {
        return false;
    }
    switch (data.type) {
    case MMDB_DATA_TYPE_UINT16:
        *out = data.uint16;
        return true;
    case MMDB_DATA_TYPE_UINT32:
        *out = data.uint32;
        return true;
    case MMDB_DATA_TYPE_INT32:
        *out = data.int32 < 0 ? 0 : (uint64_t)data.int32;
        return data.int32 >= 0;
    case MMDB_DATA_TYPE_UINT64:
        *out = data.uint64;
        return true;
    default:
        return false;
    }
}

bool core_mmdb_double(const struct core_mmdb_entry *entry, const char *const *path, double *out) {
    MMDB_entry_data_s data;
    if (!value_at(entry, path, &data)) {
        return false;
    }
    if (data.type == MMDB_DATA_TYPE_FLOAT) {
        *out = (double)data.float_value;
        return true;
    }
    *out = data.double_value;
    return data.type == MMDB_DATA_TYPE_DOUBLE;
}
