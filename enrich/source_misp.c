/* enrich/source_misp.c: MISP: events as files and feeds have them, and what its searches answer.
 *
 * An attribute is an indicator if its to_ids is set, it is not deleted, and its type is one that a log of the network can
 * show. Of a composite, the part that names the thing: of ip-dst|port the address, of filename|sha256 the hash; domain|ip is
 * both. Proposals (ShadowAttribute) are nobody's word yet and are left out. All other attributes are refused with the reason,
 * so that attributes = indicators + refused, with domain|ip twice.
 *
 * Kept: the event's info and the attribute's comment (description), Orgc (provider), uuid (id), first_seen or else the
 * event's date, last_seen or else the attribute's timestamp, tags of event and attribute; of these tlp:* is the marking and
 * misp:confidence-level the confidence. The first link of the event is the reference.
 * SPDX-License-Identifier: Apache-2.0
 * Source: www.misp-standard.org, MISP core format; MISP's documentation of its REST searches. */
#include "enrich/sync_internal.h"

#include <stdlib.h>

#define TAGS_BYTES_MAX ENRICH_TEXT_BYTES_MAX

/* What an event says of all its attributes. */
struct event {
    const struct core_json_tree *tree; /* NULL: of attributes alone */
    const char *info;
    const char *provider;
    const char *reference;
    int64_t date;
};

struct reading {
    const struct enrich_feed_conf *feed;
    const struct enrich_read_calls *calls;
    struct core_arena arena; /* of one attribute */
    struct core_arena event_arena;
    uint64_t attributes;
    bool has_event;
    bool goes_on;
};

static int misp_looks(struct core_span head) {
    static const char *const marks[] = {"\"Event\"", "\"Attribute\"", "\"to_ids\"", "\"Orgc\"", "\"ShadowAttribute\""};
    struct core_span text = core_span_trim(head);
    if (text.len == 0 || (text.ptr[0] != '{' && text.ptr[0] != '[')) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        if (memmem(text.ptr, text.len, marks[i], strlen(marks[i])) != NULL) {
            return 80;
        }
    }
    return 0;
}

/* true, "1", 1. */
static bool is_set(const struct core_json_tree *object, const char *key) {
    const struct core_json_tree *member = core_json_tree_get(object, key);
    return member != NULL && (core_span_is(member->text, "true") || core_span_is(member->text, "1"));
}

/* A number or a string of digits, or a date. */
static int64_t time_of(const struct core_json_tree *object, const char *key) {
    const struct core_json_tree *member = core_json_tree_get(object, key);
    bool is_text = member != NULL && (member->kind == CORE_JSON_STRING || member->kind == CORE_JSON_NUMBER);
    return is_text ? source_time(member->text) : 0;
}

/* ---- tags -------------------------------------------------------------------------------------------------------------------- */

/* The values of misp:confidence-level, as MISP's taxonomy counts them. */
static int confidence_of_tag(struct core_span tag) {
    static const struct {
        const char *word;
        int tenths;
    } levels[] = {{"\"completely-confident\"", 100},
                  {"\"usually-confident\"", 75},
                  {"\"fairly-confident\"", 50},
                  {"\"rarely-confident\"", 25},
                  {"\"unconfident\"", 0}};
    struct core_span head = CORE_SPAN("misp:confidence-level=");
    for (size_t i = 0; core_span_starts(tag, head) && i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (core_span_is((struct core_span){tag.ptr + head.len, tag.len - head.len}, levels[i].word)) {
            return levels[i].tenths;
        }
    }
    return ENRICH_CONFIDENCE_NONE;
}

