/* enrich/source_list.c: plain lists: one indicator a line.
 *
 * `#` and `;` begin a comment, at the line's start or behind a blank. Defanged indicators (hxxp://, evil[.]com) are put
 * right. The first word counts; what follows is its description; a user's, a file's or a program's name is the whole line.
 * Lines of a hosts file (0.0.0.0 evil.example) name the host; their address is never one, and a host without a dot is of its
 * head (127.0.0.1 localhost). A list of domains has no addresses. A range of addresses is split into networks. A port behind an
 * address or a name is cut: what is asked is who, not where.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/enrich_internal.h"

#include <arpa/inet.h>
#include <stdio.h>

#define LINE_BYTES_MAX (16 * CORE_KIB)

struct reading {
    const struct enrich_feed_conf *feed;
    const struct enrich_read_calls *calls;
    struct core_arena arena;  /* of one line */
    enum core_indicator type; /* of each line; NONE: guessed */
    uint64_t line;
};

static struct core_span without_comment(struct core_span line) {
    for (size_t i = 0; i < line.len; i++) {
        bool is_mark = line.ptr[i] == '#' || line.ptr[i] == ';';
        if (is_mark && (i == 0 || core_is_blank(line.ptr[i - 1]))) {
            line.len = i;
        }
    }
    line = core_span_trim(line);
    return core_span_starts(line, CORE_SPAN("//")) ? (struct core_span){line.ptr, 0} : line;
}

/* The first word, cut off *rest. */
static struct core_span word_cut(struct core_span *rest) {
    size_t len = 0;
    while (len < rest->len && !core_is_blank(rest->ptr[len])) {
        len++;
    }
    struct core_span word = {rest->ptr, len};
    *rest = core_span_trim((struct core_span){rest->ptr + len, rest->len - len});
    return word;
}

/* Most of the first lines are, alone, something that can be told; text, not binary. */
static int list_looks(struct core_span head) {
    struct core_span line;
    size_t good = 0;
    size_t bad = 0;
    char room[LINE_BYTES_MAX];
    if (memchr(head.len == 0 ? "" : head.ptr, '\0', head.len) != NULL ||
        (core_span_trim(head).len > 0 && strchr("<{[", core_span_trim(head).ptr[0]) != NULL)) {
        return 0;
    }
    while (good + bad < 100 && source_line(&head, &line)) {
        line = without_comment(line);
        struct core_span word = word_cut(&line);
        if (word.len == 0 || word.len > sizeof(room)) {
            continue;
        }
        word = source_refang(word, room);
        bool is_known = enrich_guess(word) != CORE_INDICATOR_NONE || word.ptr[0] == '*' || word.ptr[0] == '.' ||
                        core_span_chr(word, '-') != NULL || core_span_chr(word, ':') != NULL;
        good += is_known ? 1 : 0;
        bad += is_known ? 0 : 1;
    }
    return good > bad ? 30 : 0;
}

/* ---- ranges ------------------------------------------------------------------------------------------------------------------ */

/* "1.2.3.4-1.2.3.9", also with blanks around the dash. */
static bool range_read(struct core_span text, uint32_t *from, uint32_t *to) {
    const char *dash = core_span_chr(text, '-');
    if (dash == NULL) {
        return false;
    }
    size_t len = (size_t)(dash - text.ptr);
    return core_ipv4_read(core_span_trim((struct core_span){text.ptr, len}), from) &&
           core_ipv4_read(core_span_trim((struct core_span){dash + 1, text.len - len - 1}), to);
}

/* The fewest networks that are the range together: at each place the largest that begins there and does not go beyond. */
static bool range_give(const struct reading *reading, const struct enrich_item *like, uint32_t from, uint32_t to) {
    uint64_t at = from;
    while (at <= to) {
        unsigned bits = 32;
        while (bits > 1 && (at & (UINT64_C(1) << (32 - bits))) == 0 && at + (UINT64_C(1) << (33 - bits)) - 1 <= to) {
            bits--;
        }
        char text[INET_ADDRSTRLEN + 4];
        struct in_addr address = {.s_addr = htonl((uint32_t)at)};
        MUST(inet_ntop(AF_INET, &address, text, INET_ADDRSTRLEN) != NULL);
        size_t len = strlen(text);
        (void)snprintf(text + len, sizeof(text) - len, "/%u", bits);
        struct enrich_item item = *like;
        item.type = CORE_INDICATOR_CIDR;
        item.value = core_span_of(text);
        if (!source_give(reading->calls, reading->feed, reading->line, &item)) {
            return false;
        }
        at += UINT64_C(1) << (32 - bits);
    }
    return true;
}

/* ---- lines ------------------------------------------------------------------------------------------------------------------- */

/* "evil.example:443" and "192.0.2.7:80" without the port; not IPv6 without brackets. */
static struct core_span without_port(struct core_span word) {
    const char *colon = core_span_chr(word, ':');
    size_t len = colon == NULL ? 0 : (size_t)(colon - word.ptr);
    if (len == 0 || len + 1 == word.len || word.len - len > 6) {
        return word;
    }
    for (size_t i = len + 1; i < word.len; i++) {
        if (word.ptr[i] < '0' || word.ptr[i] > '9') {
            return word;
        }
    }
    return (struct core_span){word.ptr, len};
}

