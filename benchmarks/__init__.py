"""Speed and size of the broker as librdkafka sees it, with librdkafka's own mock cluster as the yardstick."""
