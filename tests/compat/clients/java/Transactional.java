import com.fasterxml.jackson.databind.JsonNode;
import java.lang.reflect.Method;
import java.util.Base64;
import java.util.Collections;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** A transactional producer, for Bridge. */
final class Transactional {
    private final KafkaProducer<byte[], byte[]> producer;

    Transactional(String bootstrap, String transactionalId) {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("transactional.id", transactionalId);
        producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
        producer.initTransactions();
    }

    Object call(String name, JsonNode request, KafkaConsumer<byte[], byte[]> consumer) throws Exception {
        switch (name) {
            case "begin":
                producer.beginTransaction();
                return null;
            case "send":
                for (JsonNode value : request.get("values")) {
                    producer.send(new ProducerRecord<>(
                            request.get("topic").asText(), Base64.getDecoder().decode(value.asText())));
                }
                return null;
            case "flush":
                producer.flush();
                return null;
            case "send_offset":
                JsonNode partition = request.get("partition");
                sendOffsets(consumer, request.get("group").asText(), Collections.singletonMap(
                        new TopicPartition(partition.get(0).asText(), partition.get(1).asInt()),
                        new OffsetAndMetadata(request.get("offset").asLong())));
                return null;
            case "commit":
                producer.commitTransaction();
                return null;
            case "abort":
                producer.abortTransaction();
                return null;
            case "close":
                producer.close();
                return null;
            default:
                throw new IllegalArgumentException(name);
        }
    }

    /** With the group's metadata since 2.5, before that with its id, which went with 4.0. */
    private void sendOffsets(
            KafkaConsumer<byte[], byte[]> consumer, String group, Map<TopicPartition, OffsetAndMetadata> offsets)
            throws Exception {
        try {
            Object metadata = KafkaConsumer.class.getMethod("groupMetadata").invoke(consumer);
            for (Method method : KafkaProducer.class.getMethods()) {
                if (method.getName().equals("sendOffsetsToTransaction")
                        && method.getParameterTypes()[1].isInstance(metadata)) {
                    method.invoke(producer, offsets, metadata);
                    return;
                }
            }
        } catch (NoSuchMethodException before) {
            KafkaProducer.class.getMethod("sendOffsetsToTransaction", Map.class, String.class)
                    .invoke(producer, offsets, group);
        }
    }
}
