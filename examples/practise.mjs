// Fetch the ids of the words behind a link of the page, with the learner's token: node examples/practise.mjs LINK
const { QUERY_URL, TOKEN } = process.env;

// APP_URL=https://app.example/learn?filter={filter}&from={from}&to={to}&list={list}&item={item}&level={level}&language={language}
const given = new URL(process.argv[2]).searchParams;
const words = Object.fromEntries([...given].filter(([, value]) => value)); // what is empty is no argument
const { item, ...variables } = words;

const query = `query Words($filter: ItemFilter, $from: Date, $to: Date, $list: ID, $level: CefrLevel, $language: String,
    $after: String) {
  itemStats(filter: $filter, from: $from, to: $to, list: $list, level: $level, language: $language, first: 200,
      after: $after) { edges { node { itemId } } pageInfo { hasNextPage endCursor } }
}`;
const headers = { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" };
const ids = item ? [item] : [];
for (let after = null, more = !item; more; ) {
  const body = JSON.stringify({ query, variables: { ...variables, after } });
  const { data, errors } = await (await fetch(QUERY_URL, { method: "POST", headers, body })).json();
  if (errors) throw new Error(errors[0].message);
  ids.push(...data.itemStats.edges.map(({ node }) => node.itemId));
  ({ hasNextPage: more, endCursor: after } = data.itemStats.pageInfo);
}
console.log(ids.join("\n"));
