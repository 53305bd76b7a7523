/* core/hash64.c: the one wrapper of xxhash (XXH3, for identities). A file of its own, so that a small program that only needs
 * this does not get libcrypto with it.
 *
 * XXH3 is inlined from the header: the call would cost more than the hash of a short line. Its result is part of what
 * is stored (file generations, record ids), and XXH3's output is fixed since xxhash 0.8.0.
 * SPDX-License-Identifier: Apache-2.0 */
#define XXH_INLINE_ALL
#include "core/core.h"

#include <xxhash.h>

_Static_assert(XXH_VERSION_NUMBER >= 800, "XXH3's output is stable from xxhash 0.8.0 on");

uint64_t core_hash64(const void *bytes, size_t len, uint64_t seed) {
    MUST(bytes != NULL || len == 0);
    return XXH3_64bits_withSeed(bytes, len, seed);
}
