/* supervisor/cgroup.c: a cgroup v2 directory for each process, where there is a tree that we may write.
 *
 * What it is for, best first: SIGKILL reaches all that a process has ever started (cgroup.kill, or cgroup.procs again and again
 * on kernels before 5.14); limits of memory and CPU are the kernel's, for all of it together. Each is used where it is there
 * and left where it is not: a tree without controllers (a hybrid machine, where v1 has them) still kills.
 *
 *   <base>/supervisor           we ourselves: v2 lets no processes be beside children with controllers
 *   <base>/processes-ID/NAME    each process
 *
 * <base> is the cgroup that we were started in. A Supervisor that is started from <base>/supervisor (by its own upgrade) finds
 * the same <base>. ID is the state directory's device and inode, so that two Supervisors under one cgroup do not kill each
 * other's processes of the same name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/supervisor_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CGROUP_TEXT_BYTES_MAX 4096
#define CGROUP_KILL_ROUNDS 5 /* without cgroup.kill: what forks while it is being killed is found in the next round */
#define CGROUP_CPU_PERIOD_US 100000

/* ---- small files --------------------------------------------------------------------------------------------------------- */

static bool file_write(const char *dir, const char *file, const char *text) {
    char path[SUPERVISOR_PATH_BYTES_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return false;
    }
    ssize_t wrote = write(fd, text, strlen(text));
    int number = errno;
    close(fd);
    errno = number;
    return wrote >= 0;
}

/* Is word one of those in the file? */
static bool file_has_word(const char *dir, const char *file, const char *word) {
    char path[SUPERVISOR_PATH_BYTES_MAX + 64];
    char found[32];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    FILE *in = fopen(path, "re");
    if (in == NULL) {
        return false;
    }
    bool has = false;
    while (!has && fscanf(in, "%31s", found) == 1) {
        has = strcmp(found, word) == 0;
    }
    fclose(in);
    return has;
}

static bool directory_make(const char *path) {
    return mkdir(path, 0755) == 0 || errno == EEXIST;
}

/* ---- where ---------------------------------------------------------------------------------------------------------------- */

/* The mount point of cgroup v2, and which part of the tree is mounted there. */
static bool mount_find(char *point, char *part) {
    char line[CGROUP_TEXT_BYTES_MAX * 2];
    FILE *in = fopen("/proc/self/mountinfo", "re");
    if (in == NULL) {
        return false;
    }
    bool has = false;
    while (!has && fgets(line, sizeof line, in) != NULL) {
        /* id parent major:minor PART POINT options … - TYPE … */
        has = strstr(line, " - cgroup2 ") != NULL && sscanf(line, "%*s %*s %*s %4095s %4095s", part, point) == 2;
    }
    fclose(in);
    return has;
}

/* "0::/path" of /proc/self/cgroup. */
static bool own_path(char *path) {
    char line[CGROUP_TEXT_BYTES_MAX + 8];
    FILE *in = fopen("/proc/self/cgroup", "re");
    if (in == NULL) {
        return false;
    }
    bool has = false;
    while (!has && fgets(line, sizeof line, in) != NULL) {
        has = sscanf(line, "0::%4095s", path) == 1;
    }
    fclose(in);
    return has;
}

/* The directory of the cgroup that we are in, without "/supervisor" at its end. */
static bool base_find(char *base, bool *is_top) {
    char point[CGROUP_TEXT_BYTES_MAX];
    char part[CGROUP_TEXT_BYTES_MAX];
    char own[CGROUP_TEXT_BYTES_MAX];
    if (!mount_find(point, part) || !own_path(own) || strstr(own, "/..") != NULL) {
        return false;
    }
    const char *below = own;
    size_t part_len = strlen(part);
    if (part_len > 1 && strncmp(own, part, part_len) == 0) {
        below += part_len;
    }
    int len = snprintf(base, SUPERVISOR_PATH_BYTES_MAX, "%s%s", point, strcmp(below, "/") == 0 ? "" : below);
    if (len <= 0 || len >= SUPERVISOR_PATH_BYTES_MAX) {
        return false;
    }
    static const char self[] = "/supervisor";
    size_t base_len = (size_t)len;
    if (base_len > sizeof self && strcmp(base + base_len - (sizeof self - 1), self) == 0) {
        base[base_len - (sizeof self - 1)] = '\0';
    }
    *is_top = strcmp(base, point) == 0 && strcmp(part, "/") == 0;
    return access(base, F_OK) == 0;
}

/* ---- controllers ---------------------------------------------------------------------------------------------------------- */

