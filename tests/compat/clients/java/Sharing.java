import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.ListShareGroupOffsetsSpec;
import org.apache.kafka.clients.admin.ShareGroupDescription;
import org.apache.kafka.clients.admin.SharePartitionOffsetInfo;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicIdPartition;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Share consumers and their groups' administration, for Bridge: of versions that have them. */
public final class Sharing {
    private static final AtomicInteger HANDLES = new AtomicInteger();
    private static final Map<Integer, Sharing> CONSUMERS = new ConcurrentHashMap<>();
    private static Admin admin;

    private final KafkaShareConsumer<byte[], byte[]> consumer;
    private final Map<String, ConsumerRecord<byte[], byte[]>> held = new HashMap<>();

    private Sharing(String bootstrap, JsonNode request) {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("group.id", request.get("group").asText());
        config.put("share.acknowledgement.mode", request.get("explicit").asBoolean() ? "explicit" : "implicit");
        config.put("max.poll.records", String.valueOf(request.get("most").asInt()));
        config.put("share.acquire.mode", "record_limit");
        config.put("fetch.max.wait.ms", "100");
        config.put("metadata.max.age.ms", "500");
        consumer = new KafkaShareConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /** What Bridge calls by name. */
    public static Object call(String bootstrap, String name, JsonNode request) throws Exception {
        if (name.equals("new")) {
            int handle = HANDLES.incrementAndGet();
            CONSUMERS.put(handle, new Sharing(bootstrap, request));
            return handle;
        }
        if (name.startsWith("admin.")) {
            return administrate(admin(bootstrap), name.substring(6), request);
        }
        return CONSUMERS.get(request.get("consumer").asInt()).consume(name, request);
    }

    private static synchronized Admin admin(String bootstrap) {
        if (admin == null) {
            admin = Admin.create(Collections.singletonMap("bootstrap.servers", (Object) bootstrap));
        }
        return admin;
    }

    private Object consume(String name, JsonNode request) {
        switch (name) {
            case "subscribe":
                consumer.subscribe(Collections.singletonList(request.get("topic").asText()));
                return null;
            case "poll":
                return poll(request.get("seconds").asDouble());
            case "acknowledge":
                consumer.acknowledge(held.get(request.get("partition").asInt() + "-" + request.get("offset").asLong()),
                        AcknowledgeType.valueOf(request.get("kind").asText().toUpperCase(Locale.ROOT)));
                return null;
            case "commit":
                for (Map.Entry<TopicIdPartition, Optional<KafkaException>> one : consumer.commitSync().entrySet()) {
                    if (one.getValue().isPresent()) {
                        throw one.getValue().get();
                    }
                }
                return null;
            case "close":
                consumer.close();
                return null;
            default:
                throw new IllegalArgumentException(name);
        }
    }

    private Object poll(double seconds) {
        List<Object> found = new ArrayList<>();
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(Math.round(seconds * 1000)))) {
            held.put(record.partition() + "-" + record.offset(), record);
            found.add(new Object[] {record.topic(), record.partition(), record.offset(),
                Base64.getEncoder().encodeToString(record.value()), record.deliveryCount().orElse((short) -1)});
        }
        return found;
    }

    private static Object administrate(Admin admin, String name, JsonNode request) throws Exception {
        String group = request.get("group").asText();
        switch (name) {
            case "configure":
                List<AlterConfigOp> changes = new ArrayList<>();
                request.get("config").fields().forEachRemaining(one -> changes.add(new AlterConfigOp(
                        new ConfigEntry(one.getKey(), one.getValue().asText()), AlterConfigOp.OpType.SET)));
                admin.incrementalAlterConfigs(Collections.singletonMap(
                        new ConfigResource(ConfigResource.Type.GROUP, group), changes)).all().get();
                return null;
            case "listed":
                return admin.listGroups(new ListGroupsOptions().withTypes(Collections.singleton(GroupType.SHARE)))
                        .all().get().stream().anyMatch(one -> one.groupId().equals(group));
            case "described":
                ShareGroupDescription description =
                        admin.describeShareGroups(Collections.singleton(group)).all().get().get(group);
                List<Object> members = new ArrayList<>();
                description.members().forEach(member -> {
                    List<Integer> partitions = new ArrayList<>();
                    member.assignment().topicPartitions().forEach(one -> partitions.add(one.partition()));
                    Collections.sort(partitions);
                    members.add(partitions);
                });
                Map<String, Object> described = new HashMap<>();
                described.put("state", description.groupState().toString());
                described.put("members", members);
                return described;
            case "offsets":
                Map<String, Object> offsets = new TreeMap<>();
                Map<TopicPartition, SharePartitionOffsetInfo> infos = admin.listShareGroupOffsets(
                        Collections.singletonMap(group, new ListShareGroupOffsetsSpec()))
                        .partitionsToOffsetInfo(group).get();
                infos.forEach((partition, info) -> offsets.put(String.valueOf(partition.partition()),
                        info == null ? null : new Object[] {info.startOffset(), info.lag().orElse(null)}));
                return offsets;
            case "alter_offset":
                admin.alterShareGroupOffsets(group, Collections.singletonMap(
                        new TopicPartition(request.get("topic").asText(), 0), request.get("offset").asLong()))
                        .all().get();
                return null;
            case "delete_offsets":
                admin.deleteShareGroupOffsets(group, Collections.singleton(request.get("topic").asText())).all().get();
                return null;
            case "delete":
                admin.deleteShareGroups(Collections.singleton(group)).all().get();
                return null;
            default:
                throw new IllegalArgumentException(name);
        }
    }
}
