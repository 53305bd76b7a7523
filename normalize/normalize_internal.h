/* normalize/normalize_internal.h: what the files of this folder share.
 *
 * Text of a map  -> struct map (maps.c: rows, tables; read-only, one per file)
 * map x columns  -> struct plan (plan.c: per stream and log; which ops each column runs, where each leaf stands)
 * line           -> columns (decode_*.c: one struct value per column of the plan)
 * columns        -> leaves (apply.c runs the ops, derive*.c the functions)
 * leaves         -> document (emit.c: one pass in the order of the nested output)
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_NORMALIZE_INTERNAL_H
#define TAPLINE_NORMALIZE_INTERNAL_H

#include "core/core.h"
#include "core/json.h"
#include "normalize/map_internal.h"
#include "normalize/normalize.h"

/* A function of the hot path that is compiled twice, for any x86-64 and for those with AVX2 (of 2013 and later);
 * the loader takes the one for the machine it is on. Sanitizers cannot look into how it chooses. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) &&              \
    !defined(__SANITIZE_THREAD__)
#define NORMALIZE_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define NORMALIZE_CLONES
#endif

/* Part of such a function: compiled with it, or it would be called as it is for any machine. */
#define NORMALIZE_INLINE static inline __attribute__((always_inline))

#define COLUMNS_MAX 2048                   /* distinct fields of one record; more is a dead letter */
#define COLUMNS_ROOM (2 * COLUMNS_MAX + 1) /* and as many real names of aliases */
#define LEAVES_MAX 4096
#define PLANS_MAX 64 /* logs in one stream whose plans are kept at the same time */
#define SCRATCH_BYTES (64 * CORE_MIB)
#define SCRATCH_KEEP_BYTES CORE_MIB
/* Left in the arena for dead letters, so that one can always be written: raw bytes are bounded by the segment (escaped at
 * most sixfold) and each has some 600 bytes around them. */
#define DEAD_RESERVE_BYTES (12 * CORE_MIB)
_Static_assert(CORE_SEGMENT_BYTES * 6 + CORE_BATCH_LINES_MAX * 1024 < DEAD_RESERVE_BYTES, "dead letters fit");

/* ---- values ---------------------------------------------------------------------------------------------------------- */

enum value_kind {
    VALUE_NONE = 0,  /* absent */
    VALUE_PLAIN = 2, /* a string that needs no escaping in JSON */
    VALUE_TEXT = 3,  /* a string of any bytes; a kind of string, too: both are one in a form's key (form.c) */
    VALUE_RAW = 4,   /* JSON text to be copied: a number, true, an object */
    VALUE_LIST = 6,  /* items[len] */
    VALUE_CHAIN = 8  /* a list leaf under construction: chain */
};

/* 16 bytes. Owns nothing: points into the line, the scratch, or the plan. */
struct value {
    union {
        const char *ptr;
        struct value *items;
        struct chain *chain;
    };
    uint32_t len; /* bytes of ptr, or number of items */
    uint8_t kind;
    uint8_t is_number; /* VALUE_RAW: JSON number (as opposed to true, null, an object) */
    uint8_t is_roomy;  /* VALUE_ROOM bytes may be read from ptr on, however short it is: it is copied without a look */
    uint8_t always_0;  /* so that what is not ptr is a number that can be compared: value_meta() */
};
_Static_assert(sizeof(struct value) == 16, "two words");

/* Everything but ptr; on little-endian machines len is its lower half. */
static inline uint64_t value_meta(const struct value *v) {
    uint64_t meta;
    memcpy(&meta, (const char *)v + offsetof(struct value, len), sizeof(meta));
    return meta;
}

#define VALUE_ROOM 32
#define IS_LITTLE_ENDIAN (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)

struct chain_node {
    struct value value;
    struct chain_node *next;
};

struct chain {
    struct chain_node *first;
    struct chain_node **last;
};

NORMALIZE_INLINE struct value value_none(void) {
    return (struct value){.ptr = NULL, .len = 0, .kind = VALUE_NONE};
}

