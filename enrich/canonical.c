/* enrich/canonical.c: the one form of an indicator, and of what is compared with it.
 *
 * Two texts that name the same thing on the wire become the same bytes, so that a look-up is one comparison. What cannot be
 * on the wire is cut (a URL's scheme, fragment and user), what two writers write differently is made one (case, dots, zeros,
 * colons), and what tells things apart stays as it is (a URL's path, names of users, files and programs).
 *
 * Most observables of a log are in the form already; then nothing is copied. A name outside ASCII costs a call into libidn2,
 * which allocates; there are hardly any.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/idn.h"
#include "core/json.h"
#include "enrich/enrich_internal.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#define NAME_BYTES_MAX 253 /* RFC 1035's 255 octets on the wire, as text */
#define LABEL_BYTES_MAX 63
#define V6_BITS 128
#define V4_BITS 32
#define V4_IN_V6_BITS (V6_BITS - V4_BITS)
#define MD5_DIGITS 32
#define SHA1_DIGITS 40
#define SHA256_DIGITS 64
#define SHA512_DIGITS 128
#define KEY_BASE64_BYTES 43                       /* 32 bytes, without padding */
#define PUBKEY_BYTES_MAX (MD5_DIGITS / 2 * 3 - 1) /* aa:bb:… */

static bool is_hex(char c) {
    return core_is_digit(c) || (core_lower(c) >= 'a' && core_lower(c) <= 'f');
}

static struct core_span span_cut(struct core_span in, size_t from) {
    return (struct core_span){in.ptr + from, in.len - from};
}

static bool starts_with(struct core_span in, const char *word) { /* word in lower case */
    size_t len = strlen(word);
    for (size_t i = 0; i < len; i++) {
        if (i == in.len || core_lower(in.ptr[i]) != word[i]) {
            return false;
        }
    }
    return true;
}

/* ---- addresses ------------------------------------------------------------------------------------------------------------ */

/* What inet_ntop() would write, told without a call. */
static bool is_plain_v4(struct core_span in) {
    uint32_t address;
    return core_ipv4_read(in, &address);
}

struct address {
    int family;
    unsigned char bytes[sizeof(struct in6_addr)]; /* IPv4: the first four */
};

/* bits: of its prefix, made those of IPv4 where the address is IPv4 in IPv6 and the prefix says no less. */
static bool address_read(struct core_span in, struct address *out, unsigned *bits) {
    char text[INET6_ADDRSTRLEN];
    if (in.len >= 2 && in.ptr[0] == '[' && in.ptr[in.len - 1] == ']') {
        in = (struct core_span){in.ptr + 1, in.len - 2};
    }
    if (in.len == 0 || in.len >= sizeof(text) || core_span_chr(in, '\0') != NULL) {
        return false;
    }
    memcpy(text, in.ptr, in.len);
    text[in.len] = '\0';
    if (core_span_chr(in, ':') == NULL) {
        out->family = AF_INET;
        return is_plain_v4(in) && inet_pton(AF_INET, text, out->bytes) == 1;
    }
    struct in6_addr v6;
    if (inet_pton(AF_INET6, text, &v6) != 1) {
        return false;
    }
    out->family = AF_INET6;
    memcpy(out->bytes, &v6, sizeof(v6));
    if (IN6_IS_ADDR_V4MAPPED(&v6) && *bits >= V4_IN_V6_BITS) {
        out->family = AF_INET;
        memcpy(out->bytes, v6.s6_addr + sizeof(v6) - sizeof(struct in_addr), sizeof(struct in_addr));
        *bits -= V4_IN_V6_BITS;
    }
    return true;
}

static bool canonical_ip(struct core_span in, char *room, struct core_span *out) {
    struct address address;
    unsigned bits = V6_BITS;
    if (is_plain_v4(in)) {
        *out = in;
        return true;
    }
    if (!address_read(in, &address, &bits)) {
        return false;
    }
    MUST(inet_ntop(address.family, address.bytes, room, INET6_ADDRSTRLEN) != NULL);
    *out = core_span_of(room);
    return true;
}

