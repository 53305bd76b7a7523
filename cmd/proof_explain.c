/* cmd/proof_explain.c: a second reading of the topics, for what the first has found: which records are next to a hole, and
 * whether bytes that came twice are the same records again.
 *
 * Two sorted lists are made of the findings, so that a record costs two binary searches: the places where a hole begins or
 * ends, and the spans that came twice. The records of the latter are kept, up to a stated number, and then counted.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/proof.h"

#include <stdlib.h>

#define TWINS_MAX (1024 * 1024) /* records of bytes that came twice: 40 MiB */

/* A hole's edge: a record of gen that ends (before) or begins (after) at pos. */
struct edge {
    uint64_t gen;
    uint64_t pos;
    bool is_end;
    struct proof_neighbour *neighbour;
};

/* A record whose bytes came twice, and the finding it belongs to. */
struct twin {
    size_t region;
    uint64_t from, start, end;
};

struct explain {
    struct proof *proof;
    struct edge *edges;
    size_t edges_len;
    struct proof_finding **regions; /* DOUBLED, by generation and bytes */
    size_t regions_len;
    struct twin *twins;
    size_t twins_len;
    bool is_full;
};

static int by_number(uint64_t a, uint64_t b) {
    return a < b ? -1 : a > b;
}

static int by_edge(const void *a, const void *b) {
    const struct edge *left = a;
    const struct edge *right = b;
    int order = by_number(left->gen, right->gen);
    order = order != 0 ? order : by_number(left->pos, right->pos);
    return order != 0 ? order : (int)left->is_end - (int)right->is_end;
}

static int by_region(const void *a, const void *b) {
    const struct proof_finding *const *left = a;
    const struct proof_finding *const *right = b;
    int order = by_number((*left)->gen->gen, (*right)->gen->gen);
    return order != 0 ? order : by_number((*left)->from, (*right)->from);
}

static int by_twin(const void *a, const void *b) {
    const struct twin *left = a;
    const struct twin *right = b;
    int order = by_number(left->region, right->region);
    order = order != 0 ? order : by_number(left->start, right->start);
    return order != 0 ? order : by_number(left->end, right->end);
}

static void lists_make(struct explain *explain, struct proof_verdict *verdict) {
    explain->edges = calloc(verdict->len * 2 + 1, sizeof *explain->edges);
    explain->regions = calloc(verdict->len + 1, sizeof(struct proof_finding *));
    MUST(explain->edges != NULL && explain->regions != NULL);
    for (size_t i = 0; i < verdict->len; i++) {
        struct proof_finding *finding = &verdict->findings[i];
        uint64_t gen = finding->gen->gen;
        if (finding->kind == PROOF_GAP || finding->kind == PROOF_NOT_JUDGED) {
            explain->edges[explain->edges_len++] = (struct edge){gen, finding->from, true, &finding->before};
            explain->edges[explain->edges_len++] = (struct edge){gen, finding->end, false, &finding->after};
        } else if (finding->kind == PROOF_DOUBLED || finding->kind == PROOF_OVERLAP) {
            explain->regions[explain->regions_len++] = finding;
        }
    }
    qsort(explain->edges, explain->edges_len, sizeof *explain->edges, by_edge);
    qsort(explain->regions, explain->regions_len, sizeof(struct proof_finding *), by_region);
}

static void edge_note(struct explain *explain, const struct edge *key, const struct proof_header *header,
                      const struct core_kafka_got *got) {
    const struct edge *edge = explain->edges_len == 0
                                  ? NULL
                                  : bsearch(key, explain->edges, explain->edges_len, sizeof *explain->edges, by_edge);
    if (edge != NULL && !edge->neighbour->is_there) {
        *edge->neighbour = (struct proof_neighbour){.is_there = true,
                                                    .topic = explain->proof->places[got->place].topic,
                                                    .partition = got->partition,
                                                    .offset = got->offset,
                                                    .timestamp_ms = got->timestamp_ms,
                                                    .start = header->start,
                                                    .end = header->end};
    }
}

