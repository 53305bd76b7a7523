/* supervisor/zeekctl_options.c: what becomes of each option of zeekctl.cfg.
 *
 * A row each: the default that zeekctl has, and, where tapline does nothing about an option, why, or what to say instead. Such a
 * note is a warning only if the file says something else than the default: a site that has changed nothing reads nothing. Options
 * that stand for a variable of Zeek become a redef, but only if the file has them: Zeek has its own defaults.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/sensors_internal.h"

#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define VALUE_BYTES_MAX ((size_t)8192)
#define DEPTH_MAX 8 /* of ${…} in ${…} */
#define NUMBER_DIGITS_MAX 12

enum kind {
    USED,    /* by zeekctl_settings(), zeekctl_nodes(), or by ${…} in others */
    STRING,  /* redef variable = "value" */
    COUNT,   /* redef variable = value */
    SECONDS, /* redef variable = value secs */
    NOT_USED /* see note */
};

struct option {
    const char *name;
    const char *def;
    enum kind kind;
    const char *text; /* of Zeek's variable, or the note */
};

#define NO_CRON "nothing has to be run from cron"
#define NO_MAIL "tapline mails crash reports only: serve.report_mail"
#define NO_STATS "tapline counts for itself: tapline netstats, tapline status --long"
#define NO_ARCHIVER "rotated logs are renamed into sensors.archive as they are, and nothing is run on them"
#define NO_SPOOL "nodes run below sensors.directory"

