/* core/http_pool.c: many requests at once, over libcurl's multi interface.
 *
 * A fixed set of slots, each with an easy handle that is used again and again: free -> waiting (for a node) -> running ->
 * done (poll() has not told yet) -> free. Which node it goes to is chosen when it starts, so that what waits is not bound to a
 * node that has just failed. Each node has one handle more, for its probe. Nothing happens between calls: poll() starts what
 * can be started, lets libcurl read and write, and collects what has ended.
 *
 * A node's rest begins with the first request that fails; those that had begun before it say nothing new, so that ten
 * requests that were cut at once make one rest. How long the next rest is grows until a request with a body has
 * gone well: a probe, or a question of the owner's, may be answered by a front whose back takes nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/http_pool.h"

#include "core/http_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define METHOD_BYTES_MAX 16
#define PATH_BYTES_MAX 2048 /* of a request, and of a node's URL */
#define REST_FIRST_NS CORE_NS_PER_S
#define REST_MAX_NS (60 * CORE_NS_PER_S)
#define REST_ALONE_MAX_NS (5 * CORE_NS_PER_S) /* while no node is well: nothing else could be done */
#define PROBE_MS_MAX 10000
#define PROBE_BYTES_MAX ((size_t)64 * CORE_KIB)
#define UPLOAD_BYTES ((long)(256 * CORE_KIB)) /* handed to the kernel at once: fewer turns for a body of megabytes */
#define KEPT_BYTES_MAX CORE_MIB               /* of a slot's buffer for answers; what a longer one took is given back */

enum slot_state { SLOT_FREE, SLOT_WAITING, SLOT_RUNNING, SLOT_DONE };

struct transfer;

struct node {
    char *url; /* without '/' at its end */
    char shown[CORE_HTTP_URL_SHOWN_MAX];
    bool is_resting;
    int64_t rested_ns; /* when its last rest began */
    int64_t probe_ns;  /* when to ask next; while it rests */
    int64_t alone_ns;  /* the same, if no node is well */
    unsigned failures; /* since a request that has a body went well */
    bool is_probing;
    struct transfer *prober; /* its own */
    char why[256];           /* why it rests, or rested last */
};

struct slot;

/* A request on its way. */
struct transfer {
    CURL *curl;
    struct slot *slot; /* NULL: a probe */
    struct node *node; /* NULL until it starts */
    struct curl_slist *headers;
    struct core_http_body body;
    int64_t start_ns;
    curl_off_t sent; /* of the body; libcurl's own count begins anew when it repeats */
    CURLcode code;
    char words[CURL_ERROR_SIZE];
};

struct slot {
    struct transfer transfer;
    enum slot_state state;
    uint64_t turn; /* those that wait start in order */
    char method[METHOD_BYTES_MAX];
    char path[PATH_BYTES_MAX];
    struct core_span sent; /* the request's body, the owner's */
    void *ticket;
    bool is_refused; /* a header is none: it is done without having started */
};

struct core_http_pool {
    CURLM *multi;
    struct node *nodes;
    size_t nodes_len;
    size_t next_node;
    struct slot *slots;
    size_t slots_len;
    uint64_t turn;
    struct curl_slist *headers; /* of every request */
    char *ca_file, *cert_file, *key_file, *secret;
    int connect_timeout_ms;
    int timeout_ms;
    int wake_fd;
};

/* ---- nodes ---------------------------------------------------------------------------------------------------------------------- */

static bool status_is_ill(int status) {
    return status == 502 || status == 503 || status == 504;
}

size_t core_http_pool_well(const struct core_http_pool *pool) {
    size_t well = 0;
    for (size_t i = 0; i < pool->nodes_len; i++) {
        well += pool->nodes[i].is_resting ? 0 : 1;
    }
    return well;
}

bool core_http_pool_node(const struct core_http_pool *pool, size_t i, struct core_http_pool_node *out) {
    if (i >= pool->nodes_len) {
        return false;
    }
    const struct node *node = &pool->nodes[i];
    *out = (struct core_http_pool_node){.shown = node->shown, .is_well = !node->is_resting, .why = node->why};
    return true;
}

/* When a node that rests is asked. */
static int64_t probe_due_ns(const struct core_http_pool *pool, const struct node *node) {
    bool is_sooner = node->alone_ns < node->probe_ns && core_http_pool_well(pool) == 0;
    return is_sooner ? node->alone_ns : node->probe_ns;
}

