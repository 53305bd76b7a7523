/* enrich/redis.c: the one wrapper of hiredis: a connection to one of several Redis servers, commands, answers.
 *
 * Of hiredis (Debian's is 0.14: no TLS) only its reader is used, with functions of ours that put an answer into an arena, so
 * that answers cost no malloc and die together with the next redis_begin().
 *
 * A channel is a link with its reader: CONNECTING -> LOGIN (AUTH, SELECT, a name; ROLE for a writer, PING for a reader) ->
 * READY. redis_exchange() has one channel in use, and makes it if there is none: the urls one after the other, each up to
 * connect_timeout, which may take several calls; when all have failed, they are not tried again for a second. Who has little
 * time for a question makes it before, by redis_connect(). A reader on a replica tries the first url again every ten seconds,
 * beside its work, and moves there once it is let in.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/redis_internal.h"

#include <errno.h>
#include <hiredis/read.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_BYTES ((size_t)16 * CORE_KIB) /* hiredis moves what is left of a piece at each KiB it has read */
#define OUT_BYTES_MIN ((size_t)64 * CORE_KIB)
#define REPLIES_BYTES_KEPT ((size_t)8 * CORE_MIB)
#define PENDING_BYTES_MAX ((size_t)64 * CORE_MIB) /* of one answer that is not whole yet */
#define LOGIN_REPLIES_BYTES_MAX (64 * CORE_KIB)
#define RETRY_NS CORE_NS_PER_S
#define BETTER_NS (10 * CORE_NS_PER_S)
#define STEPS_MAX 6 /* from the first look to READY: name, address, two of TLS, login; and one more */
#define NUMBER_BYTES 24
#define SAYS_BYTES_MAX 200 /* of an error of Redis' that is shown */

/* ---- answers --------------------------------------------------------------------------------------------------------------- */

/* hiredis calls these from the outside in; task->parent->obj is the array it is in. NULL ends the reading. */
static struct redis_reply *reply_new(const redisReadTask *task, enum redis_type type) {
    struct core_arena *arena = task->privdata;
    struct redis_reply *reply = core_arena_alloc(arena, sizeof *reply);
    if (reply == NULL) {
        return NULL;
    }
    *reply = (struct redis_reply){.type = type};
    if (task->parent != NULL) {
        struct redis_reply *parent = task->parent->obj;
        MUST(parent->type == REDIS_ARRAY && (size_t)task->idx < parent->len);
        parent->items[task->idx] = reply;
    }
    return reply;
}

static void *create_string(const redisReadTask *task, char *text, size_t len) {
    enum redis_type type = task->type == REDIS_REPLY_ERROR    ? REDIS_ERROR
                           : task->type == REDIS_REPLY_STATUS ? REDIS_STATUS
                                                              : REDIS_STRING;
    struct redis_reply *reply = reply_new(task, type);
    const char *copy = reply == NULL ? NULL : core_arena_copy(task->privdata, (struct core_span){text, len});
    if (copy == NULL) {
        return NULL;
    }
    reply->text = (struct core_span){copy, len};
    return reply;
}

static void *create_array(const redisReadTask *task, int len) {
    struct redis_reply *reply = reply_new(task, REDIS_ARRAY);
    if (reply == NULL || len < 0 || len > REDIS_REPLY_ITEMS_MAX) {
        return NULL;
    }
    reply->len = (size_t)len;
    reply->items = core_arena_alloc(task->privdata, reply->len * sizeof(struct redis_reply *));
    return reply->items == NULL ? NULL : reply;
}

static void *create_integer(const redisReadTask *task, long long number) {
    struct redis_reply *reply = reply_new(task, REDIS_INTEGER);
    if (reply != NULL) {
        reply->integer = number;
    }
    return reply;
}

static void *create_nil(const redisReadTask *task) {
    return reply_new(task, REDIS_NIL);
}

static void free_nothing(void *reply) {
    (void)reply; /* the arena has it */
}

static redisReplyObjectFunctions functions = {.createString = create_string,
                                              .createArray = create_array,
                                              .createInteger = create_integer,
                                              .createNil = create_nil,
                                              .freeObject = free_nothing};

