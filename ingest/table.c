/* ingest/table.c: all files, found by inode or by name, and the queues they stand in.
 *
 * Design: two chained hash tables of fixed size and one list; a file is in one queue at most, so the link is its own.
 *
 * Files that are ready to be read stand in two queues, which take turns as long as both have files: live ones, each of which
 * gives a batch in its turn; and the backlog (rotated, compressed, archived, or not written to for ingest.close_after, at
 * least 10 s), where the one last written longest ago is read to its end first. So after an outage what is oldest comes
 * first, and every second batch is of what is written now.
 *
 * Nothing here is kept over a crash. Thread: ingest's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <stdlib.h>

static size_t inode_bucket(dev_t dev, ino_t ino) {
    const uint64_t key[2] = {(uint64_t)dev, (uint64_t)ino};
    return (size_t)(core_hash64(key, sizeof(key), 0) & (INGEST_BUCKETS - 1));
}

static size_t path_bucket(const char *path) {
    return (size_t)(core_hash64(path, strlen(path), 0) & (INGEST_BUCKETS - 1));
}

static void unlink_path(struct ingest *ingest, struct ingest_file *file) {
    struct ingest_file **at = &ingest->by_path[path_bucket(file->path)];
    while (*at != file) {
        MUST(*at != NULL);
        at = &(*at)->by_path_next;
    }
    *at = file->by_path_next;
}

static void link_path(struct ingest *ingest, struct ingest_file *file) {
    struct ingest_file **head = &ingest->by_path[path_bucket(file->path)];
    file->by_path_next = *head;
    *head = file;
}

/* A generation that has no inode (another file has its, or it lives only in a keeper's memory) has ino 0 and is not here. */
static void link_inode(struct ingest *ingest, struct ingest_file *file) {
    if (file->ino != 0) {
        struct ingest_file **head = &ingest->by_inode[inode_bucket(file->dev, file->ino)];
        file->by_inode_next = *head;
        *head = file;
    }
}

static void unlink_inode(struct ingest *ingest, struct ingest_file *file) {
    if (file->ino == 0) {
        return;
    }
    struct ingest_file **at = &ingest->by_inode[inode_bucket(file->dev, file->ino)];
    while (*at != file) {
        MUST(*at != NULL);
        at = &(*at)->by_inode_next;
    }
    *at = file->by_inode_next;
}

void ingest_file_set_inode(struct ingest *ingest, struct ingest_file *file, dev_t dev, ino_t ino) {
    MUST(ingest_file_by_inode(ingest, dev, ino) == NULL);
    unlink_inode(ingest, file);
    file->dev = dev;
    file->ino = ino;
    link_inode(ingest, file);
    ingest->is_dirty = true;
}

void ingest_file_lose_inode(struct ingest *ingest, struct ingest_file *file) {
    MUST(file->source.fd < 0); /* an inode that we hold open is not used again */
    ingest_file_leave_queue(ingest, file);
    ingest_file_set_inode(ingest, file, 0, 0);
    file->born_ns = 0;
}

struct ingest_file *ingest_file_new(struct ingest *ingest, const char *path, dev_t dev, ino_t ino) {
    struct ingest_file *file = calloc(1, sizeof(*file));
    MUST(file != NULL);
    MUST(ingest_file_by_inode(ingest, dev, ino) == NULL);
    file->dev = dev;
    file->ino = ino;
    file->path = ingest_strdup(path);
    file->memory.first_path = ingest_strdup(path);
    file->source.fd = -1;
    file->found_no = ++ingest->found_no;
    link_inode(ingest, file);
    link_path(ingest, file);
    file->next = ingest->files;
    if (file->next != NULL) {
        file->next->prev = file;
    }
    ingest->files = file;
    ingest->files_len++;
    return file;
}

void ingest_file_free(struct ingest *ingest, struct ingest_file *file) {
    MUST(file->stream == NULL);
    MUST(file->queue == INGEST_QUEUE_NONE);
    ingest_file_close(ingest, file);
    unlink_inode(ingest, file);
    unlink_path(ingest, file);
    if (file->prev != NULL) {
        file->prev->next = file->next;
    } else {
        ingest->files = file->next;
    }
    if (file->next != NULL) {
        file->next->prev = file->prev;
    }
    ingest->files_len--;
    ingest_cutter_release(&file->cutter);
    ingest_origin_drop(file->origin);
    free(file->growth);
    free(file->trouble);
    free(file->memory.first_path);
    free(file->rotated_from);
    free(file->path);
    free(file);
}

void ingest_file_set_path(struct ingest *ingest, struct ingest_file *file, const char *path) {
    char *copy = ingest_strdup(path);
    unlink_path(ingest, file);
    free(file->path);
    file->path = copy;
    file->source.where = copy;
    link_path(ingest, file);
    ingest->is_dirty = true;
}