/* An address that hosts files give names to and that is on no other machine: loopback, unspecified, broadcast; of IPv6 also
 * fe00::/7 (localnet, link-local, multicast). */
static bool is_hosts_address(struct core_span word) {
    uint32_t four;
    struct in6_addr six;
    char text[INET6_ADDRSTRLEN];
    const char *zone = core_span_chr(word, '%');
    word.len = zone == NULL ? word.len : (size_t)(zone - word.ptr);
    if (core_ipv4_read(word, &four)) {
        return four >> 24 == 127 || four == 0 || four == UINT32_MAX;
    }
    if (word.len >= sizeof(text)) {
        return false;
    }
    (void)snprintf(text, sizeof(text), "%.*s", (int)word.len, word.ptr);
    if (inet_pton(AF_INET6, text, &six) != 1) {
        return false;
    }
    return IN6_IS_ADDR_UNSPECIFIED(&six) || IN6_IS_ADDR_LOOPBACK(&six) || six.s6_addr[0] >= 0xfe;
}

/* An address where a domain belongs, in any way that one is written. */
static bool is_address(struct core_span word) {
    char room[ENRICH_VALUE_BYTES_MAX];
    enum core_indicator type = CORE_INDICATOR_DOMAIN;
    struct core_span out;
    const char *why;
    return enrich_canonical(&type, word, room, &out, &why) && type != CORE_INDICATOR_DOMAIN;
}

static bool is_whole_line(enum core_indicator type) {
    return type == CORE_INDICATOR_USER || type == CORE_INDICATOR_FILE_NAME || type == CORE_INDICATOR_SOFTWARE;
}

static bool line_read(struct reading *reading, struct core_span line) {
    char room[LINE_BYTES_MAX];
    struct enrich_item item = source_item(reading->type, line);
    uint32_t from;
    uint32_t to;
    if (is_whole_line(reading->type)) {
        return source_give(reading->calls, reading->feed, reading->line, &item);
    }
    if (range_read(line, &from, &to)) {
        if (from > to || to - from == UINT32_MAX) {
            source_refuse(reading->calls, reading->line, line,
                          from > to ? "the range ends before it begins" : "it is the range of all addresses");
            return true;
        }
        return range_give(reading, &item, from, to);
    }
    struct core_span rest = line;
    struct core_span word = word_cut(&rest);
    struct core_span first = rest;
    struct core_span second = word_cut(&first);
    if (second.len > 0 && is_hosts_address(word)) {
        if (enrich_guess(second) != CORE_INDICATOR_DOMAIN) {
            source_refuse(reading->calls, reading->line, line,
                          "it is a hosts file's line, and names no host with a dot");
            return true;
        }
        word = second;
        rest = first;
    }
    word = source_refang(word, room);
    bool has_port_type = item.type == CORE_INDICATOR_IP || item.type == CORE_INDICATOR_DOMAIN ||
                         (item.type == CORE_INDICATOR_NONE && enrich_guess(word) == CORE_INDICATOR_NONE);
    item.value = has_port_type ? without_port(word) : word;
    if (reading->type == CORE_INDICATOR_DOMAIN && is_address(item.value)) {
        source_refuse(reading->calls, reading->line, item.value, "it is an address, and the list is one of domains");
        return true;
    }
    item.said.description = source_text(&reading->arena, rest);
    return source_give(reading->calls, reading->feed, reading->line, &item);
}

static enum core_err list_read(struct core_span text, const char *path, const struct enrich_feed_conf *feed,
                               const struct enrich_read_calls *calls, struct core_fail *fail) {
    struct reading reading = {.feed = feed, .calls = calls};
    struct core_span line;
    bool goes_on = true;
    const struct core_span all = text;
    if (feed->format != NULL) {
        reading.type = source_type_of(core_span_of(feed->format));
        if (reading.type == CORE_INDICATOR_NONE) {
            return core_fail_set(fail, CORE_BAD, path, "\"%s\" is no type of indicators", feed->format);
        }
    }
    enum core_err err = core_arena_init(&reading.arena, 64 * CORE_KIB, fail);
    if (err != CORE_OK) {
        return err;
    }
    while (goes_on && source_line(&text, &line)) {
        source_progress(calls, ++reading.line, text, all);
        core_arena_reset(&reading.arena, 64 * CORE_KIB);
        line = is_whole_line(reading.type) && (line.len == 0 || line.ptr[0] != '#') ? core_span_trim(line)
                                                                                    : without_comment(line);
        if (line.len > LINE_BYTES_MAX) {
            source_refuse(calls, reading.line, (struct core_span){line.ptr, ENRICH_TEXT_BYTES_MAX},
                          "its line is longer than 16 KiB");
        } else if (line.len > 0) {
            goes_on = line_read(&reading, line);
        }
    }
    core_arena_destroy(&reading.arena);
    return goes_on ? CORE_OK : CORE_AGAIN;
}

const struct source_ops source_list = {
    .name = "list",
    .summary = "a plain list: one indicator a line, also defanged; of the type that `format` says, or guessed",
    .looks = list_looks,
    .read = list_read,
    .tells_all = true,
    .counts = "line",
};
