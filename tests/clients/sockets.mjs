// Print what a client receives from the WebSocket at URL, one line of JSON each: the data of a query, and the results of
// a subscription until the process is killed. The client is the argument; its code is from the library's documentation.
import { ApolloClient, gql, InMemoryCache } from "@apollo/client";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { createClient } from "graphql-ws";
import { createHash } from "node:crypto";
import { WebSocket } from "ws"; // Node 20 has none

const url = process.env.URL;
const tokens = process.env.TOKENS.split(" "); // one for each connection, and the last one again
const say = (told) => console.log(JSON.stringify(told));

const sockets = createClient({
  url: url.replace("http", "ws"),
  webSocketImpl: WebSocket,
  connectionParams: async () => ({ Authorization: `Bearer ${tokens.length > 1 ? tokens.shift() : tokens[0]}` }),
  lazyCloseTimeout: 1_000, // keeps the socket of the query for the subscription
  shouldRetry: () => true, // also while nothing listens at the address
  retryAttempts: Infinity,
  retryWait: () => new Promise((resolve) => setTimeout(resolve, 100)),
  on: { closed: ({ code, reason }) => say({ closed: code, reason }) },
});

const query = "query Streak { streak { current } }";
const subscription = "subscription Progress { progressUpdated { totalSessionsCompleted } }";

const clients = {
  async "graphql-ws"() {
    for await (const result of sockets.iterate({ query })) say(result);
    for await (const result of sockets.iterate({ query: subscription })) say(result);
  },

  async apollo() {
    const sha256 = (text) => createHash("sha256").update(text).digest("hex");
    const client = new ApolloClient({
      link: new PersistedQueryLink({ sha256 }).concat(new GraphQLWsLink(sockets)),
      cache: new InMemoryCache(),
    });
    say(await client.query({ query: gql(query) }));
    client.subscribe({ query: gql(subscription) }).subscribe({ next: say, error: (error) => say({ error }) });
  },
};

await clients[process.argv[2]]();