/* What is said first counts: the attribute's tags stand before the event's. */
static void tags_add(const struct core_json_tree *object, struct core_buf *tags, struct enrich_provider *said) {
    const struct core_json_tree *list = core_json_tree_get(object, "Tag");
    for (const struct core_json_tree *tag = list == NULL ? NULL : list->first; tag != NULL; tag = tag->next) {
        struct core_span name = core_json_tree_text(tag, "name");
        const char *tlp = core_span_starts(name, CORE_SPAN("tlp:")) ? source_tlp(name) : NULL;
        int confidence = confidence_of_tag(name);
        if (tlp != NULL || confidence != ENRICH_CONFIDENCE_NONE) {
            said->tlp = said->tlp == NULL ? tlp : said->tlp;
            said->confidence_tenths =
                said->confidence_tenths == ENRICH_CONFIDENCE_NONE ? confidence : said->confidence_tenths;
            continue;
        }
        if (name.len == 0 || (size_t)(tags->end - tags->pos) < name.len + 1) {
            continue;
        }
        core_buf_put(tags, ",", tags->pos > tags->start);
        for (size_t i = 0; i < name.len; i++) {
            core_buf_char(tags, name.ptr[i] == ',' ? ' ' : name.ptr[i]);
        }
    }
}

/* ---- attributes -------------------------------------------------------------------------------------------------------------- */

enum part { PART_WHOLE, PART_FIRST, PART_SECOND, PART_BOTH };

/* Of an attribute's type what names an indicator. */
static enum core_indicator type_of(struct core_span type, enum part *part) {
    static const struct {
        const char *name;
        enum core_indicator type;
        enum part part;
    } composites[] = {
        {"ip-src|port", CORE_INDICATOR_IP, PART_FIRST},
        {"ip-dst|port", CORE_INDICATOR_IP, PART_FIRST},
        {"hostname|port", CORE_INDICATOR_DOMAIN, PART_FIRST},
        {"domain|ip", CORE_INDICATOR_DOMAIN, PART_BOTH},
        {"filename|md5", CORE_INDICATOR_FILE_HASH, PART_SECOND},
        {"filename|sha1", CORE_INDICATOR_FILE_HASH, PART_SECOND},
        {"filename|sha256", CORE_INDICATOR_FILE_HASH, PART_SECOND},
        {"filename|sha512", CORE_INDICATOR_FILE_HASH, PART_SECOND},
        {"malware-sample", CORE_INDICATOR_FILE_HASH, PART_SECOND},
    };
    static const char *const singles[] = {"ip-src",
                                          "ip-dst",
                                          "domain",
                                          "hostname",
                                          "url",
                                          "uri",
                                          "email",
                                          "email-src",
                                          "email-dst",
                                          "email-reply-to",
                                          "md5",
                                          "sha1",
                                          "sha256",
                                          "sha512",
                                          "filename",
                                          "user-agent",
                                          "x509-fingerprint-md5",
                                          "x509-fingerprint-sha1",
                                          "x509-fingerprint-sha256",
                                          "ssh-fingerprint",
                                          "ja3-fingerprint-md5"};
    for (size_t i = 0; i < sizeof(composites) / sizeof(composites[0]); i++) {
        if (core_span_is(type, composites[i].name)) {
            *part = composites[i].part;
            return composites[i].type;
        }
    }
    *part = PART_WHOLE;
    for (size_t i = 0; i < sizeof(singles) / sizeof(singles[0]); i++) {
        if (core_span_is(type, singles[i])) {
            return source_type_of(type);
        }
    }
    return CORE_INDICATOR_NONE;
}

static struct core_span part_of(struct core_span value, enum part part) {
    const char *bar = core_span_chr(value, '|');
    size_t len = bar == NULL ? value.len : (size_t)(bar - value.ptr);
    if (part == PART_SECOND) {
        return bar == NULL ? (struct core_span){"", 0} : (struct core_span){bar + 1, value.len - len - 1};
    }
    return part == PART_WHOLE ? value : (struct core_span){value.ptr, len};
}

