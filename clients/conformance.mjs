// Run clients/vectors.json against the client of any language: node clients/conformance.mjs URL-OF-A-DRIVER
// docs/another-language.md says what the driver does.

import { readFileSync } from "node:fs";
import { brief } from "./javascript/test/vectors.mjs";

const [url] = process.argv.slice(2);
if (!url) throw new Error("expected the URL of a driver: node clients/conformance.mjs http://127.0.0.1:8900");
const { vectors } = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url), "utf8"));
const counts = { passed: 0, failed: 0, "left out": 0 };
for (const { requests, outbox, ...given } of vectors) {
  const response = await fetch(`${url}/run`, { method: "POST", body: JSON.stringify(given) });
  const text = await response.text();
  let [result, why] = ["passed", ""];
  if (response.status === 501 && given.part) [result, why] = ["left out", given.part];
  else if (response.status !== 200) why = `the driver answered ${response.status} ${text}`;
  else why = compare({ steps: given.steps, requests, outbox }, shorten({ steps: given.steps, ...JSON.parse(text) }));
  if (why && result === "passed") result = "failed";
  counts[result]++;
  if (why) console.log(`${result}: ${given.name}\n    ${why}`);
}
console.log(Object.entries(counts).map(([result, count]) => `${count} ${result}`).join(", "));
process.exitCode = counts.failed ? 1 : 0;

/** Return the form of the vectors, in which many events are told by their number. */
function shorten({ requests = [], outbox = [], ...rest }) {
  const short = requests.map(({ events, ...request }) => (events ? { ...request, ...brief(events) } : request));
  return { ...rest, requests: short, outbox: Array.isArray(outbox) ? brief(outbox, "event") : outbox };
}

/** Return the first difference; undefined if there is none. */
function compare(expected, found, place = "") {
  if (!(expected instanceof Object && found instanceof Object)) {
    const [one, other] = [expected, found].map((value) => JSON.stringify(value)?.slice(0, 200) ?? "nothing");
    return expected === found ? undefined : `${place || "the answer"}: expected ${one} - found ${other}`;
  }
  const names = new Set([...Object.keys(expected), ...Object.keys(found)]);
  for (const name of names) {
    const difference = compare(expected[name], found[name], Array.isArray(expected) ? `${place}[${name}]` : `${place}.${name}`);
    if (difference) return difference;
  }
}
