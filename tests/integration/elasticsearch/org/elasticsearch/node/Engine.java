// One real Elasticsearch node on loopback, from jars alone. Engine FOLDER PORT [SETTING=VALUE…]
//
// The jars hold the server, and none of its modules: those are not published. What tapline needs of them stands in here, as
// small as it can be: `GET /`, which says who is there, and three types of fields, which index what they are given as their
// nearest of kin do. Life-cycle management, data streams' own requests and pipelines are not here.
//
// In this package because what makes a node of chosen plugins is package-private.
// SPDX-License-Identifier: Apache-2.0
package org.elasticsearch.node;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.function.Predicate;
import java.util.function.Supplier;
import org.elasticsearch.Build;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.metadata.IndexNameExpressionResolver;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.common.io.stream.NamedWriteableRegistry;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.ClusterSettings;
import org.elasticsearch.common.settings.IndexScopedSettings;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.settings.SettingsFilter;
import org.elasticsearch.env.Environment;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.index.mapper.KeywordFieldMapper;
import org.elasticsearch.index.mapper.Mapper;
import org.elasticsearch.index.mapper.TextFieldMapper;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.MapperPlugin;
import org.elasticsearch.plugins.MockPluginsService;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.plugins.PluginsLoader;
import org.elasticsearch.plugins.PluginsService;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestController;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.transport.netty4.Netty4Plugin;
import org.elasticsearch.xcontent.XContentBuilder;

public class Engine {
    private static final String NAME = "n1";
    private static final String CLUSTER = "tapline-tests";

    public static class StandIns extends Plugin implements ActionPlugin, MapperPlugin {
        @Override
        public List<RestHandler> getRestHandlers(Settings settings, NamedWriteableRegistry writeables, RestController controller,
                ClusterSettings ofCluster, IndexScopedSettings ofIndex, SettingsFilter filter,
                IndexNameExpressionResolver resolver, Supplier<DiscoveryNodes> nodes, Predicate<NodeFeature> has) {
            return List.of(new Root());
        }

        @Override
        public Map<String, Mapper.TypeParser> getMappers() {
            return Map.of(
                "wildcard", without(KeywordFieldMapper.PARSER),
                "constant_keyword", without(KeywordFieldMapper.PARSER, "value"),
                "match_only_text", without(TextFieldMapper.PARSER));
        }

        // A type that takes its kin's parameters, and those named, which mean nothing here.
        private static Mapper.TypeParser without(Mapper.TypeParser kin, String... parameters) {
            return (name, node, context) -> {
                for (String parameter : parameters) {
                    node.remove(parameter);
                }
                return kin.parse(name, node, context);
            };
        }
    }

    private static final class Root extends BaseRestHandler {
        @Override
        public String getName() {
            return "root";
        }

        @Override
        public List<Route> routes() {
            return List.of(new Route(RestRequest.Method.GET, "/"), new Route(RestRequest.Method.HEAD, "/"));
        }

        @Override
        protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
            return channel -> {
                try (XContentBuilder answer = channel.newBuilder()) {
                    answer.startObject().field("name", NAME).field("cluster_name", CLUSTER).startObject("version")
                        .field("number", Build.current().version()).field("build_flavor", "default").endObject()
                        .field("tagline", "You Know, for Search").endObject();
                    channel.sendResponse(new RestResponse(RestStatus.OK, answer));
                }
            };
        }
    }

    private static Settings settingsOf(String[] args) {
        Settings.Builder settings = Settings.builder()
            .put("path.home", args[0])
            .put("node.name", NAME)
            .put("cluster.name", CLUSTER)
            .put("network.host", "127.0.0.1")
            .put("http.port", args[1])
            .put("transport.port", "0")
            .put("transport.type", "netty4")
            .put("http.type", "netty4")
            .put("discovery.type", "single-node")
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .put("cluster.max_shards_per_node", 2000)
            .put("node.processors", 2);
        for (int i = 2; i < args.length; i++) {
            String[] pair = args[i].split("=", 2);
            settings.put(pair[0], pair[1]);
        }
        return settings.build();
    }

    public static void main(String[] args) throws Exception {
        args[0] = Path.of(args[0]).toAbsolutePath().toString();
        Files.createDirectories(Path.of(args[0], "config"));
        Files.createDirectories(Path.of(args[0], "logs"));
        LogConfigurator.loadLog4jPlugins();
        LogConfigurator.configureESLogging();
        LogConfigurator.configureWithoutConfig(Settings.builder().put("logger.level", "WARN").build());
        Environment environment = InternalSettingsPreparer.prepareEnvironment(settingsOf(args), Map.of(), null, () -> NAME);
        List<Class<? extends Plugin>> plugins = List.of(Netty4Plugin.class, StandIns.class);
        Node node = new Node(NodeConstruction.prepareConstruction(environment, null, new NodeServiceProvider() {
            @Override
            PluginsService newPluginService(Environment known, PluginsLoader loader) {
                return new MockPluginsService(known.settings(), known, plugins);
            }
        }, true));
        CountDownLatch closed = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
            } catch (Exception e) {
                e.printStackTrace();
            }
            closed.countDown();
        }));
        node.start();
        closed.await();
    }
}
