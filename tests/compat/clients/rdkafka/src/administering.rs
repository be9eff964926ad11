//! The admin client, and the metadata and groups that any client of librdkafka can ask for.

use futures::executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaResult;
use rdkafka::types::RDKafkaErrorCode;
use serde_json::{json, Map, Value};

use crate::{text, Answer, Failure, PATIENCE};

pub struct Administering {
    admin: AdminClient<DefaultClientContext>,
    options: AdminOptions,
}

impl Administering {
    pub fn new(bootstrap: &str) -> KafkaResult<Self> {
        Ok(Administering {
            admin: ClientConfig::new().set("bootstrap.servers", bootstrap).create()?,
            options: AdminOptions::new().request_timeout(Some(PATIENCE)),
        })
    }

    pub fn call(&self, name: &str, request: &Value) -> Answer {
        match name {
            "create_topics" => self.create_topics(&request["topics"]),
            "delete_topics" => {
                let topics = request["topics"].as_array().expect("topics");
                let names: Vec<&str> = topics.iter().map(|topic| topic.as_str().expect("a name")).collect();
                Ok(codes(block_on(self.admin.delete_topics(&names, &self.options))?))
            }
            "create_partitions" => {
                let totals = request["totals"].as_object().expect("totals");
                let new: Vec<NewPartitions<'_>> = totals
                    .iter()
                    .map(|(topic, total)| NewPartitions::new(topic, total.as_u64().expect("a total") as usize))
                    .collect();
                Ok(codes(block_on(self.admin.create_partitions(&new, &self.options))?))
            }
            "list_topics" => {
                let metadata = self.admin.inner().fetch_metadata(None, PATIENCE)?;
                Ok(json!(metadata.topics().iter().map(|topic| topic.name()).collect::<Vec<_>>()))
            }
            "describe_topic" => self.describe_topic(text(request, "topic")),
            "describe_cluster" => self.describe_cluster(),
            "config" => self.config(text(request, "kind"), text(request, "name")),
            "alter_config" => self.alter_config(request),
            "list_groups" => {
                let list = self.admin.inner().fetch_group_list(None, PATIENCE)?;
                Ok(json!(list.groups().iter().map(|group| group.name()).collect::<Vec<_>>()))
            }
            "describe_group" => self.describe_group(text(request, "group")),
            "delete_group" => Ok(codes(block_on(self.admin.delete_groups(&[text(request, "group")], &self.options))?)),
            _ => Err(Failure::Text(format!("no call {name}"))),
        }
    }

    fn create_topics(&self, topics: &Value) -> Answer {
        let mut new = Vec::new();
        for (name, wanted) in topics.as_object().expect("topics") {
            let partitions = wanted["partitions"].as_i64().expect("partitions") as i32;
            let config = wanted["config"].as_object().expect("config");
            let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
            new.push(config.iter().fold(topic, |topic, (key, value)| topic.set(key, value.as_str().expect("text"))));
        }
        Ok(codes(block_on(self.admin.create_topics(&new, &self.options))?))
    }

    /// Out of the metadata of all topics: asking for one by its name could make it.
    fn describe_topic(&self, name: &str) -> Answer {
        let metadata = self.admin.inner().fetch_metadata(None, PATIENCE)?;
        let partitions = metadata.topics().iter().filter(|topic| topic.name() == name).flat_map(|topic| {
            topic.partitions().iter().map(|one| {
                json!({"partition": one.id(), "leader": one.leader(), "replicas": one.replicas(), "isr": one.isr()})
            })
        });
        Ok(json!(partitions.collect::<Vec<_>>()))
    }

    fn describe_cluster(&self) -> Answer {
        let client = self.admin.inner();
        let metadata = client.fetch_metadata(None, PATIENCE)?;
        let brokers = metadata.brokers().iter();
        let brokers = brokers.map(|one| json!({"id": one.id(), "address": format!("{}:{}", one.host(), one.port())}));
        Ok(json!({
            "cluster_id": client.fetch_cluster_id(PATIENCE),
            "controller": Value::Null,
            "brokers": brokers.collect::<Vec<_>>(),
        }))
    }

    fn config(&self, kind: &str, name: &str) -> Answer {
        let asked = [resource(kind, name)];
        let mut found = block_on(self.admin.describe_configs(&asked, &self.options))?;
        let described = found.remove(0).map_err(|code| Failure::Code(code as i32))?;
        let entries = described.entries.into_iter();
        let told = entries.map(|one| (one.name, json!([one.value, one.source == ConfigSource::DynamicTopic])));
        Ok(Value::Object(told.collect()))
    }

    fn alter_config(&self, request: &Value) -> Answer {
        let wanted = AlterConfig::new(resource(text(request, "kind"), text(request, "name")));
        let config = request["config"].as_object().expect("config").iter();
        let wanted = config.fold(wanted, |wanted, (key, value)| wanted.set(key, value.as_str().expect("text")));
        let mut altered = block_on(self.admin.alter_configs([&wanted], &self.options))?;
        altered.remove(0).map_err(|(_, code)| Failure::Code(code as i32))?;
        Ok(Value::Null)
    }

    fn describe_group(&self, name: &str) -> Answer {
        let list = self.admin.inner().fetch_group_list(Some(name), PATIENCE)?;
        let group = list.groups().first().ok_or_else(|| Failure::Text(format!("{name} isn't told of")))?;
        let members: Vec<Value> = group.members().iter().map(|one| assigned(one.assignment())).collect();
        Ok(json!({"state": group.state(), "members": members}))
    }
}

fn resource<'a>(kind: &str, name: &'a str) -> ResourceSpecifier<'a> {
    match kind {
        "topic" => ResourceSpecifier::Topic(name),
        _ => ResourceSpecifier::Broker(name.parse().expect("a broker's id")),
    }
}

fn codes(results: Vec<Result<String, (String, RDKafkaErrorCode)>>) -> Value {
    let mut codes = Map::new();
    for result in results {
        let (name, code) = result.map_or_else(|(name, code)| (name, code as i32), |name| (name, 0));
        codes.insert(name, json!(code));
    }
    Value::Object(codes)
}

/// A member's partitions, which the client leaves in Kafka's bytes: version, then topics with their partitions.
fn assigned(bytes: Option<&[u8]>) -> Value {
    let mut rest = bytes.unwrap_or_default();
    let mut take = |size: usize| {
        let (taken, left) = rest.split_at(size.min(rest.len()));
        rest = left;
        taken
    };
    let integer = |bytes: &[u8]| bytes.iter().fold(0, |number: usize, byte| number << 8 | usize::from(*byte));
    let mut pairs = Vec::new();
    take(2);
    for _ in 0..integer(take(4)) {
        let size = integer(take(2));
        let topic = String::from_utf8_lossy(take(size)).into_owned();
        for _ in 0..integer(take(4)) {
            pairs.push(json!([topic, integer(take(4))]));
        }
    }
    json!(pairs)
}
