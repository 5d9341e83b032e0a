// Run clients/vectors.json against the client of any language: node clients/conformance.mjs URL-OF-A-DRIVER
// docs/another-language.md says what the driver does.

import { readFileSync } from "node:fs";
import { brief } from "./javascript/test/vectors.mjs";

const [url] = process.argv.slice(2);
if (!url) {
  console.error("expected the URL of a driver: node clients/conformance.mjs http://127.0.0.1:8900");
  process.exit(2);
}
const { vectors } = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url), "utf8"));
const counts = { passed: 0, failed: 0, "left out": 0 };
for (const vector of vectors) {
  const [result, why] = await run(vector).catch((error) => ["failed", `${error.cause ?? error}`]);
  counts[result]++;
  if (why) console.log(`${result}: ${vector.name}\n    ${why}`);
}
console.log(Object.entries(counts).map(([result, count]) => `${count} ${result}`).join(", "));
process.exitCode = counts.failed ? 1 : 0;

async function run({ requests, outbox, ...given }) {
  const response = await fetch(`${url}/run`, { method: "POST", body: JSON.stringify(given) });
  const text = await response.text();
  if (response.status === 501 && given.part) return ["left out", given.part];
  if (response.status !== 200) return ["failed", `the driver answered ${response.status} ${text}`];
  const found = shorten({ steps: given.steps, ...JSON.parse(text) });
  const why = compare({ steps: given.steps, requests, outbox }, found);
  return [why ? "failed" : "passed", why];
}

/** Return the form of the vectors, in which many events are told by their number. */
function shorten({ requests = [], outbox = [], ...rest }) {
  const short = requests.map(({ events, ...request }) => (events ? { ...request, ...brief(events) } : request));
  return { ...rest, requests: short, outbox: Array.isArray(outbox) ? brief(outbox, "event") : outbox };
}

/** Return the first difference; undefined if there is none. */
function compare(expected, found, place = "") {
  if (!(expected instanceof Object && found instanceof Object)) {
    const [one, other] = [expected, found].map((value) => JSON.stringify(value)?.slice(0, 200) ?? "nothing");
    return expected === found ? undefined : `${place}: expected ${one} - found ${other}`;
  }
  for (const name of new Set([...Object.keys(expected), ...Object.keys(found)])) {
    const inside = Array.isArray(expected) ? `${place}[${name}]` : place && `${place}.${name}`;
    const difference = compare(expected[name], found[name], inside || name);
    if (difference) return difference;
  }
}
