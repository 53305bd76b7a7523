/* tests/fuzz/fuzz_conf.c: any bytes as a config file: read, or refused with a place and a reason.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/conf.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    struct core_fail fail = {0};
    struct core_conf_file *file = NULL;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    MUST(fd >= 0);
    MUST(write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    enum core_err err = core_conf_open(&file, path, &fail);
    if (err == CORE_OK) {
        (void)core_conf_get(core_conf_root(file), "inputs");
    } else {
        MUST(fail.where[0] != '\0');
        MUST(fail.text[0] != '\0');
    }
    core_conf_close(file);
    MUST(close(fd) == 0);
    return 0;
}
