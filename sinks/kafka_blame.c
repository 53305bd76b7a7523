/* sinks/kafka_blame.c: which records does a broker refuse? (exactly-once delivery)
 *
 * A broker refuses batches, not records, and one refusal aborts the whole transaction; then everything since the last commit
 * is read and sent again. So what is known of the refused must outlive the batches they were in: it is kept by generation
 * and position, which are the same when a record is read again.
 *
 *   refused in company   its generation is under suspicion up to its end: until that much is committed, records go alone,
 *                        a batch a transaction
 *   refused alone        guilty: the next time a dead letter; if that is refused alone, a dead letter that is nearly empty;
 *                        if that is refused, too, it is left out: only the log has it
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/kafka_internal.h"

#include <stdlib.h>

#define SUSPECTS_MAX 4096
#define GUILTY_MAX (2 * CORE_BATCH_LINES_MAX) /* one batch a transaction while there are any */
/* A generation that does not come again (its file was removed) is under suspicion no longer than this. */
#define SUSPICION_MAX_NS (600 * CORE_NS_PER_S)

struct kafka_suspect {
    uint64_t gen;
    uint64_t end;
    int64_t since_ns;
};

struct kafka_guilty {
    uint64_t gen;
    uint64_t start;
    int code;
    unsigned times;
};

void kafka_blame_suspect(struct kafka_blame *blame, uint64_t gen, uint64_t end, int code) {
    MUST(blame != NULL);
    if (blame->suspects == NULL) {
        blame->suspects = calloc(SUSPECTS_MAX, sizeof *blame->suspects);
        MUST(blame->suspects != NULL);
    }
    if (blame->suspects_len == 0) {
        blame->is_about_size = true;
        blame->has_found = false;
    }
    blame->is_about_size = blame->is_about_size && core_kafka_is_size(code);
    for (size_t i = 0; i < blame->suspects_len; i++) {
        struct kafka_suspect *suspect = &blame->suspects[i];
        if (suspect->gen == gen) {
            suspect->end = end > suspect->end ? end : suspect->end;
            return;
        }
    }
    if (blame->suspects_len < SUSPECTS_MAX) {
        blame->suspects[blame->suspects_len++] =
            (struct kafka_suspect){.gen = gen, .end = end, .since_ns = core_tick_ns()};
    }
}

static struct kafka_guilty *guilty_find(const struct kafka_blame *blame, uint64_t gen, uint64_t start) {
    for (size_t i = 0; i < blame->guilty_len; i++) {
        if (blame->guilty[i].start == start && blame->guilty[i].gen == gen) {
            return &blame->guilty[i];
        }
    }
    return NULL;
}

unsigned kafka_blame_guilty(struct kafka_blame *blame, uint64_t gen, uint64_t start, int code) {
    MUST(blame != NULL);
    if (blame->guilty == NULL) {
        blame->guilty = calloc(GUILTY_MAX, sizeof *blame->guilty);
        MUST(blame->guilty != NULL);
    }
    struct kafka_guilty *found = guilty_find(blame, gen, start);
    if (found == NULL) {
        if (blame->guilty_len == GUILTY_MAX) { /* left behind by files that did not come again */
            blame->guilty_len = 0;
        }
        found = &blame->guilty[blame->guilty_len++];
        *found = (struct kafka_guilty){.gen = gen, .start = start, .code = code};
    }
    blame->has_found = true;
    return ++found->times;
}

unsigned kafka_blame_of(const struct kafka_blame *blame, uint64_t gen, uint64_t start, int *code) {
    MUST(code != NULL);
    const struct kafka_guilty *found = guilty_find(blame, gen, start);
    if (found == NULL) {
        return 0;
    }
    *code = found->code;
    return found->times;
}

void kafka_blame_acquit(struct kafka_blame *blame, uint64_t gen, uint64_t end, int64_t now) {
    MUST(blame != NULL);
    size_t kept = 0;
    for (size_t i = 0; i < blame->suspects_len; i++) {
        const struct kafka_suspect *suspect = &blame->suspects[i];
        bool is_over = (suspect->gen == gen && suspect->end <= end) || now - suspect->since_ns > SUSPICION_MAX_NS;
        if (!is_over) {
            blame->suspects[kept++] = *suspect;
        }
    }
    blame->suspects_len = kept;
    kept = 0;
    for (size_t i = 0; i < blame->guilty_len; i++) {
        if (blame->guilty[i].gen != gen || blame->guilty[i].start >= end) {
            blame->guilty[kept++] = blame->guilty[i];
        }
    }
    blame->guilty_len = kept;
}

void kafka_blame_free(struct kafka_blame *blame) {
    free(blame->suspects);
    free(blame->guilty);
    *blame = (struct kafka_blame){0};
}
