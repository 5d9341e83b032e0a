// What graphql-sse's client hears at URL, a line of JSON each: first a query's one result, then a
// subscription's, and last how a bad token is refused.
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