static void node_rest(struct core_http_pool *pool, struct node *node, const struct core_fail *why) {
    int64_t now_ns = core_tick_ns();
    node->failures++;
    node->is_resting = true;
    node->rested_ns = now_ns;
    snprintf(node->why, sizeof node->why, "%.*s", (int)sizeof node->why - 1, why->text);
    node->probe_ns = now_ns + core_http_wait_ns(REST_FIRST_NS, REST_MAX_NS, node->failures);
    node->alone_ns = now_ns + core_http_wait_ns(REST_FIRST_NS, REST_ALONE_MAX_NS, node->failures);
    core_log(CORE_LEVEL_WARN, "http", "a node gets no requests for now", "node=%s why=\"%s\" next_ms=%lld well=%zu",
             node->shown, why->text, (long long)((probe_due_ns(pool, node) - now_ns) / CORE_NS_PER_MS),
             core_http_pool_well(pool));
}

/* The next one in turn that is well, or NULL. */
static struct node *node_next(struct core_http_pool *pool) {
    for (size_t i = 0; i < pool->nodes_len; i++) {
        struct node *node = &pool->nodes[(pool->next_node + i) % pool->nodes_len];
        if (!node->is_resting) {
            pool->next_node = (pool->next_node + i + 1) % pool->nodes_len;
            return node;
        }
    }
    return NULL;
}

/* ---- transfers -------------------------------------------------------------------------------------------------------------------- */

/* libcurl tells it often enough; its own count is gone when it sends a body a second time. */
static int on_progress(void *transfer_ptr, curl_off_t down_all, curl_off_t down, curl_off_t up_all, curl_off_t up) {
    struct transfer *transfer = transfer_ptr;
    (void)down_all;
    (void)down;
    (void)up_all;
    transfer->sent = up > transfer->sent ? up : transfer->sent;
    return 0;
}

static bool limits_set(const struct core_http_pool *pool, struct transfer *transfer, int timeout_ms) {
    CURL *curl = transfer->curl;
    bool is_set = curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms) == CURLE_OK;
    is_set = curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)pool->connect_timeout_ms) == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BYTES) == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L) == CURLE_OK && is_set;
    is_set = curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK && is_set;
    return curl_easy_setopt(curl, CURLOPT_XFERINFODATA, transfer) == CURLE_OK && is_set;
}

/* Options were all accepted at open: only memory can be missing now, and then MUST is as good as what would follow. */
static void transfer_start(struct core_http_pool *pool, struct transfer *transfer, struct node *node,
                           const char *path) {
    const struct core_http_trust trust = {pool->ca_file, pool->cert_file, pool->key_file};
    CURL *curl = transfer->curl;
    char *url = NULL;
    transfer->node = node;
    transfer->words[0] = '\0';
    if (transfer->body.cap > KEPT_BYTES_MAX) {
        free(transfer->body.ptr);
        transfer->body = (struct core_http_body){.max = transfer->body.max};
    }
    transfer->body.len = 0;
    transfer->body.is_too_long = false;
    transfer->sent = 0;
    transfer->start_ns = core_tick_ns();
    MUST(asprintf(&url, "%s%s", node->url, path) > 0);
    MUST(core_http_curl_basics(curl, &trust));
    MUST(curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK); /* copies */
    MUST(curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, transfer->words) == CURLE_OK);
    MUST(curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, core_http_curl_take) == CURLE_OK);
    MUST(curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer->body) == CURLE_OK);
    MUST(curl_easy_setopt(curl, CURLOPT_PRIVATE, transfer) == CURLE_OK);
    MUST(curl_multi_add_handle(pool->multi, curl) == CURLM_OK);
    free(url);
}

