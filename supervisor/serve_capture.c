/* supervisor/serve_capture.c: where numbers of packets come from: Zeek's telemetry, Suricata's stats, capture_loss.log, and what the
 * kernel counts at an interface.
 *
 * A sensor's own counters say what it got and what it lost; an interface's say what came in, whoever listens. Which one a number
 * is from is told with it. Suricata and Zeek write their logs while we read: only whole lines are looked at, from the end.
 * Thread: any; nothing is kept between calls.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/serve_diag_internal.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TAIL_BYTES (2 * CORE_MIB) /* of eve.json: stats come every 8 s, so this far back at least */
#define LOSS_TAIL_BYTES (64 * CORE_KIB)
#define LINES_ALL SIZE_MAX
#define NET_CLASS "/sys/class/net"

static uint64_t tree_u64(const struct core_json_tree *object, const char *key) {
    const struct core_json_tree *member = core_json_tree_get(object, key);
    return member == NULL || member->kind != CORE_JSON_NUMBER ? 0 : strtoull(member->text.ptr, NULL, 10);
}

/* A text as a tree. NULL: it is no JSON. Owns: core_arena_destroy(arena) in any case. */
static struct core_json_tree *tree_of(struct core_span text, struct core_arena *arena) {
    struct core_json_tree *tree = NULL;
    struct core_fail fail = {0};
    if (core_arena_init(arena, text.len * CORE_JSON_TREE_PER_BYTE + CORE_JSON_TREE_BYTES_MIN, &fail) != CORE_OK ||
        core_json_tree_read(arena, text, &tree, &fail) != CORE_OK) {
        return NULL;
    }
    return tree;
}

/* Take the last whole line off text: its span; text->len then ends before it. Empty: there is none. */
static struct core_span line_take(struct core_span *text) {
    struct core_span line = {0};
    while (text->len > 0 && text->ptr[text->len - 1] != '\n') {
        text->len--; /* being written */
    }
    if (text->len > 0) {
        size_t end = --text->len;
        while (text->len > 0 && text->ptr[text->len - 1] != '\n') {
            text->len--;
        }
        line = (struct core_span){.ptr = text->ptr + text->len, .len = end - text->len};
    }
    return line;
}

/* ---- Suricata -------------------------------------------------------------------------------------------------------------- */

static bool eve_take(struct core_span line, struct serve_capture *out) {
    struct core_arena arena = {0};
    const struct core_json_tree *event = tree_of(line, &arena);
    const struct core_json_tree *stats = core_json_tree_get(event, "stats");
    const struct core_json_tree *capture = core_json_tree_get(stats, "capture");
    const struct core_json_tree *decoder = core_json_tree_get(stats, "decoder");
    bool is_stats = core_span_is(core_json_tree_text(event, "event_type"), "stats") && decoder != NULL;
    if (is_stats) {
        struct core_span time = core_json_tree_text(event, "timestamp");
        out->is_there = true;
        out->received = core_json_tree_get(capture, "kernel_packets") != NULL ? tree_u64(capture, "kernel_packets")
                                                                              : tree_u64(decoder, "pkts");
        out->dropped = tree_u64(capture, "kernel_drops");
        out->bytes = tree_u64(decoder, "bytes");
        (void)snprintf(out->source, sizeof(out->source), "eve");
        (void)snprintf(out->as_of, sizeof(out->as_of), "%.*s", (int)time.len, time.ptr == NULL ? "" : time.ptr);
    }
    core_arena_destroy(&arena);
    return is_stats;
}

static bool eve_read(const char *directory, struct serve_capture *out) {
    static const char word[] = "\"event_type\":\"stats\"";
    char path[SERVE_PATH_BYTES_MAX];
    bool is_cut = false;
    bool is_found = false;
    (void)snprintf(path, sizeof(path), "%s/eve.json", directory);
    char *text = serve_tail_read(path, LINES_ALL, TAIL_BYTES, &is_cut);
    struct core_span rest = core_span_of(text == NULL ? "" : text);
    for (struct core_span line = line_take(&rest); line.ptr != NULL && !is_found; line = line_take(&rest)) {
        is_found = memmem(line.ptr, line.len, word, sizeof(word) - 1) != NULL && eve_take(line, out);
    }
    free(text);
    return is_found;
}

