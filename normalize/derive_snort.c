/* normalize/derive_snort.c: derive functions for what only Snort writes: address:port pairs, gid:sid:rev, stamps without
 * a year.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/normalize_internal.h"

#include <strings.h>

/* "1.2.3.4:80", "fd20::2:47678", ":0": the port is what stands behind the last colon. */
static bool hostport_cut(struct value v, struct core_span *host, struct core_span *port) {
    if (!value_is_string(v)) {
        return false;
    }
    size_t at = v.len;
    while (at > 0 && v.ptr[at - 1] != ':') {
        at--;
    }
    if (at == 0) {
        return false;
    }
    *host = (struct core_span){v.ptr, at - 1};
    *port = (struct core_span){v.ptr + at, v.len - at};
    return true;
}

bool derive_hostport_ip(const struct derive_context *ctx) {
    struct core_span host;
    struct core_span port;
    struct ip_addr ip;
    if (!hostport_cut(derive_arg(ctx, 0), &host, &port) || host.len == 0 || !ip_parse(host, &ip)) {
        return true;
    }
    const struct plan *plan = ctx->plan;
    unsigned slot = ctx->call->leaf == plan->known[KNOWN_SOURCE_IP]        ? 1
                    : ctx->call->leaf == plan->known[KNOWN_DESTINATION_IP] ? 2
                                                                           : 0;
    if (slot > 0 && !leaf_is_set(plan, ctx->call->leaf)) {
        ctx->worker->ip[slot] = ip;
    }
    return derive_put(ctx, value_of(VALUE_TEXT, host.ptr, host.len));
}

static bool proto_is(struct value proto, const char *upper) {
    return value_is_string(proto) && proto.len == strlen(upper) && strncasecmp(proto.ptr, upper, proto.len) == 0;
}

/* Snort prints :0 where there is no port (ICMP, ARP); for TCP and UDP a port 0 is one. */
bool derive_hostport_port(const struct derive_context *ctx) {
    struct core_span host;
    struct core_span port;
    struct value proto = derive_arg(ctx, 1);
    bool has_ports = proto_is(proto, "TCP") || proto_is(proto, "UDP") || proto_is(proto, "SCTP");
    if (!has_ports || !hostport_cut(derive_arg(ctx, 0), &host, &port) || port.len == 0 || port.len > 5 ||
        !core_json_is_number(port)) {
        return true;
    }
    return derive_put(ctx, value_number(port.ptr, port.len));
}

bool derive_rule_part(const struct derive_context *ctx) {
    struct value rule = derive_arg(ctx, 0);
    struct core_span word = derive_word(ctx, 1);
    MUST(word.len == 1);
    if (!value_is_string(rule)) {
        return true;
    }
    struct core_span rest = value_span(rule);
    for (int part = word.ptr[0] - '0';; part--) {
        const char *colon = core_span_chr(rest, ':');
        size_t len = colon == NULL ? rest.len : (size_t)(colon - rest.ptr);
        if (part == 0) {
            struct core_span text = {rest.ptr, len};
            if (!core_json_is_number(text)) {
                return true;
            }
            /* The gid is a number, sid and rev are strings: the map's target says which by the part. */
            return derive_put(ctx,
                              word.ptr[0] == '0' ? value_number(text.ptr, len) : value_of(VALUE_PLAIN, text.ptr, len));
        }
        if (colon == NULL) {
            return true;
        }
        rest = (struct core_span){colon + 1, rest.len - len - 1};
    }
}

/* ---- time ---------------------------------------------------------------------------------------------------------------- */

struct stamp {
    int64_t year; /* -1: not written */
    int64_t month;
    int64_t day;
    int64_t hour;
    int64_t minute;
    int64_t second;
    int64_t fraction_ns;
};

static bool number_until(struct core_span *text, char end, size_t digits_max, int64_t *out) {
    size_t i = 0;
    *out = 0;
    while (i < text->len && text->ptr[i] >= '0' && text->ptr[i] <= '9' && i < digits_max) {
        *out = *out * 10 + (text->ptr[i++] - '0');
    }
    bool is_good = i > 0 && (end == '\0' ? i == text->len : i < text->len && text->ptr[i] == end);
    if (is_good && end != '\0') {
        i++;
    }
    *text = (struct core_span){text->ptr + i, text->len - i};
    return is_good;
}

static bool fraction_read(struct core_span text, int64_t *ns) {
    int64_t value = 0;
    int64_t unit = CORE_NS_PER_S;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return false;
        }
        if (unit > 1) {
            unit /= 10;
            value += (text.ptr[i] - '0') * unit;
        }
    }
    *ns = value;
    return text.len > 0;
}

