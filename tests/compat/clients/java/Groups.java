import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.ConsumerGroupListing;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.protocol.Errors;

/** The admin client's calls for groups, which came with 2.0: not compiled against older ones. */
final class Groups {
    private Groups() {
    }

    static Object administrate(AdminClient admin, String name, JsonNode request) throws Exception {
        String group = request.path("group").asText();
        switch (name) {
            case "list_groups":
                List<String> ids = new ArrayList<>();
                for (ConsumerGroupListing one : admin.listConsumerGroups().all().get()) {
                    ids.add(one.groupId());
                }
                return ids;
            case "describe_group":
                return described(admin.describeConsumerGroups(Collections.singletonList(group)).all().get().get(group));
            case "delete_group":
                int code = 0;
                try {
                    admin.deleteConsumerGroups(Collections.singletonList(group)).all().get();
                } catch (ExecutionException refusal) {
                    if (!(refusal.getCause() instanceof ApiException)) {
                        throw refusal;
                    }
                    code = Errors.forException(refusal.getCause()).code();
                }
                return Collections.singletonMap(group, code);
            default:
                throw new IllegalArgumentException(name);
        }
    }

    private static Object described(ConsumerGroupDescription group) throws Exception {
        List<Object> members = new ArrayList<>();
        group.members().forEach(member -> {
            List<Object> assigned = new ArrayList<>();
            for (TopicPartition one : member.assignment().topicPartitions()) {
                assigned.add(new Object[] {one.topic(), one.partition()});
            }
            members.add(assigned);
        });
        Object state;
        try {
            state = ConsumerGroupDescription.class.getMethod("groupState").invoke(group);
        } catch (NoSuchMethodException before) {
            state = ConsumerGroupDescription.class.getMethod("state").invoke(group);
        }
        Map<String, Object> described = new HashMap<>();
        described.put("state", state.toString());
        described.put("members", members);
        return described;
    }
}