/* The digits behind a slash. */
static bool prefix_read(struct core_span in, unsigned *bits) {
    *bits = 0;
    if (in.len == 0 || in.len > 3) {
        return false;
    }
    for (size_t i = 0; i < in.len; i++) {
        if (!core_is_digit(in.ptr[i])) {
            return false;
        }
        *bits = *bits * 10 + (unsigned)(in.ptr[i] - '0');
    }
    return true;
}

static bool canonical_cidr(enum core_indicator *type, struct core_span in, char *room, struct core_span *out,
                           const char **why) {
    const char *slash = core_span_chr(in, '/');
    struct address address;
    unsigned bits;
    if (slash == NULL) { /* a network of one address */
        *type = CORE_INDICATOR_IP;
        *why = "it is no network: no prefix, and no address either";
        return canonical_ip(in, room, out);
    }
    struct core_span host = {in.ptr, (size_t)(slash - in.ptr)};
    *why = "it is no network: address/bits is";
    if (!prefix_read(span_cut(in, host.len + 1), &bits) || !address_read(host, &address, &bits)) {
        return false;
    }
    unsigned bits_max = address.family == AF_INET ? V4_BITS : V6_BITS;
    if (bits > bits_max) {
        *why = "it is no network: it has more bits than an address";
        return false;
    }
    if (bits == 0) {
        *why = "it is the network of all addresses: everything would match";
        return false;
    }
    for (unsigned bit = bits; bit < bits_max; bit++) {
        address.bytes[bit / 8] &= (unsigned char)~(0x80U >> (bit % 8));
    }
    MUST(inet_ntop(address.family, address.bytes, room, INET6_ADDRSTRLEN) != NULL);
    *out = core_span_of(room);
    *type = CORE_INDICATOR_IP;
    if (bits < bits_max) {
        *type = CORE_INDICATOR_CIDR;
        out->len += (size_t)snprintf(room + out->len, sizeof("/128"), "/%u", bits);
    }
    return true;
}

/* ---- names ----------------------------------------------------------------------------------------------------------------- */

/* What a label may have; underscores are no letters of host names, but of SRV records and of Windows. 0: none of it; upper
 * case gives its lower case. */
static char label_char(char c) {
    char small = core_lower(c);
    return core_is_digit(c) || (small >= 'a' && small <= 'z') || c == '-' || c == '_' ? small : '\0';
}

/* Labels of 1 to 63 letters, the last no number. Shape: in has no dot at its end. *is_lower: nothing to do. */
static bool is_name(struct core_span in, bool *is_lower, const char **why) {
    size_t label = 0;
    bool is_number = true;
    *is_lower = true;
    *why = "it is no host name";
    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i];
        if (c == '.') {
            if (label == 0) {
                return false;
            }
            label = 0;
            is_number = true;
            continue;
        }
        char small = label_char(c);
        if (small == '\0' || ++label > LABEL_BYTES_MAX) {
            return false;
        }
        *is_lower = *is_lower && small == c;
        is_number = is_number && core_is_digit(c);
    }
    if (is_number && label > 0) {
        *why = "it is neither a host name nor an address: its last part is a number";
        return false;
    }
    return label > 0;
}

static bool has_beyond_ascii(struct core_span in) {
    for (size_t i = 0; i < in.len; i++) {
        if ((unsigned char)in.ptr[i] > 0x7f) {
            return true;
        }
    }
    return false;
}

/* A host name, or an address in its place: *is_ip. room has at least NAME_BYTES_MAX + 1 bytes; in may lie in it. */
static bool canonical_host(struct core_span in, char *room, struct core_span *out, bool *is_ip, const char **why) {
    bool is_lower;
    *is_ip = false;
    *why = "it is no host name";
    if (has_beyond_ascii(in)) {
        size_t len;
        *why = "it is no host name, not in other letters either";
        if (!core_idn_ascii(in, room, NAME_BYTES_MAX + 1, &len)) {
            return false;
        }
        in = (struct core_span){room, len};
    }
    if (in.len > 0 && (core_is_digit(in.ptr[in.len - 1]) || core_span_chr(in, ':') != NULL || in.ptr[0] == '[')) {
        char text[INET6_ADDRSTRLEN];
        struct core_span address;
        if (canonical_ip(in, text, &address)) {
            memcpy(room, address.ptr, address.len);
            *out = (struct core_span){room, address.len};
            *is_ip = true;
            return true;
        }
    }
    if (in.len > 0 && in.ptr[in.len - 1] == '.') {
        in.len--;
    }
    if (in.len > NAME_BYTES_MAX) {
        *why = "it is longer than a host name can be (253 bytes)";
        return false;
    }
    if (!is_name(in, &is_lower, why)) {
        return false;
    }
    *out = in;
    if (!is_lower) {
        for (size_t i = 0; i < in.len; i++) {
            room[i] = core_lower(in.ptr[i]);
        }
        out->ptr = room;
    }
    return true;
}