/* ---- a channel ------------------------------------------------------------------------------------------------------------- */

enum channel_stage { CHANNEL_CONNECTING, CHANNEL_LOGIN, CHANNEL_READY };

/* Commands as they go over the line. */
struct out {
    char *bytes;
    size_t len;
    size_t cap;
    size_t sent;
    size_t commands;
};

struct channel {
    size_t at; /* of which url */
    enum channel_stage stage;
    int64_t deadline_ns; /* until it must be READY */
    int64_t looked_ns;   /* when somebody last looked, or ceased to wait */
    struct redis_link *link;
    redisReader *reader;
    size_t pending; /* bytes read of an answer that is not whole */
    struct out login;
    struct core_arena login_arena;
    const struct redis_reply *login_replies[8];
    size_t login_len;
};

struct answers {
    struct core_arena arena;
    const struct redis_reply **replies;
    size_t len;
    size_t cap;
};

struct redis {
    const struct enrich_redis_conf *conf;
    bool is_writer;
    struct redis_url *urls;
    size_t urls_len;
    struct tls_conf *tls;
    struct channel *now;    /* in use, or being made; NULL: none */
    struct channel *better; /* to the first url, while another is in use */
    size_t next;            /* url to try */
    size_t failed;          /* urls that failed one after the other */
    struct core_fail first_fail;
    int64_t retry_ns;
    int64_t better_ns; /* when to look for a better one */
    int stop_fd;       /* readable: nobody waits any more; -1: none */
    bool is_continued;
    struct out out;
    struct answers answers[2]; /* of this exchange and of the one before, in turn */
    int turn;
};

static void out_reserve(struct out *out, size_t len) {
    if (out->cap - out->len >= len) {
        return;
    }
    size_t cap = out->cap == 0 ? OUT_BYTES_MIN : out->cap * 2;
    cap = cap < out->len + len ? out->len + len : cap;
    MUST(cap <= 2 * REDIS_OUT_BYTES_MAX); /* callers send chunks */
    char *grown = realloc(out->bytes, cap);
    MUST(grown != NULL);
    out->bytes = grown;
    out->cap = cap;
}

/* A number's digits, right-aligned in out. Returns where they begin. */
static char *digits(uint64_t number, char out[NUMBER_BYTES]) {
    char *at = out + NUMBER_BYTES;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return at;
}

static void out_put(struct out *out, const char *bytes, size_t len) {
    memcpy(out->bytes + out->len, bytes, len);
    out->len += len;
}

/* "*3\r\n", "$12\r\n" */
static void out_head(struct out *out, char kind, size_t number) {
    char text[NUMBER_BYTES];
    const char *begin = digits(number, text);
    out_reserve(out, NUMBER_BYTES + 3);
    out_put(out, &kind, 1);
    out_put(out, begin, (size_t)(text + NUMBER_BYTES - begin));
    out_put(out, "\r\n", 2);
}

static void out_command(struct out *out, size_t len) {
    MUST(len > 0);
    out_head(out, '*', len);
    out->commands++;
}

static void out_word(struct out *out, struct core_span word) {
    out_head(out, '$', word.len);
    out_reserve(out, word.len + 2);
    out_put(out, word.len == 0 ? "" : word.ptr, word.len);
    out_put(out, "\r\n", 2);
}

static void out_ask(struct out *out, const char *const *words, size_t len) {
    out_command(out, len);
    for (size_t i = 0; i < len; i++) {
        out_word(out, core_span_of(words[i]));
    }
}

static void channel_free(struct channel *channel) {
    if (channel == NULL) {
        return;
    }
    redis_link_free(channel->link);
    if (channel->reader != NULL) {
        redisReaderFree(channel->reader);
    }
    core_arena_destroy(&channel->login_arena);
    free(channel->login.bytes);
    free(channel);
}