/* Everything but type and value. */
static void said_fill(struct reading *reading, const struct event *event, const struct core_json_tree *attribute,
                      struct enrich_provider *said) {
    char room[TAGS_BYTES_MAX];
    struct core_buf tags = {.start = room, .pos = room, .end = room + sizeof(room)};
    struct core_arena *arena = &reading->arena;
    const struct core_json_tree *own = core_json_tree_get(attribute, "Event"); /* in answers to an attribute search */
    const struct core_json_tree *orgc = core_json_tree_get(own, "Orgc");
    tags_add(attribute, &tags, said);
    if (event->tree != NULL) {
        tags_add(event->tree, &tags, said);
    }
    said->tags = source_text(arena, core_buf_written(&tags));
    const char *info = event->info != NULL ? event->info : source_text(arena, core_json_tree_text(own, "info"));
    said->description = source_join(arena, info, ": ", source_text(arena, core_json_tree_text(attribute, "comment")));
    said->provider = event->provider;
    if (said->provider == NULL && orgc != NULL) {
        said->provider = source_text(arena, core_json_tree_text(orgc, "name"));
    }
    said->reference = event->reference;
    said->id = source_text(arena, core_json_tree_text(attribute, "uuid"));
    said->first_seen = time_of(attribute, "first_seen");
    said->last_seen = time_of(attribute, "last_seen");
    said->first_seen = said->first_seen != 0 ? said->first_seen : event->date;
    said->last_seen = said->last_seen != 0 ? said->last_seen : time_of(attribute, "timestamp");
}

static bool attribute_give(const struct reading *reading, uint64_t number, const char *gone, struct enrich_item *item) {
    return gone == NULL ? source_give(reading->calls, reading->feed, number, item)
                        : source_gone(reading->calls, reading->feed, number, item, gone);
}

static void attribute_read(struct reading *reading, const struct event *event, const struct core_json_tree *attribute,
                           bool is_deleted) {
    struct core_span type = core_json_tree_text(attribute, "type");
    struct core_span value = core_json_tree_text(attribute, "value");
    enum part part;
    enum core_indicator indicator = type_of(type, &part);
    uint64_t number = ++reading->attributes;
    const char *gone = NULL;
    if (is_deleted || is_set(attribute, "deleted")) {
        gone = "it is deleted";
    } else if (!is_set(attribute, "to_ids")) {
        gone = "its to_ids is not set: it is context, no indicator";
    }
    if (indicator == CORE_INDICATOR_NONE) {
        source_refuse(reading->calls, number, value,
                      gone != NULL ? gone : "its type is none that a log of the network can show");
        return;
    }
    core_arena_reset(&reading->arena, 64 * CORE_KIB);
    struct enrich_item item = source_item(indicator, part_of(value, part == PART_BOTH ? PART_FIRST : part));
    said_fill(reading, event, attribute, &item.said);
    struct enrich_provider said = item.said;
    reading->goes_on = attribute_give(reading, number, gone, &item);
    if (reading->goes_on && part == PART_BOTH && (gone == NULL || reading->calls->on_gone != NULL)) {
        item = source_item(CORE_INDICATOR_IP, part_of(value, PART_SECOND));
        item.said = said;
        reading->goes_on = attribute_give(reading, number, gone, &item);
    }
}

static void attributes_read(struct reading *reading, const struct event *event, const struct core_json_tree *list,
                            bool is_deleted) {
    if (list == NULL) {
        return;
    }
    if (list->kind == CORE_JSON_OBJECT) { /* one, by itself */
        attribute_read(reading, event, list, is_deleted);
        return;
    }
    for (const struct core_json_tree *one = list->first; one != NULL && reading->goes_on; one = one->next) {
        if (one->kind == CORE_JSON_OBJECT) {
            attribute_read(reading, event, one, is_deleted);
        }
    }
}

/* ---- events ------------------------------------------------------------------------------------------------------------------ */

static const char *first_link(struct core_arena *arena, const struct core_json_tree *tree) {
    const struct core_json_tree *list = core_json_tree_get(tree, "Attribute");
    for (const struct core_json_tree *one = list == NULL ? NULL : list->first; one != NULL; one = one->next) {
        if (core_span_is(core_json_tree_text(one, "type"), "link") && !is_set(one, "deleted")) {
            return source_text(arena, core_json_tree_text(one, "value"));
        }
    }
    return NULL;
}

static void event_read(struct reading *reading, const struct core_json_tree *tree) {
    core_arena_reset(&reading->event_arena, 64 * CORE_KIB);
    struct event event = {
        .tree = tree,
        .info = source_text(&reading->event_arena, core_json_tree_text(tree, "info")),
        .provider = source_text(&reading->event_arena, core_json_tree_text(core_json_tree_get(tree, "Orgc"), "name")),
        .reference = first_link(&reading->event_arena, tree),
        .date = time_of(tree, "date"),
    };
    reading->has_event = true;
    attributes_read(reading, &event, core_json_tree_get(tree, "Attribute"), false);
    const struct core_json_tree *objects = core_json_tree_get(tree, "Object");
    const struct core_json_tree *object = objects == NULL || objects->kind != CORE_JSON_ARRAY ? NULL : objects->first;
    for (; object != NULL && reading->goes_on; object = object->next) {
        attributes_read(reading, &event, core_json_tree_get(object, "Attribute"), is_set(object, "deleted"));
    }
}