static bool canonical_domain(enum core_indicator *type, struct core_span in, char *room, struct core_span *out,
                             const char **why) {
    bool is_ip;
    if (!canonical_host(in, room, out, &is_ip, why)) {
        return false;
    }
    *type = is_ip ? CORE_INDICATOR_IP : CORE_INDICATOR_DOMAIN;
    return true;
}

/* ---- URLs ------------------------------------------------------------------------------------------------------------------ */

/* Bytes of "scheme://" at its start; 0: there is none. */
static size_t scheme_len(struct core_span in) {
    size_t at = 0;
    while (at < in.len &&
           (core_is_digit(in.ptr[at]) || (core_lower(in.ptr[at]) >= 'a' && core_lower(in.ptr[at]) <= 'z') ||
            in.ptr[at] == '+' || in.ptr[at] == '-' || in.ptr[at] == '.')) {
        at++;
    }
    bool is_scheme = at > 0 && in.len - at >= 3 && memcmp(in.ptr + at, "://", 3) == 0;
    return is_scheme ? at + 3 : 0;
}

/* The port that is not written, since everybody knows it: HTTP's without a scheme, as in Zeek's log, and so with any. */
static bool is_default_port(struct core_span scheme, struct core_span port) {
    bool is_https = starts_with(scheme, "https://");
    bool is_ftp = starts_with(scheme, "ftp://");
    return core_span_is(port, "80") || (is_https && core_span_is(port, "443")) || (is_ftp && core_span_is(port, "21"));
}

struct url {
    struct core_span host; /* with its brackets */
    struct core_span port; /* without its colon; empty: none, or the default */
    struct core_span path; /* and query; "" or from '/' or '?' on */
};

/* Cut into pieces; what is cut off (scheme, user, fragment, default port) is in none of them. */
static struct url url_split(struct core_span in) {
    struct core_span scheme = {in.ptr, scheme_len(in)};
    in = span_cut(in, scheme.len);
    const char *fragment = core_span_chr(in, '#');
    if (fragment != NULL) {
        in = core_span_trim((struct core_span){in.ptr, (size_t)(fragment - in.ptr)});
    }
    size_t end = 0;
    while (end < in.len && in.ptr[end] != '/' && in.ptr[end] != '?') {
        end++;
    }
    struct core_span host = {in.ptr, end};
    struct url url = {.path = span_cut(in, end)};
    for (size_t i = host.len; i > 0; i--) {
        if (host.ptr[i - 1] == '@') {
            host = span_cut(host, i);
            break;
        }
    }
    size_t colon = host.len;
    while (colon > 0 && core_is_digit(host.ptr[colon - 1])) {
        colon--;
    }
    if (colon > 0 && host.ptr[colon - 1] == ':') {
        bool is_bare_v6 = memchr(host.ptr, ':', colon - 1) != NULL && host.ptr[0] != '[';
        if (!is_bare_v6) {
            url.port = span_cut(host, colon);
            host.len = colon - 1;
        }
    }
    while (url.port.len > 1 && url.port.ptr[0] == '0') {
        url.port = span_cut(url.port, 1);
    }
    if (is_default_port(scheme, url.port)) {
        url.port.len = 0;
    }
    url.host = host;
    return url;
}

