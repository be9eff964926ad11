import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.ReplicaInfo;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialAlteration;
import org.apache.kafka.clients.admin.UserScramCredentialDeletion;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AccessControlEntryFilter;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.quota.ClientQuotaFilterComponent;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourcePatternFilter;
import org.apache.kafka.common.resource.ResourceType;

/** What operators ask of the admin client, for Bridge: of versions since 3.0. Refusals are answered by their codes. */
public final class Operations {
    private static Admin admin;

    private Operations() {
    }

    private static synchronized Admin admin(String bootstrap) {
        if (admin == null) {
            admin = Admin.create(Collections.singletonMap("bootstrap.servers", (Object) bootstrap));
        }
        return admin;
    }

    /** What Bridge calls by name. */
    public static Object call(String bootstrap, String name, JsonNode request) throws Exception {
        Admin admin = admin(bootstrap);
        switch (name) {
            case "alter":
                return alter(admin, request);
            case "delete_records":
                TopicPartition cut = partition(request.get("partition"));
                RecordsToDelete before = RecordsToDelete.beforeOffset(request.get("offset").asLong());
                return admin.deleteRecords(Collections.singletonMap(cut, before))
                        .lowWatermarks().get(cut).get().lowWatermark();
            case "elect":
                TopicPartition led = partition(request.get("partition"));
                ElectionType kind = ElectionType.valueOf(request.get("kind").asText());
                Optional<Throwable> refusal = admin.electLeaders(kind, Collections.singleton(led))
                        .partitions().get().get(led);
                return refusal.map(error -> (int) Errors.forException(error).code()).orElse(0);
            case "sizes":
                return sizes(admin, request.get("topic").asText());
            case "reassign":
                return reassign(admin, request);
            case "under_way":
                List<Object> moving = new ArrayList<>();
                admin.listPartitionReassignments().reassignments().get().keySet()
                        .forEach(one -> moving.add(new Object[] {one.topic(), one.partition()}));
                return moving;
            case "create_acls":
            case "acls":
            case "delete_acls":
                return acls(admin, name, request);
            case "set_scram":
            case "delete_scram":
            case "scram":
                return scram(admin, name, request);
            case "set_quotas":
            case "quotas":
                return quotas(admin, name, request);
            case "tokens":
                return tokens(admin);
            default:
                throw new IllegalArgumentException(name);
        }
    }

    private static TopicPartition partition(JsonNode pair) {
        return new TopicPartition(pair.get(0).asText(), pair.get(1).asInt());
    }

    private static String text(JsonNode node) {
        return node == null || node.isNull() ? null : node.asText();
    }

    private static int code(KafkaFuture<?> future) throws Exception {
        try {
            future.get();
            return 0;
        } catch (ExecutionException refusal) {
            if (!(refusal.getCause() instanceof ApiException)) {
                throw refusal;
            }
            return Errors.forException(refusal.getCause()).code();
        }
    }

