/* normalize/derive_net.c: derive functions that know a protocol: DNS, URLs, TLS, distinguished names.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/form.h"

#include <ctype.h>

/* ---- DNS ---------------------------------------------------------------------------------------------------------------- */

static uint32_t list_len(struct value v) {
    return v.kind == VALUE_LIST ? v.len : value_is_scalar(v) ? 1 : 0;
}

static struct value list_item(struct value v, uint32_t i) {
    return v.kind == VALUE_LIST ? v.items[i] : v;
}

/* The digits before the point of a time to live as Zeek writes it, 300.000000. 0: written otherwise. */
static uint32_t ttl_whole(struct value ttl) {
    enum { WHOLE_MAX = 9, FRACTION_MAX = 6 }; /* so many of each are exact */
    uint32_t at = 0;
    while (at < ttl.len && (unsigned char)ttl.ptr[at] - (unsigned)'0' <= 9) {
        at++;
    }
    uint32_t whole = at;
    bool is_plain = whole > 0 && whole <= WHOLE_MAX && (ttl.ptr[0] != '0' || whole == 1);
    if (at < ttl.len && ttl.ptr[at] == '.') {
        at++;
    }
    while (at < ttl.len && (unsigned char)ttl.ptr[at] - (unsigned)'0' <= 9) {
        at++;
    }
    return is_plain && at == ttl.len && at - whole <= FRACTION_MAX + 1 && ttl.ptr[at - 1] != '.' ? whole : 0;
}

/* {"data":"192.0.2.1","ttl":300}: whole seconds, as ECS's long has it; the exact ones stay in zeek.dns.TTLs. */
static bool answer_object(struct normalize_worker *worker, struct value data, struct value ttl, struct value *out) {
    size_t room = (size_t)data.len * 6 + 64;
    char *text = scratch_alloc(worker, room + VALUE_ROOM);
    int64_t ns;
    if (text == NULL) {
        return false;
    }
    struct core_buf buf = {.start = text, .pos = text, .end = text + room};
    if (data.kind == VALUE_PLAIN) {
        buf.pos = bytes_copy(text, "{\"data\":\"", 9);
        buf.pos = bytes_copy(buf.pos, data.ptr, data.len);
        *buf.pos++ = '"';
    } else {
        core_buf_put(&buf, "{\"data\":", 8);
        core_buf_string(&buf, value_span(data));
    }
    uint32_t whole = value_is_scalar(ttl) ? ttl_whole(ttl) : 0;
    if (whole > 0) {
        buf.pos = bytes_copy(buf.pos, ",\"ttl\":", 7);
        buf.pos = bytes_copy(buf.pos, ttl.ptr, whole);
    } else if (value_is_scalar(ttl) && decimal_to_ns(value_span(ttl), &ns)) {
        core_buf_put(&buf, ",\"ttl\":", 7);
        core_buf_i64(&buf, ns / CORE_NS_PER_S);
    }
    *buf.pos++ = '}';
    MUST(!buf.is_full && buf.pos <= buf.end);
    *out = value_roomy(value_of(VALUE_RAW, text, core_buf_written(&buf).len), buf.end + VALUE_ROOM);
    return true;
}

bool derive_dns_answers(const struct derive_context *ctx) {
    struct value answers = derive_arg(ctx, 0);
    struct value ttls = derive_arg(ctx, 1);
    uint32_t len = list_len(answers);
    uint32_t made = 0;
    struct value *items = scratch_items(ctx->worker, len);
    if (items == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < len; i++) {
        struct value data = list_item(answers, i);
        struct value ttl = i < list_len(ttls) ? list_item(ttls, i) : value_none();
        if (value_is_scalar(data) && !answer_object(ctx->worker, data, ttl, &items[made++])) {
            return false;
        }
    }
    return made == 0 || derive_put(ctx, (struct value){.items = items, .len = made, .kind = VALUE_LIST});
}

/* A list of the answers that are addresses. False: refused. */
static bool answers_ips(struct normalize_worker *worker, struct value answers, struct value *out) {
    struct value *items = scratch_items(worker, list_len(answers));
    uint32_t len = 0;
    for (uint32_t i = 0; items != NULL && i < list_len(answers); i++) {
        struct value data = list_item(answers, i);
        struct ip_addr ip;
        if (value_is_string(data) && value_ip(data, &ip)) {
            items[len++] = value_ip_short(worker, data);
        }
    }
    *out = (struct value){.items = items, .len = len, .kind = VALUE_LIST};
    return items != NULL;
}

