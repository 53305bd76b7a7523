/* tests/fuzz/fuzz_zeekctl.c: any bytes as node.cfg, networks.cfg and zeekctl.cfg: refused in words with a line, or nodes that a
 * plan can be made of. The first byte says which file it is.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/sensors_internal.h"

#define ROOM (64 * CORE_MIB)
#define TEXT_MAX ((size_t)16 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What sensors.c relies on. */
static void check(const struct sensors_maker *maker) {
    MUST(maker->seeds_len <= SENSORS_NODES_MAX && maker->warnings_len <= SENSORS_WARNINGS_MAX);
    for (size_t i = 0; i < maker->mistakes->len; i++) {
        MUST(maker->mistakes->fails[i].text[0] != '\0' && maker->mistakes->fails[i].where[0] != '\0');
    }
    for (size_t i = 0; i < maker->seeds_len && maker->mistakes->len == 0; i++) {
        const struct sensor_conf *conf = &maker->seeds[i].conf;
        MUST(sensors_name_is_valid(core_span_of(conf->name)));
        MUST(sensor_types[conf->type].family == SENSOR_ZEEK);
        MUST(!sensor_types[conf->type].needs_interface || conf->interface[0] != '\0');
        for (size_t k = 0; k < conf->env.len; k++) {
            MUST(conf->env.items[k].key[0] != '\0' && conf->env.items[k].value != NULL);
        }
    }
    for (size_t i = 0; i < maker->settings.networks_len; i++) {
        MUST(strchr(maker->settings.networks[i].prefix, '/') != NULL);
        MUST(strchr(maker->settings.networks[i].tag, '\n') == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct core_arena arena;
    static struct core_conf_mistakes mistakes;
    const struct sensors_conf conf = {
        .directory = "/srv/sensors", .archive = "/srv/archive", .zeekctl = "/srv/etc", .zeek = "/srv/bin/zeek"};
    struct sensors_maker maker = {.conf = &conf, .arena = &arena, .mistakes = &mistakes};
    struct zeekctl_file options = {.path = "zeekctl.cfg", .name = "zeekctl.cfg"};
    struct zeekctl_file nodes = {.path = "node.cfg", .name = "node.cfg"};
    const struct zeekctl_file networks = {.path = "networks.cfg", .name = "networks.cfg"};
    if (arena.base == NULL) {
        MUST(core_arena_init(&arena, ROOM, NULL) == CORE_OK);
    }
    if (size == 0 || size > TEXT_MAX) {
        return 0;
    }
    core_arena_reset(&arena, CORE_MIB);
    mistakes.len = 0;
    const struct core_span text = {(const char *)data + 1, size - 1};
    const struct core_span none = {"", 0};
    zeekctl_parse(&maker, &options, data[0] == 'z' ? text : none, false);
    zeekctl_settings(&maker, &options);
    zeekctl_parse(&maker, &nodes, data[0] == '[' ? (struct core_span){(const char *)data, size} : none, true);
    zeekctl_parse_networks(&maker, &networks, data[0] == '#' ? text : none);
    zeekctl_nodes(&maker, &nodes, &options);
    if (!maker.is_full) {
        check(&maker);
    }
    return 0;
}
