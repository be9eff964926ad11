//! Producers: one for each `produce`, and the transactional ones.

use std::sync::mpsc::{channel, Sender};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{json, Value};

use crate::consuming::Consuming;
use crate::{number, partition, text, unpacked, Answer, Failure, PATIENCE};

/// Where a record went, or why it didn't.
type Report = Result<[i64; 3], KafkaError>;

struct Reporting;

impl ClientContext for Reporting {}

impl ProducerContext for Reporting {
    type DeliveryOpaque = Box<(usize, Sender<(usize, Report)>)>;

    fn delivery(&self, delivered: &DeliveryResult<'_>, to: Self::DeliveryOpaque) {
        let report = match delivered {
            Ok(record) => {
                Ok([i64::from(record.partition()), record.offset(), record.timestamp().to_millis().unwrap_or(-1)])
            }
            Err((error, _)) => Err(error.clone()),
        };
        // Nobody listens any more once another record of the same call has failed.
        let _ = to.1.send((to.0, report));
    }
}

pub fn produce(bootstrap: &str, request: &Value) -> Answer {
    let options = &request["options"];
    let producer: ThreadedProducer<Reporting> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("acks", text(options, "acks"))
        .set("partitioner", "murmur2_random")
        .set("compression.type", options["compression"].as_str().unwrap_or("none"))
        .set("enable.idempotence", options["idempotent"].as_bool().unwrap_or(false).to_string())
        .set("linger.ms", "5")
        .set("message.max.bytes", options["max_bytes"].as_i64().unwrap_or(1_048_588).to_string())
        .create_with_context(Reporting)?;
    let records = request["records"].as_array().expect("records");
    let (sender, reported) = channel();
    for (index, one) in records.iter().enumerate() {
        let (key, value) = (unpacked(&one["key"]), unpacked(&one["value"]));
        let mut record = BaseRecord::with_opaque_to(text(request, "topic"), Box::new((index, sender.clone())));
        record.key = key.as_deref();
        record.payload = value.as_deref();
        record.partition = one["partition"].as_i64().map(|number| number as i32);
        record.timestamp = one["timestamp"].as_i64();
        record.headers = headers(&one["headers"]);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    let mut reports = vec![[-1; 3]; records.len()];
    for _ in records {
        let (index, report) = reported.recv_timeout(PATIENCE).map_err(|late| Failure::Text(late.to_string()))?;
        reports[index] = report?;
    }
    Ok(json!(reports))
}

fn headers(pairs: &Value) -> Option<OwnedHeaders> {
    let pairs = pairs.as_array().filter(|pairs| !pairs.is_empty())?;
    let headers = OwnedHeaders::new_with_capacity(pairs.len());
    Some(pairs.iter().fold(headers, |headers, pair| {
        headers.insert(Header { key: pair[0].as_str().expect("a header's key"), value: unpacked(&pair[1]).as_ref() })
    }))
}

/// A transactional producer, initialized.
pub struct Transactional {
    producer: ThreadedProducer<Reporting>,
}

impl Transactional {
    pub fn new(bootstrap: &str, transactional_id: &str) -> Result<Self, Failure> {
        let producer: ThreadedProducer<Reporting> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("transactional.id", transactional_id)
            .create_with_context(Reporting)?;
        producer.init_transactions(PATIENCE)?;
        Ok(Transactional { producer })
    }

    pub fn call(&self, name: &str, request: &Value, consumer: Option<&Consuming>) -> Answer {
        match name {
            "begin" => self.producer.begin_transaction()?,
            "send" => self.send(request)?,
            "flush" | "close" => self.producer.flush(PATIENCE)?,
            "send_offset" => {
                let (topic, index) = partition(&request["partition"]);
                let mut offsets = TopicPartitionList::new();
                offsets.add_partition_offset(topic, index, Offset::Offset(number(request, "offset")))?;
                let group = consumer.and_then(Consuming::group_metadata).expect("a consumer with a group");
                self.producer.send_offsets_to_transaction(&offsets, &group, PATIENCE)?;
            }
            "commit" => self.producer.commit_transaction(PATIENCE)?,
            "abort" => self.producer.abort_transaction(PATIENCE)?,
            _ => return Err(Failure::Text(format!("no call {name}"))),
        }
        Ok(Value::Null)
    }

    /// Doesn't wait for answers: the transaction's end does.
    fn send(&self, request: &Value) -> Result<(), Failure> {
        let (sender, _) = channel();
        for value in request["values"].as_array().expect("values") {
            let value = unpacked(value).expect("a value");
            let record: BaseRecord<'_, (), [u8], _> =
                BaseRecord::with_opaque_to(text(request, "topic"), Box::new((0, sender.clone()))).payload(&value);
            self.producer.send(record).map_err(|(error, _)| error)?;
        }
        Ok(())
    }
}
