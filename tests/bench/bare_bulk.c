/* tests/bench/bare_bulk.c: how fast does an engine take exactly the feeder's bulks, from a loop that does nothing else?
 *
 *   bare_bulk URL BODIES CONNECTIONS
 *
 * BODIES is what null_engine kept. It is mapped, and each body is posted to URL/_bulk by libcurl as it lies there, over so
 * many kept connections, each with one request at a time; an answer must say that there were no errors. Prints the number of
 * documents. Ends with 0, or with 1 and the reason on stderr. One thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include <curl/curl.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64
#define ANSWER_BYTES_MAX ((size_t)16 << 20)
#define UPLOAD_BYTES (256L << 10) /* as the feeder has it */
#define WAIT_MS 1000
#define PATH "/_bulk?filter_path=errors,items.*.status"

struct connection {
    CURL *curl;
    char *answer;
    size_t len;
};

static const char *at;
static const char *end;
static unsigned long long documents;

static _Noreturn void die(const char *what, const char *why) {
    fprintf(stderr, "bare_bulk: %s: %s\n", what, why);
    exit(1);
}

static size_t take(char *piece, size_t size, size_t count, void *connection_ptr) {
    struct connection *connection = connection_ptr;
    size_t len = size * count;
    if (len > ANSWER_BYTES_MAX - connection->len) {
        return 0;
    }
    memcpy(connection->answer + connection->len, piece, len);
    connection->len += len;
    connection->answer[connection->len] = '\0';
    return len;
}

/* Post the next body. 0: there is none. */
static int next(CURLM *multi, struct connection *connection) {
    uint64_t len;
    if (at == end) {
        return 0;
    }
    memcpy(&len, at, sizeof len);
    at += sizeof len;
    connection->len = 0;
    curl_easy_setopt(connection->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    curl_easy_setopt(connection->curl, CURLOPT_POSTFIELDS, at);
    at += len;
    if (curl_multi_add_handle(multi, connection->curl) != CURLM_OK) {
        die("curl_multi_add_handle", "failed");
    }
    return 1;
}

static void check(const struct connection *connection, CURLcode code) {
    long status = 0;
    curl_easy_getinfo(connection->curl, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK) {
        die("a bulk", curl_easy_strerror(code));
    }
    if (status != 200 || strstr(connection->answer, "\"errors\":false") == NULL) {
        connection->answer[connection->len < 500 ? connection->len : 500] = '\0';
        die("a bulk is refused", connection->answer);
    }
    for (const char *item = strstr(connection->answer, "\"status\""); item != NULL;
         item = strstr(item + 1, "\"status\"")) {
        documents++;
    }
}

static void map(const char *path) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size == 0) {
        die(path, "cannot be read, or is empty");
    }
    at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (at == MAP_FAILED) {
        die(path, "cannot be mapped");
    }
    end = at + st.st_size;
    close(fd);
}

static void post_all(CURLM *multi, struct connection *connections, int len) {
    int busy = 0;
    int running = 0;
    int left = 0;
    for (int i = 0; i < len; i++) {
        busy += next(multi, &connections[i]);
    }
    while (busy > 0) {
        curl_multi_perform(multi, &running);
        for (CURLMsg *said = curl_multi_info_read(multi, &left); said != NULL;
             said = curl_multi_info_read(multi, &left)) {
            struct connection *connection = NULL;
            CURLcode code = said->data.result;
            curl_easy_getinfo(said->easy_handle, CURLINFO_PRIVATE, (char **)&connection);
            curl_multi_remove_handle(multi, connection->curl);
            check(connection, code);
            busy += next(multi, connection) - 1;
        }
        if (busy > 0) {
            curl_multi_poll(multi, NULL, 0, WAIT_MS, NULL);
        }
    }
}

int main(int argc, char **argv) {
    static struct connection connections[CONNECTIONS_MAX];
    char url[500];
    int len = argc == 4 ? atoi(argv[3]) : 0;
    if (len < 1 || len > CONNECTIONS_MAX) {
        fprintf(stderr, "usage: bare_bulk URL BODIES CONNECTIONS\n");
        return 100;
    }
    snprintf(url, sizeof url, "%s" PATH, argv[1]);
    map(argv[2]);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/x-ndjson");
    headers = curl_slist_append(headers, "Expect:");
    for (int i = 0; i < len; i++) {
        CURL *curl = connections[i].curl = curl_easy_init();
        connections[i].answer = malloc(ANSWER_BYTES_MAX + 1);
        if (curl == NULL || connections[i].answer == NULL) {
            die("memory", "there is none");
        }
        curl_easy_setopt(curl, CURLOPT_URL, url);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BYTES);
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, &connections[i]);
        curl_easy_setopt(curl, CURLOPT_PRIVATE, &connections[i]);
    }
    CURLM *multi = curl_multi_init();
    post_all(multi, connections, len);
    printf("%llu\n", documents);
    return 0;
}
