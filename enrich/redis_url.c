/* enrich/redis_url.c: where Redis is. redis://host:port/db, rediss://host:port/db, unix:///path?db=N.
 *
 * User and password are keys of their own, not parts of the URL: a URL is shown in messages and by `config show`.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/redis_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#define PORT_DEFAULT "6379"
#define PORT_MAX 65535
#define DB_MAX 65535

/* What stands before an @ may be a password. */
static enum core_err bad(const char *text, const char *why, struct core_fail *fail) {
    const char *at = strrchr(text, '@');
    text = at != NULL && strncmp(text, "unix://", strlen("unix://")) != 0 ? at : text;
    return core_fail_set(fail, CORE_BAD, "intel.redis.urls",
                         "\"%s\": %s; write redis://host:6379/0, rediss://host:6379/0 or unix:///run/redis/redis.sock",
                         text, why);
}

static bool number_of(struct core_span text, unsigned long max, unsigned long *out) {
    char digits[8];
    if (text.len == 0 || text.len >= sizeof digits) {
        return false;
    }
    memcpy(digits, text.ptr, text.len);
    digits[text.len] = '\0';
    *out = strtoul(digits, NULL, 10);
    return strspn(digits, "0123456789") == text.len && *out <= max;
}

/* host, host:port, [v6], [v6]:port */
static const char *host_read(struct core_span text, struct redis_url *out) {
    struct core_span host = text, port = CORE_SPAN(PORT_DEFAULT);
    const char *colon = core_span_chr(text, ':');
    unsigned long number;
    if (text.len > 0 && text.ptr[0] == '[') {
        const char *end = core_span_chr(text, ']');
        if (end == NULL) {
            return "the ] behind the address is missing";
        }
        host = (struct core_span){text.ptr + 1, (size_t)(end - text.ptr) - 1};
        colon = end + 1 < text.ptr + text.len ? end + 1 : NULL;
        if (colon != NULL && *colon != ':') {
            return "what stands behind the ] is no :port";
        }
    } else if (colon != NULL) {
        host.len = (size_t)(colon - text.ptr);
    }
    if (colon != NULL) {
        port = (struct core_span){colon + 1, (size_t)(text.ptr + text.len - colon) - 1};
    }
    if (host.len == 0 || host.len >= sizeof out->host) {
        return "the host is missing, or too long";
    }
    if (!number_of(port, PORT_MAX, &number) || number == 0) {
        return "the port is no number from 1 to 65535 (an IPv6 address stands in [ ])";
    }
    memcpy(out->host, host.ptr, host.len);
    snprintf(out->port, sizeof out->port, "%lu", number);
    return NULL;
}

static const char *db_read(struct core_span text, struct redis_url *out) {
    unsigned long number = 0;
    if (text.len > 0 && !number_of(text, DB_MAX, &number)) {
        return "the database is no number";
    }
    out->db = (unsigned)number;
    return NULL;
}

static const char *unix_read(struct core_span rest, struct redis_url *out) {
    const char *query = core_span_chr(rest, '?');
    struct core_span path = {rest.ptr, query == NULL ? rest.len : (size_t)(query - rest.ptr)};
    struct core_span db = {NULL, 0};
    if (path.len == 0 || path.ptr[0] != '/' || path.len >= sizeof((struct sockaddr_un *)NULL)->sun_path) {
        return "the socket's path is missing, not absolute, or longer than 107 bytes";
    }
    if (query != NULL) {
        db = (struct core_span){query + 1, rest.len - path.len - 1};
        if (!core_span_starts(db, CORE_SPAN("db="))) {
            return "only ?db=N may stand behind the path";
        }
        db.ptr += 3, db.len -= 3;
    }
    memcpy(out->host, path.ptr, path.len);
    return db_read(db, out);
}

enum core_err redis_url_read(const char *text, struct redis_url *out, struct core_fail *fail) {
    static const struct {
        const char *name;
        enum redis_scheme scheme;
    } schemes[] = {{"redis://", REDIS_TCP}, {"rediss://", REDIS_TLS}, {"unix://", REDIS_UNIX}};
    struct core_span rest = core_span_of(text);
    size_t at = 0;
    MUST(sizeof out->host > sizeof((struct sockaddr_un *)NULL)->sun_path);
    *out = (struct redis_url){0};
    while (at < 3 && !core_span_starts(rest, core_span_of(schemes[at].name))) {
        at++;
    }
    if (at == 3) {
        return bad(text, "it begins with none of redis://, rediss://, unix://", fail);
    }
    rest.ptr += strlen(schemes[at].name);
    rest.len -= strlen(schemes[at].name);
    out->scheme = schemes[at].scheme;
    if (core_span_chr(rest, '@') != NULL && out->scheme != REDIS_UNIX) {
        return core_fail_set(fail, CORE_BAD, "intel.redis.urls",
                             "a URL has a user or a password in it, which every message would show; give "
                             "intel.redis.username and intel.redis.password");
    }
    const char *why;
    if (out->scheme == REDIS_UNIX) {
        why = unix_read(rest, out);
    } else {
        const char *slash = core_span_chr(rest, '/');
        struct core_span host = {rest.ptr, slash == NULL ? rest.len : (size_t)(slash - rest.ptr)};
        why = host_read(host, out);
        why = why == NULL && slash != NULL ? db_read((struct core_span){slash + 1, rest.len - host.len - 1}, out) : why;
    }
    snprintf(out->shown, sizeof out->shown, "%s", text);
    return why == NULL ? CORE_OK : bad(text, why, fail);
}
