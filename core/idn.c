/* core/idn.c: wraps libidn2.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/idn.h"

#include <idn2.h>

bool core_idn_ascii(struct core_span name, char *out, size_t out_max, size_t *len) {
    char text[CORE_IDN_BYTES_MAX + 1];
    uint8_t *ascii = NULL;
    bool is_name = false;
    if (name.len == 0 || name.len > CORE_IDN_BYTES_MAX || memchr(name.ptr, '\0', name.len) != NULL) {
        return false;
    }
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    if (idn2_lookup_u8((const uint8_t *)text, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) == IDN2_OK) {
        *len = strlen((const char *)ascii);
        is_name = *len > 0 && *len <= out_max;
        if (is_name) {
            memcpy(out, ascii, *len);
        }
    }
    idn2_free(ascii); /* takes NULL */
    return is_name;
}
