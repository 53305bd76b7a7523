/* tests/bench/bare_producer.c: how fast can librdkafka be on this machine with exactly tapline's output?
 *
 *   bare_producer capture BROKERS TOPIC FILE [KEY=VALUE…]   keep a topic's records (key, header, document) in FILE
 *   bare_producer count   BROKERS TOPIC      [KEY=VALUE…]   how many records there are, and how many different ones, as
 *                                                           a reader sees them who waits for commits
 *   bare_producer produce BROKERS TOPIC FILE [KEY=VALUE…]   produce them again, in the order of the source, and wait
 *                                                           until the broker has accepted every one
 *
 * FILE is a run of frames: document length, key length (both 32 bits, this machine's order), the 24 bytes of the header
 * `tapline`, key, document. It is written in order of the header's start offset, which is the order in which tapline
 * produced them. `produce` maps the file, hands out payloads by reference and does nothing else: no reading of logs, no
 * JSON, no checkpoint. KEY=VALUE are librdkafka's properties; those that make delivery safe are set here, as tapline
 * sets them. Ends with 0, or with 1 and the reason on stderr. One thread of ours; librdkafka has its own.
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_NAME "tapline"
#define HEADER_BYTES 24
#define IDLE_MS_MAX 30000 /* reading: no end of a partition for so long, and something is wrong */
#define METADATA_MS_MAX 10000
#define POLL_EVERY 1000 /* produce: serve delivery reports once in so many records */

struct frame {
    uint32_t doc_len;
    uint32_t key_len;
    unsigned char header[HEADER_BYTES];
};

struct kept {
    uint64_t start; /* from the header: the record's place in its source */
    size_t at;      /* of its frame in the store */
};

struct store {
    char *bytes;
    size_t len;
    size_t cap;
    struct kept *kept;
    size_t kept_len;
    size_t kept_cap;
};

static _Noreturn void die(const char *what, const char *why) {
    fprintf(stderr, "bare_producer: %s: %s\n", what, why);
    exit(1);
}

static void *grow(void *old, size_t *cap, size_t need, size_t item_bytes) {
    if (need <= *cap) {
        return old;
    }
    *cap = need * 2;
    void *grown = realloc(old, *cap * item_bytes);
    if (grown == NULL) {
        die("realloc", "out of memory");
    }
    return grown;
}

static void set(rd_kafka_conf_t *conf, const char *key, const char *value) {
    char why[512];
    if (rd_kafka_conf_set(conf, key, value, why, sizeof why) != RD_KAFKA_CONF_OK) {
        die(key, why);
    }
}

static rd_kafka_conf_t *conf_of(const char *brokers, char **properties) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", brokers);
    for (; *properties != NULL; properties++) {
        char *equals = strchr(*properties, '=');
        if (equals == NULL) {
            die(*properties, "want KEY=VALUE");
        }
        *equals = '\0';
        set(conf, *properties, equals + 1);
        *equals = '=';
    }
    return conf;
}

static rd_kafka_t *client(rd_kafka_type_t type, rd_kafka_conf_t *conf) {
    char why[512];
    rd_kafka_t *kafka = rd_kafka_new(type, conf, why, sizeof why);
    if (kafka == NULL) {
        die("rd_kafka_new", why);
    }
    return kafka;
}

/* ---- capture, count ---- */

static void keep(struct store *store, const rd_kafka_message_t *message, int has_bytes) {
    rd_kafka_headers_t *headers;
    const void *header;
    size_t header_len;
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        rd_kafka_header_get_last(headers, HEADER_NAME, &header, &header_len) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        header_len != HEADER_BYTES) {
        die("capture", "a record without tapline's header");
    }
    struct frame frame = {.doc_len = (uint32_t)message->len, .key_len = (uint32_t)message->key_len};
    memcpy(frame.header, header, HEADER_BYTES);
    uint64_t start = 0;
    for (int i = 8; i < 16; i++) {
        start = start << 8 | frame.header[i];
    }
    store->kept = grow(store->kept, &store->kept_cap, store->kept_len + 1, sizeof *store->kept);
    store->kept[store->kept_len++] = (struct kept){.start = start, .at = store->len};
    if (!has_bytes) {
        return;
    }
    size_t frame_bytes = sizeof frame + message->key_len + message->len;
    store->bytes = grow(store->bytes, &store->cap, store->len + frame_bytes, 1);
    char *at = store->bytes + store->len;
    memcpy(at, &frame, sizeof frame);
    memcpy(at + sizeof frame, message->key, message->key_len);
    memcpy(at + sizeof frame + message->key_len, message->payload, message->len);
    store->len += frame_bytes;
}

static int by_start(const void *a, const void *b) {
    const struct kept *left = a;
    const struct kept *right = b;
    return (left->start > right->start) - (left->start < right->start);
}

