/* normalize/derive_direction.c: which way a connection goes, seen from the site: by the sensor's own word, else by the
 * networks that the config names.
 *
 * Networks become ranges of addresses, sorted and joined, so that looking up is a binary search however many there are.
 * Source: ECS network.direction; zeekctl's networks.cfg: a network a line, words behind it, # begins a comment.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/maps_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define RANGES_MAX 65536
#define LINE_BYTES 1024

struct range {
    uint8_t first[16];
    uint8_t last[16];
};

/* One family's. */
struct ranges {
    struct range *items;
    size_t len;
    size_t cap;
    uint8_t width; /* bytes of an address */
};

struct networks {
    struct ranges four;
    struct ranges six;
};

/* ---- making ------------------------------------------------------------------------------------------------------------- */

static int range_compare(const void *a, const void *b) {
    return memcmp(((const struct range *)a)->first, ((const struct range *)b)->first,
                  sizeof(((struct range *)0)->first));
}

/* Sort; ranges that overlap become one. */
static void ranges_settle(struct ranges *ranges) {
    size_t made = 0;
    if (ranges->len == 0) {
        return;
    }
    qsort(ranges->items, ranges->len, sizeof(*ranges->items), range_compare);
    for (size_t i = 1; i < ranges->len; i++) {
        struct range *before = &ranges->items[made];
        const struct range *range = &ranges->items[i];
        if (memcmp(range->first, before->last, ranges->width) > 0) {
            ranges->items[++made] = *range;
        } else if (memcmp(range->last, before->last, ranges->width) > 0) {
            memcpy(before->last, range->last, ranges->width);
        }
    }
    ranges->len = made + 1;
}

static void ranges_add(struct ranges *ranges, const struct ip_addr *ip, unsigned bits) {
    if (ranges->len == ranges->cap) {
        ranges->cap = ranges->cap == 0 ? 16 : ranges->cap * 2;
        ranges->items = realloc(ranges->items, ranges->cap * sizeof(*ranges->items));
        MUST(ranges->items != NULL);
    }
    struct range *range = &ranges->items[ranges->len++];
    memset(range, 0, sizeof(*range));
    ranges->width = ip->len;
    for (unsigned i = 0; i < ip->len; i++) {
        unsigned kept = bits >= 8 * (i + 1) ? 8 : bits > 8 * i ? bits - 8 * i : 0;
        uint8_t mask = (uint8_t)(0xffU << (8 - kept));
        range->first[i] = ip->bytes[i] & mask;
        range->last[i] = (uint8_t)(ip->bytes[i] | (uint8_t)~mask);
    }
}

/* "10.0.0.0/8", "fd00::/8", "192.0.2.1" (all its bits). */
static bool network_parse(struct core_span text, struct ip_addr *ip, unsigned *bits) {
    const char *slash = core_span_chr(text, '/');
    size_t len = slash == NULL ? text.len : (size_t)(slash - text.ptr);
    if (!ip_parse((struct core_span){text.ptr, len}, ip)) {
        return false;
    }
    *bits = ip->len * 8U;
    if (slash == NULL) {
        return true;
    }
    unsigned number = 0;
    if (len + 1 == text.len || text.len - len > 4) {
        return false;
    }
    for (size_t i = len + 1; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return false;
        }
        number = number * 10 + (unsigned)(text.ptr[i] - '0');
    }
    bool is_good = number <= *bits;
    *bits = number;
    return is_good;
}

static void network_add(struct maps_loader *loader, struct networks *networks, const char *place,
                        struct core_span text) {
    struct ip_addr ip;
    unsigned bits;
    if (!network_parse(text, &ip, &bits)) {
        maps_mistake_at(loader, place, "\"%.*s\" is no network; 10.0.0.0/8 or fd00::/8 belongs here", (int)text.len,
                        text.ptr);
        return;
    }
    struct ranges *ranges = ip.len == 4 ? &networks->four : &networks->six;
    if (ranges->len == RANGES_MAX) {
        maps_mistake_at(loader, place, "more than %d networks", RANGES_MAX);
        return;
    }
    ranges_add(ranges, &ip, bits);
}

