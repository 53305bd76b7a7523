/* core/hash.c: the wrapper of libcrypto's digests (for evidence). Identities are hash64.c's.
 * SPDX-License-Identifier: Apache-2.0 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "core/core.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>

#if OPENSSL_VERSION_MAJOR <= 3 && !defined(OPENSSL_NO_DEPRECATED_3_0)
#define SHA1_DIRECT
#endif

void core_sha256(const void *bytes, size_t len, unsigned char out[32]) {
    MUST(bytes != NULL || len == 0);
    unsigned int out_len = 0;
    MUST(EVP_Digest(bytes, len, out, &out_len, EVP_sha256(), NULL) == 1);
    MUST(out_len == 32);
}

/* The provider interface (EVP) costs more than a one-block hash itself, and one is made for every record: the old entry
 * points of the same library are used where they exist (docs/adr/0010). */
#ifdef SHA1_DIRECT

#define SHA1_BLOCK 64

struct core_sha1 {
    SHA_CTX fresh; /* begun, nothing added */
};

struct core_sha1 *core_sha1_new(void) {
    struct core_sha1 *sha1 = calloc(1, sizeof *sha1);
    MUST(sha1 != NULL);
    MUST(SHA1_Init(&sha1->fresh) == 1);
    return sha1;
}

static void put_be32(unsigned char out[4], uint32_t v) {
    for (int i = 3; i >= 0; i--, v >>= 8) {
        out[i] = (unsigned char)(v & 0xff);
    }
}

/* What fits one block with its end mark and length is padded here (RFC 3174 section 4) and goes straight to the function
 * that does the work. */
void core_sha1_of(struct core_sha1 *sha1, const void *bytes, size_t len, unsigned char out[20]) {
    SHA_CTX context = sha1->fresh;
    unsigned char block[SHA1_BLOCK] = {0};
    if (len > SHA1_BLOCK - 9) {
        MUST(SHA1_Update(&context, bytes, len) == 1);
        MUST(SHA1_Final(out, &context) == 1);
        return;
    }
    memcpy(block, bytes, len);
    block[len] = 0x80;
    core_put_be64(block + SHA1_BLOCK - 8, (uint64_t)len * 8);
    SHA1_Transform(&context, block);
    put_be32(out, context.h0);
    put_be32(out + 4, context.h1);
    put_be32(out + 8, context.h2);
    put_be32(out + 12, context.h3);
    put_be32(out + 16, context.h4);
}

void core_sha1_free(struct core_sha1 *sha1) {
    free(sha1);
}

#else

struct core_sha1 {
    EVP_MD *digest;
    EVP_MD_CTX *fresh; /* begun, nothing added: copying it is cheaper than beginning again */
    EVP_MD_CTX *context;
};

struct core_sha1 *core_sha1_new(void) {
    struct core_sha1 *sha1 = calloc(1, sizeof *sha1);
    MUST(sha1 != NULL);
    sha1->digest = EVP_MD_fetch(NULL, "SHA1", NULL); /* libcrypto's search costs more than a short hash: once */
    sha1->fresh = EVP_MD_CTX_new();
    sha1->context = EVP_MD_CTX_new();
    MUST(sha1->digest != NULL);
    MUST(sha1->fresh != NULL && sha1->context != NULL);
    MUST(EVP_DigestInit_ex2(sha1->fresh, sha1->digest, NULL) == 1);
    return sha1;
}

void core_sha1_of(struct core_sha1 *sha1, const void *bytes, size_t len, unsigned char out[20]) {
    unsigned int out_len = 0;
    MUST(EVP_MD_CTX_copy_ex(sha1->context, sha1->fresh) == 1);
    MUST(EVP_DigestUpdate(sha1->context, bytes, len) == 1);
    MUST(EVP_DigestFinal_ex(sha1->context, out, &out_len) == 1);
    MUST(out_len == 20);
}

void core_sha1_free(struct core_sha1 *sha1) {
    if (sha1 != NULL) {
        EVP_MD_CTX_free(sha1->context);
        EVP_MD_CTX_free(sha1->fresh);
        EVP_MD_free(sha1->digest);
        free(sha1);
    }
}

#endif