/* Children of dir get the controller. One at a time: of several in one write all are refused with the first. */
static bool controller_enable(const char *dir, const char *name) {
    char word[16];
    snprintf(word, sizeof word, "+%s", name);
    (void)file_write(dir, "cgroup.subtree_control", word); /* whether it is there is asked below */
    return file_has_word(dir, "cgroup.subtree_control", name);
}

static void controllers_enable(struct supervisor_cgroups *cgroups, const char *base) {
    static const char *const names[] = {"memory", "cpu", "cpuset"};
    bool *const has[] = {&cgroups->has_memory, &cgroups->has_cpu, &cgroups->has_cpuset};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        bool is_passed_on = base == NULL || controller_enable(base, names[i]);
        *has[i] = is_passed_on && controller_enable(cgroups->root, names[i]);
    }
}

/* Our directory below the cgroup that we are in. */
static bool root_make(struct supervisor_cgroups *cgroups, const char *state) {
    char base[SUPERVISOR_PATH_BYTES_MAX];
    char self[SUPERVISOR_PATH_BYTES_MAX + 16];
    struct stat st;
    bool is_top;
    if (stat(state, &st) != 0 || !base_find(base, &is_top)) {
        return false;
    }
    int len = snprintf(cgroups->root, sizeof cgroups->root, "%s/processes-%jx-%jx", base, (uintmax_t)st.st_dev,
                       (uintmax_t)st.st_ino);
    if (len < 0 || (size_t)len >= sizeof cgroups->root || !directory_make(cgroups->root)) {
        return false;
    }
    if (!is_top) {
        char pid[16];
        snprintf(self, sizeof self, "%s/supervisor", base);
        snprintf(pid, sizeof pid, "%d", getpid());
        if (!directory_make(self) || !file_write(self, "cgroup.procs", pid)) {
            core_log(CORE_LEVEL_INFO, "supervise",
                     "cannot move into a cgroup of my own: there will be no limits by cgroup",
                     "cgroup=%s reason=\"%s\"", self, strerror(errno));
        }
    }
    cgroups->is_made = true;
    controllers_enable(cgroups, base);
    return true;
}

void supervisor_cgroups_find(struct supervisor_cgroups *cgroups, const char *wanted, const char *state) {
    MUST(cgroups != NULL);
    MUST(state != NULL);
    *cgroups = (struct supervisor_cgroups){0};
    bool is_there;
    if (wanted != NULL) {
        int len = snprintf(cgroups->root, sizeof cgroups->root, "%s", wanted);
        is_there = len > 0 && (size_t)len < sizeof cgroups->root && directory_make(wanted);
        if (is_there) {
            controllers_enable(cgroups, NULL);
        }
    } else {
        is_there = root_make(cgroups, state);
    }
    char procs[SUPERVISOR_PATH_BYTES_MAX + 16];
    snprintf(procs, sizeof procs, "%s/cgroup.procs", cgroups->root);
    if (!is_there || access(procs, W_OK) != 0) {
        *cgroups = (struct supervisor_cgroups){0};
        core_log(
            CORE_LEVEL_INFO, "supervise",
            "no cgroup v2 to write: what a process leaves behind is found by its environment, memory_max limits the "
            "address space of each process, cpu_max is not kept",
            "cgroup=%s", wanted == NULL ? "own" : wanted);
        return;
    }
    core_log(CORE_LEVEL_INFO, "supervise", "each process gets a cgroup", "cgroup=%s memory_max=%s cpu_max=%s",
             cgroups->root, cgroups->has_memory ? "cgroup" : "address_space", cgroups->has_cpu ? "cgroup" : "not_kept");
}

void supervisor_cgroups_leave(const struct supervisor_cgroups *cgroups) {
    MUST(cgroups != NULL);
    if (cgroups->is_made) {
        (void)rmdir(cgroups->root); /* busy: processes live on, and the next Supervisor finds them there */
    }
}

/* ---- of one process --------------------------------------------------------------------------------------------------------- */

static bool process_path(const struct supervisor_cgroups *cgroups, const char *name,
                         char out[SUPERVISOR_PATH_BYTES_MAX]) {
    int len = snprintf(out, SUPERVISOR_PATH_BYTES_MAX, "%s/%s", cgroups->root, name);
    return len > 0 && len < SUPERVISOR_PATH_BYTES_MAX;
}

static enum core_err limit_set(const char *path, const char *file, const char *text, struct core_fail *fail) {
    return file_write(path, file, text)
               ? CORE_OK
               : core_fail_errno(fail, path, "cannot write %s into %s of its cgroup", text, file);
}