NORMALIZE_INLINE struct value value_of(enum value_kind kind, const char *ptr, size_t len) {
    return (struct value){.ptr = ptr, .len = (uint32_t)len, .kind = (uint8_t)kind};
}

static inline struct value value_number(const char *ptr, size_t len) {
    return (struct value){.ptr = ptr, .len = (uint32_t)len, .kind = VALUE_RAW, .is_number = 1};
}

NORMALIZE_INLINE bool value_is_string(struct value v) {
    return v.kind == VALUE_PLAIN || v.kind == VALUE_TEXT;
}

/* The same value, where VALUE_ROOM bytes may be read from its ptr on if that lies before `end`. */
NORMALIZE_INLINE struct value value_roomy(struct value v, const char *end) {
    v.is_roomy = (size_t)(end - v.ptr) >= VALUE_ROOM;
    return v;
}

/* The bytes of a scalar, as text. */
NORMALIZE_INLINE struct core_span value_span(struct value v) {
    return (struct core_span){v.ptr, v.len};
}

NORMALIZE_INLINE bool value_is_scalar(struct value v) {
    return v.kind == VALUE_PLAIN || v.kind == VALUE_TEXT || v.kind == VALUE_RAW;
}

/* memcmp for names and short values: a few loads instead of a call. */
NORMALIZE_INLINE bool bytes_are_same(const char *a, const char *b, size_t len) {
    uint64_t x[2];
    uint64_t y[2];
    uint32_t v[2];
    uint32_t w[2];
    if (len > 16) {
        return memcmp(a, b, len) == 0;
    }
    if (len >= 8) {
        memcpy(&x[0], a, 8);
        memcpy(&x[1], a + len - 8, 8);
        memcpy(&y[0], b, 8);
        memcpy(&y[1], b + len - 8, 8);
        return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
    }
    if (len >= 4) {
        memcpy(&v[0], a, 4);
        memcpy(&v[1], a + len - 4, 4);
        memcpy(&w[0], b, 4);
        memcpy(&w[1], b + len - 4, 4);
        return ((v[0] ^ w[0]) | (v[1] ^ w[1])) == 0;
    }
    return len == 0 || (a[0] == b[0] && a[len / 2] == b[len / 2] && a[len - 1] == b[len - 1]);
}

/* memcpy for short values: two overlapping moves instead of a call. Returns where the copy ends. */
NORMALIZE_INLINE char *bytes_copy(char *to, const char *from, size_t len) {
    if (len >= 16) {
        if (len > 32) {
            memcpy(to, from, len);
        } else {
            memcpy(to, from, 16);
            memcpy(to + len - 16, from + len - 16, 16);
        }
    } else if (len >= 8) {
        memcpy(to, from, 8);
        memcpy(to + len - 8, from + len - 8, 8);
    } else if (len >= 4) {
        memcpy(to, from, 4);
        memcpy(to + len - 4, from + len - 4, 4);
    } else if (len > 0) {
        to[0] = from[0];
        to[len / 2] = from[len / 2];
        to[len - 1] = from[len - 1];
    }
    return to + len;
}

static inline bool text_is_same(struct core_span a, struct core_span b) {
    return a.len == b.len && bytes_are_same(a.ptr, b.ptr, a.len);
}

/* Is the value this text, as a map's condition writes it? Bools are T and F there, whatever the record's format has. */
static inline bool value_is_text(struct value v, struct core_span text) {
    if (value_is_string(v)) {
        return text_is_same(value_span(v), text);
    }
    if (v.kind == VALUE_RAW && v.is_number == 0 && text.len == 1) {
        return v.len > 0 && v.ptr[0] == (text.ptr[0] == 'T' ? 't' : text.ptr[0] == 'F' ? 'f' : text.ptr[0]);
    }
    return value_is_scalar(v) && core_span_eq(value_span(v), text);
}

/* Up to eight bytes from p on, of which VALUE_ROOM may be read, as a word with the last in its highest byte and '0' before
 * the first. Little-endian only. */
