// Plan a reminder on each device of FILE; print the plans and the numbers of requests: node reminders.mjs URL FILE

import { readFileSync } from "node:fs";
import { reminder } from "learner-progress/reminder";

const [url, file] = process.argv.slice(2);
const { fetch } = globalThis;
const planned = {};
let requests = 0;
globalThis.fetch = (...given) => (requests++, fetch(...given));
for (const { user, now, zone, hour, language, token } of JSON.parse(readFileSync(file))) {
  process.env.TZ = zone;
  Date.now = () => now;
  requests = 0;
  const plan = await reminder({ url, token: () => token, hour, language });
  planned[user] = { plan, requests };
}
console.log(JSON.stringify(planned));
