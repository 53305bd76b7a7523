/* enrich/redis_internal.h: a connection to Redis, for the stores.
 *
 *   redis_url.c   where: redis://, rediss://, unix://
 *   redis_link.c  bytes: name, socket, TLS; nothing of it waits
 *   tls.c         the wrapper of OpenSSL's TLS
 *   redis.c       the wrapper of hiredis' reader: logging in, which of the urls, commands and answers
 *
 * Commands are collected, sent in one go, and answered in their order. All waiting is by the monotonic clock and up to the
 * caller's deadline; a connection that is being made goes on in the next call. Connections are closed after anything that may
 * leave answers behind: a deadline, a broken answer. Redis Cluster is not spoken.
 * Thread: a struct redis belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_ENRICH_REDIS_INTERNAL_H
#define TAPLINE_ENRICH_REDIS_INTERNAL_H

#include "enrich/enrich_internal.h"

#include <sys/types.h>

/* ---- where ----------------------------------------------------------------------------------------------------------------- */

enum redis_scheme { REDIS_TCP, REDIS_TLS, REDIS_UNIX };

struct redis_url {
    enum redis_scheme scheme;
    char host[256]; /* or the socket's path */
    char port[24];
    unsigned db;
    char shown[300]; /* for messages */
};
CORE_CHECKED enum core_err redis_url_read(const char *text, struct redis_url *out, struct core_fail *fail);

/* ---- TLS ------------------------------------------------------------------------------------------------------------------- */

struct tls_conf; /* authorities and our certificate, read once */
CORE_CHECKED enum core_err tls_conf_new(struct tls_conf **out, const char *ca_file, const char *cert_file,
                                        const char *key_file, struct core_fail *fail);
void tls_conf_free(struct tls_conf *conf); /* takes NULL */

struct tls;
/* Over a connected socket that does not block; host: the name (or address) its certificate must have. */
CORE_CHECKED enum core_err tls_new(struct tls **out, const struct tls_conf *conf, int fd, const char *host,
                                   struct core_fail *fail);
/* The socket is closed by its owner. Takes NULL. */
void tls_free(struct tls *tls);
/* CORE_OK it is done · CORE_AGAIN when *events (of poll) come · CORE_NET, CORE_BAD (a certificate) see fail. */
CORE_CHECKED enum core_err tls_handshake(struct tls *tls, short *events, const char *where, struct core_fail *fail);
/* As recv(2) and send(2): a length, 0 at the end, or -1 with EAGAIN (*events then), else EIO and tls_words(). */
ssize_t tls_recv(struct tls *tls, char *bytes, size_t len, short *events);
ssize_t tls_send(struct tls *tls, const char *bytes, size_t len, short *events);
const char *tls_words(const struct tls *tls); /* static */

/* ---- a link ---------------------------------------------------------------------------------------------------------------- */

struct redis_link;
struct redis_link *redis_link_new(const struct redis_url *url, const struct tls_conf *tls); /* never NULL (MUST) */
void redis_link_free(struct redis_link *link);                                              /* takes NULL */
/* Go on making the connection; never waits. CORE_OK it is there · CORE_AGAIN not yet · CORE_NET, CORE_BAD see fail. */
CORE_CHECKED enum core_err redis_link_step(struct redis_link *link, struct core_fail *fail);
/* Wait until there is something to do or deadline_ns (core_tick_ns()). wants_out: there are bytes to send. false: stop_fd (-1:
 * none) became readable, and nobody is to wait any more. */
CORE_CHECKED bool redis_link_wait(struct redis_link *link, bool wants_out, int stop_fd, int64_t deadline_ns);
ssize_t redis_link_recv(struct redis_link *link, char *bytes, size_t len);
ssize_t redis_link_send(struct redis_link *link, const char *bytes, size_t len);
const char *redis_link_words(const struct redis_link *link, int number); /* of an errno of the two above; static */

/* ---- commands and answers ---------------------------------------------------------------------------------------------------- */