struct ingest_file *ingest_file_by_inode(struct ingest *ingest, dev_t dev, ino_t ino) {
    if (ino == 0) {
        return NULL;
    }
    struct ingest_file *file = ingest->by_inode[inode_bucket(dev, ino)];
    while (file != NULL && (file->dev != dev || file->ino != ino)) {
        file = file->by_inode_next;
    }
    return file;
}

struct ingest_file *ingest_file_by_path(struct ingest *ingest, const char *path) {
    struct ingest_file *file = ingest->by_path[path_bucket(path)];
    while (file != NULL && (file->ino == 0 || strcmp(file->path, path) != 0)) {
        file = file->by_path_next;
    }
    return file;
}

/* ---- queues ----------------------------------------------------------------------------------------------------------------- */

/* Nothing new is written to it: what is in it has waited for a while, or comes from before. */
static bool is_backlog(const struct ingest *ingest, const struct ingest_file *file) {
    const int64_t close_after = ingest->conf.close_after_ns;
    const int64_t age = core_now_ns() - file->mtime_ns;
    return file->is_gz || file->is_archived || file->is_unlinked || file->rotated_from != NULL ||
           age >= (close_after > INGEST_LIVE_NS ? close_after : INGEST_LIVE_NS);
}

static bool is_older(const struct ingest_file *a, const struct ingest_file *b) {
    return a->mtime_ns != b->mtime_ns ? a->mtime_ns < b->mtime_ns : strcmp(a->path, b->path) < 0;
}

static struct ingest_file_queue *queue_of(struct ingest *ingest, enum ingest_queue_id queue) {
    switch (queue) {
    case INGEST_QUEUE_READY:
        return &ingest->ready;
    case INGEST_QUEUE_LINGER:
        return &ingest->linger;
    case INGEST_QUEUE_GZ:
        return &ingest->gz_wait;
    case INGEST_QUEUE_NONE:
        break;
    }
    MUST(!"a queue");
    return NULL;
}

/* Behind all that are older: the oldest stays at the head until it is read to its end. */
static void insert_old(struct ingest_file_queue *queue, struct ingest_file *file) {
    struct ingest_file **at = &queue->head;
    if (queue->tail != NULL && !is_older(file, queue->tail)) {
        at = &queue->tail->queue_next;
    }
    while (*at != NULL && !is_older(file, *at)) {
        at = &(*at)->queue_next;
    }
    file->queue_next = *at;
    *at = file;
    if (file->queue_next == NULL) {
        queue->tail = file;
    }
    queue->len++;
}

void ingest_file_queue(struct ingest *ingest, struct ingest_file *file, enum ingest_queue_id id) {
    MUST(file->queue == INGEST_QUEUE_NONE);
    MUST(!file->awaits_drain); /* it is queued when its stream's batches are back */
    struct ingest_file_queue *queue = queue_of(ingest, id);
    file->queue = id;
    file->queue_next = NULL;
    if (id == INGEST_QUEUE_READY && is_backlog(ingest, file)) {
        insert_old(&ingest->backlog, file);
        return;
    }
    if (queue->tail == NULL) {
        queue->head = file;
    } else {
        queue->tail->queue_next = file;
    }
    queue->tail = file;
    queue->len++;
}

bool ingest_files_wait(const struct ingest *ingest) {
    return ingest->ready.head != NULL || ingest->backlog.head != NULL;
}

struct ingest_file *ingest_file_unqueue(struct ingest *ingest, enum ingest_queue_id id) {
    struct ingest_file_queue *queue = queue_of(ingest, id);
    if (id == INGEST_QUEUE_READY && ingest->backlog.head != NULL && (ingest->is_backlog_next || queue->head == NULL)) {
        queue = &ingest->backlog;
    }
    struct ingest_file *file = queue->head;
    if (file == NULL) {
        return NULL;
    }
    MUST(file->queue == id);
    if (id == INGEST_QUEUE_READY) {
        ingest->is_backlog_next = queue == &ingest->ready;
    }
    queue->head = file->queue_next;
    if (queue->head == NULL) {
        queue->tail = NULL;
    }
    queue->len--;
    file->queue = INGEST_QUEUE_NONE;
    file->queue_next = NULL;
    return file;
}

void ingest_file_leave_queue(struct ingest *ingest, struct ingest_file *file) {
    struct ingest_file_queue *const queues[] = {&ingest->ready, &ingest->backlog, &ingest->linger, &ingest->gz_wait};
    for (size_t i = 0; file->queue != INGEST_QUEUE_NONE && i < sizeof(queues) / sizeof(queues[0]); i++) {
        struct ingest_file *before = NULL;
        struct ingest_file *at = queues[i]->head;
        for (; at != NULL && at != file; at = at->queue_next) {
            before = at;
        }
        if (at == NULL) {
            continue;
        }
        *(before == NULL ? &queues[i]->head : &before->queue_next) = file->queue_next;
        queues[i]->tail = file->queue_next == NULL ? before : queues[i]->tail;
        queues[i]->len--;
        file->queue = INGEST_QUEUE_NONE;
        file->queue_next = NULL;
    }
    MUST(file->queue == INGEST_QUEUE_NONE);
}
