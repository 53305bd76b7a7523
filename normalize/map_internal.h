/* normalize/map_internal.h: what the files of configs/ say, once they are read: types, the schema, maps, the table of logs.
 * Read-only from then on. Included by normalize_internal.h.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_NORMALIZE_MAP_INTERNAL_H
#define TAPLINE_NORMALIZE_MAP_INTERNAL_H

#include "core/core.h"
#include "normalize/normalize.h"

/* ---- types ------------------------------------------------------------------------------------------------------------- */

/* A source field's type, in Zeek's words. TYPE_ANY: only JSON's own kind is known. */
enum field_type {
    TYPE_ANY,
    TYPE_BOOL,
    TYPE_COUNT,
    TYPE_INT,
    TYPE_DOUBLE,
    TYPE_TIME,
    TYPE_INTERVAL,
    TYPE_STRING,
    TYPE_ENUM,
    TYPE_ADDR,
    TYPE_SUBNET,
    TYPE_PORT,
    TYPE_SNORTTIME,
    TYPE__MAX
};

struct declared {
    enum field_type type;
    bool is_list;
};

/* "set[string]", "vector[addr]", "table[count]", "count" … Unknown words are strings (func, pattern, file …). */
struct declared declared_parse(struct core_span text, bool *is_known);
const char *field_type_name(enum field_type type);

/* A document field's type, as schema.tsv has it. SCHEMA_OWN: it has not; a field that is kept below zeek., snort. …, of
 * whatever type the source says. */
enum schema_type {
    SCHEMA_OWN,
    SCHEMA_KEYWORD,
    SCHEMA_LONG,
    SCHEMA_DOUBLE,
    SCHEMA_BOOLEAN,
    SCHEMA_DATE,
    SCHEMA_IP,
    SCHEMA_OBJECT
};

/* How many values a field has. */
enum schema_many {
    SCHEMA_ONE,
    SCHEMA_LIST,   /* a list that collects each distinct value once */
    SCHEMA_ARRAY,  /* a list as the sensor has it */
    SCHEMA_EITHER, /* one value, or a list of them */
    SCHEMA_MANY__MAX
};

#define SCHEMA_NAME_BYTES_MAX 256

struct schema_field {
    const char *name; /* may hold % for the dataset's own part */
    enum schema_type type;
    bool is_list; /* SCHEMA_LIST */
    enum schema_many many;
    const char *word;    /* the type as the file has it: keyword, text, wildcard, geo_point … */
    const char *meaning; /* one line */
    const char *place;   /* "configs/schema.tsv:12:1" */
};

/* Its row, or that of the name with % for its second part; a name below zeek. snort. suricata. tapline. without a row is
 * SCHEMA_OWN (and has no name). NULL: not in the schema. */
const struct schema_field *schema_find(const struct normalize_maps *maps, struct core_span name);
/* The row of exactly this name; the row that has % where this name has its second part. NULL: there is none. */
const struct schema_field *schema_find_row(const struct normalize_maps *maps, struct core_span name);
const struct schema_field *schema_find_percent(const struct normalize_maps *maps, struct core_span name);
/* Of type object or nested: its members are the rows below its name. */
bool schema_has_members(const struct schema_field *field);
/* Below zeek. snort. suricata. tapline.? */
bool schema_is_own(struct core_span name);

/* ---- maps: what the files say --------------------------------------------------------------------------------------------- */

struct table_entry {
    struct core_span key;  /* "*" is any other */
    struct core_span text; /* as it stands in the file */
};

struct table {
    char *name;
    struct table_entry *entries;
    size_t len;
    const char *place; /* "configs/maps/zeek.conn.map:40:7" */
};

struct row_target {
    struct core_span name;             /* document field */
    const struct schema_field *schema; /* NULL: what a function writes below hangs here, it is no field itself */
    uint32_t column;                   /* where it stands in its line */
    struct core_span via_name;         /* empty: the value itself */
    const struct table *via;
};

/* `observable TYPE`: what stands in this field of the map's documents is looked up in intelligence, as that. */
struct row_mark {
    struct core_span field; /* NUL-terminated; may hold % for the dataset's own part */
    uint8_t type;           /* enum core_indicator */
};

#define ROW_TARGETS_MAX 6
#define ROW_MARKS_MAX 8
#define ROW_ARGS_MAX 8

enum row_kind { ROW_FIELD, ROW_CONST, ROW_DERIVE, ROW_KEEP, ROW_DROP };

struct derive_row;
struct drop_rule;
struct drop_books;

struct map_row {
    enum row_kind kind;
    struct core_span from; /* source field; empty for const and derive */
    struct declared type;
    struct row_target targets[ROW_TARGETS_MAX];
    size_t targets_len;
    bool is_lower;
    bool unit_ns;
    char split; /* 0: no */
    struct core_span unset;
    struct core_span unless_field; /* empty: no condition; ROW_DROP: the field that decides */
    struct core_span unless_text;
    bool unless_not;           /* unless F != V */
    struct core_span constant; /* ROW_CONST: the value's text; ROW_KEEP: the prefix without ".*" */
    const struct derive_row *derive;
    struct drop_rule *drop; /* ROW_DROP: where it is counted */
    struct core_span args[ROW_ARGS_MAX];
    size_t args_len;
    struct row_mark marks[ROW_MARKS_MAX];
    size_t marks_len;
    char place[64];   /* "zeek.conn.map:12" */
    const char *path; /* the file's */
    size_t line;
};

/* Is the marked field a member of the objects that the row's function writes (dns.answers.data)? */
bool mark_is_member(const struct map_row *row, struct core_span field);

struct map_alias {
    struct core_span from;
    struct core_span to;
    const char *place;
};

struct map {
    char *name;
    bool is_site; /* of a site's directory; it may include our map of its name */
    struct map_row *rows;
    size_t rows_len;
    size_t own_rows_len; /* the first ones; the others are of included maps */
    struct map_alias *aliases;
    size_t aliases_len;
    size_t own_aliases_len;
    struct table *tables;
    size_t tables_len;
};

struct log_row {
    struct core_span product; /* zeek, snort, suricata */
    struct core_span log;     /* glob, NUL-terminated */
    const struct map *map;
    struct core_span dataset; /* may hold one % */
    const char *place;
    bool is_site; /* of a site's logs.table */
};

struct interned {
    char *text;
    struct interned *next;
};

struct normalize_maps {
    struct core_arena arena;    /* every text of the files, NUL-terminated */
    struct maps_excess *excess; /* maps.c; NULL: all fits */
    struct map **maps;
    size_t maps_len;
    struct schema_field *schema; /* sorted by name */
    size_t schema_len;
    struct log_row *logs;
    size_t logs_len;
    bool has_own; /* rows for what tapline itself writes; without them it is read as a log of Zeek's is */
    struct drop_books *drops;
    struct core_psl *psl;
    struct geo_databases *geo; /* NULL: none are configured */
    struct networks *networks; /* NULL: none are configured */
    uint16_t community_id_seed;
};

#endif