NORMALIZE_INLINE uint64_t digits_load(const char *p, size_t len) {
    uint64_t word;
    memcpy(&word, p, 8);
    uint64_t zeros = len == 8 ? 0 : UINT64_C(0x3030303030303030) >> (8 * len);
    return len == 0 ? zeros : word << (64 - 8 * len) | zeros;
}

/* Each byte's high half is 3, and with 6 added as well. */
NORMALIZE_INLINE bool digits_are_all(uint64_t word) {
    uint64_t both = (word + UINT64_C(0x0606060606060606)) & word;
    return (both & UINT64_C(0xf0f0f0f0f0f0f0f0)) == UINT64_C(0x3030303030303030);
}

/* The number they make: neighbours are put together, then pairs of them, then those. */
NORMALIZE_INLINE uint64_t digits_sum(uint64_t word) {
    word = (word & UINT64_C(0x0f0f0f0f0f0f0f0f)) * 2561 >> 8;
    word = (word & UINT64_C(0x00ff00ff00ff00ff)) * 6553601 >> 16;
    return (word & UINT64_C(0x0000ffff0000ffff)) * UINT64_C(42949672960001) >> 32;
}

/* Decimal digits without a leading zero. */
NORMALIZE_INLINE bool is_decimal(struct value v) {
    const char *p = v.ptr;
    const char *end = p + v.len;
    if (v.len == 0 || v.len > 19 || (*p == '0' && v.len > 1)) {
        return false;
    }
    if (v.len <= 8 && v.is_roomy && IS_LITTLE_ENDIAN) {
        return digits_are_all(digits_load(p, v.len));
    }
    while (p < end && (unsigned char)*p - (unsigned)'0' <= 9) {
        p++;
    }
    return p == end;
}

/* Up to eighteen decimal digits to a number. */
static inline bool decimal_value(struct value v, uint64_t *out) {
    *out = 0;
    if (!value_is_scalar(v) || v.len == 0 || v.len > 18) {
        return false;
    }
    if (v.len <= 8 && v.is_roomy && IS_LITTLE_ENDIAN) {
        uint64_t word = digits_load(v.ptr, v.len);
        *out = digits_sum(word);
        return digits_are_all(word);
    }
    for (uint32_t i = 0; i < v.len; i++) {
        unsigned digit = (unsigned char)v.ptr[i] - (unsigned)'0';
        if (digit > 9) {
            return false;
        }
        *out = *out * 10 + digit;
    }
    return true;
}

/* ---- plans ------------------------------------------------------------------------------------------------------------------ */

enum op_code {
    OP_COPY,  /* typed value to a leaf */
    OP_TABLE, /* the table's value for it to a leaf */
    /* The same as OP_COPY for the commonest cases, each in a few instructions; what does not fit goes the long way: */
    OP_STRING, /* a string as it is */
    OP_LOWER,  /* a string that has no upper-case letter */
    OP_SPLIT,  /* a string that does not hold the separator */
    OP_NUMBER, /* decimal digits */
    OP_DIGITS, /* decimal digits, as text */
    OP_BOOL,
    OP_TIME,
    OP_INTERVAL,
    OP_LOOKUP, /* a string's value in a table */
    OP_ANY,    /* a scalar of JSON, as it is */
    OP_ADDRESS /* a string that is an IP address, to a leaf of its own or to a list */
};

enum op_flag {
    OP_LOWERED = 1,
    OP_UNIT_NS = 2,
    OP_IP = 4,       /* only if the text is an IP address */
    OP_LIST = 8,     /* the leaf collects distinct values */
    OP_CUT = 16,     /* a string is split */
    OP_COND = 32,    /* unless */
    OP_KEYWORD = 64, /* a number becomes a string */
    OP_KEEP = 128    /* only if no conditional row took the field of this record */
};

struct table_value {
    struct core_span key;
    struct value value;
};