/* Maps write them to two fields: they are looked for once a record. */
bool derive_dns_ips(const struct derive_context *ctx) {
    struct value answers = derive_arg(ctx, 0);
    struct forms *forms = ctx->plan->forms;
    if (list_len(answers) == 0) {
        return true;
    }
    if (forms->ips_of != answers.ptr) {
        if (!answers_ips(ctx->worker, answers, &forms->ips)) {
            return false;
        }
        forms->ips_of = answers.ptr;
    }
    for (uint32_t i = 0; i < forms->ips.len; i++) {
        if (!derive_put(ctx, forms->ips.items[i])) {
            return false;
        }
    }
    return true;
}

bool derive_dns_flags(const struct derive_context *ctx) {
    for (size_t i = 0; i < ctx->call->row->args_len; i++) {
        struct value flag = derive_arg(ctx, i);
        struct core_span name = derive_word(ctx, i);
        bool is_set = value_is_scalar(flag) && flag.len > 0 && (flag.ptr[0] == 'T' || flag.ptr[0] == 't');
        if (is_set && !derive_put(ctx, value_of(VALUE_PLAIN, name.ptr, name.len))) {
            return false;
        }
    }
    return true;
}

/* ---- URL ------------------------------------------------------------------------------------------------------------------ */

enum url_sub {
    URL_ORIGINAL,
    URL_PATH,
    URL_QUERY,
    URL_FRAGMENT,
    URL_EXTENSION,
    URL_SCHEME,
    URL_FULL,
    URL_DOMAIN,
    URL_PORT,
    URL_RELATED_HOST, /* of derive_url_parts() only */
    URL_RELATED_IP
};

struct url_parts {
    struct core_span scheme;
    struct core_span host; /* with an IPv6 address's brackets, without the port */
    struct core_span port;
    struct core_span path;
    struct core_span query;
    bool has_query;
    struct core_span fragment;
};

static struct core_span span_cut(struct core_span text, size_t from, size_t to) {
    return (struct core_span){text.ptr + from, to - from};
}

static bool all_digits(struct core_span text) {
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return false;
        }
    }
    return text.len > 0;
}

/* "host", "host:8080", "[fd20::1]:80", "fd20::1" */
static void host_split(struct core_span text, struct core_span *host, struct core_span *port) {
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':') {
        colon--;
    }
    *host = text;
    *port = (struct core_span){NULL, 0};
    if (colon == 0) {
        return;
    }
    struct core_span head = span_cut(text, 0, colon - 1);
    struct core_span tail = span_cut(text, colon, text.len);
    bool is_bare_ipv6 = core_span_chr(head, ':') != NULL && (head.len == 0 || head.ptr[head.len - 1] != ']');
    if (!is_bare_ipv6 && (tail.len == 0 || all_digits(tail))) {
        *host = head;
        *port = tail;
    }
}

/* The request target in its four forms (RFC 9112, 3.2): /path?query, http://host/path, host:port (CONNECT), `*`. */
static void target_split(struct core_span uri, struct url_parts *parts) {
    struct core_span rest = uri;
    const char *scheme = uri.len > 0 && uri.ptr[0] != '/' ? memmem(uri.ptr, uri.len, "://", 3) : NULL;
    const char *query = core_span_chr(uri, '?');
    if (scheme != NULL && (query == NULL || scheme < query)) {
        size_t at = (size_t)(scheme - uri.ptr);
        parts->scheme = span_cut(uri, 0, at);
        rest = span_cut(uri, at + 3, uri.len);
        size_t end = 0;
        while (end < rest.len && rest.ptr[end] != '/' && rest.ptr[end] != '?' && rest.ptr[end] != '#') {
            end++;
        }
        host_split(span_cut(rest, 0, end), &parts->host, &parts->port);
        rest = span_cut(rest, end, rest.len);
    }
    const char *mark = core_span_chr(rest, '#');
    if (mark != NULL) {
        size_t at = (size_t)(mark - rest.ptr);
        parts->fragment = span_cut(rest, at + 1, rest.len);
        rest = span_cut(rest, 0, at);
    }
    mark = core_span_chr(rest, '?');
    parts->has_query = mark != NULL;
    if (mark != NULL) {
        size_t at = (size_t)(mark - rest.ptr);
        parts->query = span_cut(rest, at + 1, rest.len);
        rest = span_cut(rest, 0, at);
    }
    parts->path = rest;
}

