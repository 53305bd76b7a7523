/* cmd/top_source.c: asks for health documents: Main for those of all processes that it knows; and each process whose document
 * Main does not have (it is another user's, or there is no Main) on its own socket.
 *
 * Nothing is waited for: answers come from the loop, and who has not answered the last question is not asked another one. A
 * socket that comes or goes is noticed within a few seconds, a Main that comes back, too.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/peers.h"
#include "cmd/top.h"
#include "core/rpc.h"

#include <stdio.h>
#include <stdlib.h>

#define LOOK_NS (3 * CORE_NS_PER_S)   /* sockets are looked for */
#define MAIN_NS (4 * CORE_NS_PER_S)   /* what was said so lately still holds */
#define ANSWER_NS (5 * CORE_NS_PER_S) /* who takes longer is asked anew, on another connection */

struct link {
    struct top_source *source;
    struct peer peer;
    struct core_rpc_client *client; /* NULL: none */
    bool is_main;
    bool is_there; /* the last look saw it */
    bool is_asked;
    bool is_closed; /* client is to be freed, not from within its call */
    int64_t asked_tick;
    int64_t answered_tick;                            /* 0: never */
    int64_t covered_tick;                             /* when Main last had its document; 0: never */
    char fail[sizeof(((struct core_fail *)0)->text)]; /* why it does not; "" */
};

struct top_source {
    struct core_loop *loop;
    const char *config_path;
    top_on_document *on_document;
    void *ctx;
    struct link *links[PEERS_MAX];
    size_t links_len;
    int64_t looked_tick;
};

struct top_source *top_source_new(struct core_loop *loop, const char *config_path, top_on_document *on_document,
                                  void *ctx) {
    struct top_source *source = calloc(1, sizeof(*source));
    MUST(source != NULL);
    *source = (struct top_source){.loop = loop, .config_path = config_path, .on_document = on_document, .ctx = ctx};
    return source;
}

static void link_reset(struct link *link) {
    core_rpc_client_free(link->client);
    link->client = NULL;
    link->is_asked = false;
    link->is_closed = false;
}

void top_source_free(struct top_source *source) {
    if (source == NULL) {
        return;
    }
    for (size_t i = 0; i < source->links_len; i++) {
        link_reset(source->links[i]);
        free(source->links[i]);
    }
    free(source);
}

/* ---- who is there -------------------------------------------------------------------------------------------------------------- */

static struct link *link_of(struct top_source *source, const struct peer *peer) {
    for (size_t i = 0; i < source->links_len; i++) {
        if (strcmp(source->links[i]->peer.address, peer->address) == 0) {
            return source->links[i];
        }
    }
    if (source->links_len == PEERS_MAX) {
        return NULL;
    }
    struct link *link = calloc(1, sizeof(*link));
    MUST(link != NULL);
    *link = (struct link){.source = source, .peer = *peer, .is_main = strcmp(peer->name, "serve") == 0};
    source->links[source->links_len++] = link;
    return link;
}

static enum core_err look(struct top_source *source, struct core_fail *fail) {
    int64_t now = core_tick_ns();
    if (source->looked_tick != 0 && now - source->looked_tick < LOOK_NS) {
        return CORE_OK;
    }
    struct peer *peers = calloc(PEERS_MAX, sizeof(*peers));
    size_t len = 0;
    MUST(peers != NULL);
    enum core_err err = peers_find(source->config_path, peers, &len, fail);
    bool is_first = source->looked_tick == 0;
    source->looked_tick = now;
    for (size_t i = 0; i < source->links_len && err == CORE_OK; i++) {
        source->links[i]->is_there = false;
    }
    for (size_t i = 0; i < len && err == CORE_OK; i++) {
        bool is_supervisor = strcmp(peers[i].name, "supervise") == 0; /* Main shows its processes */
        struct link *link = is_supervisor ? NULL : link_of(source, &peers[i]);
        if (link != NULL) {
            link->is_there = true;
        }
    }
    free(peers);
    for (size_t i = source->links_len; i > 0; i--) {
        struct link *link = source->links[i - 1];
        if (!link->is_there && err == CORE_OK) {
            link_reset(link);
            free(link);
            source->links[i - 1] = source->links[--source->links_len];
        }
    }
    return is_first ? err : CORE_OK; /* somebody may be at work on the file */
}

/* ---- asking ---------------------------------------------------------------------------------------------------------------------- */