static bool canonical_url(struct core_span in, char *room, struct core_span *out, const char **why) {
    struct url url = url_split(in);
    char host_room[NAME_BYTES_MAX + 1];
    struct core_span host;
    bool is_ip;
    *why = "it is no URL: its host is neither a name nor an address";
    const char *ignored;
    if (url.host.len == 0 || !canonical_host(url.host, host_room, &host, &is_ip, &ignored)) {
        return false;
    }
    *why = "it is no URL: its port is none";
    if (url.port.len > 5) {
        return false;
    }
    struct core_buf buf = {.start = room, .pos = room, .end = room + ENRICH_VALUE_BYTES_MAX};
    bool has_brackets = is_ip && core_span_chr(host, ':') != NULL;
    core_buf_put(&buf, "[", has_brackets);
    core_buf_span(&buf, host);
    core_buf_put(&buf, "]", has_brackets);
    if (url.port.len > 0) {
        core_buf_char(&buf, ':');
        core_buf_span(&buf, url.port);
    }
    if (url.path.len == 0 || url.path.ptr[0] != '/') {
        core_buf_char(&buf, '/');
    }
    core_buf_span(&buf, url.path);
    *out = core_buf_written(&buf);
    *why = "it is longer than an indicator can be (2048 bytes)";
    return !buf.is_full;
}

/* ---- e-mail, hashes, names -------------------------------------------------------------------------------------------------- */

static bool canonical_email(struct core_span in, char *room, struct core_span *out, const char **why) {
    *why = "it is no e-mail address";
    const char *open = in.len == 0 ? NULL : memrchr(in.ptr, '<', in.len);
    if (open != NULL) {
        in = span_cut(in, (size_t)(open + 1 - in.ptr));
        const char *close = core_span_chr(in, '>');
        in.len = close == NULL ? in.len : (size_t)(close - in.ptr);
        in = core_span_trim(in);
    }
    if (starts_with(in, "mailto:")) {
        in = span_cut(in, strlen("mailto:"));
    }
    const char *at = in.len == 0 ? NULL : memrchr(in.ptr, '@', in.len);
    if (at == NULL || at == in.ptr) {
        return false;
    }
    struct core_span local = {in.ptr, (size_t)(at - in.ptr)};
    struct core_span host = span_cut(in, local.len + 1);
    char host_room[NAME_BYTES_MAX + 1];
    bool is_ip;
    const char *ignored;
    bool has_close = core_span_chr(local, '>') != NULL;
    if (has_close || core_is_blank(local.ptr[0]) || core_is_blank(local.ptr[local.len - 1]) ||
        starts_with(local, "mailto:") || !canonical_host(host, host_room, &host, &is_ip, &ignored)) {
        return false;
    }
    struct core_buf buf = {.start = room, .pos = room, .end = room + ENRICH_VALUE_BYTES_MAX};
    for (size_t i = 0; i < local.len; i++) {
        core_buf_char(&buf, core_lower(local.ptr[i]));
    }
    core_buf_char(&buf, '@');
    core_buf_span(&buf, host); /* an address without RFC 5321's brackets */
    *out = core_buf_written(&buf);
    *why = "it is longer than an indicator can be (2048 bytes)";
    return !buf.is_full;
}

/* Hex digits in lower case, without colons. 0: there is something else in it, or too many. */
static size_t digits_of(struct core_span in, char *room, size_t room_len) {
    size_t len = 0;
    for (size_t i = 0; i < in.len; i++) {
        if (in.ptr[i] == ':' && i > 0 && i + 1 < in.len) {
            continue;
        }
        if (!is_hex(in.ptr[i]) || len == room_len) {
            return 0;
        }
        room[len++] = core_lower(in.ptr[i]);
    }
    return len;
}

static bool canonical_hash(struct core_span in, char *room, struct core_span *out, const char **why) {
    size_t len = digits_of(in, room, SHA512_DIGITS);
    *out = (struct core_span){room, len};
    *why = "it is no MD5, SHA-1, SHA-256 or SHA-512 in hex";
    return len == MD5_DIGITS || len == SHA1_DIGITS || len == SHA256_DIGITS || len == SHA512_DIGITS;
}

static bool canonical_ja3(struct core_span in, char *room, struct core_span *out, const char **why) {
    *why = "it is no JA3: 32 hex digits are";
    *out = (struct core_span){room, digits_of(in, room, MD5_DIGITS)};
    return out->len == MD5_DIGITS;
}

