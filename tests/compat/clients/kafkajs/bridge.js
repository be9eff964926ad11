// KafkaJS does what bridge.py asks for: one line of JSON a request, one an answer.
"use strict";

process.env.KAFKAJS_NO_PARTITIONER_WARNING = "1";
const readline = require("node:readline");
const { Kafka, CompressionTypes, CompressionCodecs, Partitioners, logLevel, ConfigResourceTypes, AssignerProtocol } =
  require("kafkajs");
const version = require("kafkajs/package.json").version;

CompressionCodecs[CompressionTypes.Snappy] = require("kafkajs-snappy");
const lz4 = require("lz4js");
const { hash } = require("lz4js/xxh32.js");
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  // Its one block depends on no other; the frame doesn't say so, and Kafka takes none that doesn't.
  compress: async (encoder) => {
    const frame = Buffer.from(lz4.compress(encoder.buffer));
    frame[4] |= 0x20;
    frame[6] = hash(0, frame, 4, 2) >> 8;
    return frame;
  },
  decompress: async (buffer) => Buffer.from(lz4.decompress(buffer)),
});

const kafka = new Kafka({
  brokers: [process.argv[2]],
  logLevel: process.env.COMPAT_LOG ? logLevel.INFO : logLevel.NOTHING,
  retry: { retries: 8, initialRetryTime: 100 },
});
const packed = (data) => (data === null || data === undefined ? null : Buffer.from(data).toString("base64"));
const unpacked = (text) => (text === null ? null : Buffer.from(text, "base64"));
const codecs = { gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy, lz4: CompressionTypes.LZ4 };
const consumers = new Map();
const producers = new Map();
let shared = null;

async function admin() {
  shared ??= (async () => {
    const made = kafka.admin();
    await made.connect();
    return made;
  })();
  return shared;
}

async function produce({ topic, records, options }) {
  const producer = kafka.producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    idempotent: options.idempotent === true,
    allowAutoTopicCreation: true,
  });
  await producer.connect();
  try {
    const messages = records.map((one) => {
      const headers = {};
      for (const [key, value] of one.headers) (headers[key] ??= []).push(unpacked(value));
      const message = { key: unpacked(one.key), value: unpacked(one.value), headers };
      if (one.timestamp !== null) message.timestamp = String(one.timestamp);
      if (one.partition !== null) message.partition = one.partition;
      return message;
    });
    const acks = { 0: 0, 1: 1 }[options.acks] ?? -1;
    const compression = codecs[options.compression] ?? 0;
    const reported = [];
    for (const batch of batches(messages)) {
      reported.push(...reports(batch, await producer.send({ topic, messages: batch, acks, compression })));
    }
    return reported;
  } finally {
    await producer.disconnect();
  }
}

// KafkaJS makes one batch of what it is given for a partition, however large.
function batches(messages) {
  const large = messages.some((one) => one.value?.length > 100_000);
  return large ? messages.map((one) => [one]) : [messages];
}

// KafkaJS tells the first offset of each partition alone: the records of one follow each other.
function reports(messages, sent) {
  const next = new Map();
  for (const one of sent ?? []) next.set(one.partition, [Number(one.baseOffset), Number(one.logAppendTime)]);
  const only = next.size === 1 ? [...next.keys()][0] : null;
  return messages.map((message) => {
    const partition = message.partition ?? only ?? -1;
    const place = next.get(partition) ?? [-1, -1];
    return [partition, place[0]++, place[1]];
  });
}

class Consuming {
  constructor(group, options) {
    this.options = options;
    this.group = group;
    this.topics = new Map();
    this.messages = [];
    this.assigned = [];
    this.revoked = [];
    this.consumer = null;
  }

  async subscribe(topics) {
    const settings = {
      groupId: this.group,
      maxWaitTimeInMs: 100,
      heartbeatInterval: 500,
      metadataMaxAge: 500,
      allowAutoTopicCreation: this.options.auto_create === true,
      readUncommitted: this.options.committed_only !== true,
      retry: { retries: 20, initialRetryTime: 100, maxRetryTime: 500 },
    };
    settings.sessionTimeout = this.options.session_ms ?? 30000;
    this.consumer = kafka.consumer(settings);
    this.consumer.on(this.consumer.events.GROUP_JOIN, ({ payload }) => {
      this.assigned = Object.entries(payload.memberAssignment).flatMap(([t, ps]) => ps.map((p) => [t, p]));
    });
    this.consumer.on(this.consumer.events.REBALANCING, () => {
      this.revoked.push(...this.assigned.map(([, partition]) => partition));
      this.assigned = [];
    });
    await this.consumer.connect();
    await this.subscribed({ topics, fromBeginning: this.options.reset !== "latest" });
    await this.consumer.run({
      autoCommit: this.options.auto_commit === true,
      autoCommitThreshold: 1,
      eachMessage: async ({ topic, partition, message }) => {
        if (this.wanted?.includes(String([topic, partition])) ?? true) this.messages.push({ topic, partition, message });
      },
    });
  }

