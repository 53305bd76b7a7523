/* tests/unit/health_look.h: a page that a stage writes, and what readers of the board see of it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_HEALTH_LOOK_H
#define TAPLINE_TESTS_HEALTH_LOOK_H

#include "core/health_internal.h"
#include "tests/unit/health_rig.h"

/* The row with these labels (NULL: whatever it is); NULL: there is none. Valid until the next look. */
static inline const struct core_health_row *health_look_row(struct health_rig *rig, enum core_health_kind kind,
                                                            const char *label0, const char *label1,
                                                            const char *label2) {
    const char *const labels[CORE_HEALTH_LABELS_MAX] = {label0, label1, label2};
    size_t len = 0;
    core_arena_reset(&rig->arena, CORE_MIB);
    const struct core_health_row *rows = core_health_rows(rig->health, &rig->arena, &len);
    MUST(rows != NULL);
    for (size_t i = 0; i < len; i++) {
        bool is_it = rows[i].kind == kind;
        for (size_t k = 0; k < CORE_HEALTH_LABELS_MAX && labels[k] != NULL; k++) {
            is_it = is_it && rows[i].labels[k] != NULL && strcmp(rows[i].labels[k], labels[k]) == 0;
        }
        if (is_it) {
            return &rows[i];
        }
    }
    return NULL;
}

/* One number of it; CORE_HEALTH_UNKNOWN, too, if there is no such row. */
static inline int64_t health_look(struct health_rig *rig, enum core_health_measure measure, const char *label0,
                                  const char *label1, const char *label2) {
    const struct core_health_row *row =
        health_look_row(rig, core_health_measures[measure].kind, label0, label1, label2);
    return row == NULL ? CORE_HEALTH_UNKNOWN : core_health_get(row, measure);
}

static inline size_t health_look_count(struct health_rig *rig, enum core_health_kind kind) {
    size_t len = 0;
    size_t found = 0;
    core_arena_reset(&rig->arena, CORE_MIB);
    const struct core_health_row *rows = core_health_rows(rig->health, &rig->arena, &len);
    MUST(rows != NULL);
    for (size_t i = 0; i < len; i++) {
        found += rows[i].kind == kind ? 1 : 0;
    }
    return found;
}

/* What a complaint says; NULL: nobody complains of this. Valid until the next look. */
static inline const char *health_look_complaint(struct health_rig *rig, const char *code) {
    size_t len = 0;
    core_arena_reset(&rig->arena, CORE_MIB);
    const struct core_health_complaint *complaints = core_health_complaints(rig->health, &rig->arena, &len);
    for (size_t i = 0; i < len; i++) {
        if (strcmp(complaints[i].code, code) == 0) {
            return complaints[i].text;
        }
    }
    return NULL;
}

#endif