/* "0,2,5" */
static void cpus_write(const struct supervisor_spec *spec, char *out, size_t cap) {
    size_t used = 0;
    for (size_t i = 0; i < spec->cpus_len && used < cap; i++) {
        used += (size_t)snprintf(out + used, cap - used, i == 0 ? "%u" : ",%u", spec->cpus[i]);
    }
}

/* All limits, also those not wanted: the directory may be there from a start with other settings. */
static enum core_err limits_set(const struct supervisor_cgroups *cgroups, const struct supervisor_spec *spec,
                                const char *path, struct core_fail *fail) {
    char text[SUPERVISOR_CPUS_MAX * 6] = "max";
    enum core_err err = CORE_OK;
    if (cgroups->has_memory) {
        if (spec->memory_max_bytes > 0) {
            snprintf(text, sizeof text, "%ju", (uintmax_t)spec->memory_max_bytes);
        }
        err = limit_set(path, "memory.max", text, fail);
        (void)file_write(path, "memory.oom.group", "1"); /* half a sensor is none */
    }
    if (err == CORE_OK && cgroups->has_cpu) {
        snprintf(text, sizeof text, "max %d", CGROUP_CPU_PERIOD_US);
        if (spec->cpu_max_percent > 0) {
            snprintf(text, sizeof text, "%ju %d", (uintmax_t)spec->cpu_max_percent * (CGROUP_CPU_PERIOD_US / 100),
                     CGROUP_CPU_PERIOD_US);
        }
        err = limit_set(path, "cpu.max", text, fail);
    }
    if (err == CORE_OK && cgroups->has_cpuset) {
        snprintf(text, sizeof text, "\n");
        cpus_write(spec, text, sizeof text);
        err = limit_set(path, "cpuset.cpus", text, fail);
    }
    return err;
}

enum core_err supervisor_cgroup_open(const struct supervisor_cgroups *cgroups, const struct supervisor_spec *spec,
                                     int *fd, struct core_fail *fail) {
    MUST(cgroups != NULL);
    MUST(spec != NULL);
    *fd = -1;
    if (cgroups->root[0] == '\0') {
        return CORE_OK;
    }
    char path[SUPERVISOR_PATH_BYTES_MAX];
    if (!process_path(cgroups, spec->name, path)) {
        return core_fail_set(fail, CORE_LIMIT, spec->name, "the path of its cgroup is too long");
    }
    if (!directory_make(path)) {
        return core_fail_errno(fail, path, "cannot make the cgroup of %s", spec->name);
    }
    enum core_err err = limits_set(cgroups, spec, path, fail);
    if (err != CORE_OK) {
        return err;
    }
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *fd >= 0 ? CORE_OK : core_fail_errno(fail, path, "cannot open the cgroup of %s", spec->name);
}

/* For kernels without cgroup.kill. */
static void procs_kill(const char *path) {
    char procs[SUPERVISOR_PATH_BYTES_MAX + 16];
    snprintf(procs, sizeof procs, "%s/cgroup.procs", path);
    bool is_empty = false;
    for (int round = 0; round < CGROUP_KILL_ROUNDS && !is_empty; round++) {
        FILE *in = fopen(procs, "re");
        int pid;
        is_empty = true;
        while (in != NULL && fscanf(in, "%d", &pid) == 1) { // NOLINT(cert-err34-c): the kernel's own digits
            is_empty = pid <= 1 || (kill(pid, SIGKILL) != 0 && is_empty); /* 0: a process of another pid namespace */
        }
        if (in != NULL) {
            fclose(in);
        }
    }
}

void supervisor_cgroup_kill(const struct supervisor_cgroups *cgroups, const char *name) {
    MUST(cgroups != NULL);
    MUST(name != NULL);
    char path[SUPERVISOR_PATH_BYTES_MAX];
    if (cgroups->root[0] == '\0' || !process_path(cgroups, name, path)) {
        return;
    }
    if (!file_write(path, "cgroup.kill", "1") && errno == ENOENT && access(path, F_OK) == 0) {
        procs_kill(path);
    }
}

void supervisor_cgroup_close(const struct supervisor_cgroups *cgroups, const char *name) {
    MUST(cgroups != NULL);
    MUST(name != NULL);
    char path[SUPERVISOR_PATH_BYTES_MAX];
    if (cgroups->root[0] != '\0' && process_path(cgroups, name, path)) {
        (void)rmdir(path); /* busy while the killed are not yet reaped: it is used again, or goes with the next one */
    }
}