static void slot_start(struct core_http_pool *pool, struct slot *slot, struct node *node) {
    struct transfer *transfer = &slot->transfer;
    curl_easy_reset(transfer->curl); /* options go; connections are the multi's */
    MUST(limits_set(pool, transfer, pool->timeout_ms));
    MUST(curl_easy_setopt(transfer->curl, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK);
    MUST(core_http_curl_body(transfer->curl, slot->method, slot->sent));
    transfer_start(pool, transfer, node, slot->path);
    slot->state = SLOT_RUNNING;
}

static void probe_start(struct core_http_pool *pool, struct node *node) {
    struct transfer *transfer = node->prober;
    int timeout_ms = pool->timeout_ms < PROBE_MS_MAX ? pool->timeout_ms : PROBE_MS_MAX;
    curl_easy_reset(transfer->curl);
    MUST(limits_set(pool, transfer, timeout_ms));
    MUST(curl_easy_setopt(transfer->curl, CURLOPT_HTTPHEADER, pool->headers) == CURLE_OK);
    transfer_start(pool, transfer, node, "/");
    node->is_probing = true;
}

/* ---- what an end means ------------------------------------------------------------------------------------------------------------ */

static int status_of(const struct transfer *transfer) {
    long status = 0;
    MUST(curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK);
    return transfer->code == CURLE_OK ? (int)status : 0; /* half an answer is none */
}

static void why_none(const struct core_http_pool *pool, const struct transfer *transfer, struct core_fail *fail) {
    const char *shown = transfer->node->shown;
    int status = status_of(transfer);
    if (status != 0) {
        (void)core_fail_set(fail, CORE_NET, shown, "it answers with status %d", status);
    } else if (transfer->body.is_too_long) {
        (void)core_fail_set(fail, CORE_LIMIT, shown, "the answer is longer than %zu bytes", transfer->body.max);
    } else {
        (void)core_http_curl_failed(transfer->code, transfer->words, shown, fail);
    }
    core_http_secret_hide(pool->secret, fail);
}

static void probe_end(struct core_http_pool *pool, struct transfer *transfer) {
    struct node *node = transfer->node;
    int status = status_of(transfer);
    node->is_probing = false;
    if (status == 0 || status_is_ill(status)) {
        struct core_fail fail;
        why_none(pool, transfer, &fail);
        node_rest(pool, node, &fail);
    } else {
        node->is_resting = false;
        core_log(CORE_LEVEL_INFO, "http", "a node is well again", "node=%s", node->shown);
    }
}

static void slot_end(struct core_http_pool *pool, struct slot *slot) {
    struct transfer *transfer = &slot->transfer;
    struct node *node = transfer->node;
    int status = status_of(transfer);
    MUST(slot->state == SLOT_RUNNING);
    slot->state = SLOT_DONE;
    if (transfer->start_ns <= node->rested_ns) {
        return; /* it began before the node's rest, and says nothing new */
    }
    if ((status == 0 && !transfer->body.is_too_long) || status_is_ill(status)) {
        struct core_fail fail;
        why_none(pool, transfer, &fail);
        node_rest(pool, node, &fail);
    } else if (slot->sent.len > 0) { /* it takes work: that it answers questions says as little as a probe */
        node->failures = 0;
    }
}

/* ---- turns ------------------------------------------------------------------------------------------------------------------------ */

static struct slot *slot_oldest(struct core_http_pool *pool) {
    struct slot *oldest = NULL;
    for (size_t i = 0; i < pool->slots_len; i++) {
        struct slot *slot = &pool->slots[i];
        if (slot->state == SLOT_WAITING && (oldest == NULL || slot->turn < oldest->turn)) {
            oldest = slot;
        }
    }
    return oldest;
}

/* Start what can be started. */
static void start_all(struct core_http_pool *pool) {
    int64_t now_ns = core_tick_ns();
    for (size_t i = 0; i < pool->nodes_len; i++) {
        struct node *node = &pool->nodes[i];
        if (node->is_resting && !node->is_probing && probe_due_ns(pool, node) <= now_ns) {
            probe_start(pool, node);
        }
    }
    for (struct slot *slot = slot_oldest(pool); slot != NULL; slot = slot_oldest(pool)) {
        struct node *node = node_next(pool);
        if (node == NULL) {
            return;
        }
        slot_start(pool, slot, node);
    }
}

/* Let libcurl read and write, take out what has ended, and start what can be started now. */
static void turn(struct core_http_pool *pool) {
    int running = 0;
    int left = 0;
    MUST(curl_multi_perform(pool->multi, &running) == CURLM_OK);
    for (CURLMsg *said = curl_multi_info_read(pool->multi, &left); said != NULL;
         said = curl_multi_info_read(pool->multi, &left)) {
        struct transfer *transfer = NULL;
        CURL *curl = said->easy_handle;
        CURLcode code = said->data.result;
        MUST(said->msg == CURLMSG_DONE);
        MUST(curl_easy_getinfo(curl, CURLINFO_PRIVATE, (char **)&transfer) == CURLE_OK);
        MUST(curl_multi_remove_handle(pool->multi, curl) == CURLM_OK); /* said is gone */
        transfer->code = code;
        if (transfer->slot == NULL) {
            probe_end(pool, transfer);
        } else {
            slot_end(pool, transfer->slot);
        }
    }
    start_all(pool);
}

/* How long may we sleep? A node that rests is asked in time. */
static int wait_ms_of(const struct core_http_pool *pool, int64_t until_ns) {
    int64_t now_ns = core_tick_ns();
    int64_t wake_ns = until_ns;
    for (size_t i = 0; i < pool->nodes_len; i++) {
        const struct node *node = &pool->nodes[i];
        if (node->is_resting && !node->is_probing && probe_due_ns(pool, node) < wake_ns) {
            wake_ns = probe_due_ns(pool, node);
        }
    }
    return wake_ns <= now_ns ? 0 : (int)((wake_ns - now_ns + CORE_NS_PER_MS - 1) / CORE_NS_PER_MS);
}

static struct slot *slot_in(const struct core_http_pool *pool, enum slot_state state) {
    for (size_t i = 0; i < pool->slots_len; i++) {
        if (pool->slots[i].state == state) {
            return &pool->slots[i];
        }
    }
    return NULL;
}

static const char bad_header[] = "a header of ours (the key or the password?) is too long or has a line's end in it";

static bool may_be_carried_out(const struct slot *slot) {
    const struct transfer *transfer = &slot->transfer;
    curl_off_t sent = 0;
    long status = 0;
    long request_bytes = 0;
    MUST(curl_easy_getinfo(transfer->curl, CURLINFO_SIZE_UPLOAD_T, &sent) == CURLE_OK);
    MUST(curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK);
    MUST(curl_easy_getinfo(transfer->curl, CURLINFO_REQUEST_SIZE, &request_bytes) == CURLE_OK);
    sent = sent > transfer->sent ? sent : transfer->sent;
    return status != 0 || (request_bytes > 0 && (size_t)sent >= slot->sent.len);
}

static void slot_tell(const struct core_http_pool *pool, struct slot *slot, struct core_http_pool_done *done) {
    const struct transfer *transfer = &slot->transfer;
    curl_off_t total_us = 0;
    curl_off_t before_us = 0;
    curl_off_t retry_after_s = 0;
    *done = (struct core_http_pool_done){.ticket = slot->ticket, .node = "", .body = {"", 0}};
    slot->state = SLOT_FREE;
    if (slot->is_refused) {
        (void)core_fail_set(&done->fail, CORE_IO, slot->path, "%s", bad_header);
        return;
    }
    MUST(curl_easy_getinfo(transfer->curl, CURLINFO_TOTAL_TIME_T, &total_us) == CURLE_OK);
    MUST(curl_easy_getinfo(transfer->curl, CURLINFO_PRETRANSFER_TIME_T, &before_us) == CURLE_OK);
    MUST(curl_easy_getinfo(transfer->curl, CURLINFO_RETRY_AFTER, &retry_after_s) == CURLE_OK);
    done->node = transfer->node->shown;
    done->status = status_of(transfer);
    done->is_sent = may_be_carried_out(slot);
    done->retry_after_s = retry_after_s > 0 ? (int64_t)retry_after_s : 0;
    done->elapsed_ns = total_us > before_us ? (int64_t)(total_us - before_us) * CORE_NS_PER_US : 0;
    if (done->status == 0) {
        why_none(pool, transfer, &done->fail);
    } else if (transfer->body.len > 0) {
        done->body = (struct core_span){transfer->body.ptr, transfer->body.len};
    }
}

/* Sleep until something moves. False: the time is over, or somebody rang. */
static bool wait_until(struct core_http_pool *pool, int64_t until_ns) {
    struct curl_waitfd wake = {.fd = pool->wake_fd, .events = CURL_WAIT_POLLIN};
    int wait_ms = wait_ms_of(pool, until_ns);
    if (core_tick_ns() >= until_ns) {
        return false;
    }
    MUST(curl_multi_poll(pool->multi, &wake, pool->wake_fd >= 0 ? 1 : 0, wait_ms, NULL) == CURLM_OK);
    return wake.revents == 0;
}

/* ---- the pool --------------------------------------------------------------------------------------------------------------------- */

size_t core_http_pool_poll(struct core_http_pool *pool, struct core_http_pool_done *done, size_t max, int timeout_ms) {
    MUST(max > 0);
    int64_t until_ns = core_tick_ns() + (int64_t)timeout_ms * CORE_NS_PER_MS;
    size_t len = 0;
    start_all(pool);
    turn(pool);
    while (slot_in(pool, SLOT_DONE) == NULL && wait_until(pool, until_ns)) {
        turn(pool);
    }
    if (slot_in(pool, SLOT_DONE) == NULL) {
        turn(pool); /* what moved when somebody rang */
    }
    for (struct slot *slot = slot_in(pool, SLOT_DONE); slot != NULL && len < max; slot = slot_in(pool, SLOT_DONE)) {
        slot_tell(pool, slot, &done[len++]);
    }
    return len;
}

bool core_http_pool_has_room(const struct core_http_pool *pool) {
    return slot_in(pool, SLOT_FREE) != NULL;
}

static bool headers_add(struct curl_slist **list, const struct core_http_header *headers, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (!core_http_curl_header(list, &headers[i])) {
            return false;
        }
    }
    return true;
}