/* Ops run in the order of the map's rows, because the first row that has a value wins. */
struct op {
    uint8_t code;
    uint8_t type; /* enum field_type of the scalar or of the elements */
    uint8_t flags;
    char split;
    uint16_t column;
    uint16_t leaf;
    uint16_t cond_column;
    bool cond_not;
    bool is_checked; /* something may hold it back: a condition, or a row before it that writes the same leaf */
    uint8_t ip_slot; /* 1 source.ip, 2 destination.ip, 0 neither: the parsed address is kept for the community id */
    struct core_span cond_text;
    struct core_span unset;
    const struct table_value *table;
    uint16_t table_len;
    const struct map_row *row;
};

struct column {
    struct core_span name; /* owned by the plan */
    struct declared declared;
};

/* One field of the document. open is the text that leads to it from the root, `"zeek":{"connection":{"state":`;
 * open_at[d] is where the part below the d-th object begins. */
struct leaf {
    struct core_span name; /* dotted */
    const char *open;
    uint16_t open_len;
    uint16_t *open_at;
    uint8_t depth;  /* number of objects around it */
    uint8_t common; /* objects shared with the leaf before it */
    bool is_list;
    bool is_constant; /* its value stands in plan->values for good */
};

/* One step of writing a document: a leaf with its opening text, or a run of constants as one text. */
struct part {
    const char *text;
    const uint16_t *open_at; /* of the first leaf: where each depth begins in text */
    uint32_t text_len;
    uint16_t leaf;  /* LEAF_NONE: constants, always there */
    uint8_t depth;  /* objects open behind it */
    uint8_t common; /* objects shared with the part before it */
};

/* A field under another name: read as the real one where the record does not have that itself. */
struct alias_move {
    uint16_t from;
    uint16_t to;
};

/* A field that is also an object's name, in other records or in this one: then it stands at `other` (NAME.value). */
struct leaf_clash {
    uint16_t leaf;
    uint16_t other;
    uint16_t below_end; /* the object's members are the leaves behind `leaf` up to here */
};

struct plan_const {
    uint16_t leaf;
    struct value value;
    const struct map_row *row;
};

struct derive_call {
    const struct derive_row *fn;
    const struct map_row *row;
    uint16_t args[ROW_ARGS_MAX]; /* column, or COLUMN_NONE if no record has it */
    uint16_t leaf;               /* main target */
    uint16_t subs_at;            /* further targets, plan->subs[subs_at …], in the order of fn->subs */
};

struct plan_drop {
    uint16_t column; /* COLUMN_NONE: no record has it */
    const struct map_row *row;
};

/* A leaf whose text intelligence may speak of. */
struct plan_mark {
    const char *field;       /* its name; NUL-terminated, interned by the worker */
    struct core_span member; /* of the objects that the leaf holds: `"data":"`; empty: the leaf's own text */
    uint16_t leaf;
    uint8_t type;   /* enum core_indicator */
    bool is_picked; /* the text may hold more than the observable, or something else (observe_text.c) */
};

#define COLUMN_NONE UINT16_MAX
#define LEAF_NONE UINT16_MAX

/* Leaves that code needs to know by name. */
enum known_leaf {
    KNOWN_TIMESTAMP,
    KNOWN_SOURCE_IP,
    KNOWN_DESTINATION_IP,
    KNOWN_SOURCE_PORT,
    KNOWN_DESTINATION_PORT,
    KNOWN_TRANSPORT,
    KNOWN_COMMUNITY_ID,
    KNOWN_SESSION_ID,
    KNOWN_LOG_PATH,
    KNOWN_LOG_OFFSET,
    KNOWN_ORIGINAL,
    KNOWN__MAX
};

/* Columns whose presence tells what a JSON record is. */
enum known_column {
    COLUMN_PATH,
    COLUMN_STREAM,
    COLUMN_TS,
    COLUMN_TIMESTAMP,
    COLUMN_SECONDS,
    COLUMN_EVENT_TYPE,
    COLUMN_RULE,
    COLUMN_SID,
    COLUMN_PKT_NUM,
    COLUMN_KNOWN__MAX
};

#define JSON_KEY_BYTES 32

