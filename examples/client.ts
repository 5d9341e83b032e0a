// Query a learner's hardest items with types that are generated from the schema.
import { graphql } from "./gql/index.js";
import type { TypedDocumentString } from "./gql/graphql.js";

const Hardest = graphql(`
  query Hardest($first: Int) {
    userProgress { totalSessionsCompleted }
    itemStats(orderBy: ACCURACY, first: $first) { edges { node { itemId accuracyRate } } }
  }
`);

async function request<Result, Variables>(
  document: TypedDocumentString<Result, Variables>,
  variables: Variables,
): Promise<Result> {
  const response = await fetch(process.env.QUERY_URL ?? "", {
    method: "POST",
    headers: { authorization: `Bearer ${process.env.TOKEN}`, "content-type": "application/json" },
    body: JSON.stringify({ query: document, variables }),
  });
  const { data, errors } = await response.json();
  if (errors) throw new Error(errors[0].message);
  return data;
}

const { userProgress, itemStats } = await request(Hardest, { first: 5 });
console.log(`${userProgress?.totalSessionsCompleted ?? 0} sessions completed`);
for (const { node } of itemStats.edges) console.log(`${node.itemId}: ${(node.accuracyRate ?? 0) * 100} % correct`);