/* An event, a list of them, {"response": …} of either search, attributes alone. */
static void any_read(struct reading *reading, const struct core_json_tree *tree, int depth) {
    static const struct event alone = {0};
    if (tree->kind == CORE_JSON_ARRAY && depth > 0) {
        for (const struct core_json_tree *one = tree->first; one != NULL && reading->goes_on; one = one->next) {
            any_read(reading, one, depth - 1);
        }
        return;
    }
    const struct core_json_tree *response = core_json_tree_get(tree, "response");
    const struct core_json_tree *event = core_json_tree_get(tree, "Event");
    const struct core_json_tree *attribute = core_json_tree_get(tree, "Attribute");
    bool is_attribute = core_json_tree_text(tree, "type").len > 0 && core_json_tree_get(tree, "value") != NULL;
    const struct core_json_tree *objects = core_json_tree_get(tree, "Object");
    bool is_event = (core_json_tree_get(tree, "info") != NULL && attribute != NULL) ||
                    (objects != NULL && objects->kind == CORE_JSON_ARRAY);
    if (response != NULL && depth > 0) {
        any_read(reading, response, depth - 1);
    } else if (is_attribute) {
        attribute_read(reading, &alone, tree, false);
    } else if (event != NULL && event->kind == CORE_JSON_OBJECT) {
        event_read(reading, event);
    } else if (is_event) {
        event_read(reading, tree);
    } else if (attribute != NULL) {
        reading->has_event = true; /* an answer may be empty */
        attributes_read(reading, &alone, attribute, false);
    }
}

static enum core_err misp_read(struct core_span text, const char *path, const struct enrich_feed_conf *feed,
                               const struct enrich_read_calls *calls, struct core_fail *fail) {
    struct reading reading = {.feed = feed, .calls = calls, .goes_on = true};
    struct core_arena tree_arena = {0};
    struct core_json_tree *tree = NULL;
    if (text.len > SOURCE_JSON_BYTES_MAX) {
        return core_fail_set(fail, CORE_LIMIT, path, "it is longer than JSON may be here (256 MiB); split it");
    }
    enum core_err err =
        core_arena_init(&tree_arena, text.len * CORE_JSON_TREE_PER_BYTE + CORE_JSON_TREE_BYTES_MIN, fail);
    if (err == CORE_OK) {
        err = core_arena_init(&reading.arena, 256 * CORE_KIB, fail);
    }
    if (err == CORE_OK) {
        err = core_arena_init(&reading.event_arena, 256 * CORE_KIB, fail);
    }
    if (err == CORE_OK) {
        err = core_json_tree_read(&tree_arena, text, &tree, fail);
        if (err == CORE_BAD && fail != NULL) {
            struct core_fail inner = *fail;
            err = core_fail_set(fail, CORE_BAD, path, "it is no JSON: %s", inner.text);
        }
    }
    if (err == CORE_OK) {
        any_read(&reading, tree, 3);
        if (!reading.goes_on) {
            err = CORE_AGAIN;
        } else if (!reading.has_event && reading.attributes == 0) {
            err = core_fail_set(fail, CORE_BAD, path, "there is no event of MISP in it, and no attribute");
        }
    }
    core_arena_destroy(&reading.event_arena);
    core_arena_destroy(&reading.arena);
    core_arena_destroy(&tree_arena);
    return err;
}

const struct source_ops source_misp = {
    .name = "misp",
    .summary = "events of MISP as JSON, and answers of its searches: attributes with to_ids",
    .options = source_misp_options,
    .check = source_misp_check,
    .looks = misp_looks,
    .read = misp_read,
    .fetch = source_misp_fetch,
    .tells_all = true,
    .counts = "item",
};
