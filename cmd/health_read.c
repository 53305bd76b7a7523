/* cmd/health_read.c: reads health logs: each file by its position, its older one (.1) first when it is seen first, and all
 * new lines sorted by time. A file that was renamed is read to its end before the new one of its name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/health_read.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 128
#define FOLDERS_MAX 32
#define READ_BYTES (256 * CORE_KIB)
#define LINE_BYTES_MAX (64 * CORE_KIB) /* twice what is written */
#define TIME_AT 15                     /* {"@timestamp":" */
#define TIME_LEN 27

struct followed {
    char *path;
    int fd; /* -1: not there now */
    ino_t ino;
    dev_t dev;
    char *rest; /* the last line, not whole yet */
    size_t rest_len;
    bool is_skipping; /* within a line that is too long to be one of ours */
};
struct taken {
    char *text; /* malloc'ed */
    size_t len;
    size_t number; /* for a stable order */
};
struct health_reading {
    char since[TIME_LEN + 1]; /* as lines have it; "" all */
    char *folders[FOLDERS_MAX];
    size_t folders_len;
    struct followed files[FILES_MAX];
    size_t files_len;
    size_t seen; /* files that were ever there */
    struct taken *lines;
    size_t lines_len, lines_cap;
    char *room; /* READ_BYTES */
};

struct health_reading *health_reading_new(int64_t since_ns) {
    struct health_reading *reading = calloc(1, sizeof(*reading));
    MUST(reading != NULL);
    reading->room = malloc(READ_BYTES);
    MUST(reading->room != NULL);
    if (since_ns != INT64_MIN && !core_time_iso(since_ns, reading->since)) {
        reading->since[0] = '\0';
    }
    return reading;
}

/* ---- files ------------------------------------------------------------------------------------------------------------------- */

static void file_add(struct health_reading *reading, const char *path) {
    for (size_t i = 0; i < reading->files_len; i++) {
        if (strcmp(reading->files[i].path, path) == 0) {
            return;
        }
    }
    if (reading->files_len < FILES_MAX) {
        struct followed *file = &reading->files[reading->files_len++];
        *file = (struct followed){.path = strdup(path), .fd = -1, .rest = malloc(LINE_BYTES_MAX)};
        MUST(file->path != NULL && file->rest != NULL);
    }
}

void health_reading_add(struct health_reading *reading, const char *path) {
    struct stat info;
    bool is_folder = stat(path, &info) != 0 || S_ISDIR(info.st_mode);
    if (!is_folder) {
        file_add(reading, path);
    } else if (reading->folders_len < FOLDERS_MAX) {
        reading->folders[reading->folders_len] = strdup(path);
        MUST(reading->folders[reading->folders_len] != NULL);
        reading->folders_len++;
    }
}

static void folder_look(struct health_reading *reading, const char *folder) {
    static const char head[] = "health-";
    static const char tail[] = ".ndjson";
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        return; /* it may come */
    }
    for (const struct dirent *item = readdir(dir); item != NULL; item = readdir(dir)) { // NOLINT(concurrency-mt-unsafe)
        size_t len = strlen(item->d_name);
        bool is_one = len > sizeof head + sizeof tail - 2 && strncmp(item->d_name, head, sizeof head - 1) == 0 &&
                      strcmp(item->d_name + len - (sizeof tail - 1), tail) == 0;
        char *path = NULL;
        if (is_one) {
            MUST(asprintf(&path, "%s/%s", folder, item->d_name) > 0);
            file_add(reading, path);
            free(path);
        }
    }
    (void)closedir(dir);
}

size_t health_reading_files(const struct health_reading *reading) {
    return reading->seen;
}

/* ---- lines ------------------------------------------------------------------------------------------------------------------- */

static void line_take(struct health_reading *reading, const char *text, size_t len) {
    if (len < TIME_AT + TIME_LEN || text[0] != '{' ||
        (reading->since[0] != '\0' && memcmp(text + TIME_AT, reading->since, TIME_LEN) < 0)) {
        return;
    }
    if (reading->lines_len == reading->lines_cap) {
        reading->lines_cap = reading->lines_cap == 0 ? 1024 : 2 * reading->lines_cap;
        reading->lines = realloc(reading->lines, reading->lines_cap * sizeof(*reading->lines));
        MUST(reading->lines != NULL);
    }
    struct taken *taken = &reading->lines[reading->lines_len];
    *taken = (struct taken){.text = malloc(len), .len = len, .number = reading->lines_len};
    MUST(taken->text != NULL);
    memcpy(taken->text, text, len);
    reading->lines_len++;
}