static bool headers_of_all(const struct core_http_pool *pool, struct curl_slist **list) {
    for (const struct curl_slist *one = pool->headers; one != NULL; one = one->next) {
        struct curl_slist *grown = curl_slist_append(*list, one->data);
        if (grown == NULL) {
            return false;
        }
        *list = grown;
    }
    return true;
}

void core_http_pool_submit(struct core_http_pool *pool, const struct core_http_pool_request *request) {
    struct slot *slot = slot_in(pool, SLOT_FREE);
    MUST(slot != NULL);
    MUST(request->path[0] == '/');
    MUST(strlen(request->method) < sizeof slot->method);
    MUST(strlen(request->path) < sizeof slot->path);
    snprintf(slot->method, sizeof slot->method, "%s", request->method);
    snprintf(slot->path, sizeof slot->path, "%s", request->path);
    slot->sent = request->body;
    slot->ticket = request->ticket;
    slot->turn = pool->turn++;
    slot->transfer.node = NULL;
    curl_slist_free_all(slot->transfer.headers); /* takes NULL */
    slot->transfer.headers = NULL;
    slot->is_refused = !headers_of_all(pool, &slot->transfer.headers) ||
                       !headers_add(&slot->transfer.headers, request->headers, request->headers_len);
    slot->state = slot->is_refused ? SLOT_DONE : SLOT_WAITING;
}

