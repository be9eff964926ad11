import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Method;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/**
 * Does with Apache Kafka's client what bridge.py asks for. Compiles against every version from 1.0 to 4.x: what the
 * versions spell differently is called by name.
 */
public final class Bridge {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final AtomicInteger HANDLES = new AtomicInteger();
    private static final Map<Integer, Consuming> CONSUMERS = new ConcurrentHashMap<>();
    private static final Map<Integer, Transactional> TRANSACTIONAL = new ConcurrentHashMap<>();
    private static String bootstrap;
    private static AdminClient admin;

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        ExecutorService workers = Executors.newCachedThreadPool();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode request = JSON.readTree(line);
            workers.execute(() -> answer(request));
        }
        Runtime.getRuntime().halt(0);
    }

    private static void answer(JsonNode request) {
        Map<String, Object> answer = new HashMap<>();
        answer.put("id", request.get("id").asInt());
        try {
            answer.put("result", call(request.get("call").asText(), request));
        } catch (Throwable failure) {
            answer.put("error", described(failure));
        }
        try {
            String line = JSON.writeValueAsString(answer);
            synchronized (System.out) {
                System.out.println(line);
                System.out.flush();
            }
        } catch (Exception broken) {
            broken.printStackTrace();
        }
    }

    private static Throwable cause(Throwable failure) {
        Throwable inner = failure;
        while ((inner instanceof ExecutionException || inner instanceof java.lang.reflect.InvocationTargetException)
                && inner.getCause() != null) {
            inner = inner.getCause();
        }
        return inner;
    }

    private static Map<String, Object> described(Throwable failure) {
        Throwable inner = cause(failure);
        if (inner instanceof ApiException && Errors.forException(inner) != Errors.UNKNOWN_SERVER_ERROR) {
            return Collections.singletonMap("code", (int) Errors.forException(inner).code());
        }
        java.io.StringWriter trace = new java.io.StringWriter();
        inner.printStackTrace(new java.io.PrintWriter(trace));
        return Collections.singletonMap("text", trace.toString());
    }

    private static Object call(String name, JsonNode request) throws Exception {
        if (name.equals("version")) {
            return AppInfoParser.getVersion();
        }
        if (name.equals("produce")) {
            return produce(request);
        }
        if (name.equals("consumer.new")) {
            int handle = HANDLES.incrementAndGet();
            CONSUMERS.put(handle, new Consuming(request));
            return handle;
        }
        if (name.startsWith("consumer.")) {
            return CONSUMERS.get(request.get("consumer").asInt()).call(name.substring(9), request);
        }
        if (name.equals("transactions.new")) {
            int handle = HANDLES.incrementAndGet();
            TRANSACTIONAL.put(handle, new Transactional(bootstrap, request.get("transactional_id").asText()));
            return handle;
        }
        if (name.startsWith("transactions.")) {
            Consuming consuming = request.has("consumer") ? CONSUMERS.get(request.get("consumer").asInt()) : null;
            return TRANSACTIONAL.get(request.get("producer").asInt())
                    .call(name.substring(13), request, consuming == null ? null : consuming.consumer);
        }
        if (name.startsWith("share.")) {
            return ofNewer("Sharing", name.substring(6), request);
        }
        if (name.startsWith("operations.")) {
            return ofNewer("Operations", name.substring(11), request);
        }
        return administrate(name.substring(6), request);
    }

    /** What isn't compiled against old versions. */
    private static Object ofNewer(String program, String name, JsonNode request) throws Exception {
        return Class.forName(program).getMethod("call", String.class, String.class, JsonNode.class)
                .invoke(null, bootstrap, name, request);
    }

    private static byte[] unpacked(JsonNode node) {
        return node.isNull() ? null : Base64.getDecoder().decode(node.asText());
    }

    private static String packed(byte[] data) {
        return data == null ? null : Base64.getEncoder().encodeToString(data);
    }

    private static Object invoke(Object target, Class<?> type, String name, Class<?>[] types, Object... arguments)
            throws Exception {
        Method method = type.getMethod(name, types);
        method.setAccessible(true);
        return method.invoke(target, arguments);
    }

    /** The first of these methods without parameters that this version has. */
    private static Object either(Object target, Class<?> type, String... names) throws Exception {
        for (String name : names) {
            try {
                return invoke(target, type, name, new Class<?>[0]);
            } catch (NoSuchMethodException another) {
                continue;
            }
        }
        throw new NoSuchMethodException(String.join(", ", names));
    }

    // Producing

    private static Object produce(JsonNode request) throws Exception {
        JsonNode options = request.get("options");
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("acks", options.get("acks").asText());
        config.put("compression.type", options.path("compression").asText("none"));
        config.put("enable.idempotence", String.valueOf(options.path("idempotent").asBoolean(false)));
        config.put("max.request.size", String.valueOf(options.path("max_bytes").asInt(1_048_588)));
        config.put("linger.ms", "5");
        List<Object> reports = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (JsonNode record : request.get("records")) {
                List<Header> headers = new ArrayList<>();
                for (JsonNode header : record.get("headers")) {
                    headers.add(new RecordHeader(header.get(0).asText(), unpacked(header.get(1))));
                }
                Integer partition = record.get("partition").isNull() ? null : record.get("partition").asInt();
                Long timestamp = record.get("timestamp").isNull() ? null : record.get("timestamp").asLong();
                sent.add(producer.send(new ProducerRecord<>(request.get("topic").asText(), partition, timestamp,
                        unpacked(record.get("key")), unpacked(record.get("value")), headers)));
            }
            for (Future<RecordMetadata> one : sent) {
                RecordMetadata report = one.get();
                Collections.addAll(reports, (Object) new Object[] {
                    report.partition(), report.offset(), report.timestamp()});
            }
        }
        return reports;
    }

    // Consuming

    private static final class Consuming {
        private final KafkaConsumer<byte[], byte[]> consumer;
        private final List<Integer> revoked = new ArrayList<>();
        private final ConsumerRebalanceListener listener = new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                partitions.forEach(partition -> revoked.add(partition.partition()));
            }

            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            }
        };

        Consuming(JsonNode request) {
            JsonNode options = request.get("options");
            boolean grouped = !request.get("group").isNull();
            Properties config = new Properties();
            config.put("bootstrap.servers", bootstrap);
            if (grouped) {
                config.put("group.id", request.get("group").asText());
            }
            config.put("auto.offset.reset", options.path("reset").asText("earliest"));
            config.put("enable.auto.commit",
                    String.valueOf(grouped && options.path("auto_commit").asBoolean(false)));
            config.put("metadata.max.age.ms", "500");
            config.put("isolation.level",
                    options.path("committed_only").asBoolean(false) ? "read_committed" : "read_uncommitted");
            config.put("fetch.max.wait.ms", "100");
            config.put("allow.auto.create.topics", String.valueOf(options.path("auto_create").asBoolean(false)));
            if (options.has("session_ms")) {
                config.put("session.timeout.ms", options.get("session_ms").asText());
                config.put("heartbeat.interval.ms", "500");
            }
            if (options.has("instance_id")) {
                config.put("group.instance.id", options.get("instance_id").asText());
            }
            if (options.path("protocol").asText("").equals("consumer")) {
                config.put("group.protocol", "consumer");
                config.put("group.remote.assignor", options.path("assignor").asText("uniform"));
            }
            if (options.path("strategy").asText("").equals("cooperative-sticky")) {
                config.put("partition.assignment.strategy",
                        "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
            }
            consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        }

        Object call(String name, JsonNode request) throws Exception {
            List<TopicPartition> one = request.has("partition")
                    ? Collections.singletonList(partition(request.get("partition"))) : null;
            switch (name) {
                case "subscribe":
                    List<String> topics = new ArrayList<>();
                    request.get("topics").forEach(topic -> topics.add(topic.asText()));
                    if (topics.get(0).startsWith("^")) {
                        subscribeToExpression(topics.get(0));
                    } else {
                        consumer.subscribe(topics, listener);
                    }
                    return null;
                case "subscribe_pattern":
                    consumer.subscribe(Pattern.compile(request.get("pattern").asText()), listener);
                    return null;
                case "assign":
                    List<TopicPartition> partitions = new ArrayList<>();
                    request.get("partitions").forEach(each -> partitions.add(partition(each)));
                    consumer.assign(partitions);
                    return null;
                case "assignment":
                    return pairs(consumer.assignment());
                case "poll":
                    return poll(request.get("seconds").asDouble());
                case "seek":
                    consumer.seek(one.get(0), request.get("offset").asLong());
                    return null;
                case "seek_to_beginning":
                    consumer.seekToBeginning(one);
                    return null;
                case "seek_to_end":
                    consumer.seekToEnd(one);
                    return consumer.position(one.get(0));
                case "pause":
                    consumer.pause(one);
                    return null;
                case "resume":
                    consumer.resume(one);
                    return null;
                case "commit":
                    consumer.commitSync(offsets(one.get(0), request));
                    return null;
                case "commit_async":
                    return commitAsync(offsets(one.get(0), request));
                case "committed":
                    OffsetAndMetadata found = committed(one.get(0));
                    return found == null ? null : new Object[] {found.offset(), found.metadata()};
                case "offset_for_time":
                    OffsetAndTimestamp time = consumer.offsetsForTimes(
                            Collections.singletonMap(one.get(0), request.get("timestamp").asLong())).get(one.get(0));
                    return time == null ? null : time.offset();
                case "beginning_and_end":
                    return new long[] {consumer.beginningOffsets(one).get(one.get(0)),
                        consumer.endOffsets(one).get(one.get(0))};
                case "close":
                    consumer.close();
                    return null;
                default:
                    throw new IllegalArgumentException(name);
            }
        }

        /** One that the broker matches: came with 4.0. */
        private void subscribeToExpression(String expression) throws Exception {
            Class<?> type = Class.forName("org.apache.kafka.clients.consumer.SubscriptionPattern");
            invoke(consumer, KafkaConsumer.class, "subscribe",
                    new Class<?>[] {type, ConsumerRebalanceListener.class},
                    type.getConstructor(String.class).newInstance(expression), listener);
        }

        private static TopicPartition partition(JsonNode pair) {
            return new TopicPartition(pair.get(0).asText(), pair.get(1).asInt());
        }

        private static Map<TopicPartition, OffsetAndMetadata> offsets(TopicPartition partition, JsonNode request) {
            return Collections.singletonMap(partition,
                    new OffsetAndMetadata(request.get("offset").asLong(), request.get("metadata").asText()));
        }

        private Object commitAsync(Map<TopicPartition, OffsetAndMetadata> offsets) throws Exception {
            List<Exception> answers = new ArrayList<>();
            consumer.commitAsync(offsets, (committed, error) -> answers.add(error));
            for (int turn = 0; answers.isEmpty() && turn < 150; turn++) {
                records(0.1);
            }
            if (answers.isEmpty() || answers.get(0) != null) {
                throw new IllegalStateException("commit's callback: " + answers);
            }
            return null;
        }

        /** committed(TopicPartition) went with 4.0, committed(Set) came with 2.4. */
        private OffsetAndMetadata committed(TopicPartition partition) throws Exception {
            try {
                Object found = invoke(consumer, KafkaConsumer.class, "committed", new Class<?>[] {Set.class},
                        Collections.singleton(partition));
                return (OffsetAndMetadata) ((Map<?, ?>) found).get(partition);
            } catch (NoSuchMethodException before) {
                return (OffsetAndMetadata) invoke(consumer, KafkaConsumer.class, "committed",
                        new Class<?>[] {TopicPartition.class}, partition);
            }
        }

        /** poll(long) went with 4.0, poll(Duration) came with 2.0. */
        @SuppressWarnings("unchecked")
        private ConsumerRecords<byte[], byte[]> records(double seconds) throws Exception {
            long milliseconds = Math.round(seconds * 1000);
            try {
                return (ConsumerRecords<byte[], byte[]>) invoke(consumer, KafkaConsumer.class, "poll",
                        new Class<?>[] {Duration.class}, Duration.ofMillis(milliseconds));
            } catch (NoSuchMethodException before) {
                return (ConsumerRecords<byte[], byte[]>) invoke(consumer, KafkaConsumer.class, "poll",
                        new Class<?>[] {long.class}, milliseconds);
            }
        }

        private Object poll(double seconds) throws Exception {
            List<Object> messages = new ArrayList<>();
            for (ConsumerRecord<byte[], byte[]> record : records(seconds)) {
                List<Object> headers = new ArrayList<>();
                record.headers().forEach(header -> headers.add(new Object[] {header.key(), packed(header.value())}));
                Map<String, Object> message = new HashMap<>();
                message.put("topic", record.topic());
                message.put("partition", record.partition());
                message.put("offset", record.offset());
                message.put("key", packed(record.key()));
                message.put("value", packed(record.value()));
                message.put("headers", headers);
                message.put("timestamp", record.timestamp());
                message.put("timestamp_type",
                        record.timestampType().toString().equals("LogAppendTime") ? "log_append" : "create");
                messages.add(message);
            }
            Map<String, Object> polled = new HashMap<>();
            polled.put("messages", messages);
            polled.put("revoked", new ArrayList<>(revoked));
            revoked.clear();
            return polled;
        }
    }

    private static List<Object> pairs(Collection<TopicPartition> partitions) {
        List<Object> pairs = new ArrayList<>();
        partitions.forEach(one -> pairs.add(new Object[] {one.topic(), one.partition()}));
        return pairs;
    }

    // Administration

    private static synchronized AdminClient admin() {
        if (admin == null) {
            admin = AdminClient.create(Collections.singletonMap("bootstrap.servers", (Object) bootstrap));
        }
        return admin;
    }

    private static <T> Map<String, Integer> codes(Map<String, KafkaFuture<T>> futures) throws Exception {
        Map<String, Integer> codes = new HashMap<>();
        for (Map.Entry<String, KafkaFuture<T>> one : futures.entrySet()) {
            try {
                one.getValue().get();
                codes.put(one.getKey(), 0);
            } catch (ExecutionException refusal) {
                if (!(refusal.getCause() instanceof ApiException)) {
                    throw refusal;
                }
                codes.put(one.getKey(), (int) Errors.forException(refusal.getCause()).code());
            }
        }
        return codes;
    }

    private static List<String> texts(JsonNode array) {
        List<String> texts = new ArrayList<>();
        array.forEach(one -> texts.add(one.asText()));
        return texts;
    }

    @SuppressWarnings("unchecked")
    private static Object administrate(String name, JsonNode request) throws Exception {
        switch (name) {
            case "create_topics":
                List<NewTopic> topics = new ArrayList<>();
                request.get("topics").fields().forEachRemaining(entry -> {
                    Map<String, String> config = new HashMap<>();
                    entry.getValue().get("config").fields()
                            .forEachRemaining(one -> config.put(one.getKey(), one.getValue().asText()));
                    topics.add(new NewTopic(entry.getKey(), entry.getValue().get("partitions").asInt(), (short) 1)
                            .configs(config));
                });
                return codes(admin().createTopics(topics).values());
            case "delete_topics":
                Object deleted = admin().deleteTopics(texts(request.get("topics")));
                return codes((Map<String, KafkaFuture<Void>>) either(deleted, deleted.getClass(),
                        "topicNameValues", "values"));
            case "create_partitions":
                Map<String, NewPartitions> totals = new HashMap<>();
                request.get("totals").fields().forEachRemaining(
                        entry -> totals.put(entry.getKey(), NewPartitions.increaseTo(entry.getValue().asInt())));
                return codes(admin().createPartitions(totals).values());
            case "list_topics":
                return admin().listTopics().names().get();
            case "describe_topic":
                return describeTopic(request.get("topic").asText());
            case "describe_cluster":
                return describeCluster(admin().describeCluster());
            case "config":
                return config(request.get("kind").asText(), request.get("name").asText());
            case "alter_config":
                alterConfig(resource(request.get("kind").asText(), request.get("name").asText()),
                        request.get("config"));
                return null;
            default:
                return Groups.administrate(admin(), name, request);
        }
    }

    @SuppressWarnings("unchecked")
    private static Object describeTopic(String topic) throws Exception {
        Object result = admin().describeTopics(Collections.singletonList(topic));
        Map<String, KafkaFuture<TopicDescription>> futures =
                (Map<String, KafkaFuture<TopicDescription>>) either(result, result.getClass(),
                        "topicNameValues", "values");
        List<Object> partitions = new ArrayList<>();
        TopicDescription described;
        try {
            described = futures.get(topic).get();
        } catch (ExecutionException refusal) {
            if (Errors.forException(refusal.getCause()) != Errors.UNKNOWN_TOPIC_OR_PARTITION) {
                throw refusal;
            }
            return partitions;
        }
        for (TopicPartitionInfo one : described.partitions()) {
            Map<String, Object> partition = new HashMap<>();
            partition.put("partition", one.partition());
            partition.put("leader", one.leader() == null ? -1 : one.leader().id());
            partition.put("replicas", ids(one.replicas()));
            partition.put("isr", ids(one.isr()));
            partitions.add(partition);
        }
        return partitions;
    }

    private static List<Integer> ids(Collection<Node> nodes) {
        List<Integer> ids = new ArrayList<>();
        nodes.forEach(node -> ids.add(node.id()));
        return ids;
    }

    private static Object describeCluster(DescribeClusterResult cluster) throws Exception {
        List<Object> brokers = new ArrayList<>();
        for (Node node : cluster.nodes().get()) {
            Map<String, Object> broker = new HashMap<>();
            broker.put("id", node.id());
            broker.put("address", node.host() + ":" + node.port());
            brokers.add(broker);
        }
        Map<String, Object> described = new HashMap<>();
        described.put("cluster_id", cluster.clusterId().get());
        described.put("controller", cluster.controller().get().id());
        described.put("brokers", brokers);
        return described;
    }

    private static ConfigResource resource(String kind, String name) {
        return new ConfigResource(
                kind.equals("topic") ? ConfigResource.Type.TOPIC : ConfigResource.Type.BROKER, name);
    }

    /** alterConfigs went with 4.0, incrementalAlterConfigs came with 2.3. */
    private static void alterConfig(ConfigResource resource, JsonNode config) throws Exception {
        List<ConfigEntry> entries = new ArrayList<>();
        config.fields().forEachRemaining(one -> entries.add(new ConfigEntry(one.getKey(), one.getValue().asText())));
        Object result;
        try {
            Class<?> change = Class.forName("org.apache.kafka.clients.admin.AlterConfigOp");
            Class<?> kinds = Class.forName("org.apache.kafka.clients.admin.AlterConfigOp$OpType");
            Object set = kinds.getField("SET").get(null);
            List<Object> changes = new ArrayList<>();
            for (ConfigEntry entry : entries) {
                changes.add(change.getConstructor(ConfigEntry.class, kinds).newInstance(entry, set));
            }
            result = invoke(admin(), AdminClient.class, "incrementalAlterConfigs", new Class<?>[] {Map.class},
                    Collections.singletonMap(resource, changes));
        } catch (ClassNotFoundException before) {
            result = invoke(admin(), AdminClient.class, "alterConfigs", new Class<?>[] {Map.class},
                    Collections.singletonMap(resource, new Config(entries)));
        }
        ((KafkaFuture<?>) either(result, result.getClass(), "all")).get();
    }

    private static Object config(String kind, String name) throws Exception {
        ConfigResource resource = resource(kind, name);
        Config config = admin().describeConfigs(Collections.singletonList(resource)).all().get().get(resource);
        Map<String, Object> entries = new HashMap<>();
        for (ConfigEntry entry : config.entries()) {
            boolean own = !entry.isDefault();
            try {
                own = either(entry, ConfigEntry.class, "source").toString().equals("DYNAMIC_TOPIC_CONFIG");
            } catch (NoSuchMethodException before) {
                own = !entry.isDefault();
            }
            entries.put(entry.name(), new Object[] {entry.value(), own});
        }
        return entries;
    }
}
