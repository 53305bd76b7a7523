/* normalize/form.h: what a plan knows of the forms its records come in (form.c).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_NORMALIZE_FORM_H
#define TAPLINE_NORMALIZE_FORM_H

#include "normalize/normalize_internal.h"

#define FORM_KEY_WORDS_MAX 192 /* of 8 bytes */
#define FORM_WORDS_MAX 16      /* columns whose text is part of the key */
#define FORM_WORD_BYTES 16     /* such a text, and its length in the last byte; a longer one has no form */
#define FORM_CONDS_MAX 64      /* conditions and bools: a bit each */
#define FORMS_MAX 512          /* power of two; records of further forms go the long way */
#define FORMS_BYTES (8 * CORE_MIB)
#define FORM_SHAPES_MAX 16
#define FORM_STRIDE 64  /* texts are copied in strides */
#define FORM_SET_MAX 16 /* columns copied to one list */

/* A leaf whose value a form settles: what a column has, or the same text in every record. */
struct form_leaf {
    uint16_t leaf;
    uint8_t kind;        /* VALUE_PLAIN: between quotes; VALUE_RAW: as it is */
    uint8_t columns_len; /* 0: value; 1: a copy; more, or a list leaf: the list of their distinct texts */
    bool is_list;
    const uint16_t *columns;
    struct value value; /* as a scalar (VALUE_NONE: it is a list) */
    struct core_span rendered;
};

/* One step of writing a document: a text, then a value, whose quotes the texts around it have. */
struct form_step {
    const char *text;             /* readable for FORM_STRIDE bytes and to the next multiple of that */
    const struct value *value;    /* of a column or a leaf; the first of a set */
    const struct form_leaf *leaf; /* HOW_SET */
    uint64_t usual;               /* value_meta() of such a value, but for its len: roomy, and of the same kind */
    uint32_t text_len;
    uint8_t how; /* enum form_how */
};

enum form_how {
    HOW_TEXT, /* bytes between quotes */
    HOW_RAW,  /* bytes as they are */
    HOW_LIST, /* a leaf that is a list */
    HOW_SET   /* a list of columns' distinct texts */
};

/* How a document is written whose leaves are just these. */
struct form_shape {
    const uint64_t *present;
    const struct form_step *steps; /* the last has no value */
    size_t steps_len;
    size_t room; /* bytes, where no value is longer than VALUE_ROOM */
};

/* A column that must be an IP address. */
struct form_address {
    uint16_t column;
    uint8_t slot; /* of worker->ip */
};

/* Records of the same columns, kinds and words: nearly all of what the map says is settled. */
struct form {
    uint64_t hash;
    bool is_none; /* its records go the long way */
    const uint64_t *key;
    const uint64_t *present;  /* leaves that are settled */
    const uint16_t *decimals; /* columns that must be decimal numbers, or the record goes the long way */
    const struct form_address *addresses;
    const uint16_t *ops; /* what is left to be done: of plan->ops, consts and derives, in their order */
    const uint16_t *consts;
    const uint16_t *derives;
    const struct form_leaf *leaves;
    const uint16_t *leaf_at; /* per leaf: its place in leaves; LEAF_NONE: it is not settled */
    uint16_t key_len;
    uint16_t decimals_len;
    uint16_t addresses_len;
    uint16_t ops_len;
    uint16_t consts_len;
    uint16_t derives_len;
    uint16_t leaves_len;
    uint16_t shapes_len;
    struct form_shape shapes[FORM_SHAPES_MAX];
};

struct form_cond {
    uint16_t column;
    struct core_span text;
};

struct forms {
    struct core_arena arena;
    struct form *slots[FORMS_MAX];
    uint16_t bools[FORM_CONDS_MAX];
    uint16_t bools_len;
    uint16_t words[FORM_WORDS_MAX];
    uint16_t words_len;
    struct form_cond conds[FORM_CONDS_MAX];
    uint16_t conds_len;
    size_t key_len;       /* of the current one, in words: kinds of columns, a bit a condition and bool, the texts */
    uint64_t *kept;       /* bit per leaf: it may move, so its value stands in plan->values */
    bool is_off;          /* too many columns or conditions */
    bool is_full;         /* no further ones are made */
    struct form *current; /* the record's; NULL: it went the long way */
    const struct value *columns; /* the record's */
    const char *ips_of;          /* derive_dns_ips(): the answers, for the record's other rows of it; NULL: none yet */
    struct value ips;            /* a list: which of them are addresses */
    uint64_t hash;
    bool is_new; /* of a form that there is none of yet, and room for it */
    uint64_t key[FORM_KEY_WORDS_MAX];
};

static inline void bit_set(uint64_t *bits, uint16_t i) {
    bits[i / 64] |= UINT64_C(1) << (i % 64);
}

static inline bool bit_is_set(const uint64_t *bits, uint16_t i) {
    return (bits[i / 64] >> (i % 64) & 1) != 0;
}

NORMALIZE_INLINE bool words_are_same(const uint64_t *a, const uint64_t *b, size_t len) {
    uint64_t differs = 0;
    for (size_t i = 0; i < len; i++) {
        differs |= a[i] ^ b[i];
    }
    return differs == 0;
}

static inline void *form_alloc(struct forms *forms, size_t len) {
    return core_arena_alloc(&forms->arena, len);
}

/* plan->forms: none yet, and which columns tell them apart. Errors: as core_arena_init(). */
CORE_CHECKED enum core_err forms_open(struct plan *plan, struct core_fail *fail);
void forms_close(struct forms *forms); /* takes NULL */
/* The form of the record in worker->columns, or NULL; then forms->is_new says if form_make() may be called. */
struct form *form_find(struct normalize_worker *worker, struct plan *plan);
/* After the long way: remember what this record settled for all of its form. */
void form_make(struct normalize_worker *worker, struct plan *plan);
/* Steps for the leaves that are set now; NULL: no room for them is left. */
const struct form_shape *form_shape(struct normalize_worker *worker, struct plan *plan, struct form *form);
/* The value of a leaf that the record's form settles. False: it does not, plan->values has it. */
bool form_value(const struct forms *forms, uint16_t leaf, struct value *out);
/* Put the settled leaves into plan->values, so that the document can be written the long way. */
void form_unfold(struct normalize_worker *worker, struct plan *plan, const struct form *form);

#endif