static void login_write(const struct redis *redis, struct channel *channel) {
    const struct enrich_redis_conf *conf = redis->conf;
    char text[NUMBER_BYTES + 16];
    if (conf->password != NULL && conf->username != NULL) {
        out_ask(&channel->login, (const char *const[]){"AUTH", conf->username, conf->password}, 3);
    } else if (conf->password != NULL) {
        out_ask(&channel->login, (const char *const[]){"AUTH", conf->password}, 2);
    }
    if (redis->urls[channel->at].db != 0) {
        snprintf(text, sizeof text, "%u", redis->urls[channel->at].db);
        out_ask(&channel->login, (const char *const[]){"SELECT", text}, 2);
    }
    snprintf(text, sizeof text, "tapline-%ld", (long)getpid());
    out_ask(&channel->login, (const char *const[]){"CLIENT", "SETNAME", text}, 3);
    out_ask(&channel->login, (const char *const[]){"PING"}, 1);
    out_ask(&channel->login, (const char *const[]){"ROLE"}, 1); /* the last */
}

static struct channel *channel_new(const struct redis *redis, size_t at) {
    struct channel *channel = calloc(1, sizeof *channel);
    MUST(channel != NULL);
    MUST(at < redis->urls_len);
    channel->at = at;
    channel->looked_ns = core_tick_ns();
    channel->deadline_ns = channel->looked_ns + redis->conf->connect_timeout_ns;
    channel->link = redis_link_new(&redis->urls[at], redis->tls);
    channel->reader = redisReaderCreateWithFunctions(&functions);
    MUST(channel->reader != NULL);
    channel->reader->maxbuf = 0; /* keep the buffer */
    struct core_fail fail;
    MUST(core_arena_init(&channel->login_arena, LOGIN_REPLIES_BYTES_MAX, &fail) == CORE_OK);
    channel->reader->privdata = &channel->login_arena;
    login_write(redis, channel);
    return channel;
}

static const char *channel_where(const struct redis *redis, const struct channel *channel) {
    return redis->urls[channel->at].shown;
}

/* The connection ended: got 0, or -1 and errno `number`. */
static enum core_err ended(const struct redis *redis, const struct channel *channel, ssize_t got, int number,
                           struct core_fail *fail) {
    enum redis_scheme scheme = redis->urls[channel->at].scheme;
    const char *help = channel->stage != CHANNEL_LOGIN ? ""
                       : scheme == REDIS_TLS           ? "; does Redis ask for a certificate (intel.redis.cert_file)?"
                       : scheme == REDIS_TCP           ? "; does this port want TLS (rediss://)?"
                                                       : "";
    return core_fail_set(fail, CORE_NET, channel_where(redis, channel), "the connection ended: %s%s",
                         got == 0 ? "Redis closed it" : redis_link_words(channel->link, number), help);
}

/* Send what there is to send, as far as it goes. */
static enum core_err channel_send(const struct redis *redis, struct channel *channel, struct out *out,
                                  struct core_fail *fail) {
    while (out->sent < out->len) {
        ssize_t sent = redis_link_send(channel->link, out->bytes + out->sent, out->len - out->sent);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0 && errno == EAGAIN) {
            return CORE_AGAIN;
        }
        if (sent <= 0) {
            return ended(redis, channel, sent, errno, fail);
        }
        out->sent += (size_t)sent;
    }
    return CORE_OK;
}

static enum core_err reader_failed(const struct redis *redis, const struct channel *channel, struct core_fail *fail) {
    if (channel->reader->err == REDIS_ERR_OOM) {
        return core_fail_set(fail, CORE_LIMIT, channel_where(redis, channel),
                             "the answers are longer than %zu MiB, or a list of them than %d items; the connection is "
                             "closed. A key of ours that big was not written by tapline",
                             REDIS_REPLIES_BYTES_MAX / CORE_MIB, REDIS_REPLY_ITEMS_MAX);
    }
    return core_fail_set(fail, CORE_NET, channel_where(redis, channel),
                         "this does not answer as Redis does (%s); see the port in intel.redis.urls",
                         channel->reader->errstr);
}