static void networks_file_read(struct maps_loader *loader, struct networks *networks, const char *path) {
    char line[LINE_BYTES];
    char place[512];
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        maps_mistake_at(loader, path, "cannot read this list of networks: %s (normalize.networks_file names it)",
                        strerror(errno));
        return;
    }
    for (unsigned number = 1; fgets(line, sizeof(line), file) != NULL; number++) {
        const size_t len = strcspn(line, "\n");
        bool is_whole = line[len] == '\n';
        line[len] = '\0';
        while (!is_whole) { /* the network is at the beginning; the rest are words */
            const int c = getc(file);
            is_whole = c == '\n' || c == EOF;
        }
        struct core_span rest = maps_line_code(core_span_of(line));
        struct core_span word = maps_word(&rest);
        if (word.len > 0) {
            (void)snprintf(place, sizeof(place), "%.480s:%u:%zu", path, number, (size_t)(word.ptr - line) + 1);
            network_add(loader, networks, place, word);
        }
    }
    if (ferror(file) != 0) {
        maps_mistake_at(loader, path, "cannot read this list of networks: %s (normalize.networks_file names it)",
                        strerror(errno));
    }
    (void)fclose(file);
}

void networks_close(struct networks *networks) {
    if (networks != NULL) {
        free(networks->four.items);
        free(networks->six.items);
        free(networks);
    }
}

struct networks *networks_open(struct maps_loader *loader, const struct normalize_conf *conf) {
    if (conf->networks.len == 0 && conf->networks_file == NULL) {
        return NULL;
    }
    struct networks *networks = calloc(1, sizeof(*networks));
    MUST(networks != NULL);
    for (size_t i = 0; i < conf->networks.len; i++) {
        char place[64];
        (void)snprintf(place, sizeof(place), "normalize.networks[%zu]", i);
        network_add(loader, networks, place, core_span_of(conf->networks.items[i].value));
    }
    if (conf->networks_file != NULL) {
        networks_file_read(loader, networks, conf->networks_file);
    }
    if (networks->four.len + networks->six.len == 0) {
        networks_close(networks); /* a file of comments: nobody said what is local */
        return NULL;
    }
    ranges_settle(&networks->four);
    ranges_settle(&networks->six);
    return networks;
}

/* ---- asking ------------------------------------------------------------------------------------------------------------- */

static bool is_local(const struct networks *networks, const struct ip_addr *ip) {
    const struct ranges *ranges = ip->len == 4 ? &networks->four : &networks->six;
    size_t low = 0;
    size_t high = ranges->len;
    while (low < high) { /* the last range that begins at the address or before it */
        size_t mid = (low + high) / 2;
        if (memcmp(ranges->items[mid].first, ip->bytes, ip->len) <= 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low > 0 && memcmp(ip->bytes, ranges->items[low - 1].last, ip->len) <= 0;
}

/* -1 absent, 0 false, 1 true */
static int bool_of(struct value v) {
    if (!value_is_scalar(v) || v.len == 0) {
        return -1;
    }
    char c = v.ptr[0];
    return c == 'T' || c == 't' || c == '1' ? 1 : 0;
}

bool derive_direction(const struct derive_context *ctx) {
    const struct normalize_worker *worker = ctx->worker;
    const struct networks *networks = worker->maps->networks;
    int orig = bool_of(derive_arg(ctx, 0));
    int resp = bool_of(derive_arg(ctx, 1));
    if (orig < 0 || resp < 0) {
        if (networks == NULL || worker->ip[1].len == 0 || worker->ip[2].len == 0) {
            return true;
        }
        orig = is_local(networks, &worker->ip[1]);
        resp = is_local(networks, &worker->ip[2]);
    }
    struct core_span word = orig == 1 ? (resp == 1 ? CORE_SPAN("internal") : CORE_SPAN("outbound"))
                                      : (resp == 1 ? CORE_SPAN("inbound") : CORE_SPAN("external"));
    return derive_put(ctx, value_of(VALUE_PLAIN, word.ptr, word.len));
}