/* MD5 with colons, as Zeek writes it, or "SHA256:" and base64, as OpenSSH does: that is told apart by case. */
static bool canonical_pubkey(struct core_span in, char *room, struct core_span *out, const char **why) {
    char digits[MD5_DIGITS];
    *why = "it is no key's hash: an MD5 in hex, with colons, or SHA256:base64 is";
    if (starts_with(in, "sha256:")) {
        struct core_span base64 = span_cut(in, strlen("sha256:"));
        while (base64.len > 0 && base64.ptr[base64.len - 1] == '=') {
            base64.len--;
        }
        if (base64.len != KEY_BASE64_BYTES) {
            return false;
        }
        for (size_t i = 0; i < base64.len; i++) {
            char c = core_lower(base64.ptr[i]);
            if (!core_is_digit(c) && (c < 'a' || c > 'z') && c != '+' && c != '/') {
                return false;
            }
        }
        struct core_buf buf = {.start = room, .pos = room, .end = room + ENRICH_VALUE_BYTES_MAX};
        core_buf_span(&buf, CORE_SPAN("SHA256:"));
        core_buf_span(&buf, base64);
        *out = core_buf_written(&buf);
        return true;
    }
    if (starts_with(in, "md5:")) {
        in = span_cut(in, strlen("md5:"));
    }
    if (digits_of(in, digits, sizeof(digits)) != MD5_DIGITS) {
        return false;
    }
    for (size_t i = 0; i < MD5_DIGITS / 2; i++) {
        room[3 * i] = digits[2 * i];
        room[3 * i + 1] = digits[2 * i + 1];
        room[3 * i + 2] = ':'; /* the last is not part of it */
    }
    *out = (struct core_span){room, PUBKEY_BYTES_MAX};
    return true;
}

bool enrich_canonical(enum core_indicator *type, struct core_span in, char room[ENRICH_VALUE_BYTES_MAX],
                      struct core_span *out, const char **why) {
    MUST(*type > CORE_INDICATOR_NONE && *type < CORE_INDICATOR__MAX);
    in = core_span_trim(in);
    *out = in;
    *why = in.len == 0 ? "it is empty" : "it is longer than an indicator can be (2048 bytes)";
    if (in.len == 0 || in.len > ENRICH_VALUE_BYTES_MAX) {
        return false;
    }
    switch (*type) {
    case CORE_INDICATOR_IP:
        if (core_span_chr(in, '/') == NULL) {
            *why = "it is no IP address";
            return canonical_ip(in, room, out);
        }
        return canonical_cidr(type, in, room, out, why);
    case CORE_INDICATOR_CIDR:
        return canonical_cidr(type, in, room, out, why);
    case CORE_INDICATOR_DOMAIN:
        return canonical_domain(type, in, room, out, why);
    case CORE_INDICATOR_URL:
        return canonical_url(in, room, out, why);
    case CORE_INDICATOR_EMAIL:
        return canonical_email(in, room, out, why);
    case CORE_INDICATOR_FILE_HASH:
    case CORE_INDICATOR_CERT_HASH:
        return canonical_hash(in, room, out, why);
    case CORE_INDICATOR_PUBKEY_HASH:
        return canonical_pubkey(in, room, out, why);
    case CORE_INDICATOR_JA3:
        return canonical_ja3(in, room, out, why);
    case CORE_INDICATOR_USER:
    case CORE_INDICATOR_FILE_NAME:
    case CORE_INDICATOR_SOFTWARE:
    default: /* as it is */
        return true;
    }
}

/* ---- guessing ---------------------------------------------------------------------------------------------------------------- */

/* Endings that files have and that nobody can register a name under. */
static bool is_file_ending(struct core_span ending) {
    static const char *const endings[] = {"7z",   "apk",  "bat",  "bin",  "cab",  "chm", "cmd", "cpl",  "dll",  "doc",
                                          "docm", "docx", "elf",  "exe",  "gz",   "hta", "htm", "html", "img",  "iso",
                                          "jar",  "jpg",  "js",   "jse",  "lnk",  "msi", "pdf", "png",  "pptx", "ps1",
                                          "rar",  "rtf",  "scr",  "swf",  "sys",  "tgz", "tmp", "txt",  "vbe",  "vbs",
                                          "wsf",  "xls",  "xlsb", "xlsm", "xlsx", "xml"};
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        if (ending.len == strlen(endings[i]) && starts_with(ending, endings[i])) {
            return true;
        }
    }
    return false;
}

