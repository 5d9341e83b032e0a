// Generate the types and documents of client.ts from the schema of the server at URL.
const { URL: url, TOKEN: token } = process.env;

export default {
  schema: [{ [url]: { headers: { authorization: `Bearer ${token}` } } }],
  documents: "client.ts",
  emitLegacyCommonJSImports: false,
  generates: {
    "gql/": {
      preset: "client",
      presetConfig: { fragmentMasking: false },
      config: { scalars: { Date: "string", DateTime: "string" }, useTypeImports: true },
    },
  },
};
