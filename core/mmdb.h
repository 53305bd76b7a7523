/* core/mmdb.h: databases that know addresses (MaxMind's GeoIP2 and GeoLite2, DB-IP's …), by libmaxminddb.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_MMDB_H
#define TAPLINE_CORE_MMDB_H

#include "core/core.h"

struct core_mmdb;

/* Map a database file into memory. Replace such a file by renaming another over it, as its publishers' updaters do: one
 * that is cut while it is mapped ends the process.
 * Owns: core_mmdb_close(*out). Errors: CORE_IO it cannot be read · CORE_BAD it is no such database, or a damaged one.
 * Thread: any; read-only from then on. */
CORE_CHECKED enum core_err core_mmdb_open(struct core_mmdb **out, const char *path, struct core_fail *fail);
void core_mmdb_close(struct core_mmdb *db); /* takes NULL */
/* What its publisher calls its kind: "GeoLite2-City", "DBIP-ASN-Lite (compat=GeoLite2-ASN)". Lives as long as db. */
const char *core_mmdb_kind(const struct core_mmdb *db);

/* What a database says of an address: a tree of maps and arrays. */
struct core_mmdb_entry {
    const struct core_mmdb *db;
    uint32_t at;
};

/* addr: 4 or 16 bytes in network order. Errors: CORE_AGAIN it knows nothing of it · CORE_BAD the file is damaged there. */
CORE_CHECKED enum core_err core_mmdb_find(const struct core_mmdb *db, const uint8_t *addr, size_t len,
                                          struct core_mmdb_entry *out);
/* A value of the entry by its path: keys, and indexes of arrays as decimal text ("-1" the last), NULL at the end. False: it
 * is not there, or of another type. Owns: the text lives as long as the database. */
bool core_mmdb_text(const struct core_mmdb_entry *entry, const char *const *path, struct core_span *out);
bool core_mmdb_u64(const struct core_mmdb_entry *entry, const char *const *path, uint64_t *out);
bool core_mmdb_double(const struct core_mmdb_entry *entry, const char *const *path, double *out);

#endif
