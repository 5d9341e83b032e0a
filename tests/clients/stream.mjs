// Print what graphql-sse's client receives from URL: the single result of a query, the results of a
// subscription, and the error for an invalid token. Each event is one line of JSON.
import { createClient } from "graphql-sse";

const { URL: url, TOKEN: token } = process.env;
const client = (authorization) => createClient({ url, headers: { authorization }, retryAttempts: 0 });
const say = (told) => console.log(JSON.stringify(told));

const ours = client(`Bearer ${token}`);
for await (const result of ours.iterate({ query: "{ streak { current } }" })) say(result);
say("ended");

let heard = 0;
const query = "subscription { progressUpdated { totalSessionsCompleted } }";
for await (const result of ours.iterate({ query })) {
  say(result);
  if (++heard === 3) break;
}
ours.dispose();

try {
  for await (const result of client("Bearer no").iterate({ query })) say(result);
} catch (fault) {
  say({ status: fault.response.status });
}