static enum core_indicator guess_hash(struct core_span in, char *room) {
    enum core_indicator type = CORE_INDICATOR_PUBKEY_HASH;
    struct core_span out;
    const char *why;
    bool has_colons = core_span_chr(in, ':') != NULL;
    bool is_md5 = in.len == PUBKEY_BYTES_MAX || starts_with(in, "md5:") || starts_with(in, "sha256:");
    if (has_colons && is_md5 && enrich_canonical(&type, in, room, &out, &why)) {
        return CORE_INDICATOR_PUBKEY_HASH;
    }
    type = CORE_INDICATOR_FILE_HASH;
    if (!enrich_canonical(&type, in, room, &out, &why)) {
        return CORE_INDICATOR_NONE;
    }
    return has_colons ? CORE_INDICATOR_CERT_HASH : CORE_INDICATOR_FILE_HASH;
}

/* A name with a dot, a path behind a host, an address with an @. */
static enum core_indicator guess_name(struct core_span in, char *room) {
    enum core_indicator type = CORE_INDICATOR_DOMAIN;
    struct core_span out;
    const char *why;
    const char *dot = memrchr(in.ptr, '.', in.len);
    if (dot != NULL && is_file_ending(span_cut(in, (size_t)(dot + 1 - in.ptr))) && core_span_chr(in, '/') == NULL) {
        return CORE_INDICATOR_FILE_NAME;
    }
    if (dot != NULL && enrich_canonical(&type, in, room, &out, &why)) {
        return CORE_INDICATOR_DOMAIN;
    }
    type = CORE_INDICATOR_EMAIL;
    const char *slash = core_span_chr(in, '/');
    const char *at = core_span_chr(in, '@');
    if (at != NULL && slash == NULL && enrich_canonical(&type, in, room, &out, &why)) {
        return CORE_INDICATOR_EMAIL;
    }
    type = CORE_INDICATOR_URL;
    bool has_host = slash != NULL && memchr(in.ptr, '.', (size_t)(slash - in.ptr)) != NULL;
    return has_host && enrich_canonical(&type, in, room, &out, &why) ? CORE_INDICATOR_URL : CORE_INDICATOR_NONE;
}

/* An address with a prefix that no network has. */
static bool is_bad_network(struct core_span in) {
    const char *slash = core_span_chr(in, '/');
    char room[INET6_ADDRSTRLEN];
    struct core_span out;
    unsigned bits;
    return slash != NULL && canonical_ip((struct core_span){in.ptr, (size_t)(slash - in.ptr)}, room, &out) &&
           prefix_read(span_cut(in, (size_t)(slash + 1 - in.ptr)), &bits);
}

enum core_indicator enrich_guess(struct core_span text) {
    char room[ENRICH_VALUE_BYTES_MAX];
    enum core_indicator type = CORE_INDICATOR_CIDR;
    struct core_span out;
    const char *why;
    text = core_span_trim(text);
    if (text.len == 0 || text.len > ENRICH_VALUE_BYTES_MAX) {
        return CORE_INDICATOR_NONE;
    }
    if (enrich_canonical(&type, text, room, &out, &why)) {
        return type;
    }
    if (is_bad_network(text)) {
        return CORE_INDICATOR_CIDR; /* so that it is refused as one, and not taken for a URL */
    }
    type = CORE_INDICATOR_URL;
    if (scheme_len(text) > 0) {
        return enrich_canonical(&type, text, room, &out, &why) ? CORE_INDICATOR_URL : CORE_INDICATOR_NONE;
    }
    enum core_indicator hash = guess_hash(text, room);
    return hash != CORE_INDICATOR_NONE ? hash : guess_name(text, room);
}

bool enrich_allow_canonical(enum core_indicator *type, struct core_span in, char room[ENRICH_VALUE_BYTES_MAX],
                            struct core_span *out, const char **why) {
    *type = *type == CORE_INDICATOR_NONE ? enrich_guess(in) : *type;
    *type = *type == CORE_INDICATOR_NONE ? CORE_INDICATOR_DOMAIN : *type; /* "localhost" is one */
    return enrich_canonical(type, in, room, out, why);
}