/* The last of three columns: "capture.kernel_packets | Total | 123". False: another counter's. */
static bool stats_row(struct core_span line, const char *counter, uint64_t *value) {
    const char *first = core_span_chr(line, '|');
    const char *last = line.len == 0 ? NULL : memrchr(line.ptr, '|', line.len);
    if (first == NULL || last == first ||
        !core_span_is(core_span_trim((struct core_span){.ptr = line.ptr, .len = (size_t)(first - line.ptr)}),
                      counter)) {
        return false;
    }
    *value = strtoull(last + 1, NULL, 10);
    return true;
}

/* From the end of stats.log back to the head of its last block. */
static bool stats_read(const char *directory, struct serve_capture *out) {
    char path[SERVE_PATH_BYTES_MAX];
    bool is_cut = false;
    uint64_t packets = 0;
    (void)snprintf(path, sizeof(path), "%s/stats.log", directory);
    char *text = serve_tail_read(path, LINES_ALL, LOSS_TAIL_BYTES, &is_cut);
    struct core_span rest = core_span_of(text == NULL ? "" : text);
    bool has_kernel = false;
    for (struct core_span line = line_take(&rest); line.ptr != NULL; line = line_take(&rest)) {
        if (core_span_starts(line, CORE_SPAN("Date:"))) {
            struct core_span time = core_span_trim((struct core_span){.ptr = line.ptr + 5, .len = line.len - 5});
            (void)snprintf(out->as_of, sizeof(out->as_of), "%.*s", (int)(time.len < 22 ? time.len : 22), time.ptr);
            break;
        }
        has_kernel = stats_row(line, "capture.kernel_packets", &out->received) || has_kernel;
        (void)stats_row(line, "capture.kernel_drops", &out->dropped);
        (void)stats_row(line, "decoder.bytes", &out->bytes);
        out->is_there = stats_row(line, "decoder.pkts", &packets) || out->is_there || has_kernel;
    }
    out->received = has_kernel ? out->received : packets;
    (void)snprintf(out->source, sizeof(out->source), "%s", out->is_there ? "stats.log" : "");
    free(text);
    return out->is_there;
}

void serve_capture_suricata(const char *directory, struct serve_capture *out) {
    MUST(directory != NULL);
    *out = (struct serve_capture){0};
    if (!eve_read(directory, out) && !stats_read(directory, out)) {
        (void)snprintf(
            out->note, sizeof(out->note),
            "%s has no stats in eve.json or stats.log; let suricata.yaml have outputs: eve-log with type stats",
            directory);
    }
}

/* ---- Zeek -------------------------------------------------------------------------------------------------------------------- */

void serve_capture_telemetry(struct core_span members, struct serve_capture *out) {
    struct core_arena arena = {0};
    char *text = NULL;
    *out = (struct serve_capture){0};
    MUST(asprintf(&text, "{%.*s}", (int)members.len, members.ptr) >= 0);
    const struct core_json_tree *tree = tree_of(core_span_of(text), &arena);
    out->is_there = core_json_tree_get(tree, "received") != NULL;
    out->received = tree_u64(tree, "received");
    out->dropped = tree_u64(tree, "dropped");
    out->link = tree_u64(tree, "link");
    out->bytes = tree_u64(tree, "received_bytes");
    (void)snprintf(out->source, sizeof(out->source), "telemetry");
    core_arena_destroy(&arena);
    free(text);
}

/* Field number index of a line with tabs between. */
static struct core_span field_of(struct core_span line, size_t index) {
    for (; index > 0; index--) {
        const char *tab = core_span_chr(line, '\t');
        size_t len = tab == NULL ? line.len : (size_t)(tab - line.ptr) + 1;
        line = (struct core_span){.ptr = line.ptr + len, .len = line.len - len};
    }
    const char *tab = core_span_chr(line, '\t');
    line.len = tab == NULL ? line.len : (size_t)(tab - line.ptr);
    return line;
}