/* A column as JSON writes it, and which columns came behind it. */
struct json_key {
    char text[JSON_KEY_BYTES]; /* `"name":`, and zeros behind it */
    uint32_t mask;             /* bit per byte to be compared */
    uint16_t len;              /* of the text; 0: too long, or JSON would escape it; then text and mask fit no JSON */
    uint16_t next;             /* the column behind it in the last record */
    uint16_t other;            /* the one that came there before next did */
    char padding[64 - JSON_KEY_BYTES - 10];
};
_Static_assert(sizeof(struct json_key) == 64, "found by a shift");
/* Into fresh memory (all zero). name.ptr NULL: that of no column. */
void json_key_make(struct json_key *key, struct core_span name);

struct plan {
    const struct normalize_maps *maps;
    const struct map *map;
    const struct core_stream *stream;
    struct core_span product;
    struct core_span log;    /* the log's own name */
    const char *dataset;     /* NUL-terminated, interned by the worker */
    struct core_arena arena; /* everything below */
    struct column *columns;
    uint16_t columns_len;
    uint16_t *index;       /* open addressing over column names; COLUMN_NONE is empty */
    uint32_t index_cap;    /* power of two */
    struct json_key *keys; /* per column of a JSON log; behind all: what begins a record */
    struct op *ops;
    uint16_t ops_len;
    struct leaf *leaves; /* in the order of the output */
    uint16_t leaves_len;
    struct value *values; /* one per leaf; constants stay */
    uint64_t *present;    /* one bit per leaf */
    uint64_t *present_always;
    uint16_t present_words;
    struct part *parts; /* how the document is written */
    uint16_t parts_len;
    struct forms *forms; /* form.h */
    struct leaf_clash *clashes;
    uint16_t clashes_len;
    struct alias_move *moves;
    uint16_t moves_len;
    uint16_t *addresses; /* columns with an address that the sensor may have written in full */
    uint16_t addresses_len;
    uint16_t decoded_len;      /* columns that decoders fill; those behind are only moved to */
    struct plan_const *consts; /* constants of leaves that something else may fill too: run last */
    uint16_t consts_len;
    struct derive_call *derives;
    uint16_t derives_len;
    uint16_t *subs;
    struct plan_drop *drops;
    uint16_t drops_len;
    struct plan_mark *marks; /* in the order of the map's rows */
    uint16_t marks_len;
    bool may_grow; /* a JSON log's: its columns are found as records come */
    uint16_t known[KNOWN__MAX];
    uint16_t known_columns[COLUMN_KNOWN__MAX];
};

/* Compile. columns are copied. Errors: CORE_LIMIT (too many columns or leaves). Owns: plan_free(). */
struct plan_request {
    const struct normalize_maps *maps;
    struct normalize_worker *worker; /* keeps the names that documents point to */
    const struct core_stream *stream;
    struct core_span product;
    struct core_span log;
    const struct column *columns;
    size_t columns_len;
    bool may_grow;
};
CORE_CHECKED enum core_err plan_make(struct plan **out, const struct plan_request *request, struct core_fail *fail);
void plan_free(struct plan *plan); /* takes NULL */
uint16_t plan_column(const struct plan *plan, struct core_span name);
/* The same text as one that lives as long as the worker. */
const char *plan_intern(struct normalize_worker *worker, struct core_span text);

/* ---- derive_domain.c: what a worker remembers of names ----------------------------------------------------------------------- */

struct domain_cache;
struct domain_cache *domain_cache_new(void);
void domain_cache_free(struct domain_cache *cache);
void domain_cache_clear(struct domain_cache *cache); /* another list is in use */

/* ---- derive_geo.c: what a worker remembers of addresses ------------------------------------------------------------------- */

struct geo_cache;
struct geo_cache *geo_cache_new(void);
void geo_cache_free(struct geo_cache *cache); /* takes NULL */

/* ---- drop.c: records that are left out ------------------------------------------------------------------------------------- */

#define DROP_RULES_MAX 4096 /* of all maps, reloads included; further ones are counted together */