static struct core_span extension_of(struct core_span path) {
    size_t at = path.len;
    while (at > 0 && path.ptr[at - 1] != '.' && path.ptr[at - 1] != '/') {
        at--;
    }
    bool has_dot = at > 1 && path.ptr[at - 1] == '.' && path.ptr[at - 2] != '/' && at < path.len;
    return has_dot ? span_cut(path, at, path.len) : (struct core_span){NULL, 0};
}

static bool put_text(const struct derive_context *ctx, enum url_sub sub, struct core_span text) {
    return text.len == 0 || derive_put_sub(ctx, sub, value_of(VALUE_TEXT, text.ptr, text.len));
}

/* scheme://host[:port]path?query: what the client asked for, if the host is known. */
static bool put_full(const struct derive_context *ctx, const struct url_parts *parts, struct core_span uri) {
    size_t room = uri.len + parts->host.len + parts->port.len + parts->scheme.len + 16;
    char *text = scratch_alloc(ctx->worker, room);
    if (text == NULL) {
        return false;
    }
    struct core_buf buf = {.start = text, .pos = text, .end = text + room};
    if (core_span_chr(uri, ':') != NULL && parts->scheme.len > 0) {
        core_buf_span(&buf, uri); /* it was absolute */
    } else {
        core_buf_put(&buf, "http://", 7);
        core_buf_span(&buf, parts->host);
        if (parts->port.len > 0 && !core_span_is(parts->port, "80")) {
            core_buf_char(&buf, ':');
            core_buf_span(&buf, parts->port);
        }
        core_buf_span(&buf, uri);
    }
    MUST(!buf.is_full);
    return put_text(ctx, URL_FULL, core_buf_written(&buf));
}

/* Only the origin form ("/…") and the absolute one (scheme://…) have a path; CONNECT's host:port, `*` and what is no
 * request target at all are kept as they stand. */
static bool put_target(const struct derive_context *ctx, const struct url_parts *parts, struct core_span uri) {
    bool is_absolute = parts->scheme.len > 0;
    bool is_origin = uri.len > 0 && uri.ptr[0] == '/';
    if (!put_text(ctx, URL_ORIGINAL, uri) || (!is_absolute && !is_origin)) {
        return ctx->worker->reason[0] == '\0';
    }
    return put_text(ctx, URL_PATH, parts->path) && put_text(ctx, URL_QUERY, parts->query) &&
           put_text(ctx, URL_FRAGMENT, parts->fragment) && put_text(ctx, URL_EXTENSION, extension_of(parts->path)) &&
           put_text(ctx, URL_SCHEME, is_absolute ? parts->scheme : CORE_SPAN("http")) &&
           (parts->host.len == 0 || put_full(ctx, parts, uri));
}

bool derive_url(const struct derive_context *ctx) {
    struct value host = derive_arg(ctx, 0);
    struct value uri = derive_arg(ctx, 1);
    struct value port = derive_arg(ctx, 2);
    struct url_parts parts = {0};
    struct core_span uri_text = value_is_string(uri) ? value_span(uri) : (struct core_span){NULL, 0};
    target_split(uri_text, &parts);
    bool is_absolute = parts.scheme.len > 0;
    if (!is_absolute && value_is_string(host)) {
        host_split(value_span(host), &parts.host, &parts.port);
    }
    /* An absolute URL has its own port or none: the connection's is a proxy's. */
    if (parts.port.len == 0 && !is_absolute && value_is_scalar(port) && (parts.host.len > 0 || uri_text.len > 0)) {
        parts.port = core_span_is(value_span(port), "0") ? parts.port : value_span(port); /* 0: not known */
    }
    if (!put_text(ctx, URL_DOMAIN, parts.host) || !put_target(ctx, &parts, uri_text)) {
        return false;
    }
    bool has_port = all_digits(parts.port) && parts.port.len <= 5;
    return !has_port || derive_put_sub(ctx, URL_PORT, value_number(parts.port.ptr, parts.port.len));
}

/* A URL as Zeek's intelligence has it: without a scheme, so what stands before the first slash is the host. Only where the
 * field WHEN is TEXT. */
