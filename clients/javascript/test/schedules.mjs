// Draw schedules of faults of network, storage, clock and token; the outbox is the model: node schedules.mjs FIRST LAST
// Print the faults that were found, and how much happened.

import { Progress } from "learner-progress";

const { setTimeout } = globalThis;
const PAGE = { status: 403, text: "<html>Blocked</html>" };
const OURS = { "progress-error": "1" };
const seen = { events: 0, posts: 0, taken: 0 };

// A generator of numbers from 0 to 1 (mulberry32), so that a schedule follows from its seed.
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function run(seed) {
  const random = generator(seed);
  const pick = (...values) => values[Math.floor(random() * values.length)];
  const chance = (part) => random() < part;
  const faults = [];
  const named = chance(0.7); // whether the app names its learner
  const readable = chance(0.7); // whether the tokens can be read
  // What is on the disk. An app that names no learner has a storage for each, as the README asks.
  const disks = { ann: new Map(), ben: new Map() };
  if (named) disks.ben = disks.ann;
  const authors = new Map(); // whose each event is, if it was on disk once
  const server = new Map(); // what it recorded, and for whom
  let [wall, tick, learner, sick, full, wasFull] = [Date.parse("2026-11-27T09:00:00Z"), 0, "ann", true, 0, false];
  let [program, who] = [undefined, ""]; // the client, and whose answers it gets
  let posted = new Map(); // in this pass

  const open = (stored) => ({
    async load() {
      if (sick && chance(0.1)) throw new Error("the disk was read and failed");
      return [...stored.values()];
    },
    async save(texts) {
      if (sick && chance(full)) {
        wasFull = true; // times that were sent may not be on disk
        throw new Error("the disk is full");
      }
      for (const id in texts) stored.set(id, texts[id]);
    },
    async remove(ids) {
      if (sick && chance(0.1)) throw new Error("the disk failed to remove");
      if (sick && chance(0.05)) return;
      for (const id of ids) stored.delete(id);
    },
  });
  const sign = (sub) => (readable ? `e30.${btoa(JSON.stringify({ sub }))}.${random()}` : `opaque of ${sub}`);
  const owner = (bearer) => (readable ? JSON.parse(atob(bearer.split(".")[1])).sub : bearer.slice("opaque of ".length));

  const answer = (bearer, events) => {
    seen.posts++;
    for (const { event_id: id } of events) {
      posted.set(id, (posted.get(id) ?? 0) + 1);
      if (posted.get(id) > 2) faults.push(`${id} was posted ${posted.get(id)} times in a pass`);
    }
    const kind = sick ? random() : 1;
    if (kind < 0.08) throw new TypeError("Failed to fetch");
    if (kind < 0.3) {
      const own = { status: 400, text: '{"error": "expected JSON - at byte 7"}', headers: OURS };
      const none = { status: 202, text: '{"accepted": 0, "refused": []}' };
      const statuses = [302, 401, 404, 408, 413, 429, 503].map((status) => ({ status }));
      return pick(PAGE, none, events.length > 1 ? own : PAGE, ...statuses);
    }
    const refused = [];
    for (const [index, { event_id: id, data, occurred_at: at }] of events.entries()) {
      if (data.item_id === "bad") refused.push({ index, reason: "expected an item", event_id: id });
      else {
        const [sub, time] = server.get(id) ?? [owner(bearer), at];
        if (sub !== owner(bearer)) faults.push(`${id} was sent for two learners`);
        if (time !== at && !wasFull) faults.push(`${id} was sent with two times`);
        server.set(id, [sub, time]);
        seen.taken++;
      }
    }
    if (sick && chance(0.1)) throw new TypeError("the answer was lost");
    return { status: 202, text: JSON.stringify({ accepted: events.length - refused.length, refused }) };
  };
  globalThis.fetch = async (url, { headers, body }) => {
    tick += random() * 50;
    if (!body) {
      if (sick && chance(0.1)) throw new TypeError("Failed to fetch");
      return new Response(JSON.stringify({ now: new Date(wall + tick).toISOString() }));
    }
    const { status, text = "", headers: sent } = answer(headers.authorization.slice(7), JSON.parse(body));
    return new Response(text, { status, headers: sent });
  };

  const start = () => {
    who = learner;
    const token = async () => {
      const asked = sign(learner);
      if (sick && chance(0.05)) throw new Error("the issuer is down");
      if (sick && chance(0.1)) change();
      return sick && chance(0.5) ? sign(learner) : asked;
    };
    const options = { url: "https://api.example", token, storage: open(disks[who]), delayMs: Infinity };
    return new Progress(named ? { ...options, learner: who } : options);
  };
  // Somebody else signs in. An app that does not name its learner, or whose tokens cannot be read, closes the client.
  const change = () => {
    if (!named || !readable || chance(0.5)) program.close();
    learner = pick("ann", "ben");
  };

  program = start();
  for (let step = 0; step < 30; step++) {
    full = chance(0.1) ? 0.5 : full && pick(0, full);
    const action = pick("review", "review", "review", "flush", "flush", "restart", "clock", "damage", "retry");
    if (action === "review") {
      const item = chance(0.05) ? "bad" : `item-${step}`;
      const id = await program.reviewed({ itemId: item, rating: 3, intervalDays: 1 });
      seen.events++;
      if (disks[who].has(id)) authors.set(id, who);
    } else if (action === "flush") {
      posted = new Map();
      await program.flush().catch(() => {});
      if (chance(0.3)) program = start();
    } else if (action === "restart") {
      change();
      program.close();
      program = start();
    } else if (action === "clock") wall += pick(random(), -2, 2) * 3_600_000;
    else if (action === "damage") disks.ann.set("damaged", pick("{", "null", '{"event": {}}', "[1]"));
    else {
      const [refused] = await program.refused().catch(() => []);
      if (refused) await program.retry(refused.event.event_id).catch(() => {});
    }
  }
  // Everything is well again; each learner comes back.
  sick = false;
  full = 0;
  for (learner of ["ann", "ben"]) {
    program = start();
    for (let n = 0; n < 12 && (await program.waiting()); n++) {
      tick += 300_000;
      posted = new Map();
      await program.flush();
    }
    if (await program.waiting()) faults.push(`${await program.waiting()} events of ${learner} still wait`);
  }
  const kept = [...disks.ann.values(), ...disks.ben.values()].filter((text) => text.includes('"reason"'));
  const refused = new Set(kept.map((text) => JSON.parse(text).event.event_id));
  for (const [id, author] of authors) {
    if (refused.has(id)) continue;
    if (!server.has(id)) faults.push(`${id} of ${author} was lost`);
    else if (server.get(id)[0] !== author) faults.push(`${id} of ${author} was recorded for ${server.get(id)[0]}`);
  }
  return faults;
}

const [first, last] = process.argv.slice(2).map(Number);
const found = {};
let now = 0;
performance.now = () => (now += 0.01);
globalThis.setTimeout = () => setTimeout(() => {}, 0);
for (let seed = first; seed <= last; seed++) {
  const faults = await run(seed);
  if (faults.length) found[seed] = faults;
}
console.log(JSON.stringify({ found, seen }));
process.exit();