/* Answers that are whole now, up to max in all. CORE_OK: all of them are there · CORE_AGAIN when there is more to read. */
static enum core_err channel_recv(const struct redis *redis, struct channel *channel,
                                  const struct redis_reply **replies, size_t *len, size_t max, struct core_fail *fail) {
    char bytes[READ_BYTES];
    while (*len < max) {
        void *reply = NULL;
        if (redisReaderGetReply(channel->reader, &reply) != REDIS_OK || channel->pending > PENDING_BYTES_MAX) {
            channel->reader->err = channel->pending > PENDING_BYTES_MAX ? REDIS_ERR_OOM : channel->reader->err;
            return reader_failed(redis, channel, fail);
        }
        if (reply != NULL) {
            channel->pending = 0;
            replies[(*len)++] = reply;
            continue;
        }
        ssize_t got = redis_link_recv(channel->link, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 && errno == EAGAIN) {
            return CORE_AGAIN;
        }
        if (got <= 0) {
            return ended(redis, channel, got, errno, fail);
        }
        channel->pending += (size_t)got;
        MUST(redisReaderFeed(channel->reader, bytes, (size_t)got) == REDIS_OK);
    }
    return CORE_OK;
}

/* ---- what Redis says no with ------------------------------------------------------------------------------------------------ */

static const struct refusal {
    const char *begins;
    enum core_err err;
    const char *help;
} refusals[] = {
    {"NOAUTH", CORE_BAD, "it wants a password; give intel.redis.password (and username)"},
    {"WRONGPASS", CORE_BAD, "see intel.redis.username and password"},
    {"NOPERM", CORE_BAD, "the ACL user may not do this; docs/reference/intel.rst says what sensors and writers need"},
    {"DENIED", CORE_BAD, "Redis is in protected mode: set a password there, and intel.redis.password here"},
    {"ERR AUTH <password> called without", CORE_BAD, "no password is set there; remove intel.redis.password"},
    {"ERR Client sent AUTH", CORE_BAD, "no password is set there; remove intel.redis.password"},
    {"ERR DB index", CORE_BAD, "there is no such database; see the number at the end of the URL"},
    {"ERR unknown command", CORE_BAD, "a Redis of version 6.2 or newer is needed, with this command not renamed"},
    {"MOVED", CORE_BAD, "this is a Redis Cluster, which tapline does not speak; give a server of its own"},
    {"CLUSTERDOWN", CORE_BAD, "this is a Redis Cluster, which tapline does not speak; give a server of its own"},
    {"CROSSSLOT", CORE_BAD, "this is a Redis Cluster, which tapline does not speak; give a server of its own"},
    {"WRONGTYPE", CORE_BAD, "another program has a key of this name; give another intel.redis.prefix"},
    {"READONLY", CORE_NET, "this is a replica; the primary must be among intel.redis.urls"},
    {"LOADING", CORE_NET, "it is reading its data and will answer when it has; we try again"},
    {"MASTERDOWN", CORE_NET, "a replica that lost its primary; replica-serve-stale-data yes lets it answer"},
    {"NOREPLICAS", CORE_NET, "too few replicas are in reach for a write (min-replicas-to-write)"},
    {"MISCONF", CORE_NET, "it cannot write to its disk; see Redis's log and its disk"},
    {"OOM", CORE_NET, "maxmemory is reached; raise it, or load fewer indicators. maxmemory-policy must be noeviction"},
    {"BUSY", CORE_NET, "a script of somebody keeps it busy; SCRIPT KILL ends that"},
    {"ERR max number of clients", CORE_NET, "raise maxclients there"},
};

static enum core_err refused_at(const char *where, const struct redis_reply *reply, struct core_fail *fail) {
    if (reply->type != REDIS_ERROR) {
        return CORE_OK;
    }
    struct core_span says = reply->text; /* without its full stop: ours goes on behind it */
    while (says.len > 0 && strchr(". \r\n", says.ptr[says.len - 1]) != NULL) {
        says.len--;
    }
    int len = says.len < SAYS_BYTES_MAX ? (int)says.len : SAYS_BYTES_MAX;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        if (core_span_starts(says, core_span_of(refusals[i].begins))) {
            return core_fail_set(fail, refusals[i].err, where, "Redis says: %.*s; %s", len, says.ptr, refusals[i].help);
        }
    }
    return core_fail_set(fail, CORE_NET, where, "Redis says: %.*s", len, says.ptr);
}

enum core_err redis_refused(const struct redis *redis, const struct redis_reply *reply, struct core_fail *fail) {
    return refused_at(redis_where(redis), reply, fail);
}