/* clang-format off */
static const struct option options[] = {
    {"BinDir", "${ZeekBase}/bin", USED, NULL},
    {"BrokerDBDir", "${SpoolDir}/brokerstore", STRING, "Broker::table_store_db_directory"},
    {"CapstatsPath", "${BinDir}/capstats", NOT_USED, "tapline capstats reads the counters of the interface"},
    {"CfgDir", "", USED, NULL},
    {"ClusterBackend", "broker", USED, NULL},
    {"ClusterTopicSeparator", "", NOT_USED, "it is for zeekctl's own way to talk to Zeek"},
    {"CommTimeout", "10", NOT_USED, "it is for zeekctl's own way to talk to Zeek"},
    {"CommandTimeout", "60", NOT_USED, "no commands are run on other hosts"},
    {"CompressCmd", "gzip", NOT_USED, NO_ARCHIVER},
    {"CompressExtension", "gz", USED, NULL},
    {"CompressLogs", "1", NOT_USED, NO_ARCHIVER},
    {"CompressLogsInFlight", "0", USED, NULL},
    {"ControlTopic", "zeek/control", NOT_USED, "it is for zeekctl's own way to talk to Zeek"},
    {"CrashExpireInterval", "0", NOT_USED, "crash reports are bounded: serve.reports_max"},
    {"CronCmd", "", NOT_USED, NO_CRON},
    {"Debug", "0", NOT_USED, "tapline serve has --log-level"},
    {"DebugLog", "${SpoolDir}/debug.log", NOT_USED, "tapline serve has --log-level"},
    {"DefaultStoreDir", "${SpoolDir}/stores", STRING, "Cluster::default_store_dir"},
    {"Env_Vars", "", USED, NULL},
    {"FileExtractDir", "${SpoolDir}/extract_files", USED, NULL},
    {"HaveNFS", "0", NOT_USED, "all nodes are on this host"},
    {"HelperDir", "${ZeekBase}/share/zeekctl/scripts/helpers", NOT_USED, "zeekctl's scripts are not run"},
    {"KeepLogs", "", NOT_USED, "only delivered logs expire: serve.archive_keep"},
    {"LibDir", "${ZeekBase}/lib", USED, NULL},
    {"LibDir64", "${ZeekBase}/lib64", USED, NULL},
    {"LibDirInternal", "${ZeekBase}/lib/zeekctl", USED, NULL},
    {"LocalNetsCfg", "${CfgDir}/networks.cfg", USED, NULL},
    {"LockFile", "${SpoolDir}/lock", NOT_USED, "the Supervisor has a lock of its own"},
    {"LogDir", "${ZeekBase}/logs", NOT_USED, "rotated logs go to sensors.archive: give that this value"},
    {"LogExpireInterval", "0", NOT_USED, "say serve.archive_keep: logs expire when they are delivered"},
    {"LogRotationInterval", "3600", USED, NULL},
    {"MailAlarmsInterval", "86400", SECONDS, "Log::default_mail_alarms_interval"},
    {"MailAlarmsTo", "", STRING, "Notice::mail_dest_pretty_printed"},
    {"MailArchiveLogFail", "1", NOT_USED, NO_MAIL},
    {"MailConnectionSummary", "1", NOT_USED, NO_MAIL},
    {"MailFrom", "", STRING, "Notice::mail_from"},
    {"MailHostUpDown", "1", NOT_USED, NO_MAIL},
    {"MailReceivingPackets", "1", NOT_USED, NO_MAIL},
    {"MailReplyTo", "", NOT_USED, NO_MAIL},
    {"MailSubjectPrefix", "[Zeek]", STRING, "Notice::mail_subject_prefix"},
    {"MailTo", "", STRING, "Notice::mail_dest"},
    {"MakeArchiveName", "${ZeekBase}/share/zeekctl/scripts/make-archive-name", NOT_USED, NO_ARCHIVER},
    {"MemLimit", "unlimited", USED, NULL},
    {"MetricsAddress", "", STRING, "Telemetry::metrics_address"},
    {"MetricsPort", "9991", USED, NULL},
    {"MinDiskSpace", "5", NOT_USED, "say serve.free_bytes"},
    {"NodeCfg", "${CfgDir}/node.cfg", USED, NULL},
    {"PFRINGClusterID", "21", USED, NULL},
    {"PFRINGClusterType", "4-tuple", USED, NULL},
    {"PFRINGFirstAppInstance", "0", USED, NULL},
    {"PcapBufsize", "128", COUNT, "Pcap::bufsize"},
    {"PcapSnaplen", "9216", COUNT, "Pcap::snaplen"},
    {"PluginDir", "${LibDirInternal}/plugins", NOT_USED, "zeekctl's plugins are not run"},
    {"PluginZeekDir", "${ZeekBase}/lib/zeek/plugins", NOT_USED, "zeekctl's plugins are not run"},
    {"PolicyDir", "${ZeekBase}/share/zeek", USED, NULL},
    {"PolicyDirSiteInstall", "${SpoolDir}/installed-scripts-do-not-touch/site", NOT_USED, "scripts are not copied"},
    {"PolicyDirSiteInstallAuto", "${SpoolDir}/installed-scripts-do-not-touch/auto", NOT_USED, "scripts are not copied"},
    {"PostProcDir", "${ZeekBase}/share/zeekctl/scripts/postprocessors", NOT_USED, NO_ARCHIVER},
    {"Prefixes", "local", USED, NULL},
    {"PrivateAddressSpaceIsLocal", "1", USED, NULL},
    {"SaveTraces", "0", NOT_USED, "no traces are written; add `-w trace.pcap` to ZeekArgs for a while"},
    {"ScriptsDir", "${ZeekBase}/share/zeekctl/scripts", NOT_USED, "zeekctl's scripts are not run"},
    {"SendMail", "/usr/sbin/sendmail", STRING, "Notice::sendmail"},
    {"SitePluginPath", "", NOT_USED, "zeekctl's plugins are not run"},
    {"SitePolicyPath", "${PolicyDir}/site", USED, NULL},
    {"SitePolicyScripts", "local.zeek", USED, NULL},
    {"SpoolDir", "${ZeekBase}/spool", NOT_USED, NO_SPOOL},
    {"StateFile", "${SpoolDir}/state.db", NOT_USED, "tapline keeps its state in serve.state"},
    {"StaticDir", "${ZeekBase}/share/zeekctl", USED, NULL},
    {"StatsDir", "${LogDir}/stats", NOT_USED, NO_STATS},
    {"StatsLog", "${SpoolDir}/stats.log", NOT_USED, NO_STATS},
    {"StatsLogEnable", "1", NOT_USED, NO_STATS},
    {"StatsLogExpireInterval", "0", NOT_USED, NO_STATS},
    {"StatusCmdShowAll", "0", NOT_USED, "tapline status --long shows all"},
    {"StopTimeout", "60", USED, NULL},
    {"StopWait", "0", NOT_USED, "tapline stop waits until the node is down"},
    {"TimeFmt", "%d %b %H:%M:%S", NOT_USED, "times are shown as everywhere in tapline"},
    {"TimeMachineHost", "", USED, NULL},
    {"TimeMachinePort", "47757/tcp", USED, NULL},
    {"TmpDir", "${SpoolDir}/tmp", NOT_USED, NO_SPOOL},
    {"TmpExecDir", "${SpoolDir}/tmp", NOT_USED, NO_SPOOL},
    {"TraceSummary", "${BinDir}/trace-summary", NOT_USED, NO_MAIL},
    {"Zeek", "${BinDir}/zeek", USED, NULL},
    {"ZeekArgs", "", USED, NULL},
    {"ZeekBase", "", USED, NULL},
    {"ZeekPort", "47760", USED, NULL},
    {"ZeekScriptDir", "${ZeekBase}/share/zeek", USED, NULL},
    {"cluster_backend_zeromq.disable_unencrypted_warning", "0", USED, NULL},
    {"cluster_backend_zeromq.use_curve_encryption", "auto", NOT_USED, "all nodes are on this host and talk over 127.0.0.1"},
    {"lb_custom.InterfacePrefix", "", USED, NULL},
    {"lb_custom.InterfaceSuffix", "", USED, NULL},
};
/* clang-format on */
#define OPTIONS_LEN (sizeof(options) / sizeof(options[0]))

