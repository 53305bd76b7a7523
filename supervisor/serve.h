/* supervisor/serve.h: Main: the process people and programs talk to. It reads the configuration, tells the Supervisor what is
 * to run, reports crashes, and answers the command line. No sensor is its child: it may die or be replaced at any time.
 *
 * Methods (docs/reference has them all with members): status, nodes, start, stop, restart, kill {nodes:[words]} · check, deploy
 * {dry_run, nodes} · diag.list, diag.show · netstats, capstats, df · health.all · logs.read {node, file, offset, lines} ·
 * log.level · and the Supervisor's events, passed on, beside its own: kind "crash", "deploy", "disk", "link".
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_SUPERVISOR_SERVE_H
#define TAPLINE_SUPERVISOR_SERVE_H

#include "core/conf.h"
#include "core/health.h"
#include "supervisor/sensors.h"

/* Section `serve:`. */
struct serve_conf {
    char *socket;            /* Main's; default /run/tapline/main.sock */
    char *supervisor_socket; /* default /run/tapline/supervisor.sock */
    char *state;             /* directory of what was deployed and of crash reports; default /var/lib/tapline/serve */
    char *group;  /* whose members may use the sockets; default tapline (ignored where there is no such group) */
    char *listen; /* "127.0.0.1:7700"; NULL: no TCP */
    char *token;  /* secret; required with listen */
    bool starts_supervisor;    /* start one if none answers; default yes (no: the service manager does) */
    bool deploys;              /* deploy by itself when nothing ever was deployed; default yes */
    uint64_t reports_max;      /* crash reports kept; default 20 */
    uint64_t report_bytes_max; /* of one; default 1 MiB */
    char *report_mail;         /* address; by sendmail; NULL: none */
    char *sendmail;            /* default /usr/sbin/sendmail */
    char *report_url;          /* where reports are POSTed as JSON; NULL: nowhere */
    int64_t archive_keep_ns;   /* age at which archived logs that were delivered are deleted; 0: never; default 0 */
    uint64_t free_bytes_min;   /* below it the oldest delivered archived logs go first; 0: never; default 0 */
    int64_t disk_interval_ns;  /* default 1 min */
};
extern const struct core_opt serve_opts[];
extern const size_t serve_opts_len;
void serve_conf_check(const struct serve_conf *conf, const struct core_conf_file *file,
                      const struct core_conf_node *node, struct core_conf_mistakes *mistakes);

/* What Main is given by who knows the other folders. */
struct serve_env {
    const char *path;      /* of tapline.yml */
    const char *version;   /* of the program */
    const char *supervise; /* the Supervisor's program */
    /* Read the file again: conf and sensors get what is new, until release(). */
    enum core_err (*load)(void *ctx, struct serve_conf **conf, struct sensors_conf **sensors,
                          struct core_conf_mistakes *mistakes);
    void (*release)(void *ctx, struct serve_conf *conf, struct sensors_conf *sensors);
    /* Was every byte of this file accepted by the sinks? Anything but a certain yes is no. */
    bool (*is_delivered)(void *ctx, const char *path);
    /* Numbers out of Zeek's telemetry, for netstats: cmd knows the format (cmd/zeek_counts.h). JSON members into out. */
    enum core_err (*netstats)(void *ctx, const struct sensors_node *node, struct core_buf *out, struct core_fail *fail);
    /* node.state of tapline.yml, for df; NULL, or NULL given: not known. Valid until the next load(). */
    const char *(*state)(void *ctx);
    /* Section `health:` and node.name of what load() gave as conf; they live as long as that. */
    const struct core_health_conf *(*health)(void *ctx, const struct serve_conf *conf, const char **node);
    void *ctx;
};
/* Run until SIGTERM or SIGINT (SIGHUP: read the file again and say what a deploy would change). Returns enum core_exit. */
int serve_main(const struct serve_env *env);
/* Method i of those that Main answers, for the reference. False: there are no more. */
CORE_CHECKED bool serve_method_at(size_t i, const char **name, const char **summary);

#endif