enum core_err redis_refused_any(const struct redis *redis, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    const struct answers *answers = &redis->answers[redis->turn];
    for (size_t i = 0; i < answers->len && err == CORE_OK; i++) {
        err = redis_refused(redis, answers->replies[i], fail);
    }
    return err;
}

/* ---- logging in --------------------------------------------------------------------------------------------------------------- */

static bool is_about_permission(const struct redis_reply *reply) {
    return reply->type == REDIS_ERROR && core_span_starts(reply->text, CORE_SPAN("NOPERM"));
}

/* PING and ROLE are the last two; what an ACL does not allow of them is not needed. CLIENT SETNAME, before them, is a
 * courtesy. */
static enum core_err login_judge(const struct redis *redis, struct channel *channel, struct core_fail *fail) {
    const char *where = channel_where(redis, channel);
    const struct redis_reply *role = channel->login_replies[channel->login_len - 1];
    enum core_err err = CORE_OK;
    for (size_t i = 0; i + 1 < channel->login_len && err == CORE_OK; i++) {
        const struct redis_reply *reply = channel->login_replies[i];
        bool is_name = i + 3 == channel->login_len;
        bool is_let_pass = is_name || (i + 2 == channel->login_len && is_about_permission(reply));
        err = is_let_pass ? CORE_OK : refused_at(where, reply, fail);
    }
    if (err == CORE_OK && redis->is_writer && role->type == REDIS_ARRAY && role->len > 0 &&
        role->items[0]->type == REDIS_STRING && !core_span_is(role->items[0]->text, "master")) {
        err = core_fail_set(fail, CORE_NET, where,
                            "this is a replica, and changes need the primary; give its address in intel.redis.urls");
    }
    return err;
}

/* Who never waits may look once a second: the other side has answered long ago, and each look is good for one step. So of
 * the time between two looks only some counts; what is waited counts in full. */
static void channel_look(const struct redis *redis, struct channel *channel) {
    int64_t now_ns = core_tick_ns();
    int64_t gap_ns = now_ns - channel->looked_ns;
    int64_t counted_ns = redis->conf->connect_timeout_ns / STEPS_MAX;
    channel->deadline_ns += gap_ns > counted_ns ? gap_ns - counted_ns : 0;
    channel->looked_ns = now_ns;
}

/* Go on; never waits. CORE_OK: it is READY. */
static enum core_err channel_step(const struct redis *redis, struct channel *channel, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    channel_look(redis, channel);
    if (channel->stage == CHANNEL_CONNECTING) {
        err = redis_link_step(channel->link, fail);
        channel->stage = err == CORE_OK ? CHANNEL_LOGIN : CHANNEL_CONNECTING;
    }
    if (channel->stage == CHANNEL_LOGIN && err == CORE_OK) {
        err = channel_send(redis, channel, &channel->login, fail);
        if (err == CORE_OK || err == CORE_AGAIN) {
            MUST(channel->login.commands <= sizeof channel->login_replies / sizeof channel->login_replies[0]);
            enum core_err got = channel_recv(redis, channel, channel->login_replies, &channel->login_len,
                                             channel->login.commands, fail);
            err = got == CORE_OK ? login_judge(redis, channel, fail) : got;
            channel->stage = err == CORE_OK ? CHANNEL_READY : CHANNEL_LOGIN;
        }
    }
    if (err == CORE_AGAIN && core_tick_ns() >= channel->deadline_ns) {
        return core_fail_set(
            fail, CORE_NET, channel_where(redis, channel),
            "%s within intel.redis.connect_timeout (%lld ms); is Redis stopped, or the network slow%s?",
            channel->stage == CHANNEL_CONNECTING ? "no connection" : "connected, but no answer",
            (long long)(redis->conf->connect_timeout_ns / CORE_NS_PER_MS),
            redis->urls[channel->at].scheme == REDIS_TLS ? ", or is this not the port for TLS" : "");
    }
    return err;
}

/* ---- which of the urls ---------------------------------------------------------------------------------------------------------- */

