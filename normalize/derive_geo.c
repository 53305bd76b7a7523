/* normalize/derive_geo.c: where an address is and whose, from the databases that the config names.
 *
 * What is found is rendered once, as the JSON text of the objects `geo` and `as`, and kept by address in a table of each
 * worker; a record then copies two texts. The table has a half for the source and one for the destination, so that the two
 * addresses of a record never take each other's place while both are being written. Addresses that no database knows
 * (those of a site's own networks) are remembered as such.
 * Source: ECS geo and as; MaxMind's GeoIP2 City, Country and ASN layouts, which DB-IP's files have too.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/mmdb.h"
#include "normalize/maps_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DATABASES_MAX 8
#define GEO_BYTES 704 /* texts; a place whose text is longer is left out */
#define AS_BYTES 192
#define PLACES 2048 /* each half; power of two */

/* ---- databases ---------------------------------------------------------------------------------------------------------- */

struct geo_databases {
    struct core_mmdb *dbs[DATABASES_MAX];
    size_t len;
};

void geo_close(struct geo_databases *geo) {
    for (size_t i = 0; geo != NULL && i < geo->len; i++) {
        core_mmdb_close(geo->dbs[i]);
    }
    free(geo);
}

/* Does this kind hold what we write? Others (Anonymous-IP, Domain …) would be read for nothing. */
static bool kind_is_known(const char *kind) {
    static const char *const words[] = {"City", "Country", "ASN", "ISP", "Enterprise", "Insights", "Location"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strstr(kind, words[i]) != NULL) {
            return true;
        }
    }
    return false;
}

struct geo_databases *geo_open(struct maps_loader *loader, const struct core_conf_list *paths) {
    if (paths->len == 0) {
        return NULL;
    }
    struct geo_databases *geo = calloc(1, sizeof(*geo));
    MUST(geo != NULL);
    for (size_t i = 0; i < paths->len; i++) {
        struct core_fail fail = {0};
        const char *path = paths->items[i].value;
        if (geo->len == DATABASES_MAX) {
            maps_mistake_at(loader, path, "normalize.geo_databases has at most %d files", DATABASES_MAX);
            break;
        }
        struct core_mmdb **db = &geo->dbs[geo->len];
        if (core_mmdb_open(db, path, &fail) != CORE_OK) {
            maps_mistake_at(loader, path, "%s (normalize.geo_databases names it)", fail.text);
            continue;
        }
        geo->len++;
        if (!kind_is_known(core_mmdb_kind(*db))) {
            maps_mistake_at(loader, path,
                            "a database of the kind \"%s\" has neither places nor autonomous systems; City, Country, "
                            "Enterprise, ASN and ISP have (normalize.geo_databases names it)",
                            core_mmdb_kind(*db));
        }
    }
    return geo;
}

/* ---- one address -------------------------------------------------------------------------------------------------------- */

struct geo_place {
    struct ip_addr ip; /* len 0: empty */
    uint16_t geo_len;
    uint16_t as_len;
    char geo[GEO_BYTES];
    char as[AS_BYTES];
};

struct geo_cache {
    struct geo_place halves[2][PLACES];
};

struct geo_cache *geo_cache_new(void) {
    struct geo_cache *cache = calloc(1, sizeof(*cache)); /* pages that nobody touches cost nothing */
    MUST(cache != NULL);
    return cache;
}

void geo_cache_free(struct geo_cache *cache) {
    free(cache);
}

/* The keys of ECS and where a City or Country database has them. */
static const struct {
    const char *key;
    const char *path[5];
} geo_texts[] = {
    {"city_name", {"city", "names", "en"}},
    {"continent_code", {"continent", "code"}},
    {"continent_name", {"continent", "names", "en"}},
    {"country_iso_code", {"country", "iso_code"}},
    {"country_name", {"country", "names", "en"}},
    {"postal_code", {"postal", "code"}},
    {"region_name", {"subdivisions", "-1", "names", "en"}}, /* the smallest one */
    {"timezone", {"location", "time_zone"}},
};

static void key_put(struct core_buf *buf, const char *key) {
    core_buf_put(buf, buf->pos == buf->start ? "{" : ",", 1);
    core_buf_string(buf, core_span_of(key));
    core_buf_char(buf, ':');
}

/* At most six digits behind the point: a tenth of a metre. */
static void degrees_put(struct core_buf *buf, double degrees) {
    char text[32];
    int len = snprintf(text, sizeof(text), "%.6f", degrees);
    while (len > 0 && text[len - 1] == '0' && text[len - 2] != '.') {
        len--;
    }
    core_buf_put(buf, text, (size_t)len);
}