/* ---- values -------------------------------------------------------------------------------------------------------------- */

static bool is_key(struct core_span key, const char *name) {
    return key.len == strlen(name) && strncasecmp(key.ptr, name, key.len) == 0;
}

static const struct option *option_find(struct core_span key) {
    for (size_t i = 0; i < OPTIONS_LEN; i++) {
        if (is_key(key, options[i].name)) {
            return &options[i];
        }
    }
    return NULL;
}

static const struct zeekctl_item *item_find(const struct zeekctl_file *file, struct core_span key) {
    const struct zeekctl_item *found = NULL;
    for (size_t i = 0; i < file->len; i++) {
        if (key.len == file->items[i].key.len && strncasecmp(key.ptr, file->items[i].key.ptr, key.len) == 0) {
            found = &file->items[i]; /* the last one counts */
        }
    }
    return found;
}

/* What an option is without a word in the file, ${…} not yet replaced. */
static struct core_span default_of(const struct sensors_maker *maker, struct core_span key) {
    const struct option *option = option_find(key);
    const char *directory = maker->conf->zeekctl;
    if (is_key(key, "CfgDir") && directory != NULL) {
        return core_span_of(directory);
    }
    if (is_key(key, "ZeekBase") && directory != NULL) { /* /opt/zeek/etc is in /opt/zeek */
        size_t len = strlen(directory);
        while (len > 1 && directory[len - 1] == '/') {
            len--;
        }
        while (len > 0 && directory[len - 1] != '/') {
            len--;
        }
        return (struct core_span){directory, len > 1 ? len - 1 : 0};
    }
    return option == NULL ? CORE_SPAN("") : core_span_of(option->def);
}

static void value_put(struct sensors_maker *maker, const struct zeekctl_file *file, struct core_span text,
                      struct core_buf *out, int depth) {
    for (size_t i = 0; i < text.len; i++) {
        struct core_span rest = {text.ptr + i, text.len - i};
        const char *end = core_span_chr(rest, '}');
        if (rest.len < 4 || rest.ptr[0] != '$' || rest.ptr[1] != '{' || end == NULL) {
            core_buf_char(out, rest.ptr[0]);
            continue;
        }
        struct core_span inner = {rest.ptr + 2, (size_t)(end - rest.ptr) - 2};
        const char *colon = core_span_chr(inner, ':'); /* ${key:what if there is none} */
        struct core_span key = inner;
        struct core_span other = CORE_SPAN("");
        if (colon != NULL) {
            key.len = (size_t)(colon - inner.ptr);
            other = (struct core_span){colon + 1, inner.len - key.len - 1};
        }
        const struct zeekctl_item *item = item_find(file, key);
        struct core_span value = item != NULL ? item->value : default_of(maker, key);
        if (item == NULL && option_find(key) == NULL) {
            value = other;
        }
        if (depth < DEPTH_MAX) {
            value_put(maker, file, value, out, depth + 1);
        }
        i += (size_t)(end - rest.ptr);
    }
}