static void use(struct redis *redis, struct channel *channel) {
    if (redis->better != channel) {
        channel_free(redis->better);
    }
    redis->better = NULL;
    redis->now = channel;
    redis->failed = 0;
    redis->next = 0;
    redis->better_ns = core_tick_ns() + BETTER_NS;
    core_log(CORE_LEVEL_INFO, "enrich", "connected to Redis", "url=%s", channel_where(redis, channel));
}

void redis_drop(struct redis *redis) {
    channel_free(redis->now);
    redis->now = NULL;
}

/* Beside the work: is the first url there again? */
static void better_step(struct redis *redis) {
    struct core_fail fail;
    if (redis->is_writer || redis->now->at == 0) {
        return;
    }
    if (redis->better == NULL) {
        if (core_tick_ns() < redis->better_ns) {
            return;
        }
        redis->better = channel_new(redis, 0);
    }
    enum core_err err = channel_step(redis, redis->better, &fail);
    if (err == CORE_OK) {
        channel_free(redis->now);
        use(redis, redis->better);
    } else if (err != CORE_AGAIN) {
        channel_free(redis->better);
        redis->better = NULL;
        redis->better_ns = core_tick_ns() + BETTER_NS;
    }
}

/* One url did not do: the next; after the last, CORE_NET or CORE_BAD with what the first said. */
static enum core_err url_failed(struct redis *redis, const struct core_fail *why, struct core_fail *fail) {
    if (redis->failed == 0) {
        redis->first_fail = *why;
    }
    if (redis->now != NULL) {
        redis->next = (redis->now->at + 1) % redis->urls_len;
        redis_drop(redis);
    }
    redis->failed++;
    if (redis->failed < redis->urls_len) {
        core_log(CORE_LEVEL_WARN, "enrich", "Redis is not there, the next url is tried", "url=%s why=\"%s\"",
                 why->where, why->text);
        return CORE_AGAIN;
    }
    redis->failed = 0;
    redis->next = 0;
    redis->retry_ns = core_tick_ns() + RETRY_NS;
    if (fail != NULL) {
        *fail = redis->first_fail;
    }
    return redis->first_fail.err;
}

/* Wait for the other side, up to deadline_ns. CORE_AGAIN: told to stop. */
static enum core_err link_wait(const struct redis *redis, bool wants_out, int64_t deadline_ns, struct core_fail *fail) {
    bool goes_on = redis_link_wait(redis->now->link, wants_out, redis->stop_fd, deadline_ns);
    redis->now->looked_ns = core_tick_ns();
    return goes_on ? CORE_OK : core_fail_set(fail, CORE_AGAIN, channel_where(redis, redis->now), "ended on request");
}

/* Get a channel that is ready. CORE_AGAIN: not until deadline_ns, or told to stop; the next call goes on. */
static enum core_err connect_until(struct redis *redis, int64_t deadline_ns, struct core_fail *fail) {
    for (;;) {
        if (redis->now == NULL) {
            if (core_tick_ns() < redis->retry_ns) {
                if (fail != NULL) {
                    *fail = redis->first_fail;
                }
                return redis->first_fail.err;
            }
            redis->now = channel_new(redis, redis->next);
        }
        if (redis->now->stage == CHANNEL_READY) {
            return CORE_OK;
        }
        struct core_fail why;
        enum core_err err = channel_step(redis, redis->now, &why);
        if (err == CORE_OK) {
            use(redis, redis->now);
            return CORE_OK;
        }
        if (err != CORE_AGAIN) {
            err = url_failed(redis, &why, fail);
            if (err != CORE_AGAIN) {
                return err;
            }
            continue;
        }
        if (core_tick_ns() >= deadline_ns) {
            return core_fail_set(fail, CORE_AGAIN, channel_where(redis, redis->now), "still connecting");
        }
        int64_t until_ns = redis->now->deadline_ns < deadline_ns ? redis->now->deadline_ns : deadline_ns;
        err = link_wait(redis, redis->now->login.sent < redis->now->login.len, until_ns, fail);
        if (err != CORE_OK) {
            return err;
        }
    }
}

/* ---- for the stores ---------------------------------------------------------------------------------------------------------------- */