  // Where asking makes the topic, the answer is that it isn't there, and it is asked for once.
  async subscribed(wanted, patience = 100) {
    try {
      await this.consumer.subscribe(wanted);
    } catch (error) {
      if (!this.options.auto_create || code(error) !== 3 || patience === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
      await this.subscribed(wanted, patience - 1);
    }
  }

  poll(seconds) {
    return new Promise((resolve) => {
      const end = Date.now() + seconds * 1000;
      const look = () => {
        if (this.messages.length === 0 && Date.now() < end) return setTimeout(look, 10);
        const messages = this.messages.splice(0).map(told);
        resolve({ messages, revoked: this.revoked.splice(0) });
      };
      look();
    });
  }

  async committed([topic, partition]) {
    const offsets = await (await admin()).fetchOffsets({ groupId: this.group, topics: [topic] });
    const found = offsets[0].partitions.find((one) => one.partition === partition);
    return found && Number(found.offset) >= 0 ? [Number(found.offset), found.metadata ?? ""] : null;
  }

  async call(name, request) {
    const [topic, partition] = request.partition ?? [];
    switch (name) {
      case "subscribe":
        return this.subscribe(request.topics);
      case "subscribe_pattern":
        return this.subscribe([new RegExp(request.pattern)]);
      case "assign":
        // It consumes in groups alone: one of its own, and what comes of other partitions is left out.
        this.group ??= `alone-${process.hrtime.bigint()}`;
        this.wanted = request.partitions.map(String);
        return this.subscribe([...new Set(request.partitions.map(([name]) => name))]);
      case "assignment":
        return this.assigned;
      case "poll":
        return this.poll(request.seconds);
      case "commit":
      case "commit_async":
        return this.consumer.commitOffsets([
          { topic, partition, offset: String(request.offset), metadata: request.metadata },
        ]);
      case "committed":
        return this.committed(request.partition);
      case "offset_for_time": {
        // Where nothing is that late KafkaJS answers with the end.
        const found = await (await admin()).fetchTopicOffsetsByTimestamp(topic, request.timestamp);
        const [end] = (await (await admin()).fetchTopicOffsets(topic)).filter((one) => one.partition === partition);
        const offset = found.find((one) => one.partition === partition).offset;
        return offset === end.offset ? null : Number(offset);
      }
      case "beginning_and_end": {
        const found = (await (await admin()).fetchTopicOffsets(topic)).find((one) => one.partition === partition);
        return [Number(found.low), Number(found.high)];
      }
      case "close":
        return this.consumer?.disconnect();
      default:
        throw new Error(`no call ${name}`);
    }
  }
}

class Transactional {
  static async begun(transactionalId) {
    const made = new Transactional();
    made.producer = kafka.producer({
      createPartitioner: Partitioners.DefaultPartitioner,
      transactionalId,
      idempotent: true,
      maxInFlightRequests: 1,
    });
    await made.producer.connect();
    return made;
  }