/* With ${…} replaced. */
static struct core_span value_of(struct sensors_maker *maker, const struct zeekctl_file *file, struct core_span text) {
    char bytes[VALUE_BYTES_MAX];
    struct core_buf out = {.start = bytes, .pos = bytes, .end = bytes + sizeof(bytes)};
    if (core_span_chr(text, '$') == NULL) {
        return text;
    }
    value_put(maker, file, text, &out, 0);
    struct core_span written = core_buf_written(&out);
    const char *copied = sensors_copy(maker, written);
    return copied == NULL ? CORE_SPAN("") : (struct core_span){copied, written.len};
}

struct core_span zeekctl_option(struct sensors_maker *maker, const struct zeekctl_file *file, const char *key) {
    MUST(file != NULL);
    const struct zeekctl_item *item = item_find(file, core_span_of(key));
    return value_of(maker, file, item != NULL ? item->value : default_of(maker, core_span_of(key)));
}

static const char *option_text(struct sensors_maker *maker, const struct zeekctl_file *file, const char *key) {
    struct core_span value = zeekctl_option(maker, file, key);
    const char *text = sensors_copy(maker, value);
    return text == NULL ? "" : text;
}

static const char *place_of(struct sensors_maker *maker, const struct zeekctl_file *file, const char *key) {
    const struct zeekctl_item *item = item_find(file, core_span_of(key));
    return item == NULL ? file->name : sensors_text(maker, "%s:%d", file->name, item->line);
}

static bool number_read(const char *text, uint64_t max, uint64_t *out) {
    char *end = NULL;
    bool is_number = core_is_digit(text[0]) && strlen(text) <= NUMBER_DIGITS_MAX;
    *out = is_number ? strtoull(text, &end, 10) : 0;
    return is_number && *end == '\0' && *out <= max;
}

static uint64_t option_number(struct sensors_maker *maker, const struct zeekctl_file *file, const char *key,
                              uint64_t max) {
    const char *text = option_text(maker, file, key);
    uint64_t number = 0;
    if (!number_read(text, max, &number)) {
        sensors_mistake(maker, place_of(maker, file, key), "%s: \"%s\" is no number from 0 to %llu", key, text,
                        (unsigned long long)max);
    }
    return number;
}

static bool option_bool(struct sensors_maker *maker, const struct zeekctl_file *file, const char *key) {
    const char *text = option_text(maker, file, key);
    bool is_true = strcmp(text, "1") == 0 || strcasecmp(text, "true") == 0;
    if (!is_true && strcmp(text, "0") != 0 && strcasecmp(text, "false") != 0) {
        sensors_mistake(maker, place_of(maker, file, key), "%s: \"%s\" is neither 0 nor 1", key, text);
    }
    return is_true;
}

/* ---- settings --------------------------------------------------------------------------------------------------------------- */

/* The words that a sign separates, blanks around them taken away; NULL-terminated. */
static const char *const *split(struct sensors_maker *maker, struct core_span text, char sign) {
    const char **words = sensors_alloc(maker, (text.len + 2) * sizeof(*words));
    size_t len = 0;
    while (words != NULL && text.len > 0) {
        const char *end = core_span_chr(text, sign);
        size_t part = end == NULL ? text.len : (size_t)(end - text.ptr);
        struct core_span word = core_span_trim((struct core_span){text.ptr, part});
        if (word.len > 0) {
            words[len++] = sensors_copy(maker, word);
        }
        part += end == NULL ? 0 : 1;
        text.ptr += part;
        text.len -= part;
    }
    return words;
}