/* Main has this process's document. */
static void cover(struct top_source *source, const struct core_json_tree *document) {
    char name[TOP_NAME_BYTES];
    for (size_t i = 0; i < source->links_len && top_document_name(document, name); i++) {
        if (!source->links[i]->is_main && strcmp(source->links[i]->peer.name, name) == 0) {
            source->links[i]->covered_tick = core_tick_ns();
        }
    }
}

static bool is_lately(int64_t tick) {
    return tick != 0 && core_tick_ns() - tick < MAIN_NS;
}

static void on_answer(void *ctx, const struct core_rpc_answer *answer) {
    struct link *link = ctx;
    link->is_asked = false;
    if (answer->result == NULL) {
        (void)snprintf(link->fail, sizeof(link->fail), "%.*s", (int)answer->text.len,
                       answer->text.len == 0 ? "" : answer->text.ptr);
        if (answer->code == 0) {
            (void)snprintf(link->fail, sizeof(link->fail), "it went away");
        }
        return;
    }
    link->fail[0] = '\0';
    link->answered_tick = core_tick_ns();
    const struct core_json_tree *all = core_json_tree_get(answer->result, "processes");
    if (all == NULL) {
        link->source->on_document(link->source->ctx, answer->result);
    }
    for (const struct core_json_tree *one = all == NULL ? NULL : all->first; one != NULL; one = one->next) {
        cover(link->source, one);
        link->source->on_document(link->source->ctx, one);
    }
}

static void on_closed(void *ctx, const struct core_fail *why) {
    struct link *link = ctx;
    link->is_closed = true;
    (void)snprintf(link->fail, sizeof(link->fail), "%s", why->text);
}

static const struct core_rpc_client_calls client_calls = {.on_closed = on_closed};

static void link_ask(struct link *link) {
    struct core_fail fail = {0};
    int64_t now = core_tick_ns();
    if (link->is_closed || (link->is_asked && now - link->asked_tick > ANSWER_NS)) {
        link_reset(link);
    }
    if (link->is_asked) {
        return;
    }
    if (link->client == NULL && core_rpc_client_new(&link->client, link->source->loop, link->peer.address, NULL,
                                                    &client_calls, link, &fail) != CORE_OK) {
        link->client = NULL;
        (void)snprintf(link->fail, sizeof(link->fail), "%s", fail.text);
        return;
    }
    link->is_asked = true;
    link->asked_tick = now;
    (void)core_rpc_call(link->client, link->is_main ? "health.all" : "health", CORE_SPAN("{}"), on_answer, link);
}

static bool is_answering(const struct link *link) {
    return is_lately(link->answered_tick);
}

enum core_err top_source_ask(struct top_source *source, struct core_fail *fail) {
    enum core_err err = look(source, fail);
    if (err != CORE_OK) {
        return err;
    }
    bool is_main_to_come = false;
    for (size_t i = 0; i < source->links_len; i++) {
        if (source->links[i]->is_main) {
            link_ask(source->links[i]);
            is_main_to_come = source->links[i]->answered_tick == 0 && source->links[i]->is_asked;
        }
    }
    for (size_t i = 0; i < source->links_len && !is_main_to_come; i++) {
        if (!source->links[i]->is_main && !is_lately(source->links[i]->covered_tick)) {
            link_ask(source->links[i]);
        }
    }
    return CORE_OK;
}

bool top_source_is_waiting(const struct top_source *source) {
    for (size_t i = 0; i < source->links_len; i++) {
        if (source->links[i]->is_asked && !source->links[i]->is_closed) {
            return true;
        }
    }
    return false;
}

static size_t link_tell(const struct link *link, const char *before, char *out, size_t out_len) {
    const char *said = is_answering(link) ? "" : link->fail[0] == '\0' ? " (no answer yet)" : " (no answer: ";
    int len = snprintf(out, out_len, "%s%s%s%s%s", before, link->is_main ? "Main" : link->peer.name, said,
                       is_answering(link) ? "" : link->fail, !is_answering(link) && link->fail[0] != '\0' ? ")" : "");
    return len < 0 ? 0 : (size_t)len;
}

void top_source_tell(const struct top_source *source, char *out, size_t out_len) {
    size_t at = 0;
    out[0] = '\0';
    for (int pass = 0; pass < 2; pass++) { /* Main first */
        for (size_t i = 0; i < source->links_len && at < out_len; i++) {
            const struct link *link = source->links[i];
            if (link->is_main == (pass == 0) && !is_lately(link->covered_tick)) {
                at += link_tell(link, at == 0 ? "" : ", ", out + at, out_len - at);
            }
        }
    }
    if (source->links_len == 0) {
        (void)snprintf(out, out_len, "nobody");
    }
}
