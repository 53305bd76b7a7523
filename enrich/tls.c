/* enrich/tls.c: the one wrapper of OpenSSL's TLS, for what speaks over a socket of its own.
 *
 * TLS 1.2 or newer. The peer's certificate is always checked: against the authorities given, or the system's, and for the
 * name (or the address) that was asked for. Nothing here waits: the socket does not block, and what OpenSSL wants is handed
 * back as events of poll(2).
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/redis_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdlib.h>

struct tls_conf {
    SSL_CTX *ctx;
};

struct tls {
    SSL *ssl;
    const char *words; /* static: why the last call failed */
};

/* OpenSSL's oldest reason, and forget them all. */
static const char *reason(void) {
    unsigned long code = ERR_get_error();
    const char *words = code == 0 ? NULL : ERR_reason_error_string(code);
    ERR_clear_error();
    return words == NULL ? "no reason given" : words;
}

static enum core_err files_use(SSL_CTX *ctx, const char *ca_file, const char *cert_file, const char *key_file,
                               struct core_fail *fail) {
    if (ca_file != NULL && SSL_CTX_load_verify_locations(ctx, ca_file, NULL) != 1) {
        return core_fail_set(fail, CORE_BAD, ca_file,
                             "intel.redis.ca_file cannot be read as certificates in PEM (%s); give the file of the "
                             "authority that signed Redis's certificate",
                             reason());
    }
    if (ca_file == NULL && SSL_CTX_set_default_verify_paths(ctx) != 1) {
        return core_fail_set(fail, CORE_BAD, "intel.redis.ca_file",
                             "the system's authorities cannot be read (%s); give intel.redis.ca_file", reason());
    }
    if ((cert_file == NULL) != (key_file == NULL)) {
        return core_fail_set(fail, CORE_BAD, "intel.redis", "cert_file and key_file go together; one is missing");
    }
    if (cert_file != NULL && SSL_CTX_use_certificate_chain_file(ctx, cert_file) != 1) {
        return core_fail_set(fail, CORE_BAD, cert_file, "intel.redis.cert_file cannot be read as PEM: %s", reason());
    }
    if (key_file != NULL &&
        (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1)) {
        return core_fail_set(fail, CORE_BAD, key_file,
                             "intel.redis.key_file cannot be read as PEM, or is not the key of cert_file: %s",
                             reason());
    }
    return CORE_OK;
}

enum core_err tls_conf_new(struct tls_conf **out, const char *ca_file, const char *cert_file, const char *key_file,
                           struct core_fail *fail) {
    struct tls_conf *conf = calloc(1, sizeof *conf);
    MUST(conf != NULL);
    *out = NULL;
    ERR_clear_error();
    conf->ctx = SSL_CTX_new(TLS_client_method());
    MUST(conf->ctx != NULL);
    MUST(SSL_CTX_set_min_proto_version(conf->ctx, TLS1_2_VERSION) == 1);
    SSL_CTX_set_verify(conf->ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(conf->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    enum core_err err = files_use(conf->ctx, ca_file, cert_file, key_file, fail);
    if (err != CORE_OK) {
        tls_conf_free(conf);
        return err;
    }
    *out = conf;
    return CORE_OK;
}

void tls_conf_free(struct tls_conf *conf) {
    if (conf != NULL) {
        SSL_CTX_free(conf->ctx);
        free(conf);
    }
}

/* Is it an address rather than a name? Certificates keep the two apart. */
static bool is_address(const char *host) {
    unsigned char bytes[16];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

enum core_err tls_new(struct tls **out, const struct tls_conf *conf, int fd, const char *host, struct core_fail *fail) {
    struct tls *tls = calloc(1, sizeof *tls);
    MUST(tls != NULL);
    ERR_clear_error();
    tls->ssl = SSL_new(conf->ctx);
    bool is_set = tls->ssl != NULL && SSL_set_fd(tls->ssl, fd) == 1;
    if (is_set && is_address(host)) {
        is_set = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls->ssl), host) == 1;
    } else if (is_set) {
        is_set = SSL_set1_host(tls->ssl, host) == 1 && SSL_set_tlsext_host_name(tls->ssl, host) == 1;
    }
    if (!is_set) {
        tls_free(tls);
        *out = NULL;
        return core_fail_set(fail, CORE_IO, host, "TLS cannot be prepared: %s", reason());
    }
    SSL_set_connect_state(tls->ssl);
    *out = tls;
    return CORE_OK;
}

void tls_free(struct tls *tls) {
    if (tls != NULL) {
        SSL_free(tls->ssl);
        free(tls);
    }
}

/* What a call that returned `result` waits for; false: nothing, it failed. */
static bool waits_for(struct tls *tls, int result, short *events) {
    int error = SSL_get_error(tls->ssl, result);
    *events = error == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN;
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

static enum core_err refuse(struct tls *tls, const char *where, struct core_fail *fail) {
    long verified = SSL_get_verify_result(tls->ssl);
    int number = errno;
    if (verified == X509_V_ERR_HOSTNAME_MISMATCH || verified == X509_V_ERR_IP_ADDRESS_MISMATCH) {
        ERR_clear_error();
        return core_fail_set(fail, CORE_BAD, where,
                             "the certificate is for another name than that in intel.redis.urls; give the name that is "
                             "in the certificate (subjectAltName)");
    }
    if (verified != X509_V_OK) {
        ERR_clear_error();
        return core_fail_set(fail, CORE_BAD, where, "the certificate is not trusted: %s; see intel.redis.ca_file",
                             X509_verify_cert_error_string(verified));
    }
    unsigned long code = ERR_peek_error();
    if (code == 0) {
        return core_fail_set(fail, CORE_NET, where,
                             "the connection ended while TLS began%s%s; is this the port for TLS?",
                             number == 0 ? "" : ": ", number == 0 ? "" : strerror(number));
    }
    return core_fail_set(fail, CORE_NET, where, "TLS could not begin: %s; is this the port for TLS (tls-port)?",
                         reason());
}

enum core_err tls_handshake(struct tls *tls, short *events, const char *where, struct core_fail *fail) {
    ERR_clear_error();
    errno = 0;
    int result = SSL_do_handshake(tls->ssl);
    if (result == 1) {
        return CORE_OK;
    }
    return waits_for(tls, result, events) ? CORE_AGAIN : refuse(tls, where, fail);
}

static int cut(size_t len) {
    return len > INT_MAX ? INT_MAX : (int)len;
}

static ssize_t outcome(struct tls *tls, int result, short *events) {
    if (result > 0) {
        return result;
    }
    if (SSL_get_error(tls->ssl, result) == SSL_ERROR_ZERO_RETURN) {
        return 0;
    }
    bool is_broken = !waits_for(tls, result, events);
    if (is_broken) {
        tls->words = ERR_peek_error() == 0 ? "Redis closed it without a word" : reason();
    }
    ERR_clear_error();
    errno = is_broken ? EIO : EAGAIN;
    return -1;
}

const char *tls_words(const struct tls *tls) {
    return tls->words;
}

ssize_t tls_recv(struct tls *tls, char *bytes, size_t len, short *events) {
    MUST(len > 0);
    ERR_clear_error();
    return outcome(tls, SSL_read(tls->ssl, bytes, cut(len)), events);
}

ssize_t tls_send(struct tls *tls, const char *bytes, size_t len, short *events) {
    MUST(len > 0);
    ERR_clear_error();
    return outcome(tls, SSL_write(tls->ssl, bytes, cut(len)), events);
}
