// Publish a correct answer of one learner over REST, without packages: node examples/publish.mjs LEARNER
import { randomUUID } from "node:crypto";

const { PUBSUB_URL, PROJECT, TOKEN = "none" } = process.env;
const learner = process.argv[2];
const session_id = randomUUID();

async function publish(topic, events) {
  const data = Buffer.from(JSON.stringify(events)).toString("base64");
  const response = await fetch(`${PUBSUB_URL}/v1/projects/${PROJECT}/topics/${topic}:publish`, {
    method: "POST",
    headers: { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" },
    body: JSON.stringify({ messages: [{ data }] }),
  });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return response.json();
}

function event(event_type, data) {
  return { event_id: randomUUID(), event_type, occurred_at: new Date().toISOString(), data };
}

const events = [
  event("SessionStarted", { user_id: learner, session_id, item_count: 1 }),
  event("CorrectAnswerGiven", { session_id, item_id: "i-9", response_time_ms: 2506 }),
];
const { messageIds } = await publish("learning-events", events);
console.log(`published ${events.length} events of ${learner} in message ${messageIds[0]}`);