static void bytes_take(struct health_reading *reading, struct followed *file, const char *bytes, size_t len) {
    while (len > 0) {
        const char *end = memchr(bytes, '\n', len);
        size_t part = end == NULL ? len : (size_t)(end - bytes);
        if (file->rest_len + part > LINE_BYTES_MAX) {
            file->is_skipping = true;
        }
        if (!file->is_skipping) {
            memcpy(file->rest + file->rest_len, bytes, part);
            file->rest_len += part;
        }
        if (end == NULL) {
            return;
        }
        if (!file->is_skipping) {
            line_take(reading, file->rest, file->rest_len);
        }
        file->is_skipping = false;
        file->rest_len = 0;
        bytes = end + 1;
        len -= part + 1;
    }
}

static void fd_read(struct health_reading *reading, struct followed *file) {
    ssize_t len;
    while (file->fd >= 0 && (len = read(file->fd, reading->room, READ_BYTES)) > 0) {
        bytes_take(reading, file, reading->room, (size_t)len);
    }
}

static void fd_open(struct health_reading *reading, struct followed *file, const char *path) {
    struct stat info;
    file->fd = open(path, O_RDONLY | O_CLOEXEC);
    file->rest_len = 0;
    file->is_skipping = false;
    if (file->fd >= 0 && fstat(file->fd, &info) == 0) {
        file->ino = info.st_ino;
        file->dev = info.st_dev;
        fd_read(reading, file);
    }
}

static void file_read(struct health_reading *reading, struct followed *file, bool is_new) {
    struct stat info;
    if (is_new) {
        char *older = NULL;
        MUST(asprintf(&older, "%s.1", file->path) > 0);
        fd_open(reading, file, older);
        free(older);
        if (file->fd >= 0) {
            (void)close(file->fd);
        }
        fd_open(reading, file, file->path);
        reading->seen += file->fd >= 0 ? 1 : 0;
        return;
    }
    fd_read(reading, file);
    bool is_there = stat(file->path, &info) == 0;
    if (is_there && (file->fd < 0 || info.st_ino != file->ino || info.st_dev != file->dev)) {
        if (file->fd >= 0) {
            fd_read(reading, file); /* what came between the last look and the renaming */
            (void)close(file->fd);
        }
        fd_open(reading, file, file->path);
    }
}

static int by_time(const void *a, const void *b) {
    const struct taken *left = a;
    const struct taken *right = b;
    int order = memcmp(left->text + TIME_AT, right->text + TIME_AT, TIME_LEN);
    return order != 0 ? order : (left->number > right->number) - (left->number < right->number);
}

void health_read(struct health_reading *reading, void (*on_line)(void *ctx, struct core_span line), void *ctx) {
    for (size_t i = 0; i < reading->folders_len; i++) {
        folder_look(reading, reading->folders[i]);
    }
    for (size_t i = 0; i < reading->files_len; i++) {
        file_read(reading, &reading->files[i], reading->files[i].fd < 0 && reading->files[i].ino == 0);
    }
    if (reading->lines_len > 0) {
        qsort(reading->lines, reading->lines_len, sizeof(*reading->lines), by_time);
    }
    for (size_t i = 0; i < reading->lines_len; i++) {
        on_line(ctx, (struct core_span){.ptr = reading->lines[i].text, .len = reading->lines[i].len});
        free(reading->lines[i].text);
    }
    reading->lines_len = 0;
}

void health_reading_free(struct health_reading *reading) {
    if (reading == NULL) {
        return;
    }
    for (size_t i = 0; i < reading->files_len; i++) {
        if (reading->files[i].fd >= 0) {
            (void)close(reading->files[i].fd);
        }
        free(reading->files[i].path);
        free(reading->files[i].rest);
    }
    for (size_t i = 0; i < reading->folders_len; i++) {
        free(reading->folders[i]);
    }
    free(reading->lines);
    free(reading->room);
    free(reading);
}
