// Generate the types of client.ts from the served schema, which needs neither a token nor introspection.
export default {
  schema: new URL("/schema.graphql", process.env.QUERY_URL).href,
  documents: "client.ts",
  emitLegacyCommonJSImports: false,
  generates: {
    "gql/": {
      preset: "client",
      config: {
        documentMode: "string",
        scalars: { Date: "string", DateTime: "string" },
        useTypeImports: true,
      },
    },
  },
};