/* The first region of the generation that ends behind from. */
static size_t region_find(const struct explain *explain, uint64_t gen, uint64_t from) {
    size_t low = 0;
    size_t high = explain->regions_len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct proof_finding *region = explain->regions[middle];
        if (region->gen->gen > gen || (region->gen->gen == gen && region->end > from)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static void twins_note(struct explain *explain, const struct proof_header *header) {
    for (size_t i = region_find(explain, header->gen, header->from); i < explain->regions_len; i++) {
        const struct proof_finding *region = explain->regions[i];
        if (region->gen->gen != header->gen || region->from >= header->end) {
            return;
        }
        if (explain->twins_len == TWINS_MAX) {
            explain->is_full = true;
            return;
        }
        explain->twins[explain->twins_len++] = (struct twin){i, header->from, header->start, header->end};
    }
}

static enum core_err explain_take(void *explain_ptr, const struct core_kafka_got *got,
                                  struct core_fail *fail CORE_UNUSED) {
    struct explain *explain = explain_ptr;
    struct proof_header header;
    if (!proof_header_take(got->header, &header)) {
        return CORE_OK;
    }
    const struct edge before = {.gen = header.gen, .pos = header.end, .is_end = true};
    const struct edge after = {.gen = header.gen, .pos = header.from, .is_end = false};
    edge_note(explain, &before, &header, got);
    edge_note(explain, &after, &header, got);
    if (explain->regions_len > 0) {
        twins_note(explain, &header);
    }
    return CORE_OK;
}

/* The same id again: doubled. Other ids, and bytes in common: an overlap. */
static void twins_count(struct explain *explain) {
    if (explain->twins_len == 0) {
        return;
    }
    qsort(explain->twins, explain->twins_len, sizeof *explain->twins, by_twin);
    for (size_t i = 0; i < explain->twins_len;) {
        struct proof_finding *region = explain->regions[explain->twins[i].region];
        uint64_t reach = 0; /* where the records so far end */
        bool is_overlap = false;
        uint64_t repeats = 0;
        size_t first = i;
        for (; i < explain->twins_len && explain->twins[i].region == explain->twins[first].region; i++) {
            const struct twin *twin = &explain->twins[i];
            if (i > first && twin->start == explain->twins[i - 1].start && twin->end == explain->twins[i - 1].end) {
                repeats++;
                continue;
            }
            is_overlap = is_overlap || (i > first && twin->start < reach);
            reach = twin->end > reach ? twin->end : reach;
        }
        region->kind = is_overlap || repeats == 0 ? PROOF_OVERLAP : PROOF_DOUBLED;
        region->records = repeats;
    }
}

static void kinds_recount(struct explain *explain, struct proof_verdict *verdict) {
    for (size_t i = 0; i < explain->regions_len; i++) {
        if (explain->regions[i]->kind == PROOF_OVERLAP) {
            verdict->count[PROOF_DOUBLED]--;
            verdict->count[PROOF_OVERLAP]++;
        }
    }
    verdict->is_explain_full = explain->is_full;
}

/* A hole's records are known if it is its generation's only one: what the position says, less what is there once. */
static void gaps_count(struct proof_verdict *verdict) {
    for (size_t i = 0; i < verdict->len;) {
        const struct proof_gen *gen = verdict->findings[i].gen;
        struct proof_finding *gap = NULL;
        size_t gaps = 0;
        uint64_t found = gen->events + gen->dead;
        for (; i < verdict->len && verdict->findings[i].gen == gen; i++) {
            struct proof_finding *finding = &verdict->findings[i];
            if (finding->kind == PROOF_GAP || finding->kind == PROOF_NOT_JUDGED) {
                gap = finding;
                gaps++;
            } else if (finding->kind == PROOF_DOUBLED || finding->kind == PROOF_OVERLAP) {
                found -= finding->records;
            }
        }
        uint64_t told = gen->tally.events + gen->tally.dead;
        if (gaps == 1) {
            gap->records = told > found ? told - found : 0;
        }
    }
}

enum core_err proof_explain(struct proof *proof, struct proof_verdict *verdict, struct core_fail *fail) {
    MUST(proof != NULL && verdict != NULL);
    if (verdict->len == 0) {
        return CORE_OK;
    }
    struct explain explain = {.proof = proof};
    lists_make(&explain, verdict);
    if (explain.regions_len > 0) {
        explain.twins = malloc(TWINS_MAX * sizeof *explain.twins);
        MUST(explain.twins != NULL);
    }
    struct core_kafka_place *places = calloc(proof->places_len + 1, sizeof *places);
    MUST(places != NULL);
    for (size_t i = 0; i < proof->places_len; i++) {
        places[i] = (struct core_kafka_place){.topic = proof->topics[proof->places[i].topic].name,
                                              .partition = proof->places[i].partition,
                                              .offset = CORE_KAFKA_BEGINNING};
    }
    enum core_err err = proof_each(proof, places, proof->places_len, explain_take, &explain, fail);
    if (err == CORE_OK) {
        twins_count(&explain);
        kinds_recount(&explain, verdict);
        gaps_count(verdict);
    }
    free(places);
    free(explain.twins);
    free(explain.edges);
    free(explain.regions);
    return err;
}
