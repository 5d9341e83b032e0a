// Run what may not leave an event where it is; print how each case ends.

import { asyncStorage, Progress } from "learner-progress";

const listeners = {};
globalThis.addEventListener = (name, listener) => void (listeners[name] = listener);
let answers, posted;
globalThis.fetch = async (_, { body }) => {
  if (!body) return Response.json({ now: new Date() });
  const answer = answers.shift() ?? { status: 202, body: { accepted: JSON.parse(body).length, refused: [] } };
  if (answer.status === 202) posted();
  return new Response(JSON.stringify(answer.body), answer);
};

function memory(given = {}) {
  const kept = new Map();
  const store = {
    getAllKeys: async () => [...kept.keys()],
    getItem: async (key) => kept.get(key) ?? null,
    setItem: async (key, text) => void kept.set(key, text),
    removeItem: async (key) => void kept.delete(key),
  };
  return { ...asyncStorage({ ...store, ...given }, { lock: given.lock }), store };
}

async function run(storage, options, between = () => {}) {
  const sent = new Promise((resolve) => (posted = resolve));
  const client = new Progress({ url: "https://api.example", token: () => "t", storage, delayMs: 1, ...options });
  await client.reviewed({ itemId: "x", rating: 3, intervalDays: 1 });
  await between(client);
  await sent;
  return (await client.flush()).waiting;
}

const CASES = {
  async "the network returns before Retry-After ends"() {
    answers = [{ status: 429, headers: { "retry-after": "0.3" } }];
    return run(memory(), {}, async (client) => {
      await client.flush();
      listeners.online();
    });
  },
  async "one text cannot be read once"() {
    let fails = 1;
    const getItem = async (key) => (fails-- > 0 ? Promise.reject(new Error("busy")) : storage.store.getItem(key));
    const storage = memory({ getItem });
    return run(storage);
  },
  async "one text cannot be read, and the server asks to wait"() {
    answers = [{ status: 429, headers: { "retry-after": "1.5" } }];
    const bad = "00000000-0000-4000-8000-000000000001";
    const busy = () => Promise.reject(new Error("busy"));
    const getItem = (key) => (key.endsWith(bad) ? busy() : storage.store.getItem(key));
    const storage = memory({ getItem });
    await storage.save({ [bad]: "" });
    const began = performance.now();
    return (await run(storage)) || +(performance.now() - began < 1_500);
  },
  async "a client is closed while its token never comes"() {
    let last = Promise.resolve();
    const storage = memory({ lock: (flush) => (last = last.then(flush)) });
    const token = () => (asked(), new Promise(() => {}));
    let asked;
    const waits = new Promise((resolve) => (asked = resolve));
    const first = new Progress({ url: "https://api.example", token, storage, delayMs: Infinity });
    await first.reviewed({ itemId: "x", rating: 3, intervalDays: 1 });
    first.flush();
    await waits;
    first.close();
    return run(storage);
  },
  async "a storage whose functions return no promise keeps what it removes"() {
    const kept = {};
    const save = (texts) => void Object.assign(kept, texts);
    return run({ load: () => Object.values(kept), save, remove: () => {} });
  },
};

const ends = {};
setTimeout(() => process.exit(1), 20_000); // a case does not end
for (const name in CASES) {
  answers = [];
  ends[name] = await CASES[name]();
}
console.log(JSON.stringify(ends));
process.exit();