/* conf's, zeekctl's if it is there, else the first that is found. */
static const char *zeek_find(struct sensors_maker *maker, const struct zeekctl_file *file) {
    const char *path = getenv("PATH");
    if (maker->conf->zeek != NULL && strchr(maker->conf->zeek, '/') != NULL) {
        return maker->conf->zeek;
    }
    const char *name = maker->conf->zeek != NULL ? maker->conf->zeek : "zeek";
    const char *own = maker->conf->zeek != NULL ? "" : option_text(maker, file, "Zeek");
    if (own[0] == '/' && (item_find(file, CORE_SPAN("zeek")) != NULL || access(own, X_OK) == 0)) {
        return own;
    }
    const char *const *directories =
        split(maker,
              core_span_of(sensors_text(maker, "%s:/opt/zeek/bin:/usr/local/zeek/bin", path != NULL ? path : "")), ':');
    for (size_t i = 0; directories != NULL && directories[i] != NULL; i++) {
        const char *program = sensors_text(maker, "%s/%s", directories[i], name);
        if (program[0] == '/' && access(program, X_OK) == 0) {
            return program;
        }
    }
    return name;
}

static void redef(struct sensors_maker *maker, const char *variable, const char *value, const char *unit) {
    maker->settings.zeek_lines =
        sensors_text(maker, "%sredef %s = %s%s;\n", maker->settings.zeek_lines, variable, value, unit);
}

static void redef_option(struct sensors_maker *maker, const struct zeekctl_file *file, const struct option *option) {
    uint64_t number = 0;
    if (item_find(file, core_span_of(option->name)) == NULL) {
        return;
    }
    if (option->kind == STRING) {
        redef(maker, option->text, sensors_zeek_quoted(maker, option_text(maker, file, option->name)), "");
        return;
    }
    number = option_number(maker, file, option->name, UINT32_MAX);
    redef(maker, option->text, sensors_text(maker, "%llu", (unsigned long long)number),
          option->kind == SECONDS ? " secs" : "");
}

/* Two ports are ZeroMQ's broker's, which the manager runs; the others connect to them crosswise. */
static void zeromq_set(struct sensors_maker *maker) {
    struct sensors_settings *settings = &maker->settings;
    unsigned long long port = settings->port;
    settings->uses_zeromq = true;
    settings->zeek_lines =
        sensors_text(maker,
                     "%s@if ( Cluster::is_enabled() )\n"
                     "@load base/misc/version\n"
                     "@if ( Version::at_least(\"8.1.0\") )\n"
                     "@load policy/frameworks/cluster/backend/zeromq\n"
                     "@else\n"
                     "@load policy/frameworks/cluster/backend/zeromq/connect\n"
                     "@endif\n"
                     "redef Cluster::Backend::ZeroMQ::listen_xpub_endpoint = \"tcp://127.0.0.1:%llu\";\n"
                     "redef Cluster::Backend::ZeroMQ::listen_xsub_endpoint = \"tcp://127.0.0.1:%llu\";\n"
                     "redef Cluster::Backend::ZeroMQ::connect_xpub_endpoint = \"tcp://127.0.0.1:%llu\";\n"
                     "redef Cluster::Backend::ZeroMQ::connect_xsub_endpoint = \"tcp://127.0.0.1:%llu\";\n"
                     "@endif\n",
                     settings->zeek_lines, port, port + 1, port + 1, port);
}

static void backend_set(struct sensors_maker *maker, const struct zeekctl_file *file) {
    const char *backend = option_text(maker, file, "ClusterBackend");
    if (strcasecmp(backend, "zeromq") == 0) {
        zeromq_set(maker);
    } else if (strcasecmp(backend, "broker") != 0) {
        sensors_mistake(maker, place_of(maker, file, "ClusterBackend"),
                        "ClusterBackend: \"%s\" is neither broker nor "
                        "zeromq",
                        backend);
    } else {
        maker->settings.zeek_lines = sensors_text(maker,
                                                  "%s@if ( Cluster::is_enabled() )\n"
                                                  "@load base/misc/version\n"
                                                  "@if ( Version::at_least(\"8.1.0\") )\n"
                                                  "@load policy/frameworks/cluster/backend/broker\n"
                                                  "@endif\n"
                                                  "@endif\n",
                                                  maker->settings.zeek_lines);
    }
}

