//! One consumer, in a group or alone.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, ConsumerGroupMetadata, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message, Timestamp};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{json, Value};

use crate::{number, packed, partition, text, Answer, Failure, PATIENCE};

const MOST_IN_A_POLL: usize = 500;

/// What librdkafka calls back with.
#[derive(Default)]
struct Told {
    revoked: Mutex<Vec<i32>>,
}

impl ClientContext for Told {}

impl ConsumerContext for Told {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            self.revoked.lock().unwrap().extend(partitions.elements().iter().map(|one| one.partition()));
        }
    }
}

/// A consumer; it leaves its group when it is dropped.
pub struct Consuming {
    consumer: BaseConsumer<Told>,
}

impl Consuming {
    pub fn new(bootstrap: &str, request: &Value) -> Result<Self, Failure> {
        let options = &request["options"];
        let flag = |name: &str| options[name].as_bool().unwrap_or(false);
        let group = request["group"].as_str();
        let alone = format!("alone-{}", SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos()));
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("group.id", group.unwrap_or(&alone))
            .set("auto.offset.reset", options["reset"].as_str().unwrap_or("earliest"))
            .set("enable.auto.commit", (flag("auto_commit") && group.is_some()).to_string())
            .set("allow.auto.create.topics", flag("auto_create").to_string())
            .set("topic.metadata.refresh.interval.ms", "500")
            .set("isolation.level", if flag("committed_only") { "read_committed" } else { "read_uncommitted" });
        if options["protocol"] == "consumer" {
            config.set("group.protocol", "consumer");
            config.set("group.remote.assignor", options["assignor"].as_str().unwrap_or("uniform"));
        } else {
            config.set("partition.assignment.strategy", options["strategy"].as_str().unwrap_or("range,roundrobin"));
        }
        if let Some(session) = options["session_ms"].as_i64() {
            config.set("session.timeout.ms", session.to_string()).set("heartbeat.interval.ms", "500");
        }
        if let Some(instance) = options["instance_id"].as_str() {
            config.set("group.instance.id", instance);
        }
        Ok(Consuming { consumer: config.create_with_context(Told::default())? })
    }

    pub fn group_metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.consumer.group_metadata()
    }

    pub fn call(&self, name: &str, request: &Value) -> Answer {
        match name {
            "subscribe" => {
                let topics = request["topics"].as_array().expect("topics");
                let names: Vec<&str> = topics.iter().map(|topic| topic.as_str().expect("a name")).collect();
                self.consumer.subscribe(&names)?;
            }
            "subscribe_pattern" => self.consumer.subscribe(&[text(request, "pattern")])?,
            "assign" => {
                let mut list = TopicPartitionList::new();
                for pair in request["partitions"].as_array().expect("partitions") {
                    let (topic, index) = partition(pair);
                    list.add_partition(topic, index);
                }
                self.consumer.assign(&list)?;
            }
            "assignment" => {
                let assigned = self.consumer.assignment()?;
                let pairs: Vec<Value> =
                    assigned.elements().iter().map(|one| json!([one.topic(), one.partition()])).collect();
                return Ok(json!(pairs));
            }
            "poll" => return self.poll(Duration::from_secs_f64(request["seconds"].as_f64().expect("seconds"))),
            _ => return self.call_for_one(name, request, partition(&request["partition"])),
        }
        Ok(Value::Null)
    }

    fn call_for_one(&self, name: &str, request: &Value, (topic, index): (&str, i32)) -> Answer {
        match name {
            "seek" => self.consumer.seek(topic, index, Offset::Offset(number(request, "offset")), PATIENCE)?,
            "seek_to_beginning" => self.consumer.seek(topic, index, Offset::Beginning, PATIENCE)?,
            "seek_to_end" => self.consumer.seek(topic, index, Offset::End, PATIENCE)?,
            "pause" => self.consumer.pause(&one(topic, index))?,
            "resume" => self.consumer.resume(&one(topic, index))?,
            "commit" => self.consumer.commit(&to_commit(topic, index, request)?, CommitMode::Sync)?,
            "commit_async" => self.commit_async(topic, index, request)?,
            "committed" => {
                let found = self.consumer.committed_offsets(one(topic, index), PATIENCE)?;
                let element = &found.elements()[0];
                element.error()?;
                return Ok(offset(element.offset()).map_or(Value::Null, |at| json!([at, element.metadata()])));
            }
            "offset_for_time" => {
                let mut asked = TopicPartitionList::new();
                asked.add_partition_offset(topic, index, Offset::Offset(number(request, "timestamp")))?;
                let found = self.consumer.offsets_for_times(asked, PATIENCE)?;
                let element = &found.elements()[0];
                element.error()?;
                return Ok(json!(offset(element.offset())));
            }
            "beginning_and_end" => {
                let (beginning, end) = self.consumer.fetch_watermarks(topic, index, PATIENCE)?;
                return Ok(json!([beginning, end]));
            }
            _ => return Err(Failure::Text(format!("no call {name}"))),
        }
        Ok(Value::Null)
    }

    /// What comes first within the time, and what has come with it.
    fn poll(&self, wait: Duration) -> Answer {
        let mut messages = Vec::new();
        let mut wait = wait;
        while messages.len() < MOST_IN_A_POLL {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => messages.push(told(&message)),
                // A topic that is yet to be made.
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition))) => (),
                Some(Err(error)) => return Err(error.into()),
            }
            wait = Duration::ZERO;
        }
        let revoked = std::mem::take(&mut *self.consumer.context().revoked.lock().unwrap());
        Ok(json!({"messages": messages, "revoked": revoked}))
    }

    /// The crate doesn't call back for such a commit (librdkafka's event for it comes with automatic ones alone):
    /// polls until the group has the offset.
    fn commit_async(&self, topic: &str, index: i32, request: &Value) -> Result<(), Failure> {
        self.consumer.commit(&to_commit(topic, index, request)?, CommitMode::Async)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.consumer.poll(Duration::from_millis(50));
            let found = self.consumer.committed_offsets(one(topic, index), PATIENCE)?;
            if offset(found.elements()[0].offset()) == Some(number(request, "offset")) {
                return Ok(());
            }
        }
        Err(Failure::Text("the commit didn't come through".into()))
    }
}

fn one(topic: &str, index: i32) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, index);
    list
}

fn to_commit(topic: &str, index: i32, request: &Value) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(topic, index);
    element.set_offset(Offset::Offset(number(request, "offset")))?;
    element.set_metadata(text(request, "metadata"));
    Ok(list)
}

/// An offset that is one: librdkafka has negative ones for "none" and "the end".
fn offset(found: Offset) -> Option<i64> {
    found.to_raw().filter(|offset| *offset >= 0)
}

fn told(message: &BorrowedMessage<'_>) -> Value {
    let headers: Vec<Value> = message
        .headers()
        .map_or(Vec::new(), |headers| headers.iter().map(|header| json!([header.key, packed(header.value)])).collect());
    let kind = match message.timestamp() {
        Timestamp::NotAvailable => "none",
        Timestamp::CreateTime(_) => "create",
        Timestamp::LogAppendTime(_) => "log_append",
    };
    json!({
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "key": packed(message.key()),
        "value": packed(message.payload()),
        "headers": headers,
        "timestamp": message.timestamp().to_millis(),
        "timestamp_type": kind,
    })
}
