// Run the vectors over a storage in Node: node node.mjs file|async VECTORS; print what happened in each.

import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as client from "learner-progress";
import { run } from "./vectors.mjs";

const STORAGES = {
  file() {
    const folder = mkdtempSync(`${tmpdir()}/outbox-`);
    return () => client.fileStorage(folder);
  },
  async() {
    const values = new Map([["of another library", "{"]]);
    const store = {
      getAllKeys: async () => [...values.keys()],
      getItem: async (key) => values.get(key) ?? null,
      setItem: async (key, value) => void values.set(key, value),
      removeItem: async (key) => void values.delete(key),
    };
    return () => client.asyncStorage(store);
  },
};

const [storage, file] = process.argv.slice(2);
const results = [];
for (const vector of JSON.parse(readFileSync(file, "utf8")).vectors) {
  results.push(await run(vector, client, STORAGES[storage]()));
}
process.stdout.write(JSON.stringify(results), () => process.exit());
