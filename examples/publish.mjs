// Post a correct answer of one learner, without packages: node examples/publish.mjs LEARNER
import { randomUUID } from "node:crypto";

const { EVENTS_URL, EVENTS_TOKEN } = process.env;
const learner = process.argv[2];
const session_id = randomUUID();

function event(event_type, data) {
  return { event_id: randomUUID(), event_type, occurred_at: new Date().toISOString(), data };
}

const events = [
  event("SessionStarted", { user_id: learner, session_id, item_count: 1 }),
  event("CorrectAnswerGiven", { session_id, item_id: "i-9", response_time_ms: 2506 }),
];
const response = await fetch(EVENTS_URL, {
  method: "POST",
  headers: { authorization: `Bearer ${EVENTS_TOKEN}`, "content-type": "application/json" },
  body: JSON.stringify(events), // at 429 or 503, post the same body again later
});
if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
const { appended } = await response.json();
console.log(`recorded ${appended} events of ${learner}`);