    private static int alter(Admin admin, JsonNode request) throws Exception {
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, request.get("topic").asText());
        ConfigEntry entry = new ConfigEntry(request.get("key").asText(), request.get("value").asText());
        AlterConfigOp change = new AlterConfigOp(entry,
                AlterConfigOp.OpType.valueOf(request.get("operation").asText()));
        return code(admin.incrementalAlterConfigs(
                Collections.singletonMap(topic, Collections.singletonList(change))).all());
    }

    private static Object sizes(Admin admin, String topic) throws Exception {
        List<Integer> brokers = new ArrayList<>();
        for (Node node : admin.describeCluster().nodes().get()) {
            brokers.add(node.id());
        }
        Map<Integer, Long> sizes = new TreeMap<>();
        for (Map<String, LogDirDescription> directories : admin.describeLogDirs(brokers).allDescriptions().get().values()) {
            for (LogDirDescription directory : directories.values()) {
                for (Map.Entry<TopicPartition, ReplicaInfo> one : directory.replicaInfos().entrySet()) {
                    if (one.getKey().topic().equals(topic)) {
                        sizes.merge(one.getKey().partition(), one.getValue().size(), Long::sum);
                    }
                }
            }
        }
        return sizes;
    }

    private static int reassign(Admin admin, JsonNode request) throws Exception {
        Optional<NewPartitionReassignment> wanted = Optional.empty();
        if (!request.get("replicas").isNull()) {
            List<Integer> replicas = new ArrayList<>();
            request.get("replicas").forEach(one -> replicas.add(one.asInt()));
            wanted = Optional.of(new NewPartitionReassignment(replicas));
        }
        return code(admin.alterPartitionReassignments(
                Collections.singletonMap(partition(request.get("partition")), wanted)).all());
    }

    private static Object acls(Admin admin, String name, JsonNode request) throws Exception {
        if (name.equals("create_acls")) {
            List<Integer> codes = new ArrayList<>();
            for (JsonNode one : request.get("acls")) {
                ResourcePattern where = new ResourcePattern(ResourceType.valueOf(one.get(0).asText()),
                        one.get(1).asText(), PatternType.valueOf(one.get(2).asText()));
                AccessControlEntry what = new AccessControlEntry(one.get(5).asText(), "*",
                        AclOperation.valueOf(one.get(3).asText()), AclPermissionType.valueOf(one.get(4).asText()));
                codes.add(code(admin.createAcls(Collections.singleton(new AclBinding(where, what))).all()));
            }
            return codes;
        }
        AclBindingFilter filter = new AclBindingFilter(
                new ResourcePatternFilter(ResourceType.valueOf(request.get("kind").asText()),
                        text(request.get("name")), PatternType.valueOf(request.get("pattern").asText())),
                new AccessControlEntryFilter(text(request.get("principal")), null, AclOperation.ANY,
                        AclPermissionType.ANY));
        Collection<AclBinding> found = name.equals("acls")
                ? admin.describeAcls(filter).values().get()
                : admin.deleteAcls(Collections.singleton(filter)).all().get();
        List<Object> told = new ArrayList<>();
        for (AclBinding one : found) {
            told.add(new Object[] {one.pattern().resourceType().name(), one.pattern().name(),
                one.pattern().patternType().name(), one.entry().operation().name(),
                one.entry().permissionType().name(), one.entry().principal()});
        }
        return told;
    }

    private static Object scram(Admin admin, String name, JsonNode request) throws Exception {
        String user = request.get("user").asText();
        if (name.equals("scram")) {
            Map<String, Integer> found = new TreeMap<>();
            for (ScramCredentialInfo one : admin.describeUserScramCredentials(Collections.singletonList(user))
                    .description(user).get().credentialInfos()) {
                found.put(one.mechanism().mechanismName(), one.iterations());
            }
            return found;
        }
        ScramMechanism mechanism = ScramMechanism.fromMechanismName(request.get("mechanism").asText());
        UserScramCredentialAlteration change = name.equals("delete_scram")
                ? new UserScramCredentialDeletion(user, mechanism)
                : new UserScramCredentialUpsertion(user,
                        new ScramCredentialInfo(mechanism, request.get("iterations").asInt()), "secret");
        return code(admin.alterUserScramCredentials(Collections.singletonList(change)).all());
    }

    private static Object quotas(Admin admin, String name, JsonNode request) throws Exception {
        if (name.equals("set_quotas")) {
            Map<String, String> entity = new HashMap<>();
            request.get("entity").fields().forEachRemaining(one -> entity.put(one.getKey(), text(one.getValue())));
            List<ClientQuotaAlteration.Op> changes = new ArrayList<>();
            request.get("quotas").fields().forEachRemaining(one -> changes.add(new ClientQuotaAlteration.Op(
                    one.getKey(), one.getValue().isNull() ? null : one.getValue().asDouble())));
            return code(admin.alterClientQuotas(Collections.singletonList(
                    new ClientQuotaAlteration(new ClientQuotaEntity(entity), changes))).all());
        }
        List<ClientQuotaFilterComponent> parts = new ArrayList<>();
        request.get("parts").fields().forEachRemaining(one -> parts.add(one.getValue().isNull()
                ? ClientQuotaFilterComponent.ofDefaultEntity(one.getKey())
                : ClientQuotaFilterComponent.ofEntity(one.getKey(), one.getValue().asText())));
        ClientQuotaFilter filter = request.get("strict").asBoolean()
                ? ClientQuotaFilter.containsOnly(parts)
                : ClientQuotaFilter.contains(parts);
        List<Object> found = new ArrayList<>();
        admin.describeClientQuotas(filter).entities().get()
                .forEach((entity, quotas) -> found.add(new Object[] {entity.entries(), new TreeMap<>(quotas)}));
        return found;
    }

    private static Object tokens(Admin admin) throws Exception {
        Map<String, Integer> codes = new HashMap<>();
        codes.put("create", code(admin.createDelegationToken().delegationToken()));
        codes.put("describe", code(admin.describeDelegationToken().delegationTokens()));
        codes.put("renew", code(admin.renewDelegationToken(new byte[] {1}).expiryTimestamp()));
        codes.put("expire", code(admin.expireDelegationToken(new byte[] {1}).expiryTimestamp()));
        return codes;
    }
}