/* "11/21-02:58:39.101903", "26/11/21-02:58:39.101903" (snort -y), "01/27/16-16:01:04.877970 " (Snort 2 with a year). */
static bool stamp_parse(struct core_span text, struct stamp *out) {
    int64_t parts[3] = {-1, -1, -1};
    size_t slashes = 0;
    while (text.len > 0 && text.ptr[text.len - 1] == ' ') {
        text.len--;
    }
    for (size_t i = 0; i < text.len; i++) {
        slashes += text.ptr[i] == '/';
    }
    if (slashes != 1 && slashes != 2) {
        return false;
    }
    for (size_t i = 0; i <= slashes; i++) {
        if (!number_until(&text, i == slashes ? '-' : '/', 4, &parts[i])) {
            return false;
        }
    }
    out->year = -1;
    out->month = parts[0];
    out->day = parts[1];
    if (slashes == 2) {
        /* Snort 3 puts the year first, Snort 2 last; a first part over 12 can only be a year. */
        bool is_last = parts[0] <= 12 && parts[1] <= 31 && parts[2] <= 99 && parts[1] > 12;
        out->year = is_last ? parts[2] : parts[0];
        out->month = is_last ? parts[0] : parts[1];
        out->day = is_last ? parts[1] : parts[2];
        out->year += out->year < 100 ? 2000 : 0;
    }
    int64_t whole;
    if (!number_until(&text, ':', 2, &out->hour) || !number_until(&text, ':', 2, &out->minute) ||
        !number_until(&text, '.', 2, &whole) || !fraction_read(text, &out->fraction_ns)) {
        return false;
    }
    out->second = whole;
    return out->month >= 1 && out->month <= 12 && out->day >= 1 && out->day <= 31 && out->hour < 24 &&
           out->minute < 60 && out->second <= 60;
}

static int64_t stamp_ns(const struct stamp *stamp, int64_t year) {
    int64_t days = core_days_from_civil(year, (unsigned)stamp->month, (unsigned)stamp->day);
    int64_t seconds = days * 86400 + stamp->hour * 3600 + stamp->minute * 60 + stamp->second;
    return seconds * CORE_NS_PER_S + stamp->fraction_ns;
}

/* The year that puts a year-less stamp nearest the file's time: in January, December is last year's. Never a time that is
 * yet to come: an alert was. */
static int64_t stamp_nearest(const struct stamp *stamp, int64_t near_ns) {
    int64_t year = 1970 + near_ns / (CORE_NS_PER_S * 86400 * 365);
    int64_t latest_ns = core_now_ns() + CORE_NS_PER_S * 86400;
    int64_t best = stamp_ns(stamp, year - 2);
    for (int64_t y = year - 1; y <= year + 1; y++) {
        int64_t ns = stamp_ns(stamp, y);
        int64_t off = ns > near_ns ? ns - near_ns : near_ns - ns;
        int64_t best_off = best > near_ns ? best - near_ns : near_ns - best;
        if (off < best_off && ns <= latest_ns) {
            best = ns;
        }
    }
    return best;
}

bool derive_snort_time(const struct derive_context *ctx) {
    struct value text = derive_arg(ctx, 0);
    struct value seconds = derive_arg(ctx, 1);
    struct stamp stamp;
    int64_t ns = 0;
    bool has_stamp = value_is_string(text) && stamp_parse(value_span(text), &stamp);
    bool has_seconds = value_is_scalar(seconds) && decimal_to_ns(value_span(seconds), &ns);
    if (has_seconds) {
        /* The exact UTC second; the stamp is in the sensor's zone and has no year: only its fraction is used. */
        ns += has_stamp ? stamp.fraction_ns : 0;
    } else if (has_stamp && stamp.year >= 0) {
        ns = stamp_ns(&stamp, stamp.year);
    } else if (has_stamp) {
        int64_t near_ns = ctx->plan->stream->mtime_ns > 0 ? ctx->plan->stream->mtime_ns : core_now_ns();
        ns = stamp_nearest(&stamp, near_ns);
    } else if (text.kind == VALUE_NONE) {
        return true;
    } else {
        return record_refuse(ctx->worker, "field timestamp: \"%.*s\" is no time as Snort writes it",
                             (int)(text.len < 80 ? text.len : 80), value_is_scalar(text) ? text.ptr : "");
    }
    return derive_put(ctx, value_iso(ctx->worker, ns));
}