bool derive_url_parts(const struct derive_context *ctx) {
    struct value v = derive_arg(ctx, 0);
    struct value when = derive_arg(ctx, 1);
    struct url_parts parts = {0};
    struct ip_addr ip;
    if (!value_is_string(v) || v.len == 0 || !value_is_string(when) ||
        !core_span_eq(value_span(when), derive_word(ctx, 2))) {
        return true;
    }
    target_split(value_span(v), &parts);
    bool has_scheme = parts.scheme.len > 0 && core_span_chr(parts.scheme, '/') == NULL;
    if (!has_scheme) { /* any one will do to find the host */
        size_t room = (size_t)v.len + 4;
        char *text = scratch_alloc(ctx->worker, room);
        if (text == NULL) {
            return false;
        }
        struct core_buf buf = {.start = text, .pos = text, .end = text + room};
        core_buf_put(&buf, "x://", 4);
        core_buf_put(&buf, v.ptr, v.len);
        MUST(!buf.is_full);
        parts = (struct url_parts){0};
        target_split(core_buf_written(&buf), &parts);
    }
    struct core_span host = parts.host;
    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']') {
        host = span_cut(host, 1, host.len - 1);
    }
    bool is_ip = ip_parse(host, &ip);
    bool has_port = all_digits(parts.port) && parts.port.len <= 5;
    return put_text(ctx, URL_ORIGINAL, value_span(v)) && put_text(ctx, URL_DOMAIN, parts.host) &&
           put_text(ctx, URL_PATH, parts.path) && put_text(ctx, URL_QUERY, parts.query) &&
           put_text(ctx, URL_FRAGMENT, parts.fragment) && put_text(ctx, URL_EXTENSION, extension_of(parts.path)) &&
           (!has_scheme || (put_text(ctx, URL_SCHEME, parts.scheme) && put_text(ctx, URL_FULL, value_span(v)))) &&
           (!has_port || derive_put_sub(ctx, URL_PORT, value_number(parts.port.ptr, parts.port.len))) &&
           put_text(ctx, is_ip ? URL_RELATED_IP : URL_RELATED_HOST, host);
}

/* The host of a Host header, without its port, if it is an address or if it is none. */
static bool put_host(const struct derive_context *ctx, bool is_ip_wanted) {
    struct value v = derive_arg(ctx, 0);
    struct core_span host;
    struct core_span port;
    struct ip_addr ip;
    if (!value_is_string(v) || v.len == 0) {
        return true;
    }
    host_split(value_span(v), &host, &port);
    bool is_bracketed = host.len > 1 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    struct core_span inner = is_bracketed ? span_cut(host, 1, host.len - 1) : host;
    bool is_ip = ip_parse(inner, &ip);
    if (is_ip_wanted) {
        return !is_ip || derive_put(ctx, value_ip_short(ctx->worker, value_of(VALUE_TEXT, inner.ptr, inner.len)));
    }
    bool is_name = host.len > 0 && host.ptr[0] != '[' && !is_ip;
    return !is_name || derive_put(ctx, value_of(VALUE_TEXT, host.ptr, host.len));
}

bool derive_host_name(const struct derive_context *ctx) {
    return put_host(ctx, false);
}

bool derive_host_ip(const struct derive_context *ctx) {
    return put_host(ctx, true);
}

/* ---- TLS ------------------------------------------------------------------------------------------------------------------ */

struct tls_name {
    const char *sensor;
    const char *version;
    const char *protocol;
};

static const struct tls_name tls_names[] = {
    {"SSLv2", "2.0", "ssl"},
    {"SSLv3", "3.0", "ssl"},
    {"TLSv10", "1.0", "tls"},
    {"TLSv11", "1.1", "tls"},
    {"TLSv12", "1.2", "tls"},
    {"TLSv13", "1.3", "tls"},
    {"DTLSv10", "1.0", "dtls"},
    {"DTLSv12", "1.2", "dtls"},
    {"DTLSv13", "1.3", "dtls"},
    /* Suricata's names: */
    {"TLSv1", "1.0", "tls"},
    {"TLS 1.1", "1.1", "tls"},
    {"TLS 1.2", "1.2", "tls"},
    {"TLS 1.3", "1.3", "tls"},
};

bool derive_tls_version(const struct derive_context *ctx) {
    struct value version = derive_arg(ctx, 0);
    for (size_t i = 0; value_is_string(version) && i < sizeof(tls_names) / sizeof(tls_names[0]); i++) {
        if (core_span_is(value_span(version), tls_names[i].sensor)) {
            struct core_span number = core_span_of(tls_names[i].version);
            struct core_span protocol = core_span_of(tls_names[i].protocol);
            return derive_put_sub(ctx, 0, value_of(VALUE_PLAIN, number.ptr, number.len)) &&
                   derive_put_sub(ctx, 1, value_of(VALUE_PLAIN, protocol.ptr, protocol.len));
        }
    }
    return true;
}

/* ---- distinguished names ---------------------------------------------------------------------------------------------------- */

enum dn_part { DN_COMMON_NAME, DN_COUNTRY, DN_ORGANIZATION, DN_UNIT, DN_LOCALITY, DN_STATE, DN__MAX };