struct drop_books *drop_books_take(const struct normalize_maps *before);
void drop_books_give(struct drop_books *books); /* takes NULL */
struct drop_rule *drop_rule_of(struct drop_books *books, const struct map_row *row);
void drops_draft(struct plan *plan, void *(*alloc)(struct plan *plan, size_t len));
/* Does a rule leave the current record out? Then it is counted. */
bool drop_fits(struct normalize_worker *worker, const struct plan *plan);

/* ---- one record ---------------------------------------------------------------------------------------------------------------- */

struct ip_addr {
    uint8_t bytes[16];
    uint8_t len; /* 4, 16; 0: none */
};
/* Dotted quad or RFC 4291 text, nothing else. */
bool ip_parse(struct core_span text, struct ip_addr *out);
bool value_ip(struct value v, struct ip_addr *out); /* the same */
/* fd20:0000:0000:0000:0000:0000:0000:0010, as Suricata and Snort 2 write it, is fd20::10, as Zeek and Snort 3 do (RFC 5952): what
 * one sensor calls a host finds what another saw of it. Anything else as it stands. */
struct value value_ip_short(struct normalize_worker *worker, struct value v);

#define SECOND_DIGITS 10 /* of a time from 2001 to 2286 */

/* The date of a day in UTC, as a time begins, and of its last second: records of a log are of few days, and neighbours
 * often of one second. */
struct day {
    int64_t number; /* since 1970-01-01 */
    bool is_known;
    bool has_second;
    char text[11];              /* "2026-11-21T" */
    char second[SECOND_DIGITS]; /* "1795229910", as the record had it, and */
    char second_text[20];       /* "2026-11-21T02:58:30." */
};

struct snort_names;

struct normalize_worker {
    const struct normalize_maps *maps;
    uint64_t remaps;              /* counts normalize_worker_remap() */
    struct stream_state *streams; /* of streams that have not ended; a run that is cut short leaves some */
    struct core_counters *counters;
    struct core_arena scratch; /* dies with the record */
    struct value *columns;     /* COLUMNS_ROOM; the current record's, by the plan's columns */
    const char *line;          /* the current one, as it came */
    const char *line_end; /* the current line may be read up to here: its end, or that of the memory it stands in */
    uint64_t set;         /* bit per column that is there, when has_set: then strings are all it holds beside lists */
    bool has_set;
    struct json_decode *json;
    struct core_sha1 *sha1;
    struct domain_cache *domains;
    struct geo_cache *places;
    const struct normalize_explain *explain;
    const struct normalize_watch *watch; /* of the next batch, or this one; NULL: nobody looks */
    struct interned *interned;           /* names that outlive plans and maps: batches under way point to them */
    bool is_observing;
    struct snort_names *snort_names; /* what inputs' sid-msg.map and the like say */
    uint64_t id_differs;
    struct day day;          /* of the last time written */
    struct ip_addr ip[3];    /* [1] source.ip, [2] destination.ip, [0] the last other one */
    const char *ip_text[3];  /* the text each was parsed from: the same pointer is the same address */
    uint32_t *taken;         /* per column: the record in which a conditional row took it */
    uint32_t record;         /* number of the current record, never 0 */
    bool is_order_bound;     /* the current batch has a record that depends on those before it */
    bool is_again;           /* the current batch was counted before */
    bool is_dropped;         /* the current record: a `drop when` row fits it */
    uint8_t snort_year;      /* enum snort_year: where the current record's format puts a year of two digits */
    char reason[512];        /* why the current record is a dead letter; "" : it is none */
    const char *reason_word; /* the same in a word for counting; NULL: undecodable */
};

/* Say why the current record cannot be read. Always false. */
bool record_refuse(struct normalize_worker *worker, const char *fmt, ...) CORE_PRINTF(2, 3);

/* Text to value by type; the same for every format. is_string: JSON had it in quotes (or the format has no other).
 * Returns false with worker->reason set. */