/* Options that are more than a redef of one variable. */
static void lines_set(struct sensors_maker *maker, const struct zeekctl_file *file) {
    struct sensors_settings *settings = &maker->settings;
    uint64_t level = option_number(maker, file, "CompressLogsInFlight", 9);
    const char *machine = option_text(maker, file, "TimeMachineHost");
    backend_set(maker, file);
    for (size_t i = 0; i < OPTIONS_LEN; i++) {
        if (options[i].kind == STRING || options[i].kind == COUNT || options[i].kind == SECONDS) {
            redef_option(maker, file, &options[i]);
        }
    }
    if (level > 0) {
        redef(maker, "LogAscii::gzip_level", sensors_text(maker, "%llu", (unsigned long long)level), "");
        redef(maker, "LogAscii::gzip_file_extension",
              sensors_zeek_quoted(maker, option_text(maker, file, "CompressExtension")), "");
    }
    if (!option_bool(maker, file, "PrivateAddressSpaceIsLocal")) {
        redef(maker, "Site::private_address_space_is_local", "F", "");
    }
    if (item_find(file, CORE_SPAN("fileextractdir")) != NULL) {
        settings->file_extract = option_text(maker, file, "FileExtractDir");
    }
    if (machine[0] != '\0') {
        settings->time_machine =
            sensors_text(maker, "$ip=%s, $p=%s", machine, option_text(maker, file, "TimeMachinePort"));
    }
}

/* "unlimited", or KiB. */
static uint64_t memory_limit(struct sensors_maker *maker, const struct zeekctl_file *file) {
    if (strcasecmp(option_text(maker, file, "MemLimit"), "unlimited") == 0) {
        return 0;
    }
    return option_number(maker, file, "MemLimit", UINT32_MAX) * CORE_KIB;
}

/* What the file says and nothing is done about. */
static void notes_tell(struct sensors_maker *maker, const struct zeekctl_file *file) {
    for (size_t i = 0; i < file->len; i++) {
        const struct zeekctl_item *item = &file->items[i];
        const struct option *option = option_find(item->key);
        const char *where = sensors_text(maker, "%s:%d", file->name, item->line);
        if (option == NULL && core_span_chr(item->key, '.') != NULL) {
            sensors_warn(maker, where, "%s is an option of a plugin of zeekctl, which tapline does not run",
                         item->key.ptr);
        } else if (option == NULL) {
            sensors_warn(maker, where, "%s is no option of zeekctl; it is ignored, as zeekctl does", item->key.ptr);
        } else if (option->kind == NOT_USED && !core_span_eq(value_of(maker, file, item->value),
                                                             value_of(maker, file, default_of(maker, item->key)))) {
            sensors_warn(maker, where, "%s has no effect: %s", option->name, option->text);
        }
    }
}

void zeekctl_settings(struct sensors_maker *maker, const struct zeekctl_file *file) {
    static const char *const none[] = {NULL};
    struct sensors_settings *settings = &maker->settings;
    MUST(file != NULL);
    *settings = (struct sensors_settings){.zeek_lines = "", .file_extract = "", .time_machine = ""};
    const bool is_there = maker->conf->zeekctl != NULL;
    settings->zeek = zeek_find(maker, file);
    settings->site = maker->conf->site != NULL ? maker->conf->site : "";
    if (maker->conf->site == NULL && item_find(file, CORE_SPAN("sitepolicypath")) != NULL) {
        settings->site = option_text(maker, file, "SitePolicyPath");
    }
    settings->scripts =
        sensors_words(maker, is_there ? zeekctl_option(maker, file, "SitePolicyScripts") : CORE_SPAN("local"));
    settings->prefixes = is_there ? split(maker, zeekctl_option(maker, file, "Prefixes"), ':') : none;
    settings->args = sensors_words(maker, zeekctl_option(maker, file, "ZeekArgs"));
    settings->rotation_s = (int64_t)option_number(maker, file, "LogRotationInterval", UINT32_MAX);
    settings->port = option_number(maker, file, "ZeekPort", UINT16_MAX);
    settings->metrics_port = option_number(maker, file, "MetricsPort", UINT16_MAX);
    settings->memory_max_bytes = memory_limit(maker, file);
    settings->stop_timeout_ns = (int64_t)option_number(maker, file, "StopTimeout", UINT16_MAX) * CORE_NS_PER_S;
    lines_set(maker, file);
    notes_tell(maker, file);
    if (settings->rotation_s == 0) {
        sensors_warn(maker, place_of(maker, file, "LogRotationInterval"),
                     "without rotation Zeek empties its logs at each start: what was not read by then is lost");
    }
}
