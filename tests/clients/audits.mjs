// Run graphql-http's audits of the GraphQL-over-HTTP protocol against the server at URL. Print the results as JSON.
import { auditServer } from "graphql-http";

const { URL: url, TOKEN: token } = process.env;

const results = await auditServer({
  url,
  fetchFn: (address, init = {}) =>
    fetch(address, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } }),
});
console.log(JSON.stringify(results.map(({ id, name, status, reason }) => ({ id, name, status, reason }))));
