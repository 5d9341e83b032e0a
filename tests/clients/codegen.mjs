// Types and documents of client.ts, generated from the schema that the server at URL tells.
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