static void transfer_release(struct core_http_pool *pool, struct transfer *transfer) {
    if (transfer->curl != NULL && pool->multi != NULL) {
        (void)curl_multi_remove_handle(pool->multi, transfer->curl); /* of none that is under way: does nothing */
    }
    curl_easy_cleanup(transfer->curl); /* takes NULL */
    curl_slist_free_all(transfer->headers);
    free(transfer->body.ptr);
}

void core_http_pool_close(struct core_http_pool *pool) {
    if (pool == NULL) {
        return;
    }
    for (size_t i = 0; pool->slots != NULL && i < pool->slots_len; i++) {
        transfer_release(pool, &pool->slots[i].transfer);
    }
    for (size_t i = 0; pool->nodes != NULL && i < pool->nodes_len; i++) {
        if (pool->nodes[i].prober != NULL) {
            transfer_release(pool, pool->nodes[i].prober);
        }
        free(pool->nodes[i].prober);
        free(pool->nodes[i].url);
    }
    curl_multi_cleanup(pool->multi); /* takes NULL */
    curl_slist_free_all(pool->headers);
    free(pool->nodes);
    free(pool->slots);
    free(pool->ca_file);
    free(pool->cert_file);
    free(pool->key_file);
    free(pool->secret);
    free(pool);
}

static bool transfer_init(struct transfer *transfer, struct slot *slot, size_t bytes_max) {
    transfer->curl = curl_easy_init();
    transfer->slot = slot;
    transfer->body.max = bytes_max;
    return transfer->curl != NULL;
}

/* Is it "http(s)://host[:port][/path]"? What follows a '?' would stand before a request's path. */
static bool url_is_one(const char *text) {
    char *scheme = NULL;
    char *query = NULL;
    char *fragment = NULL;
    CURLU *url = curl_url();
    bool is_one = url != NULL && curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK &&
                  curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                  (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) &&
                  curl_url_get(url, CURLUPART_QUERY, &query, 0) == CURLUE_NO_QUERY &&
                  curl_url_get(url, CURLUPART_FRAGMENT, &fragment, 0) == CURLUE_NO_FRAGMENT;
    curl_free(scheme); /* take NULL */
    curl_free(query);
    curl_free(fragment);
    curl_url_cleanup(url);
    return is_one;
}