/* Every record of the topic, of one source, in the source's order. */
static void store_read(struct store *store, const char *brokers, const char *topic, char **properties, int has_bytes) {
    rd_kafka_conf_t *conf = conf_of(brokers, properties);
    set(conf, "group.id", "bare_producer");
    set(conf, "enable.auto.commit", "false");
    set(conf, "enable.partition.eof", "true");
    set(conf, "isolation.level", "read_committed");
    rd_kafka_t *kafka = client(RD_KAFKA_CONSUMER, conf);
    rd_kafka_poll_set_consumer(kafka);
    rd_kafka_topic_t *handle = rd_kafka_topic_new(kafka, topic, NULL);
    const struct rd_kafka_metadata *metadata;
    if (rd_kafka_metadata(kafka, 0, handle, &metadata, METADATA_MS_MAX) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        metadata->topic_cnt != 1 || metadata->topics[0].partition_cnt == 0) {
        die(topic, "the broker does not know it");
    }
    int open_partitions = metadata->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_partition_list_t *partitions = rd_kafka_topic_partition_list_new(open_partitions);
    for (int i = 0; i < open_partitions; i++) {
        rd_kafka_topic_partition_list_add(partitions, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    if (rd_kafka_assign(kafka, partitions) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        die(topic, "cannot be assigned");
    }
    while (open_partitions > 0) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(kafka, IDLE_MS_MAX);
        if (message == NULL) {
            die(topic, "no end of it");
        }
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            keep(store, message, has_bytes);
        } else if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            open_partitions--;
        } else {
            die(topic, rd_kafka_message_errstr(message));
        }
        rd_kafka_message_destroy(message);
    }
    rd_kafka_topic_partition_list_destroy(partitions);
    rd_kafka_topic_destroy(handle);
    rd_kafka_consumer_close(kafka);
    rd_kafka_destroy(kafka);
    if (store->kept_len > 0) {
        qsort(store->kept, store->kept_len, sizeof *store->kept, by_start);
    }
}

static void store_write(const struct store *store, const char *path) {
    FILE *out = fopen(path, "w");
    if (out == NULL) {
        die(path, "cannot be written");
    }
    for (size_t i = 0; i < store->kept_len; i++) {
        const char *at = store->bytes + store->kept[i].at;
        struct frame frame;
        memcpy(&frame, at, sizeof frame);
        size_t frame_bytes = sizeof frame + frame.key_len + frame.doc_len;
        if (fwrite(at, 1, frame_bytes, out) != frame_bytes) {
            die(path, "short write");
        }
    }
    if (fclose(out) != 0) {
        die(path, "short write");
    }
}

static int capture(const char *brokers, const char *topic, const char *path, char **properties) {
    struct store store = {0};
    store_read(&store, brokers, topic, properties, 1);
    store_write(&store, path);
    printf("%zu\n", store.kept_len);
    free(store.kept);
    free(store.bytes);
    return 0;
}

static int count(const char *brokers, const char *topic, char **properties) {
    struct store store = {0};
    store_read(&store, brokers, topic, properties, 0);
    size_t different = store.kept_len > 0 ? 1 : 0;
    for (size_t i = 1; i < store.kept_len; i++) {
        different += store.kept[i].start != store.kept[i - 1].start ? 1 : 0;
    }
    printf("%zu %zu\n", store.kept_len, different);
    free(store.kept);
    return 0;
}

/* ---- produce ---- */

struct reports {
    size_t accepted;
};

static void on_report(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *opaque) {
    (void)kafka;
    struct reports *reports = opaque;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        die("delivery", rd_kafka_err2str(message->err));
    }
    reports->accepted++;
}

static void produce_one(rd_kafka_t *kafka, rd_kafka_topic_t *topic, const struct frame *frame, const char *key) {
    for (;;) {
        rd_kafka_resp_err_t err =
            rd_kafka_producev(kafka, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(RD_KAFKA_PARTITION_UA),
                              RD_KAFKA_V_MSGFLAGS(0), RD_KAFKA_V_KEY(key, frame->key_len),
                              RD_KAFKA_V_VALUE((char *)(uintptr_t)(key + frame->key_len), frame->doc_len),
                              RD_KAFKA_V_HEADER(HEADER_NAME, frame->header, HEADER_BYTES), RD_KAFKA_V_END);
        if (err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            return;
        }
        if (err != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            die("produce", rd_kafka_err2str(err));
        }
        rd_kafka_poll(kafka, 10);
    }
}

static int produce(const char *brokers, const char *topic_name, const char *path, char **properties) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size == 0) {
        die(path, "cannot be read, or is empty");
    }
    size_t len = (size_t)st.st_size;
    char *bytes = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (bytes == MAP_FAILED) {
        die(path, "cannot be mapped");
    }
    rd_kafka_conf_t *conf = conf_of(brokers, properties);
    set(conf, "enable.idempotence", "true");
    set(conf, "acks", "all");
    set(conf, "message.timeout.ms", "0");
    struct reports reports = {0};
    rd_kafka_conf_set_opaque(conf, &reports);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    rd_kafka_t *kafka = client(RD_KAFKA_PRODUCER, conf);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(kafka, topic_name, NULL);
    size_t given = 0;
    for (size_t at = 0; at < len; given++) {
        struct frame frame;
        memcpy(&frame, bytes + at, sizeof frame);
        produce_one(kafka, topic, &frame, bytes + at + sizeof frame);
        at += sizeof frame + frame.key_len + frame.doc_len;
        if (given % POLL_EVERY == 0) {
            rd_kafka_poll(kafka, 0);
        }
    }
    while (reports.accepted < given) {
        rd_kafka_flush(kafka, 1000);
    }
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(kafka);
    munmap(bytes, len);
    close(fd);
    printf("%zu\n", given);
    return 0;
}

int main(int argc, char **argv) {
    if (argc >= 5 && strcmp(argv[1], "capture") == 0) {
        return capture(argv[2], argv[3], argv[4], argv + 5);
    }
    if (argc >= 4 && strcmp(argv[1], "count") == 0) {
        return count(argv[2], argv[3], argv + 4);
    }
    if (argc >= 5 && strcmp(argv[1], "produce") == 0) {
        return produce(argv[2], argv[3], argv[4], argv + 5);
    }
    fprintf(stderr, "usage: bare_producer capture|produce BROKERS TOPIC FILE [KEY=VALUE...], or count BROKERS TOPIC\n");
    return 100;
}