static int dn_part(struct core_span key) {
    static const struct {
        const char *key;
        enum dn_part part;
    } keys[] = {{"CN", DN_COMMON_NAME}, {"C", DN_COUNTRY}, {"O", DN_ORGANIZATION}, {"OU", DN_UNIT},
                {"L", DN_LOCALITY},     {"ST", DN_STATE},  {"S", DN_STATE}};
    while (key.len > 0 && key.ptr[0] == ' ') {
        key = span_cut(key, 1, key.len);
    }
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (core_span_is(key, keys[i].key)) {
            return (int)keys[i].part;
        }
    }
    return -1;
}

/* Undo RFC 4514's escapes: `\,` and `\C3\BC`. */
static struct value dn_unescape(struct normalize_worker *worker, struct core_span text) {
    struct value out = value_copy(worker, text);
    if (out.kind == VALUE_NONE || core_span_chr(text, '\\') == NULL) {
        return out;
    }
    char *p = (char *)(uintptr_t)out.ptr;
    uint32_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '\\' || i + 1 == text.len) {
            p[len++] = text.ptr[i];
            continue;
        }
        unsigned byte;
        if (i + 2 < text.len && hex_pair(text.ptr + i + 1, &byte)) {
            p[len++] = (char)byte;
            i += 2;
        } else {
            p[len++] = text.ptr[++i];
        }
    }
    out.len = len;
    return out;
}

/* Values of one part, in order; a list if there are several. */
struct dn_values {
    struct value items[8];
    uint32_t len;
};

/* Does another KEY= begin here? Suricata escapes nothing: the comma in `O=Corp, Example "GmbH", C=DE` separates no parts. */
static bool dn_begins(struct core_span text, size_t at) {
    while (at < text.len && text.ptr[at] == ' ') {
        at++;
    }
    size_t start = at;
    while (at < text.len && (isalnum((unsigned char)text.ptr[at]) || text.ptr[at] == '.' || text.ptr[at] == '-')) {
        at++;
    }
    return at == text.len ? at == start : at > start && text.ptr[at] == '=';
}

/* Cut at unescaped separators; each KEY=VALUE. */
static bool dn_walk(struct normalize_worker *worker, struct core_span text, char separator,
                    struct dn_values parts[DN__MAX]) {
    size_t start = 0;
    for (size_t i = 0; i <= text.len; i++) {
        if (i < text.len && text.ptr[i] == '\\') {
            i++;
            continue;
        }
        bool is_separator =
            i == text.len || text.ptr[i] == separator || text.ptr[i] == '+'; /* `+` joins parts of one RDN */
        if (!is_separator || (i < text.len && !dn_begins(text, i + 1))) {
            continue;
        }
        struct core_span pair = span_cut(text, start, i < text.len ? i : text.len);
        const char *equals = core_span_chr(pair, '=');
        start = i + 1;
        if (equals == NULL) {
            continue;
        }
        size_t at = (size_t)(equals - pair.ptr);
        int part = dn_part(span_cut(pair, 0, at));
        if (part >= 0 && parts[part].len < sizeof(parts[part].items) / sizeof(parts[part].items[0])) {
            struct value value = dn_unescape(worker, span_cut(pair, at + 1, pair.len));
            if (value.kind == VALUE_NONE) {
                return false;
            }
            parts[part].items[parts[part].len++] = value;
        }
    }
    return true;
}

bool derive_dn(const struct derive_context *ctx) {
    struct value name = derive_arg(ctx, 0);
    struct dn_values parts[DN__MAX] = {0};
    if (!value_is_string(name) || name.len == 0) {
        return true;
    }
    struct core_span text = value_span(name);
    bool is_slashed = text.ptr[0] == '/'; /* OpenSSL's one-line form, in old logs */
    if (!dn_walk(ctx->worker, is_slashed ? span_cut(text, 1, text.len) : text, is_slashed ? '/' : ',', parts)) {
        return false;
    }
    for (size_t i = 0; i < DN__MAX; i++) {
        if (parts[i].len == 0) {
            continue;
        }
        struct value value = parts[i].items[0];
        if (parts[i].len > 1) {
            struct value *items = scratch_items(ctx->worker, parts[i].len);
            if (items == NULL) {
                return false;
            }
            memcpy(items, parts[i].items, parts[i].len * sizeof(*items));
            value = (struct value){.items = items, .len = parts[i].len, .kind = VALUE_LIST};
        }
        if (!derive_put_sub(ctx, i, value)) {
            return false;
        }
    }
    return true;
}
