// The driver of clients/conformance.mjs for this client: node driver.mjs; the URL's path is the storage, file or async.

import { mkdtempSync } from "node:fs";
import { createServer } from "node:http";
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

const server = createServer(async (request, response) => {
  const [, storage] = request.url.split("/");
  const vector = JSON.parse(Buffer.concat(await request.toArray()));
  response.end(JSON.stringify(await run(vector, client, STORAGES[storage]())));
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