static enum core_err node_init(struct node *node, const char *url, struct core_fail *fail) {
    size_t len = strlen(url);
    core_http_shown(url, node->shown);
    if (!url_is_one(url) || len > PATH_BYTES_MAX) {
        return core_fail_set(
            fail, CORE_BAD, node->shown,
            "this is no URL of a node: it begins with http:// or https://, has a host, and no '?' or '#'");
    }
    for (; len > 0 && url[len - 1] == '/'; len--) {
    }
    node->url = strndup(url, len);
    node->prober = calloc(1, sizeof *node->prober);
    return node->url != NULL && node->prober != NULL && transfer_init(node->prober, NULL, PROBE_BYTES_MAX)
               ? CORE_OK
               : core_fail_set(fail, CORE_IO, node->shown, "libcurl cannot be used: no memory");
}

/* Copy the name of a file that must be readable, if there is one. */
static enum core_err file_init(char **out, const char *path, struct core_fail *fail) {
    if (path == NULL) {
        return CORE_OK;
    }
    if (access(path, R_OK) != 0) {
        return core_fail_set(fail, CORE_BAD, path, "this certificate or key cannot be read: %s", strerror(errno));
    }
    *out = strdup(path);
    return *out != NULL ? CORE_OK : core_fail_set(fail, CORE_IO, path, "no memory");
}

static enum core_err slots_init(struct core_http_pool *pool, const struct core_http_pool_conf *conf,
                                struct core_fail *fail) {
    const struct core_http_trust trust = {pool->ca_file, pool->cert_file, pool->key_file};
    bool is_there = true;
    pool->slots_len = conf->requests_max;
    pool->slots = calloc(pool->slots_len, sizeof *pool->slots);
    for (size_t i = 0; pool->slots != NULL && i < pool->slots_len; i++) {
        is_there = transfer_init(&pool->slots[i].transfer, &pool->slots[i], conf->bytes_max) && is_there;
    }
    pool->multi = curl_multi_init(); /* after an easy handle: that one sets up the library */
    if (pool->slots == NULL || pool->multi == NULL || !is_there ||
        curl_multi_setopt(pool->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING) != CURLM_OK ||
        curl_multi_setopt(pool->multi, CURLMOPT_MAXCONNECTS, (long)(pool->slots_len * (pool->nodes_len + 1))) !=
            CURLM_OK ||
        !core_http_curl_basics(pool->slots[0].transfer.curl, &trust) ||
        !limits_set(pool, &pool->slots[0].transfer, pool->timeout_ms)) {
        return core_fail_set(fail, CORE_IO, pool->nodes[0].shown,
                             "libcurl cannot be used: no memory, or it was built without HTTP");
    }
    return CORE_OK;
}

enum core_err core_http_pool_open(struct core_http_pool **out, const struct core_http_pool_conf *conf,
                                  struct core_fail *fail) {
    MUST(conf->urls_len > 0);
    MUST(conf->requests_max > 0);
    MUST(conf->timeout_ms > 0 && conf->connect_timeout_ms > 0);
    static const struct core_http_header no_expect = {"Expect",
                                                      ""}; /* else a body of a megabyte waits for a 100 first */
    struct core_http_pool *pool = calloc(1, sizeof *pool);
    *out = NULL;
    if (pool == NULL || (pool->nodes = calloc(conf->urls_len, sizeof *pool->nodes)) == NULL) {
        free(pool);
        return core_fail_set(fail, CORE_IO, conf->urls[0], "no memory");
    }
    pool->nodes_len = conf->urls_len;
    pool->connect_timeout_ms = conf->connect_timeout_ms;
    pool->timeout_ms = conf->timeout_ms;
    pool->wake_fd = conf->wake_fd;
    pool->secret = conf->secret == NULL ? NULL : strdup(conf->secret);
    enum core_err err = CORE_OK;
    for (size_t i = 0; err == CORE_OK && i < conf->urls_len; i++) {
        err = node_init(&pool->nodes[i], conf->urls[i], fail);
    }
    err = err != CORE_OK ? err : file_init(&pool->ca_file, conf->ca_file, fail);
    err = err != CORE_OK ? err : file_init(&pool->cert_file, conf->cert_file, fail);
    err = err != CORE_OK ? err : file_init(&pool->key_file, conf->key_file, fail);
    err = err != CORE_OK ? err : slots_init(pool, conf, fail);
    if (err == CORE_OK && (!headers_add(&pool->headers, conf->headers, conf->headers_len) ||
                           !headers_add(&pool->headers, &no_expect, 1))) {
        err = core_fail_set(fail, CORE_BAD, pool->nodes[0].shown, "%s", bad_header);
    }
    if (err != CORE_OK) {
        core_http_pool_close(pool);
        pool = NULL;
    }
    *out = pool;
    return err;
}
