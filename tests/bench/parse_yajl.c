/* parse_yajl.c FILE: what reading a JSON log costs with yajl alone: each line parsed, with callbacks that count and do
 * nothing else. Prints lines and values.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#define BUFFER_BYTES ((size_t)1 << 20)

static unsigned long lines, values;

static int count_null(void *ctx) {
    (void)ctx;
    values++;
    return 1;
}

static int count_bool(void *ctx, int value) {
    (void)value;
    return count_null(ctx);
}

static int count_number(void *ctx, const char *text, size_t len) {
    (void)text;
    (void)len;
    return count_null(ctx);
}

static int count_string(void *ctx, const unsigned char *text, size_t len) {
    (void)text;
    (void)len;
    return count_null(ctx);
}

static const yajl_callbacks calls = {.yajl_null = count_null,
                                     .yajl_boolean = count_bool,
                                     .yajl_number = count_number,
                                     .yajl_string = count_string,
                                     .yajl_map_key = count_string};

int main(int argc, char **argv) {
    FILE *in = argc == 2 ? fopen(argv[1], "rb") : NULL;
    char *buffer = malloc(BUFFER_BYTES);
    yajl_handle handle = yajl_alloc(&calls, NULL, NULL);
    size_t have = 0;
    if (in == NULL || buffer == NULL || handle == NULL || !yajl_config(handle, yajl_allow_multiple_values, 1)) {
        fprintf(stderr, "parse_yajl: cannot read the file\n");
        return 1;
    }
    setvbuf(in, NULL, _IONBF, 0);
    for (size_t got; (got = fread(buffer + have, 1, BUFFER_BYTES - have, in)) > 0;) {
        const char *p = buffer;
        const char *end = buffer + have + got;
        for (const char *newline; (newline = memchr(p, '\n', (size_t)(end - p))) != NULL; p = newline + 1) {
            if (yajl_parse(handle, (const unsigned char *)p, (size_t)(newline + 1 - p)) != yajl_status_ok) {
                fprintf(stderr, "parse_yajl: line %lu is no JSON\n", lines + 1);
                return 1;
            }
            lines++;
        }
        have = (size_t)(end - p);
        memmove(buffer, p, have);
    }
    printf("%lu lines, %lu values\n", lines, values);
    yajl_free(handle);
    fclose(in);
    free(buffer);
    return 0;
}
