//! The crate rdkafka does what bridge.py asks for, one line of JSON a request, and writes the answers.

mod administering;
mod consuming;
mod producing;

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::util::get_rdkafka_version;
use serde_json::{json, Value};

use administering::Administering;
use consuming::Consuming;
use producing::Transactional;

pub const PATIENCE: Duration = Duration::from_secs(30);

/// Why a call failed: by the broker's word, or otherwise.
#[derive(Debug)]
pub enum Failure {
    Code(i32),
    Text(String),
}

pub type Answer = Result<Value, Failure>;

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        let code = match &error {
            KafkaError::Transaction(refusal) => Some(refusal.code()),
            other => other.rdkafka_error_code(),
        };
        match code {
            // librdkafka's own name for a producer whose epoch another one has raised.
            Some(RDKafkaErrorCode::Fenced) => Failure::Code(RDKafkaErrorCode::ProducerFenced as i32),
            Some(code) if code as i32 > 0 => Failure::Code(code as i32),
            _ => Failure::Text(error.to_string()),
        }
    }
}

pub fn packed(data: Option<&[u8]>) -> Value {
    data.map_or(Value::Null, |bytes| json!(STANDARD.encode(bytes)))
}

pub fn unpacked(text: &Value) -> Option<Vec<u8>> {
    text.as_str().map(|text| STANDARD.decode(text).expect("base64"))
}

/// A request's argument that is there by the protocol of the bridge.
pub fn text<'a>(request: &'a Value, name: &str) -> &'a str {
    request[name].as_str().expect(name)
}

pub fn number(request: &Value, name: &str) -> i64 {
    request[name].as_i64().expect(name)
}

/// The topic and the number of `["topic", 0]`.
pub fn partition(pair: &Value) -> (&str, i32) {
    (pair[0].as_str().expect("topic"), pair[1].as_i64().expect("partition") as i32)
}

struct Server {
    bootstrap: String,
    admin: Administering,
    consumers: Mutex<HashMap<u64, Arc<Consuming>>>,
    producers: Mutex<HashMap<u64, Arc<Transactional>>>,
}

impl Server {
    fn call(&self, request: &Value) -> Answer {
        let name = text(request, "call");
        match name.split_once('.') {
            None if name == "version" => Ok(json!(version())),
            None => producing::produce(&self.bootstrap, request),
            Some(("consumer", "new")) => {
                let consuming = Consuming::new(&self.bootstrap, request)?;
                Ok(json!(kept(&self.consumers, consuming)))
            }
            Some(("consumer", "close")) => {
                self.consumers.lock().unwrap().remove(&handle(request, "consumer"));
                Ok(Value::Null)
            }
            Some(("consumer", call)) => self.consumer(request).call(call, request),
            Some(("transactions", "new")) => {
                let producer = Transactional::new(&self.bootstrap, text(request, "transactional_id"))?;
                Ok(json!(kept(&self.producers, producer)))
            }
            Some(("transactions", call)) => {
                let producer = self.producers.lock().unwrap()[&handle(request, "producer")].clone();
                let consumer = request.get("consumer").map(|_| self.consumer(request));
                producer.call(call, request, consumer.as_deref())
            }
            Some((_, call)) => self.admin.call(call, request),
        }
    }

    fn consumer(&self, request: &Value) -> Arc<Consuming> {
        self.consumers.lock().unwrap()[&handle(request, "consumer")].clone()
    }
}

fn handle(request: &Value, name: &str) -> u64 {
    number(request, name) as u64
}

fn kept<T>(all: &Mutex<HashMap<u64, Arc<T>>>, one: T) -> u64 {
    static HANDLES: AtomicU64 = AtomicU64::new(1);
    let handle = HANDLES.fetch_add(1, Ordering::Relaxed);
    all.lock().unwrap().insert(handle, Arc::new(one));
    handle
}

/// The crate's version as it was locked, and that of the library in it.
fn version() -> String {
    let mut lines = include_str!("../Cargo.lock").lines();
    lines.find(|line| *line == "name = \"rdkafka\"");
    let locked = lines.next().and_then(|line| line.split('"').nth(1)).unwrap_or("?");
    format!("{locked} (librdkafka {})", get_rdkafka_version().1)
}

fn main() {
    let bootstrap = std::env::args().nth(1).expect("the bootstrap address");
    let server = Arc::new(Server {
        admin: Administering::new(&bootstrap).expect("an admin client"),
        bootstrap,
        consumers: Mutex::default(),
        producers: Mutex::default(),
    });
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let request: Value = serde_json::from_str(&line).expect("JSON");
        let server = server.clone();
        thread::spawn(move || {
            let answer = match server.call(&request) {
                Ok(result) => json!({"id": request["id"], "result": result}),
                Err(Failure::Code(code)) => json!({"id": request["id"], "error": {"code": code}}),
                Err(Failure::Text(text)) => {
                    let text = format!("{}: {text}", request["call"]);
                    json!({"id": request["id"], "error": {"text": text}})
                }
            };
            let mut out = io::stdout().lock();
            writeln!(out, "{answer}").and_then(|()| out.flush()).expect("stdout");
        });
    }
    process::exit(0);
}
