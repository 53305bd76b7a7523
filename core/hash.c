/* core/hash.c: the one wrapper of xxhash (XXH3, for identities) and of libcrypto's digests (for evidence).
 *
 * XXH3 is inlined from the header: the call would cost more than the hash of a short line. Its result is part of what
 * is stored (file generations, record ids), and XXH3's output is fixed since xxhash 0.8.0.
 * SPDX-License-Identifier: Apache-2.0 */
#define XXH_INLINE_ALL
#include "core/core.h"

#include <openssl/evp.h>
#include <xxhash.h>

_Static_assert(XXH_VERSION_NUMBER >= 800, "XXH3's output is stable from xxhash 0.8.0 on");

uint64_t core_hash64(const void *bytes, size_t len, uint64_t seed) {
    MUST(bytes != NULL || len == 0);
    return XXH3_64bits_withSeed(bytes, len, seed);
}

void core_sha256(const void *bytes, size_t len, unsigned char out[32]) {
    MUST(bytes != NULL || len == 0);
    unsigned int out_len = 0;
    MUST(EVP_Digest(bytes, len, out, &out_len, EVP_sha256(), NULL) == 1);
    MUST(out_len == 32);
}
