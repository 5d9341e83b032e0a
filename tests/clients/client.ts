// Send a frontend's queries with urql and Apollo Client, which offer persisted queries: they send a hash once, and then
// the documents. The queries' types come from the schema.
import { createHash } from "node:crypto";

import { ApolloClient, HttpLink, InMemoryCache } from "@apollo/client";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { Client, fetchExchange } from "@urql/core";
import { persistedExchange } from "@urql/exchange-persisted";

import type { ResultOf } from "@graphql-typed-document-node/core";

import { graphql } from "./gql/index.js";

const url = process.env.URL ?? "";
const headers = { authorization: `Bearer ${process.env.TOKEN}` };

const Standing = graphql(`
  query Standing($from: Date!, $to: Date!) {
    userProgress { userId totalItemsLearned accuracyRate masteryStats { longTermMastered } }
    dailyStats(from: $from, to: $to, zeroFill: true) { date answers }
    itemStats(filter: DUE, orderBy: DUE, first: 5) { totalCount edges { node { ...Item } } }
    streak { current atRisk }
  }
  fragment Item on ItemStats { itemId mastery dueAt }
`);

/** A request that was sent, as the server sees it. */
interface Sent {
  method: string;
  document: boolean; // false if the request has only the document's hash
  status: number;
}

function recorded(sent: Sent[]): typeof fetch {
  return async (address, init) => {
    const method = init?.method ?? "GET";
    const response = await fetch(address, init);
    const { searchParams } = new URL(`${address}`);
    const document = method === "GET" ? searchParams.has("query") : "query" in JSON.parse(`${init?.body}`);
    sent.push({ method, document, status: response.status });
    return response;
  };
}

const variables = { from: "2024-03-01", to: "2024-03-03" };

function seen(data: ResultOf<typeof Standing>): object {
  return { learned: data.userProgress?.totalItemsLearned, days: data.dailyStats.length };
}

async function byUrql(): Promise<object> {
  const sent: Sent[] = [];
  const client = new Client({
    url,
    exchanges: [persistedExchange({ preferGetForPersistedQueries: true }), fetchExchange],
    fetch: recorded(sent),
    fetchOptions: { headers },
    requestPolicy: "network-only",
  });
  const first = await client.query(Standing, variables).toPromise();
  const { data, error } = await client.query(Standing, variables).toPromise();
  if (!data || !first.data) throw error ?? first.error ?? new Error("no data");
  // @ts-expect-error The schema has no such field.
  const none = data.streak.length;
  // @ts-expect-error The field is nullable.
  const rate: number = data.userProgress.accuracyRate;
  return { sent, none, rate, ...seen(data) };
}

async function byApollo(): Promise<object> {
  const sent: Sent[] = [];
  const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
  const link = new PersistedQueryLink({ sha256, useGETForHashedQueries: true }).concat(
    new HttpLink({ uri: url, headers, fetch: recorded(sent) }),
  );
  const client = new ApolloClient({ link, cache: new InMemoryCache() });
  const ask = () => client.query({ query: Standing, variables, fetchPolicy: "network-only" });
  await ask();
  const { data } = await ask();
  if (!data) throw new Error("no data");
  return { sent, ...seen(data) };
}

console.log(JSON.stringify({ urql: await byUrql(), apollo: await byApollo() }));