/* Country and region in one code, as ISO 3166-2 has it: GB-ENG. */
static void region_put(struct core_buf *buf, const struct core_mmdb_entry *entry) {
    static const char *const country_path[] = {"country", "iso_code", NULL};
    static const char *const region_path[] = {"subdivisions", "-1", "iso_code", NULL};
    struct core_span country;
    struct core_span region;
    char text[32];
    if (core_mmdb_text(entry, country_path, &country) && core_mmdb_text(entry, region_path, &region) &&
        country.len + region.len + 1 < sizeof(text)) {
        int len = snprintf(text, sizeof(text), "%.*s-%.*s", (int)country.len, country.ptr, (int)region.len, region.ptr);
        key_put(buf, "region_iso_code");
        core_buf_string(buf, (struct core_span){text, (size_t)len});
    }
}

static void geo_render(struct core_buf *buf, const struct core_mmdb_entry *entry) {
    static const char *const lat_path[] = {"location", "latitude", NULL};
    static const char *const lon_path[] = {"location", "longitude", NULL};
    struct core_span text;
    double lat;
    double lon;
    for (size_t i = 0; i < sizeof(geo_texts) / sizeof(geo_texts[0]); i++) {
        if (core_mmdb_text(entry, geo_texts[i].path, &text) && text.len > 0) {
            key_put(buf, geo_texts[i].key);
            core_buf_string(buf, text);
        }
    }
    region_put(buf, entry);
    if (core_mmdb_double(entry, lat_path, &lat) && core_mmdb_double(entry, lon_path, &lon) && fabs(lat) <= 90 &&
        fabs(lon) <= 180) {
        key_put(buf, "location");
        core_buf_span(buf, CORE_SPAN("{\"lat\":"));
        degrees_put(buf, lat);
        core_buf_span(buf, CORE_SPAN(",\"lon\":"));
        degrees_put(buf, lon);
        core_buf_char(buf, '}');
    }
    if (buf->pos > buf->start) {
        core_buf_char(buf, '}');
    }
}

/* ASN and ISP databases have these at their top, Enterprise below traits. */
static void as_render(struct core_buf *buf, const struct core_mmdb_entry *entry) {
    static const char *const numbers[][3] = {{"autonomous_system_number"}, {"traits", "autonomous_system_number"}};
    static const char *const names[][3] = {{"autonomous_system_organization"},
                                           {"traits", "autonomous_system_organization"}};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uint64_t number;
        struct core_span name;
        if (!core_mmdb_u64(entry, numbers[i], &number)) {
            continue;
        }
        key_put(buf, "number");
        core_buf_u64(buf, number);
        if (core_mmdb_text(entry, names[i], &name) && name.len > 0) {
            key_put(buf, "organization");
            core_buf_span(buf, CORE_SPAN("{\"name\":"));
            core_buf_string(buf, name);
            core_buf_char(buf, '}');
        }
        core_buf_char(buf, '}');
        return;
    }
}

/* The first database that has a place says where, the first that has a system says whose. */
static void place_fill(const struct geo_databases *geo, struct geo_place *place) {
    place->geo_len = 0;
    place->as_len = 0;
    for (size_t i = 0; i < geo->len; i++) {
        struct core_mmdb_entry entry;
        enum core_err err = core_mmdb_find(geo->dbs[i], place->ip.bytes, place->ip.len, &entry);
        if (err == CORE_BAD) {
            core_log(CORE_LEVEL_WARN, "normalize", "database of addresses is damaged; what it cannot tell is left out",
                     "kind=\"%s\" hint=\"fetch it again and send SIGHUP\"", core_mmdb_kind(geo->dbs[i]));
        }
        if (err != CORE_OK) {
            continue;
        }
        struct core_buf where = {.start = place->geo, .pos = place->geo, .end = place->geo + GEO_BYTES};
        struct core_buf whose = {.start = place->as, .pos = place->as, .end = place->as + AS_BYTES};
        if (place->geo_len == 0) {
            geo_render(&where, &entry);
            place->geo_len = where.is_full ? 0 : (uint16_t)core_buf_written(&where).len;
        }
        if (place->as_len == 0) {
            as_render(&whose, &entry);
            place->as_len = whose.is_full ? 0 : (uint16_t)core_buf_written(&whose).len;
        }
    }
}

enum geo_sub { GEO_GEO, GEO_AS };

bool derive_geo(const struct derive_context *ctx) {
    struct normalize_worker *worker = ctx->worker;
    const struct geo_databases *geo = worker->maps->geo;
    unsigned half = core_span_is(derive_word(ctx, 0), "source") ? 0 : 1;
    const struct ip_addr *ip = &worker->ip[half + 1];
    if (geo == NULL || ip->len == 0) {
        return true;
    }
    uint64_t hash = core_hash64(ip->bytes, ip->len, ip->len);
    struct geo_place *place = &worker->places->halves[half][hash & (PLACES - 1)];
    if (place->ip.len != ip->len || memcmp(place->ip.bytes, ip->bytes, ip->len) != 0) {
        place->ip = *ip;
        place_fill(geo, place);
    }
    return (place->geo_len == 0 || derive_put_sub(ctx, GEO_GEO, value_of(VALUE_RAW, place->geo, place->geo_len))) &&
           (place->as_len == 0 || derive_put_sub(ctx, GEO_AS, value_of(VALUE_RAW, place->as, place->as_len)));
}