enum redis_type { REDIS_STRING, REDIS_STATUS, REDIS_ERROR, REDIS_INTEGER, REDIS_NIL, REDIS_ARRAY };

struct redis_reply {
    enum redis_type type;
    int64_t integer;
    struct core_span text; /* STRING, STATUS, ERROR; a NUL behind it */
    struct redis_reply **items;
    size_t len;
};

#define REDIS_OUT_BYTES_MAX (64 * CORE_MIB)      /* of the commands of one exchange */
#define REDIS_REPLIES_BYTES_MAX (256 * CORE_MIB) /* of their answers */
#define REDIS_REPLY_ITEMS_MAX (1 << 20)          /* of one array */

struct redis;
/* Connects nobody yet. is_writer: only a primary will do. conf lives as long as *out.
 * Errors: CORE_BAD a url is wrong, or a file of TLS. Owns: redis_free(*out). */
CORE_CHECKED enum core_err redis_new(struct redis **out, const struct enrich_redis_conf *conf, bool is_writer,
                                     struct core_fail *fail);
void redis_free(struct redis *redis); /* takes NULL */
/* When stop_fd becomes readable, what waits ends with CORE_AGAIN, and so does whoever would wait later. The caller's; -1: none. */
void redis_stop_by(struct redis *redis, int stop_fd);

/* Connect if need be, so that redis_exchange() has all of its time for the question; a connection that the other side has closed
 * meanwhile is made anew. deadline_ns now or before: goes on with what is begun, and never waits.
 * Errors: CORE_AGAIN not until then, what is begun is kept · CORE_NET, CORE_BAD as redis_exchange(). */
CORE_CHECKED enum core_err redis_connect(struct redis *redis, int64_t deadline_ns, struct core_fail *fail);

/* Forget what was asked and answered, and begin anew. What is asked may be asked twice, if the connection was found ended. */
void redis_begin(struct redis *redis);
/* The same, but what follows needs the same connection as before (WATCH … EXEC), and is asked once at most. */
void redis_continue(struct redis *redis);
/* A command of len words, which redis_word() gives one by one. */
void redis_command(struct redis *redis, size_t len);
void redis_word(struct redis *redis, struct core_span word);
void redis_word_u64(struct redis *redis, uint64_t word);
/* A whole command of at most a few words, as text: REDIS_ASK(redis, "GET", name). */
void redis_ask(struct redis *redis, const char *const *words, size_t len);
#define REDIS_ASK(redis, ...)                                                                                          \
    redis_ask((redis), (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))
size_t redis_asked(const struct redis *redis); /* commands since redis_begin() */

/* Connect if need be, send, and wait for every answer. An answer that says no is an answer, too: redis_refused().
 * Errors: CORE_AGAIN not until deadline_ns (core_tick_ns()) · CORE_NET nobody there · CORE_BAD they do not let us in ·
 *         CORE_LIMIT the answers are too long. After an error nothing is known of what was carried out. */
CORE_CHECKED enum core_err redis_exchange(struct redis *redis, int64_t deadline_ns, struct core_fail *fail);
/* Answer to the command `at` since redis_begin(). Owns: until the second redis_begin() or redis_continue() from now. */
const struct redis_reply *redis_answer(const struct redis *redis, size_t at);
/* The same of the exchange before the last redis_begin() or redis_continue(). */
const struct redis_reply *redis_answer_before(const struct redis *redis, size_t at);
/* CORE_OK unless the answer is an error; then what it means and what can be done about it.
 * CORE_BAD not without a person · CORE_NET it may go away by itself. */
CORE_CHECKED enum core_err redis_refused(const struct redis *redis, const struct redis_reply *reply,
                                         struct core_fail *fail);
/* The first of the answers that is an error, as redis_refused(). */
CORE_CHECKED enum core_err redis_refused_any(const struct redis *redis, struct core_fail *fail);
bool redis_has_another(const struct redis *redis);  /* is there more than one url? */
const char *redis_where(const struct redis *redis); /* the url in use, or last tried */
void redis_drop(struct redis *redis);               /* close the connection: it is made again when needed */

#endif
