import com.fasterxml.jackson.databind.JsonNode;
import org.apache.kafka.clients.admin.AdminClient;

/** The admin client knew no groups before 2.0. */
final class Groups {
    private Groups() {
    }

    static Object administrate(AdminClient admin, String name, JsonNode request) {
        throw new UnsupportedOperationException(name);
    }
}