enum core_err redis_new(struct redis **out, const struct enrich_redis_conf *conf, bool is_writer,
                        struct core_fail *fail) {
    struct redis *redis = calloc(1, sizeof *redis);
    MUST(redis != NULL);
    MUST(conf->urls.len > 0);
    MUST(conf->connect_timeout_ns > 0);
    redis->conf = conf;
    redis->is_writer = is_writer;
    redis->stop_fd = -1;
    redis->urls = calloc(conf->urls.len, sizeof *redis->urls);
    MUST(redis->urls != NULL);
    bool is_tls = false;
    enum core_err err = core_arena_init(&redis->answers[0].arena, REDIS_REPLIES_BYTES_MAX, fail);
    err = err == CORE_OK ? core_arena_init(&redis->answers[1].arena, REDIS_REPLIES_BYTES_MAX, fail) : err;
    for (; redis->urls_len < conf->urls.len && err == CORE_OK; redis->urls_len++) {
        struct redis_url *url = &redis->urls[redis->urls_len];
        err = redis_url_read(conf->urls.items[redis->urls_len].value, url, fail);
        is_tls = is_tls || url->scheme == REDIS_TLS;
    }
    if (err == CORE_OK && is_tls) {
        err = tls_conf_new(&redis->tls, conf->ca_file, conf->cert_file, conf->key_file, fail);
    }
    if (err != CORE_OK) {
        redis_free(redis);
        redis = NULL;
    }
    *out = redis;
    return err;
}

void redis_free(struct redis *redis) {
    if (redis == NULL) {
        return;
    }
    channel_free(redis->now);
    channel_free(redis->better);
    tls_conf_free(redis->tls);
    for (int i = 0; i < 2; i++) {
        core_arena_destroy(&redis->answers[i].arena);
        free(redis->answers[i].replies);
    }
    free(redis->out.bytes);
    free(redis->urls);
    free(redis);
}

void redis_stop_by(struct redis *redis, int stop_fd) {
    redis->stop_fd = stop_fd;
}

void redis_begin(struct redis *redis) {
    redis->out.len = 0;
    redis->out.sent = 0;
    redis->out.commands = 0;
    redis->is_continued = false;
    redis->turn = !redis->turn;
    redis->answers[redis->turn].len = 0;
    core_arena_reset(&redis->answers[redis->turn].arena, REPLIES_BYTES_KEPT);
}

void redis_continue(struct redis *redis) {
    redis_begin(redis);
    redis->is_continued = true;
}

void redis_command(struct redis *redis, size_t len) {
    out_command(&redis->out, len);
}

void redis_word(struct redis *redis, struct core_span word) {
    out_word(&redis->out, word);
}

void redis_word_u64(struct redis *redis, uint64_t word) {
    char text[NUMBER_BYTES];
    const char *begin = digits(word, text);
    out_word(&redis->out, (struct core_span){begin, (size_t)(text + NUMBER_BYTES - begin)});
}

void redis_ask(struct redis *redis, const char *const *words, size_t len) {
    out_ask(&redis->out, words, len);
}

size_t redis_asked(const struct redis *redis) {
    return redis->out.commands;
}

static void answers_reserve(struct answers *answers, size_t len) {
    if (answers->cap >= len) {
        return;
    }
    answers->cap = len * 2;
    const struct redis_reply **grown = realloc(answers->replies, answers->cap * sizeof *grown);
    MUST(grown != NULL);
    answers->replies = grown;
}

static enum core_err talk(struct redis *redis, int64_t deadline_ns, struct core_fail *fail) {
    struct answers *answers = &redis->answers[redis->turn];
    answers_reserve(answers, redis->out.commands);
    redis->now->reader->privdata = &answers->arena;
    for (;;) {
        enum core_err sent = channel_send(redis, redis->now, &redis->out, fail);
        if (sent != CORE_OK && sent != CORE_AGAIN) {
            return sent;
        }
        enum core_err got = channel_recv(redis, redis->now, answers->replies, &answers->len, redis->out.commands, fail);
        if (got != CORE_AGAIN) {
            return got;
        }
        if (core_tick_ns() >= deadline_ns) {
            return core_fail_set(fail, CORE_AGAIN, redis_where(redis), "%zu of %zu answers came in time", answers->len,
                                 redis->out.commands);
        }
        got = link_wait(redis, redis->out.sent < redis->out.len, deadline_ns, fail);
        if (got != CORE_OK) {
            redis_drop(redis); /* and nothing is said of it: this is the end */
            return got;
        }
    }
}

