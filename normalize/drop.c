/* normalize/drop.c: `drop when` rows: records that a site leaves out, and the books about them.
 *
 * A rule is a row of a map, known by its place and its text ("zeek.conn.map:12 drop when proto = udp"). Its count outlives
 * the maps it stood in: maps that are read again at a reload go on with the books of those before them, so what `run`
 * tells at its end is the whole of it. An edited rule, or one that moved to another line, is another rule.
 *
 * Threads: the books are changed by the thread that opens and closes maps (main); workers only add to the counts of the
 * rules their maps point to, which never move.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/maps_internal.h"

#include <stdio.h>
#include <stdlib.h>

struct drop_rule {
    char text[160];
    _Atomic uint64_t dropped;
};

/* The last rule is for all that came too late to have one of their own. */
struct drop_books {
    size_t users; /* maps that point here */
    size_t len;
    struct drop_rule rules[DROP_RULES_MAX + 1];
};

struct drop_books *drop_books_take(const struct normalize_maps *before) {
    struct drop_books *books = before != NULL ? before->drops : calloc(1, sizeof(*books));
    MUST(books != NULL);
    books->users++;
    return books;
}

void drop_books_give(struct drop_books *books) {
    if (books != NULL && --books->users == 0) {
        free(books);
    }
}

struct drop_rule *drop_rule_of(struct drop_books *books, const struct map_row *row) {
    char text[sizeof(books->rules[0].text)];
    snprintf(text, sizeof(text), "%s drop when %.40s %s %.40s", row->place, row->unless_field.ptr,
             row->unless_not ? "!=" : "=", row->unless_text.ptr);
    for (size_t i = 0; i < books->len; i++) {
        if (strcmp(books->rules[i].text, text) == 0) {
            return &books->rules[i];
        }
    }
    struct drop_rule *rule = &books->rules[books->len < DROP_RULES_MAX ? books->len++ : DROP_RULES_MAX];
    snprintf(rule->text, sizeof(rule->text), "%s", rule == &books->rules[DROP_RULES_MAX] ? "(further rules)" : text);
    return rule;
}

bool normalize_drop_at(const struct normalize_maps *maps, size_t i, struct normalize_drop *out) {
    struct drop_books *books = maps->drops;
    bool has_others = books->rules[DROP_RULES_MAX].text[0] != '\0';
    if (i >= books->len + (has_others ? 1 : 0)) {
        return false;
    }
    struct drop_rule *rule = &books->rules[i == books->len ? DROP_RULES_MAX : i];
    *out = (struct normalize_drop){.rule = rule->text,
                                   .dropped = atomic_load_explicit(&rule->dropped, memory_order_relaxed)};
    return true;
}

void drops_draft(struct plan *plan, void *(*alloc)(struct plan *plan, size_t len)) {
    const struct map *map = plan->map;
    plan->drops = alloc(plan, map->rows_len * sizeof(*plan->drops));
    for (size_t i = 0; i < map->rows_len; i++) {
        if (map->rows[i].kind == ROW_DROP) {
            plan->drops[plan->drops_len++] =
                (struct plan_drop){.column = plan_column(plan, map->rows[i].unless_field), .row = &map->rows[i]};
        }
    }
}

bool drop_fits(struct normalize_worker *worker, const struct plan *plan) {
    for (uint16_t i = 0; i < plan->drops_len; i++) {
        const struct plan_drop *drop = &plan->drops[i];
        const struct map_row *row = drop->row;
        struct value value = drop->column == COLUMN_NONE ? value_none() : worker->columns[drop->column];
        if (value_is_text(value, row->unless_text) != row->unless_not) {
            atomic_fetch_add_explicit(&row->drop->dropped, worker->is_again ? 0 : 1, memory_order_relaxed);
            if (worker->explain != NULL) {
                worker->explain->row(worker->explain->ctx, row->unless_field, row->place, "(dropped)",
                                     value_is_scalar(value) ? value_span(value) : CORE_SPAN("(absent)"));
            }
            return true;
        }
    }
    return false;
}