bool value_convert(struct normalize_worker *worker, const struct op *op, struct core_span name, struct value in,
                   struct value *out);
/* A time, an interval. False: it is none, or worker->reason says more. */
bool value_time(struct normalize_worker *worker, struct value in, struct value *out);
bool value_interval(struct normalize_worker *worker, bool is_ns, struct value in, struct value *out);
/* Exact decimal text ("1795229910.536622", "4.0068309", "9.5e-7", "-315619200.0") to nanoseconds, rounded half-even at
 * the sixth digit of the second. */
bool decimal_to_ns(struct core_span text, int64_t *ns);
/* A time as any sensor writes it: epoch seconds, integer milliseconds, ISO 8601. */
bool time_to_ns(struct core_span text, bool is_number, int64_t *ns);
/* "4.006831" of ns. Shape: at most 24 bytes; returns the length. */
size_t interval_text(int64_t ns, char out[24]);
struct value value_iso(struct normalize_worker *worker, int64_t ns);
struct value value_u64(struct normalize_worker *worker, uint64_t v);
struct value value_copy(struct normalize_worker *worker, struct core_span text); /* VALUE_TEXT in the scratch */
void *scratch_full(struct normalize_worker *worker);                             /* refuses the record; always NULL */

/* 8-byte aligned; NULL when full: the record is then refused. */
static inline void *scratch_alloc(struct normalize_worker *worker, size_t len) {
    struct core_arena *scratch = &worker->scratch;
    size_t take = (len + 7) & ~(size_t)7;
    if (scratch->cap - scratch->used < take) {
        return scratch_full(worker);
    }
    void *p = scratch->base + scratch->used;
    scratch->used += take;
    return p;
}
/* A list's span of items in the scratch; items may be filled afterwards. */
struct value *scratch_items(struct normalize_worker *worker, size_t len);

/* Run a filled record: columns -> leaves -> document appended to batch as an event, or a dead letter. */
bool plan_apply(struct normalize_worker *worker, struct plan *plan);
bool leaf_is_set(const struct plan *plan, uint16_t leaf);
/* Write a leaf if it is not there yet (a list leaf: add each distinct value). */
bool leaf_put(struct normalize_worker *worker, struct plan *plan, uint16_t leaf, struct value value);
struct value leaf_value(const struct plan *plan, uint16_t leaf);
/* The table's value for a word; NULL: none. */
const struct value *op_table_find(const struct op *op, struct core_span key);

/* List what stands in the record's marked leaves, when its document is written. */
void record_observe(struct normalize_worker *worker, const struct plan *plan, struct core_batch *batch,
                    struct core_event *event);

/* Show the decoded record to who watches. */
void record_watch(struct normalize_worker *worker, const struct plan *plan, const struct core_line *line);

/* What of a text is an observable of a type: whole, a part of it, several parts, or nothing. Called again with the same
 * *rest until it is empty. False: there is no more. Shape: *out points into the text. */
bool observable_pick(enum core_indicator type, struct core_span *rest, struct core_span *out);

/* Write the document of the leaves that are set. */
void plan_emit(struct normalize_worker *worker, struct plan *plan, struct core_buf *buf);
void value_emit(struct core_buf *buf, struct value value);

/* ---- decoders ----------------------------------------------------------------------------------------------------------------------- */

struct snort_csv;
struct core_zone;

/* What a stream's lines have been so far. Owned by stream->decode. */
struct stream_state {
    const struct normalize_maps *maps;
    uint64_t remaps;            /* the worker's when maps was set: an address alone may come again */
    struct stream_state *next;  /* the worker's list of all there are */
    struct stream_state **prev; /* what points to this one */
    const struct core_stream *stream;
    char name[256];                /* the log's name as the file name has it: up to its first dot */
    struct tsv_header *tsv;        /* the Zeek header in force; NULL: none was seen */
    struct plan *plans[PLANS_MAX]; /* [0] is the last used */
    size_t plans_len;
    uint64_t open_from;   /* where the span of the next event begins: before its record if records there were dropped */
    uint64_t plan_serial; /* counts changes of plans[0]: a decoder that saw the same number has the same plan */
    struct snort_csv *csv;           /* the names of csv columns; NULL: nobody gave any */
    struct core_zone *zone;          /* of the input's stamps; NULL: UTC, or no stamp came yet */
    int64_t latest_ns;               /* the latest time that a stamp without a full year was read as */
    bool has_unified2;               /* its names were asked for */
    const struct snort_names *names; /* of a unified2 file; NULL: its input names no files of names */
};

