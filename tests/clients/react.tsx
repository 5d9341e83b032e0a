// Run the code of docs/react.md against the server at URL, and print what each client does. The pages are rendered from
// the client's cache, without a browser.
import { ApolloProvider } from "@apollo/client/react";
import { renderToStaticMarkup } from "react-dom/server";
import { Provider } from "urql";
import { WebSocket } from "ws"; // Node 20 has none

import { codeOf as apolloCode, createApollo } from "./apollo.js";
import { Page as ApolloPage } from "./apollo-page.js";
import { CHANGES, ITEMS, STANDING, type Changes, type Items } from "./documents.js";
import { codeOf as urqlCode, createUrql } from "./urql.js";
import { Page as UrqlPage } from "./urql-page.js";

Object.assign(globalThis, { WebSocket });
const url = process.env.URL ?? "";

/** A sign-in whose first token is rejected. */
function signIn() {
  let token = "expired";
  return async (refresh = false) => (refresh ? (token = process.env.TOKEN ?? "") : token);
}

async function apollo(): Promise<object> {
  const client = createApollo(url, signIn());
  await client.query({ query: STANDING });
  const after = (await client.query<Items>({ query: ITEMS, variables: { first: 2 } })).data?.itemStats.pageInfo.endCursor;
  const items = client.watchQuery<Items>({ query: ITEMS, variables: { first: 2 } });
  const watched = items.subscribe(() => {});
  const first = renderToStaticMarkup(<ApolloProvider client={client}><ApolloPage /></ApolloProvider>);
  await items.fetchMore({ variables: { after } });
  const second = renderToStaticMarkup(<ApolloProvider client={client}><ApolloPage /></ApolloProvider>);
  // The cache has one list for every `first`, so ask the server.
  const wrong = { query: ITEMS, variables: { first: 500 }, fetchPolicy: 'network-only' } as const;
  const code = await client.query(wrong).catch(apolloCode);
  const heard = await new Promise((resolve, reject) => {
    client.subscribe<Changes>({ query: CHANGES }).subscribe({
      next: ({ data }) => resolve(data?.progressUpdated?.userId),
      error: reject,
    });
  });
  watched.unsubscribe();
  return { first, second, code, heard };
}

async function urql(): Promise<object> {
  const client = createUrql(url, signIn());
  await client.query(STANDING, {}).toPromise();
  const page = (await client.query<Items>(ITEMS, { first: 2, after: null }).toPromise()).data?.itemStats;
  const first = renderToStaticMarkup(<Provider value={client}><UrqlPage /></Provider>);
  await client.query<Items>(ITEMS, { first: 2, after: page?.pageInfo.endCursor }).toPromise();
  const second = renderToStaticMarkup(<Provider value={client}><UrqlPage /></Provider>);
  const code = urqlCode((await client.query(ITEMS, { first: 500 }).toPromise()).error);
  const heard = await new Promise((resolve) => {
    client.subscription<Changes>(CHANGES, {}).subscribe(({ data }) => resolve(data?.progressUpdated?.userId));
  });
  return { first, second, code, heard };
}

console.log(JSON.stringify({ apollo: await apollo(), urql: await urql() }));
process.exit(); // the sockets are open
