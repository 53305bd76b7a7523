/* core/health_board.c: the board: tables made from counters.def, pages that threads write, rows as readers get them.
 *
 * A page is two sets of rows: the one its thread is writing, and the one that readers see. Publishing swaps them under the
 * page's mutex, and a reader copies under the same: twice a second on one side, once a second or so on the other, never on the
 * data path. Labels lie in an arena of their set.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define LABEL_ARENA_BYTES (8 * CORE_MIB) /* address space of a set: touched pages count */
#define LABEL_KEEP_BYTES (256 * CORE_KIB)
#define US_PER_S ((uint64_t)(CORE_NS_PER_S / CORE_NS_PER_US))

/* ---- tables -------------------------------------------------------------------------------------------------------------- */

const struct core_health_measure_info core_health_measures[CORE_HEALTH_MEASURE__MAX] = {
#define GAUGE(kind_, id, name_, unit_, meaning_)                                                                       \
    [CORE_##kind_##_##                                                                                                 \
        id] = {.kind = CORE_HEALTH_##kind_, .name = (name_), .unit = CORE_UNIT_##unit_, .meaning = (meaning_)},
#define COUNT(kind_, id, name_, unit_, meaning_)                                                                       \
    [CORE_##kind_##_##id] = {.kind = CORE_HEALTH_##kind_,                                                              \
                             .name = (name_),                                                                          \
                             .unit = CORE_UNIT_##unit_,                                                                \
                             .only_grows = true,                                                                       \
                             .meaning = (meaning_)},
#include "core/counters.def"
};

static const struct {
    const char *name;
    const char *labels;
    const char *meaning;
} kinds[CORE_HEALTH__MAX] = {
#define KIND(id, name_, labels_, meaning_)                                                                             \
    [CORE_HEALTH_##id] = {.name = (name_), .labels = (labels_), .meaning = (meaning_)},
#include "core/counters.def"
};

static const struct {
    const char *name;
    const char *meaning;
} histograms[CORE_HEALTH__MAX] = {
#define HISTOGRAM(kind, name_, meaning_) [CORE_HEALTH_##kind] = {.name = (name_), .meaning = (meaning_)},
#include "core/counters.def"
};

/* Label names taken apart once, for the process: nothing in them ever changes afterwards. */
static struct core_health_kind_info infos[CORE_HEALTH__MAX];
static char label_texts[CORE_HEALTH__MAX][64];
static pthread_once_t infos_once = PTHREAD_ONCE_INIT;

static void infos_make(void) {
    for (int kind = 0; kind < CORE_HEALTH__MAX; kind++) {
        struct core_health_kind_info *info = &infos[kind];
        *info = (struct core_health_kind_info){.name = kinds[kind].name,
                                               .meaning = kinds[kind].meaning,
                                               .histogram = histograms[kind].name,
                                               .histogram_meaning = histograms[kind].meaning};
        int len = snprintf(label_texts[kind], sizeof label_texts[kind], "%s", kinds[kind].labels);
        MUST(len >= 0 && (size_t)len < sizeof label_texts[kind]);
        char *rest = NULL;
        size_t labels = 0;
        for (char *word = strtok_r(label_texts[kind], ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
            MUST(labels < CORE_HEALTH_LABELS_MAX);
            info->label_names[labels++] = word;
        }
        info->first_measure = CORE_HEALTH_MEASURE__MAX;
        for (int i = CORE_HEALTH_MEASURE__MAX - 1; i >= 0; i--) {
            if ((int)core_health_measures[i].kind == kind) {
                info->first_measure = i;
                info->measures_len++;
            }
        }
        MUST(info->measures_len <= CORE_HEALTH_VALUES_MAX);
    }
}

const struct core_health_kind_info *core_health_kind_info(enum core_health_kind kind) {
    MUST((int)kind >= 0 && kind < CORE_HEALTH__MAX);
    MUST(pthread_once(&infos_once, infos_make) == 0);
    return &infos[kind];
}

static bool ends_with(const char *text, const char *end) {
    size_t text_len = strlen(text);
    size_t end_len = strlen(end);
    return text_len >= end_len && strcmp(text + text_len - end_len, end) == 0;
}

void core_health_measure_name(enum core_health_measure measure, char out[64]) {
    static const char *const suffixes[] = {[CORE_UNIT_NUMBER] = "",        [CORE_UNIT_BYTES] = "_bytes",
                                           [CORE_UNIT_NS] = "_seconds",    [CORE_UNIT_TIME] = "_timestamp_seconds",
                                           [CORE_UNIT_SINCE] = "_seconds", [CORE_UNIT_PPM] = "_ratio",
                                           [CORE_UNIT_FLAG] = ""};
    MUST((int)measure >= 0 && measure < CORE_HEALTH_MEASURE__MAX);
    const struct core_health_measure_info *info = &core_health_measures[measure];
    const char *suffix = ends_with(info->name, suffixes[info->unit]) ? "" : suffixes[info->unit];
    int len = snprintf(out, 64, "%s%s", info->name, suffix);
    MUST(len > 0 && len < 64);
}

/* ---- histograms ---------------------------------------------------------------------------------------------------------- */

#define MS CORE_NS_PER_MS
#define S CORE_NS_PER_S
const int64_t core_histogram_bounds_ns[CORE_HISTOGRAM_BUCKETS - 1] = {1 * MS,    2500 * CORE_NS_PER_US,
                                                                      5 * MS,    10 * MS,
                                                                      25 * MS,   50 * MS,
                                                                      100 * MS,  250 * MS,
                                                                      500 * MS,  1 * S,
                                                                      2500 * MS, 5 * S,
                                                                      10 * S,    30 * S,
                                                                      60 * S,    600 * S,
                                                                      3600 * S};
#undef MS
#undef S

void core_histogram_add(struct core_histogram *histogram, int64_t ns, uint64_t times) {
    ns = ns < 0 ? 0 : ns;
    size_t i = 0;
    while (i < CORE_HISTOGRAM_BUCKETS - 1 && ns > core_histogram_bounds_ns[i]) {
        i++;
    }
    atomic_fetch_add_explicit(&histogram->counts[i], times, memory_order_relaxed);
    uint64_t us = (uint64_t)(ns < CORE_HISTOGRAM_NS_MAX ? ns : CORE_HISTOGRAM_NS_MAX) * times / CORE_NS_PER_US;
    atomic_fetch_add_explicit(&histogram->sum_us, us, memory_order_relaxed);
}

void core_histogram_see(const struct core_histogram *histogram, struct core_histogram_seen *out) {
    uint64_t all = 0;
    for (size_t i = 0; i < CORE_HISTOGRAM_BUCKETS; i++) {
        all += atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);
        out->up_to[i] = all;
    }
    uint64_t us = atomic_load_explicit(&histogram->sum_us, memory_order_relaxed);
    uint64_t part = us % US_PER_S;
    int len = snprintf(out->sum, sizeof out->sum, "%llu", (unsigned long long)(us / US_PER_S));
    len += part == 0 ? 0 : snprintf(out->sum + len, sizeof out->sum - (size_t)len, ".%06llu", (unsigned long long)part);
    while (part != 0 && out->sum[len - 1] == '0') {
        out->sum[--len] = '\0';
    }
}

int64_t core_histogram_quantile_ns(const struct core_histogram *histogram, double share) {
    uint64_t counts[CORE_HISTOGRAM_BUCKETS];
    uint64_t all = 0;
    for (size_t i = 0; i < CORE_HISTOGRAM_BUCKETS; i++) {
        counts[i] = atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);
        all += counts[i];
    }
    if (all == 0) {
        return -1;
    }
    double rank = share * (double)all;
    double below = 0;
    for (size_t i = 0; i < CORE_HISTOGRAM_BUCKETS - 1; i++) {
        if (below + (double)counts[i] >= rank && counts[i] > 0) {
            int64_t low = i == 0 ? 0 : core_histogram_bounds_ns[i - 1];
            int64_t wide = core_histogram_bounds_ns[i] - low;
            return low + (int64_t)((double)wide * (rank - below) / (double)counts[i]);
        }
        below += (double)counts[i];
    }
    return core_histogram_bounds_ns[CORE_HISTOGRAM_BUCKETS - 2]; /* more than the last bound: that is all we know */
}

/* ---- pages ---------------------------------------------------------------------------------------------------------------- */

struct core_health_page *core_health_page_new(struct core_health *health, const char *owner) {
    MUST(health != NULL && owner != NULL);
    struct core_health_page *page = calloc(1, sizeof(*page));
    MUST(page != NULL);
    page->owner = owner;
    MUST(pthread_mutex_init(&page->lock, NULL) == 0);
    struct core_fail fail;
    for (size_t i = 0; i < 2; i++) {
        MUST(core_arena_init(&page->sets[i].texts, LABEL_ARENA_BYTES, &fail) == CORE_OK);
    }
    page->writing = &page->sets[0];
    page->shown = &page->sets[1];
    struct core_health_page **last = &health->pages;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = page;
    return page;
}

void core_health_page_free(struct core_health_page *page) {
    for (size_t i = 0; i < 2; i++) {
        core_arena_destroy(&page->sets[i].texts);
        free(page->sets[i].rows);
        free(page->sets[i].complaints);
    }
    MUST(pthread_mutex_destroy(&page->lock) == 0);
    free(page);
}

bool core_health_is_due(const struct core_health_page *page, int64_t now) {
    return page != NULL && (page->published_ns == 0 || now - page->published_ns >= CORE_HEALTH_EVERY_NS);
}

void core_health_begin(struct core_health_page *page) {
    struct core_health_set *set = page->writing;
    set->rows_len = 0;
    set->complaints_len = 0;
    set->left_out = 0;
    core_arena_reset(&set->texts, LABEL_KEEP_BYTES);
}

/* What is no UTF-8 is shown as core_buf_string() shows it, once for all that show it: else two labels that differ could look the
 * same to one of them, and Prometheus takes nothing at all of a page with the same series twice. */
static struct core_span text_as_utf8(struct core_span text, char out[CORE_HEALTH_LABEL_BYTES_MAX]) {
    size_t used = 0;
    for (size_t i = 0; i < text.len && used + 4 <= CORE_HEALTH_LABEL_BYTES_MAX;) {
        size_t len = 1;
        while (len < 4 && i + len < text.len &&
               !core_utf8_is_valid((struct core_span){.ptr = text.ptr + i, .len = len})) {
            len++;
        }
        if (core_utf8_is_valid((struct core_span){.ptr = text.ptr + i, .len = len})) {
            memcpy(out + used, text.ptr + i, len);
            used += len;
            i += len;
        } else {
            char shown[5];
            (void)snprintf(shown, sizeof shown, "\\x%02x", (unsigned)(unsigned char)text.ptr[i]);
            memcpy(out + used, shown, 4);
            used += 4;
            i++;
        }
    }
    return (struct core_span){.ptr = out, .len = used};
}

static const char *label_copy(struct core_health_set *set, const char *text) {
    char shown[CORE_HEALTH_LABEL_BYTES_MAX];
    size_t len = text == NULL ? 0 : strlen(text);
    struct core_span cut = core_utf8_cut((struct core_span){.ptr = text, .len = len}, CORE_HEALTH_LABEL_BYTES_MAX);
    cut = cut.len == 0 || core_utf8_is_valid(cut) ? cut : text_as_utf8(cut, shown);
    return cut.len == 0 ? "" : core_arena_copy(&set->texts, cut);
}

/* Grown by doubling up to its maximum, and kept. */
static bool room_make(void **items, size_t len, size_t *cap, size_t item_size, size_t max) {
    if (len < *cap) {
        return true;
    }
    if (len >= max) {
        return false;
    }
    size_t next = *cap == 0 ? 64 : *cap * 2;
    void *grown = realloc(*items, (next > max ? max : next) * item_size);
    MUST(grown != NULL);
    *items = grown;
    *cap = next > max ? max : next;
    return true;
}

static bool labels_copy(struct core_health_set *set, enum core_health_kind kind, const char *const given[],
                        const char *labels[]) {
    const struct core_health_kind_info *info = core_health_kind_info(kind);
    for (size_t i = 0; i < CORE_HEALTH_LABELS_MAX; i++) {
        labels[i] = info->label_names[i] == NULL ? NULL : label_copy(set, given[i]);
        if (info->label_names[i] != NULL && labels[i] == NULL) {
            return false;
        }
    }
    return true;
}

struct core_health_row *core_health_add(struct core_health_page *page, enum core_health_kind kind, const char *label0,
                                        const char *label1, const char *label2) {
    struct core_health_set *set = page->writing;
    const char *const given[CORE_HEALTH_LABELS_MAX] = {label0, label1, label2};
    struct core_health_row row = {.kind = kind};
    void *rows = set->rows;
    bool has_room = room_make(&rows, set->rows_len, &set->rows_cap, sizeof(*set->rows), CORE_HEALTH_ROWS_MAX);
    set->rows = rows;
    if (!has_room || !labels_copy(set, kind, given, row.labels)) {
        set->left_out++;
        return NULL;
    }
    for (size_t i = 0; i < CORE_HEALTH_VALUES_MAX; i++) {
        row.values[i] = CORE_HEALTH_UNKNOWN;
    }
    set->rows[set->rows_len] = row;
    return &set->rows[set->rows_len++];
}

void core_health_set(struct core_health_row *row, enum core_health_measure measure, int64_t value) {
    if (row != NULL) {
        MUST(core_health_measures[measure].kind == row->kind);
        row->values[(int)measure - core_health_kind_info(row->kind)->first_measure] = value;
    }
}

void core_health_complain(struct core_health_page *page, const char *code, enum core_health_kind kind,
                          const char *label0, const char *label1, const char *label2, const char *fmt, ...) {
    struct core_health_set *set = page->writing;
    const char *const given[CORE_HEALTH_LABELS_MAX] = {label0, label1, label2};
    struct core_health_complaint complaint = {.code = code, .kind = kind};
    void *complaints = set->complaints;
    bool has_room = room_make(&complaints, set->complaints_len, &set->complaints_cap, sizeof(*set->complaints),
                              CORE_HEALTH_COMPLAINTS_MAX);
    set->complaints = complaints;
    char text[1024];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    complaint.text = core_arena_copy(&set->texts, core_span_of(text));
    if (!has_room || complaint.text == NULL || !labels_copy(set, kind, given, complaint.labels)) {
        set->left_out++;
        return;
    }
    set->complaints[set->complaints_len++] = complaint;
}

void core_health_since(int64_t wall_ns, char out[21]) {
    char iso[27];
    MUST(core_time_iso(wall_ns, iso));
    snprintf(out, 21, "%.19sZ", iso);
}

void core_health_publish(struct core_health_page *page) {
    MUST(pthread_mutex_lock(&page->lock) == 0);
    struct core_health_set *now_shown = page->writing;
    page->writing = page->shown;
    page->shown = now_shown;
    MUST(pthread_mutex_unlock(&page->lock) == 0);
    page->published_ns = core_tick_ns();
}

/* ---- reading ---------------------------------------------------------------------------------------------------------------- */

/* A copy of the labels into the reader's arena. */
static bool labels_take(struct core_arena *arena, const char *labels[]) {
    for (size_t i = 0; i < CORE_HEALTH_LABELS_MAX; i++) {
        if (labels[i] != NULL && labels[i][0] != '\0') {
            labels[i] = core_arena_copy(arena, core_span_of(labels[i]));
            if (labels[i] == NULL) {
                return false;
            }
        } else if (labels[i] != NULL) {
            labels[i] = "";
        }
    }
    return true;
}

/* Are the labels of two rows of one kind the same? */
static bool labels_same(const struct core_health_row *a, const struct core_health_row *b) {
    for (size_t i = 0; i < CORE_HEALTH_LABELS_MAX && a->labels[i] != NULL; i++) {
        if (strcmp(a->labels[i], b->labels[i]) != 0) {
            return false;
        }
    }
    return true;
}

static uint64_t labels_hash(const struct core_health_row *row) {
    uint64_t hash = core_hash64(&row->kind, sizeof row->kind, 0);
    for (size_t i = 0; i < CORE_HEALTH_LABELS_MAX && row->labels[i] != NULL; i++) {
        hash = core_hash64(row->labels[i], strlen(row->labels[i]) + 1, hash);
    }
    return hash;
}

/* Into the order of kinds, each kind in the order of its pages; of two with the same labels the first. NULL: the arena is full. */
static struct core_health_row *rows_order(struct core_arena *arena, const struct core_health_row *from, size_t *len) {
    size_t slots_len = 64;
    while (slots_len < *len * 2) {
        slots_len *= 2;
    }
    struct core_health_row *rows = core_arena_alloc(arena, (*len + 1) * sizeof(*rows));
    const struct core_health_row **slots = core_arena_alloc(arena, slots_len * sizeof(*slots));
    if (rows == NULL || slots == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < slots_len; i++) {
        slots[i] = NULL;
    }
    size_t used = 0;
    for (int kind = 0; kind < CORE_HEALTH__MAX; kind++) {
        for (size_t i = 0; i < *len; i++) {
            if ((int)from[i].kind != kind) {
                continue;
            }
            size_t slot = (size_t)labels_hash(&from[i]) & (slots_len - 1);
            while (slots[slot] != NULL && ((int)slots[slot]->kind != kind || !labels_same(slots[slot], &from[i]))) {
                slot = (slot + 1) & (slots_len - 1);
            }
            if (slots[slot] == NULL) {
                slots[slot] = &from[i];
                rows[used++] = from[i];
            }
        }
    }
    *len = used;
    return rows;
}

/* A copy of its numbers: a thread that ends shows a last page without the histograms of what it takes away then, and readers
 * may still have the rows of the page before. Under the page's lock. */
static bool histogram_take(struct core_arena *arena, const struct core_histogram **histogram) {
    if (*histogram == NULL) {
        return true;
    }
    struct core_histogram *copy = core_arena_alloc(arena, sizeof(*copy));
    if (copy == NULL) {
        return false;
    }
    for (size_t i = 0; i < CORE_HISTOGRAM_BUCKETS; i++) {
        atomic_init(&copy->counts[i], atomic_load_explicit(&(*histogram)->counts[i], memory_order_relaxed));
    }
    atomic_init(&copy->sum_us, atomic_load_explicit(&(*histogram)->sum_us, memory_order_relaxed));
    *histogram = copy;
    return true;
}

const struct core_health_row *core_health_rows(struct core_health *health, struct core_arena *arena, size_t *len) {
    size_t max = 0;
    size_t used = 0;
    *len = 0;
    health->left_out = 0;
    for (struct core_health_page *page = health->pages; page != NULL; page = page->next) {
        MUST(pthread_mutex_lock(&page->lock) == 0);
        max += page->shown->rows_len;
        MUST(pthread_mutex_unlock(&page->lock) == 0);
    }
    max += CORE_HEALTH_ROWS_MAX; /* a page may grow meanwhile; untouched memory costs nothing */
    struct core_health_row *rows = core_arena_alloc(arena, max * sizeof(*rows));
    if (rows == NULL) {
        return NULL;
    }
    bool has_room = true;
    for (struct core_health_page *page = health->pages; page != NULL && has_room; page = page->next) {
        MUST(pthread_mutex_lock(&page->lock) == 0);
        health->left_out += page->shown->left_out;
        for (size_t i = 0; i < page->shown->rows_len && has_room && used < max; i++) {
            rows[used] = page->shown->rows[i];
            has_room = labels_take(arena, rows[used].labels) && histogram_take(arena, &rows[used].histogram);
            used += has_room ? 1 : 0;
        }
        MUST(pthread_mutex_unlock(&page->lock) == 0);
    }
    *len = used;
    rows = has_room ? rows_order(arena, rows, len) : NULL;
    *len = rows == NULL ? 0 : *len;
    return rows;
}

const struct core_health_complaint *core_health_complaints(struct core_health *health, struct core_arena *arena,
                                                           size_t *len) {
    *len = 0;
    struct core_health_complaint *out = core_arena_alloc(arena, CORE_HEALTH_COMPLAINTS_MAX * sizeof(*out));
    bool has_room = out != NULL;
    for (struct core_health_page *page = health->pages; page != NULL && has_room; page = page->next) {
        MUST(pthread_mutex_lock(&page->lock) == 0);
        for (size_t i = 0; i < page->shown->complaints_len && has_room && *len < CORE_HEALTH_COMPLAINTS_MAX; i++) {
            out[*len] = page->shown->complaints[i];
            out[*len].text = core_arena_copy(arena, core_span_of(out[*len].text));
            has_room = out[*len].text != NULL && labels_take(arena, out[*len].labels);
            *len += has_room ? 1 : 0;
        }
        MUST(pthread_mutex_unlock(&page->lock) == 0);
    }
    return out;
}

int64_t core_health_get(const struct core_health_row *row, enum core_health_measure measure) {
    MUST(core_health_measures[measure].kind == row->kind);
    return row->values[(int)measure - core_health_kind_info(row->kind)->first_measure];
}

int64_t core_health_shown(const struct core_health_row *row, enum core_health_measure measure, int64_t now_ns) {
    int64_t value = core_health_get(row, measure);
    if (value == CORE_HEALTH_UNKNOWN || core_health_measures[measure].unit != CORE_UNIT_SINCE || value == 0) {
        return value;
    }
    return now_ns > value ? now_ns - value : 0;
}

void core_health_text(int64_t shown, enum core_health_unit unit, char out[32]) {
    int64_t part = unit == CORE_UNIT_NS || unit == CORE_UNIT_TIME || unit == CORE_UNIT_SINCE ? CORE_NS_PER_S
                   : unit == CORE_UNIT_PPM                                                   ? 1000000
                                                                                             : 1;
    int digits = part == CORE_NS_PER_S ? 9 : 6;
    uint64_t size = shown < 0 ? (uint64_t)0 - (uint64_t)shown : (uint64_t)shown;
    int len = snprintf(out, 32, "%s%llu", shown < 0 ? "-" : "", (unsigned long long)(size / (uint64_t)part));
    if (part > 1 && size % (uint64_t)part != 0) {
        len += snprintf(out + len, 32 - (size_t)len, ".%0*llu", digits, (unsigned long long)(size % (uint64_t)part));
        while (out[len - 1] == '0') {
            out[--len] = '\0';
        }
    }
    MUST(len > 0 && len < 32);
}