  async call(name, request) {
    switch (name) {
      case "begin":
        this.sent = [];
        this.transaction = await this.producer.transaction();
        return;
      case "send": {
        const messages = request.values.map((value) => ({ value: unpacked(value) }));
        this.sent.push(this.transaction.send({ topic: request.topic, messages }));
        return;
      }
      case "flush":
        await Promise.all(this.sent);
        return;
      case "send_offset": {
        const [topic, partition] = request.partition;
        const topics = [{ topic, partitions: [{ partition, offset: String(request.offset) }] }];
        return this.transaction.sendOffsets({ consumerGroupId: request.group, topics });
      }
      case "commit":
        await Promise.all(this.sent);
        return this.transaction.commit();
      case "abort":
        await Promise.allSettled(this.sent);
        return this.transaction.abort();
      case "close":
        return this.producer.disconnect();
      default:
        throw new Error(`no call ${name}`);
    }
  }
}

function told({ topic, partition, message }) {
  const headers = Object.entries(message.headers ?? {}).flatMap(([key, value]) =>
    (Array.isArray(value) ? value : [value]).map((one) => [key, packed(one)]),
  );
  return {
    topic,
    partition,
    offset: Number(message.offset),
    key: packed(message.key),
    value: packed(message.value),
    headers,
    timestamp: Number(message.timestamp),
    timestamp_type: (message.attributes ?? 0) & 8 ? "log_append" : "create",
  };
}

async function refusals(names, ask) {
  const codes = {};
  for (const name of names) {
    try {
      await ask(name);
      codes[name] = 0;
    } catch (error) {
      codes[name] = code(error) ?? -1;
    }
  }
  return codes;
}

async function administrate(name, request) {
  const client = await admin();
  switch (name) {
    case "create_topics":
      return refusals(Object.keys(request.topics), async (topic) => {
        const { partitions, config } = request.topics[topic];
        const configEntries = Object.entries(config).map(([key, value]) => ({ name: key, value }));
        const made = await client.createTopics({
          topics: [{ topic, numPartitions: partitions, replicationFactor: 1, configEntries }],
          // It takes metadata that doesn't know the topic yet for a failure, and with KRaft that is usual.
          waitForLeaders: false,
        });
        if (!made) throw Object.assign(new Error("exists"), { code: 36 });
      });
    case "delete_topics":
      return refusals(request.topics, (topic) => client.deleteTopics({ topics: [topic] }));
    case "create_partitions":
      return refusals(Object.keys(request.totals), (topic) =>
        client.createPartitions({ topicPartitions: [{ topic, count: request.totals[topic] }] }),
      );
    case "list_topics":
      return client.listTopics();
    case "describe_topic":
      return describeTopic(client, request.topic);
    case "describe_cluster": {
      const { brokers, controller, clusterId } = await client.describeCluster();
      return {
        cluster_id: clusterId,
        controller,
        brokers: brokers.map((one) => ({ id: one.nodeId, address: `${one.host}:${one.port}` })),
      };
    }
    case "config": {
      const type = request.kind === "topic" ? ConfigResourceTypes.TOPIC : ConfigResourceTypes.BROKER;
      const { resources } = await client.describeConfigs({ resources: [{ type, name: request.name }] });
      return Object.fromEntries(
        resources[0].configEntries.map((one) => [one.configName, [one.configValue, one.configSource === 1]]),
      );
    }
    case "alter_config": {
      const type = request.kind === "topic" ? ConfigResourceTypes.TOPIC : ConfigResourceTypes.BROKER;
      const configEntries = Object.entries(request.config).map(([name, value]) => ({ name, value }));
      await client.alterConfigs({ validateOnly: false, resources: [{ type, name: request.name, configEntries }] });
      return null;
    }
    case "list_groups":
      return (await client.listGroups()).groups.map((one) => one.groupId);
    case "describe_group": {
      const { groups } = await client.describeGroups([request.group]);
      return { state: groups[0].state, members: groups[0].members.map(assignedTo) };
    }
    case "delete_group":
      try {
        await client.deleteGroups([request.group]);
        return { [request.group]: 0 };
      } catch (error) {
        return { [request.group]: error.groups?.[0]?.errorCode ?? code(error) ?? -1 };
      }
    default:
      throw new Error(`no call ${name}`);
  }
}

function assignedTo(member) {
  const decoded = AssignerProtocol.MemberAssignment.decode(member.memberAssignment);
  return Object.entries(decoded?.assignment ?? {}).flatMap(([topic, ps]) => ps.map((p) => [topic, p]));
}

async function describeTopic(client, topic) {
  try {
    const { topics } = await client.fetchTopicMetadata({ topics: [topic] });
    return topics[0].partitions.map((one) => ({
      partition: one.partitionId,
      leader: one.leader,
      replicas: one.replicas,
      isr: one.isr,
    }));
  } catch (error) {
    if (code(error) === 3) return [];
    throw error;
  }
}

// The broker's code, wherever KafkaJS has put it.
function code(error) {
  if (error.errors?.length) return code(error.errors[0]);
  if (typeof error.code === "number") return error.code;
  return error.cause ? code(error.cause) : null;
}

async function call(request) {
  const name = request.call;
  if (name === "version") return version;
  if (name === "produce") return produce(request);
  if (name === "consumer.new") {
    consumers.set(consumers.size + 1, new Consuming(request.group, request.options));
    return consumers.size;
  }
  if (name.startsWith("consumer.")) return consumers.get(request.consumer).call(name.slice(9), request);
  if (name === "transactions.new") {
    const made = await Transactional.begun(request.transactional_id);
    producers.set(producers.size + 1, made);
    return producers.size;
  }
  if (name.startsWith("transactions.")) return producers.get(request.producer).call(name.slice(13), request);
  return administrate(name.slice(6), request);
}

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = { id: request.id, result: (await call(request)) ?? null };
  } catch (error) {
    const number = code(error);
    answer = { id: request.id, error: number > 0 ? { code: number } : { text: error.stack } };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}).on("close", () => process.exit(0));
process.on("unhandledRejection", () => {});