/* Close it: answers that come later would be taken for those of other questions. */
static void talk_failed(struct redis *redis, enum core_err err) {
    if (redis->now == NULL) {
        return;
    }
    core_log(CORE_LEVEL_WARN, "enrich", "the connection to Redis is closed", "url=%s", redis_where(redis));
    if (err == CORE_AGAIN) { /* it hangs: another may not */
        redis->next = (redis->now->at + 1) % redis->urls_len;
    }
    redis_drop(redis);
}

/* The connection that was there may have been closed long ago (a restart, Redis's own `timeout`): that shows only now. If
 * making it anew took most of the time, it is kept for the next question: this one's would have too little, and again. */
static enum core_err talk_again(struct redis *redis, int64_t begin_ns, int64_t deadline_ns, struct core_fail *fail) {
    redis_drop(redis);
    redis->out.sent = 0;
    enum core_err err = connect_until(redis, deadline_ns, fail);
    int64_t now_ns = core_tick_ns();
    if (err == CORE_OK && deadline_ns - now_ns < now_ns - begin_ns) {
        err = core_fail_set(fail, CORE_AGAIN, redis_where(redis),
                            "the connection had ended; it is there again, and the next question is asked by it");
    } else if (err == CORE_OK) {
        err = talk(redis, deadline_ns, fail);
        if (err != CORE_OK) {
            talk_failed(redis, err);
        }
    }
    return err;
}

static bool is_ready(const struct redis *redis) {
    return redis->now != NULL && redis->now->stage == CHANNEL_READY;
}

enum core_err redis_exchange(struct redis *redis, int64_t deadline_ns, struct core_fail *fail) {
    MUST(redis->answers[redis->turn].len == 0); /* redis_begin() came before */
    if (redis->out.commands == 0) {
        return CORE_OK;
    }
    int64_t begin_ns = core_tick_ns();
    bool may_repeat = is_ready(redis) && !redis->is_continued;
    if (redis->is_continued && !is_ready(redis)) {
        return core_fail_set(fail, CORE_NET, redis_where(redis), "the connection ended in the middle of a change");
    }
    if (may_repeat) {
        better_step(redis);
    }
    enum core_err err = connect_until(redis, deadline_ns, fail);
    if (err != CORE_OK) {
        return err;
    }
    err = talk(redis, deadline_ns, fail);
    if (err == CORE_NET && may_repeat && redis->answers[redis->turn].len == 0) {
        return talk_again(redis, begin_ns, deadline_ns, fail);
    }
    if (err != CORE_OK) {
        talk_failed(redis, err);
    }
    return err;
}

/* Has the other side closed it, or said what nobody asked for? Never waits. */
static bool has_ended(const struct channel *channel) {
    char byte;
    ssize_t got;
    do {
        got = redis_link_recv(channel->link, &byte, sizeof byte);
    } while (got < 0 && errno == EINTR);
    return got >= 0 || errno != EAGAIN;
}

enum core_err redis_connect(struct redis *redis, int64_t deadline_ns, struct core_fail *fail) {
    if (is_ready(redis) && has_ended(redis->now)) {
        redis_drop(redis);
    }
    if (is_ready(redis)) {
        better_step(redis);
    }
    return connect_until(redis, deadline_ns, fail);
}

static const struct redis_reply *answer_of(const struct answers *answers, size_t at) {
    MUST(at < answers->len);
    return answers->replies[at];
}

const struct redis_reply *redis_answer(const struct redis *redis, size_t at) {
    return answer_of(&redis->answers[redis->turn], at);
}

const struct redis_reply *redis_answer_before(const struct redis *redis, size_t at) {
    return answer_of(&redis->answers[!redis->turn], at);
}

bool redis_has_another(const struct redis *redis) {
    return redis->urls_len > 1;
}

const char *redis_where(const struct redis *redis) {
    return redis->now != NULL ? channel_where(redis, redis->now) : redis->urls[redis->next].shown;
}