/* Where peer and percent_lost stand, by the file's own header. False: it has none. */
static bool loss_header(const char *path, size_t *peer, size_t *percent) {
    static const char word[] = "#fields\t";
    char head[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t got = fd < 0 ? -1 : pread(fd, head, sizeof(head), 0);
    if (fd >= 0) {
        (void)close(fd);
    }
    const char *at = got <= 0 ? NULL : memmem(head, (size_t)got, word, sizeof(word) - 1);
    const char *nl = at == NULL ? NULL : memchr(at, '\n', (size_t)(head + got - at));
    if (nl == NULL) {
        return false;
    }
    struct core_span names = {.ptr = at + sizeof(word) - 1, .len = (size_t)(nl - at) - (sizeof(word) - 1)};
    size_t columns = 1;
    for (size_t i = 0; i < names.len; i++) {
        columns += names.ptr[i] == '\t' ? 1 : 0;
    }
    bool has_percent = false;
    bool has_peer = false;
    for (size_t i = 0; i < columns; i++) {
        struct core_span name = field_of(names, i);
        has_percent = core_span_is(name, "percent_lost") ? (*percent = i, true) : has_percent;
        has_peer = core_span_is(name, "peer") ? (*peer = i, true) : has_peer;
    }
    return has_percent && has_peer;
}

/* The text is not NUL-terminated there. */
static bool percent_read(struct core_span text, double *percent) {
    char number[64];
    char *end = NULL;
    (void)snprintf(number, sizeof(number), "%.*s", (int)(text.len < 60 ? text.len : 60), text.ptr);
    *percent = strtod(number, &end);
    return end != number && isfinite(*percent);
}

static bool loss_of_json(struct core_span line, const char *peer, double *percent) {
    struct core_arena arena = {0};
    const struct core_json_tree *tree = tree_of(line, &arena);
    const struct core_json_tree *lost = core_json_tree_get(tree, "percent_lost");
    bool is_it = lost != NULL && lost->kind == CORE_JSON_NUMBER &&
                 (peer == NULL || core_span_is(core_json_tree_text(tree, "peer"), peer)) &&
                 percent_read(lost->text, percent);
    core_arena_destroy(&arena);
    return is_it;
}

bool serve_capture_loss(const char *directory, const char *peer, double *percent) {
    MUST(percent != NULL);
    char path[SERVE_PATH_BYTES_MAX];
    size_t peer_at = 0;
    size_t percent_at = 0;
    bool is_cut = false;
    bool is_found = false;
    (void)snprintf(path, sizeof(path), "%s/capture_loss.log", directory);
    bool has_header = loss_header(path, &peer_at, &percent_at);
    char *text = serve_tail_read(path, LINES_ALL, LOSS_TAIL_BYTES, &is_cut);
    struct core_span rest = core_span_of(text == NULL ? "" : text);
    for (struct core_span line = line_take(&rest); line.ptr != NULL && !is_found; line = line_take(&rest)) {
        if (line.len > 0 && line.ptr[0] == '{') {
            is_found = loss_of_json(line, peer, percent);
        } else if (has_header && line.len > 0 && line.ptr[0] != '#') {
            is_found = (peer == NULL || core_span_is(field_of(line, peer_at), peer)) &&
                       percent_read(field_of(line, percent_at), percent);
        }
    }
    free(text);
    return is_found;
}

/* ---- interfaces --------------------------------------------------------------------------------------------------------------- */

const char *serve_interface_name(const char *interface) {
    const char *colons = strstr(interface, "::"); /* af_packet::eth0 */
    return colons == NULL ? interface : colons + 2;
}

static bool counter_read(const char *directory, const char *interface, const char *file, uint64_t *value) {
    char path[SERVE_PATH_BYTES_MAX];
    char text[64] = "";
    (void)snprintf(path, sizeof(path), "%s/%s/%s", directory, interface, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0) {
        (void)close(fd);
    }
    *value = got > 0 ? strtoull(text, NULL, 0) : 0;
    return got > 0;
}

bool serve_interface_read(const char *directory, const char *interface, struct serve_interface *out) {
    MUST(interface != NULL);
    const char *name = serve_interface_name(interface);
    const char *from = directory == NULL ? NET_CLASS : directory;
    uint64_t flags = 0;
    *out = (struct serve_interface){0};
    if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL ||
        !counter_read(from, name, "statistics/rx_packets", &out->packets) ||
        !counter_read(from, name, "statistics/rx_bytes", &out->bytes)) {
        return false;
    }
    (void)counter_read(from, name, "statistics/rx_dropped", &out->dropped);
    out->is_up = counter_read(from, name, "flags", &flags) && (flags & 1) != 0; /* IFF_UP */
    return true;
}
