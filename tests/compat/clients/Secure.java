import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.security.token.delegation.DelegationToken;

/** A user gets a delegation token, a producer logs in with it, and stays while it has to prove itself again and again. */
public final class Secure {
    private static final String SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required ";

    private Secure() {
    }

    /** Arguments: bootstrap, user, password, topic, how many seconds to go on. */
    public static void main(String[] told) throws Exception {
        DelegationToken token;
        try (Admin admin = Admin.create(config(told[0], "username=\"" + told[1] + "\" password=\"" + told[2] + "\";"))) {
            token = admin.createDelegationToken().delegationToken().get();
            System.out.println("owner " + token.tokenInfo().owner());
            System.out.println("described " + admin.describeDelegationToken().delegationTokens().get().contains(token));
        }
        String login = "username=\"" + token.tokenInfo().tokenId() + "\" password=\"" + token.hmacAsBase64String()
            + "\" tokenauth=\"true\";";
        Properties config = config(told[0], login);
        config.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        config.put("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(config)) {
            producer.send(new ProducerRecord<>(told[3], "first")).get();
            double before = metric(producer, "connection-creation-total");
            long end = System.nanoTime() + Long.parseLong(told[4]) * 1_000_000_000L;
            while (System.nanoTime() < end) {
                producer.send(new ProducerRecord<>(told[3], "more")).get();
                Thread.sleep(50);
            }
            System.out.println("reauthenticated " + (metric(producer, "successful-reauthentication-total") >= 1));
            System.out.println("failed " + (metric(producer, "failed-reauthentication-total") > 0));
            System.out.println("reconnected " + (metric(producer, "connection-creation-total") > before));
        }
    }

    private static Properties config(String bootstrap, String login) {
        Map<String, String> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("security.protocol", "SASL_PLAINTEXT");
        config.put("sasl.mechanism", "SCRAM-SHA-256");
        config.put("sasl.jaas.config", SCRAM + login);
        Properties properties = new Properties();
        properties.putAll(config);
        return properties;
    }

    private static double metric(KafkaProducer<String, String> producer, String name) {
        double total = 0;
        for (Metric one : producer.metrics().values()) {
            if (one.metricName().name().equals(name) && one.metricName().group().equals("producer-metrics")) {
                total += (Double) one.metricValue();
            }
        }
        return total;
    }
}