/* Which plan, and what it must have. columns NULL: whatever it has (a JSON log's plan grows). */
struct plan_want {
    struct core_span product;
    struct core_span log;
    const struct column *columns;
    size_t columns_len;
};
/* The stream's plan for this, made if there is none; it comes to the front. NULL with worker->reason. */
struct plan *stream_plan(struct normalize_worker *worker, struct stream_state *state, const struct plan_want *want);
/* Replace plans[0], a JSON log's, by one with these columns too. NULL with worker->reason; then plans[0] stays. */
struct plan *stream_plan_grow(struct normalize_worker *worker, struct stream_state *state, const struct column *more,
                              size_t more_len);
struct stream_state *stream_state_new(const struct normalize_maps *maps, const struct core_stream *stream);
void stream_state_free(struct stream_state *state); /* takes NULL */
/* Other maps: the plans go, the header in force stays. */
void stream_state_remap(struct stream_state *state, const struct normalize_maps *maps);

/* A `#` line. False: it is none of Zeek's. */
bool tsv_context(struct stream_state *state, struct core_span line);
bool tsv_is_active(const struct stream_state *state);
bool tsv_was_seen(const struct stream_state *state);   /* a #fields line, closed or not */
int64_t tsv_open_ns(const struct stream_state *state); /* #open as UTC; 0: not known */
void tsv_free(struct tsv_header *header);

/* Each decoder: true, with *plan and worker->columns filled; or false with worker->reason. */
bool tsv_decode(struct normalize_worker *worker, struct stream_state *state, struct core_span line, struct plan **plan);
bool json_decode(struct normalize_worker *worker, struct stream_state *state, struct core_span line,
                 struct plan **plan);
bool unified2_decode(struct normalize_worker *worker, struct stream_state *state, struct core_span bytes,
                     struct plan **plan);
struct value unified2_original(struct normalize_worker *worker, struct core_span bytes); /* the record, as base64 */
void snort_names_free(struct snort_names *names);                                        /* takes NULL */
/* Snort's and Suricata's text formats but JSON: alert_fast, alert_full and cmg, alert_csv, syslog. */
bool snort_text_is_named(const struct stream_state *state); /* by the input: all its records are to be that */
bool snort_text_is_it(const struct stream_state *state, struct core_span text);
bool snort_text_decode(struct normalize_worker *worker, struct stream_state *state, struct core_span text,
                       struct plan **plan);
/* A header line that names the columns of the csv lines behind it. False: it is none. */
bool snort_csv_context(struct stream_state *state, struct core_span line);
void snort_csv_free(struct snort_csv *csv); /* takes NULL */
struct json_decode *json_decode_new(struct normalize_worker *worker);
void json_decode_free(struct json_decode *json); /* takes NULL */

/* A Snort JSON alert whose msg is not escaped (Snort never escapes it), written again so that it is JSON. False: it is
 * not that. Owns: *out lies in the scratch. */
bool json_repair_snort(struct normalize_worker *worker, struct core_span line, struct core_span *out);

/* Undo Zeek's TSV escapes (\xNN, \\) so that the text is what Zeek's JSON writer would have written: if the bytes are no
 * UTF-8, each byte from 0x80 on is the text \xNN; so are control bytes JSON has no short escape for.
 * Shape: out needs 4 * text.len bytes; returns the length. */
size_t zeek_unescape(struct core_span text, char *out);
/* Two hexadecimal digits at p. */
bool hex_pair(const char *p, unsigned *byte);

#include "normalize/derive_internal.h"

#endif
