/* core/notify.c: what a service manager gets, over sockets that are files and sockets that are names.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/notify.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static int manager(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    memcpy(address.sun_path, path, len);
    if (path[0] == '@') {
        address.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(
        bind(fd, (const struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", path, 1), 0);
    return fd;
}

static void says(const char *path) {
    char got[64] = "";
    int fd = manager(path);
    assert_true(core_notify("READY=1\nSTATUS=x"));
    assert_int_equal(recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT), 16);
    assert_string_equal(got, "READY=1\nSTATUS=x");
    close(fd);
    assert_false(core_notify("READY=1")); /* nobody there any more, and no harm */
}

static void test_file_and_name(void **state) {
    char path[64];
    (void)state;
    (void)snprintf(path, sizeof(path), "/tmp/tapline-notify-%d", (int)getpid());
    says(path);
    (void)unlink(path);
    (void)snprintf(path, sizeof(path), "@tapline-notify-%d", (int)getpid());
    says(path);
}

static void test_nobody_wants_to_know(void **state) {
    (void)state;
    assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
    assert_false(core_notify("READY=1"));
    static const char *const wrong[] = {"", "/", "relative", "vsock:2:3"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(setenv("NOTIFY_SOCKET", wrong[i], 1), 0);
        assert_false(core_notify("READY=1"));
    }
    char path[200];
    memset(path, 'a', sizeof(path));
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(setenv("NOTIFY_SOCKET", path, 1), 0);
    assert_false(core_notify("READY=1"));
}

/* A manager that does not read must not stop us. */
static void test_full(void **state) {
    (void)state;
    char path[64];
    (void)snprintf(path, sizeof(path), "@tapline-notify-full-%d", (int)getpid());
    int fd = manager(path);
    int sent = 0;
    while (sent < 100000 && core_notify("WATCHDOG=1")) {
        sent++;
    }
    assert_in_range(sent, 1, 99999);
    close(fd);
}

static void test_watchdog(void **state) {
    (void)state;
    char pid[32];
    (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
    assert_int_equal(unsetenv("WATCHDOG_USEC"), 0);
    assert_int_equal(unsetenv("WATCHDOG_PID"), 0);
    assert_int_equal(core_notify_watchdog_ns(), 0);
    assert_int_equal(setenv("WATCHDOG_USEC", "30000000", 1), 0);
    assert_int_equal(core_notify_watchdog_ns(), 30 * CORE_NS_PER_S);
    assert_int_equal(setenv("WATCHDOG_PID", pid, 1), 0);
    assert_int_equal(core_notify_watchdog_ns(), 30 * CORE_NS_PER_S);
    assert_int_equal(setenv("WATCHDOG_PID", "1", 1), 0); /* somebody else is meant */
    assert_int_equal(core_notify_watchdog_ns(), 0);
    assert_int_equal(unsetenv("WATCHDOG_PID"), 0);
    static const char *const wrong[] = {"", "x", "-5", "0", "12x", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(setenv("WATCHDOG_USEC", wrong[i], 1), 0);
        assert_int_equal(core_notify_watchdog_ns(), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_and_name),
        cmocka_unit_test(test_nobody_wants_to_know),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_watchdog),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
