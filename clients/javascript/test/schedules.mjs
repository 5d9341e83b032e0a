// Draw schedules of faults of network, storage, clock and token; the outbox is the model: node schedules.mjs FIRST LAST
// Print the faults that were found, and how much happened.

import { Progress } from "learner-progress";
import { BEGIN, draw, generator } from "./draw.mjs";

const PAGE = { status: 403, text: "<html>Blocked</html>" };
const VERDICT = { status: 400, text: '{"error": "expected JSON - at byte 7"}', headers: { "progress-error": "1" } };
const TYPES = ["CardReviewed", "ItemListed"];
const seen = { taken: 0, timers: 0 };
const listeners = {};
const timers = new Map();
const passed = () => new Promise(setImmediate); // a pass has ended, or waits for a token that does not come
let now = 0;

Date.now = () => BEGIN + Math.floor(now);
performance.now = () => (now += 0.01);
globalThis.addEventListener = (name, listener) => void (listeners[name] = listener);
globalThis.setTimeout = (run, ms) => (timers.set(++seen.timers, { run, at: now + ms }), seen.timers);
globalThis.clearTimeout = (id) => timers.delete(id);

async function run(seed) {
  const { random, pick } = generator(seed);
  Math.random = random;
  const chance = (part) => random() < part;
  const faults = [];
  const keeps = chance(0.1); // whether the storage removes nothing
  const readable = chance(0.7); // whether the tokens can be read
  const disk = new Map(); // of both learners
  const authors = new Map(); // whose each sound event is, if it was on disk once
  const server = new Map(); // what it recorded, and for whom
  let [wall, learner, sick, full, wasFull] = [BEGIN, "ann", true, 0, false]; // `wall`: of the server
  let [program, who] = []; // the client, and whose answers it gets
  let [posted, busy] = [new Map(), false]; // in this pass: how often, and whether the first text cannot be read
  let notBefore = {}; // the server has asked the client to wait until then with answers and with lists
  let lock = Promise.resolve();

  const storage = {
    lock(flush) {
      const pass = () => {
        [posted, busy] = [new Map(), chance(0.3)];
        return flush().finally(() => (busy = false));
      };
      return (lock = lock.then(pass, pass));
    },
    load() {
      if (sick && chance(0.1)) throw new Error("the disk was read and failed");
      if (sick && chance(0.05)) change();
      return [...disk.values()].map((text, place) => (busy && !place ? new Error("busy") : text));
    },
    save(texts) {
      if (sick && chance(full)) {
        wasFull = true; // times that were sent may not be on disk
        throw new Error("the disk is full");
      }
      for (const id in texts) disk.set(id, texts[id]);
    },
    remove(ids) {
      if (sick && chance(0.1)) throw new Error("the disk failed to remove");
      if (sick && chance(0.05)) change();
      if (keeps || (sick && chance(0.05))) return;
      for (const id of ids) disk.delete(id);
    },
  };
  const sign = (sub) => (readable ? `e30.${btoa(JSON.stringify({ sub }))}.${random()}` : `opaque of ${sub}`);
  const owner = (bearer) => (readable ? JSON.parse(atob(bearer.split(".")[1])).sub : bearer.slice("opaque of ".length));

  const answer = (bearer, events) => {
    const kinds = new Set(events.map(({ event_type: type }) => type));
    if (kinds.size > 1) faults.push("a post has answers and lists");
    const [type] = kinds;
    if (now < notBefore[type]) faults.push("a post came before Retry-After ended");
    for (const { event_id: id } of events) {
      posted.set(id, (posted.get(id) ?? 0) + 1);
      if (posted.get(id) > 2) faults.push(`${id} was posted ${posted.get(id)} times in a pass`);
    }
    const kind = sick ? random() : 1;
    if (kind < 0.08) throw new TypeError("Failed to fetch");
    if (kind < 0.4) {
      const own = events.length > 1 ? VERDICT : PAGE;
      const none = { status: 202, text: '{"accepted": 0, "refused": []}' };
      const statuses = [302, 401, 401, 404, 408, 413, 429, 503].map((status) => ({ status }));
      if (chance(0.7)) return pick(PAGE, none, own, own, own, ...statuses);
      if (chance(0.5)) {
        notBefore[type] = now + 86_400_000;
        return { status: 429, headers: { "retry-after": "86400", "progress-limit": pick("entries", "lists") } };
      }
      for (const each of TYPES) notBefore[each] = Math.max(notBefore[each] ?? 0, now + 600_000);
      return { status: 429, headers: { "retry-after": "600", "progress-limit": "posts" } };
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
  const reply = ({ status = 200, text = "", headers }) => ({ status, headers: new Headers(headers), text: () => text });
  globalThis.fetch = async (url, { headers, body }) => {
    now += random() * 50;
    if (!body) {
      if (sick && chance(0.1)) throw new TypeError("Failed to fetch");
      if (sick && chance(0.1)) change();
      return reply({ text: JSON.stringify({ now: new Date(wall + now).toISOString() }) });
    }
    return reply(answer(headers.authorization.slice(7), JSON.parse(body)));
  };

  const restart = () => {
    program?.close();
    who = learner;
    notBefore = {};
    const token = async () => {
      const asked = sign(learner);
      if (sick && chance(0.05)) throw new Error("the issuer is down");
      if (sick && chance(0.2)) change();
      if (sick && chance(0.05)) return new Promise(() => {});
      return sick && chance(0.5) ? sign(learner) : asked;
    };
    program = new Progress({ url: "https://api.example", learner: who, token, storage });
  };
  // Somebody else signs in. An app whose tokens cannot be read makes a new client.
  const change = () => {
    learner = pick("ann", "ben");
    if (!readable || chance(0.5)) restart();
  };
  const wait = async (until = Infinity) => {
    const [next] = [...timers].sort(([, one], [, other]) => one.at - other.at);
    if (!next || next[1].at > until) return;
    timers.delete(next[0]);
    now = Math.max(now, next[1].at);
    next[1].run();
    await passed();
  };

  timers.clear();
  restart();
  for (let step = 0; step < 40; step++) {
    full = chance(0.1) ? 0.5 : full && pick(0, full);
    const action = chance(0.4) ? "review" : pick("flush", "wait", "wait", "restart", "clock", "damage", "retry");
    if (action === "review") {
      const [item, type] = [chance(0.05) ? "bad" : `item-${step}`, pick(...TYPES)];
      const author = who; // who may change while the event is stored
      const id = await program.record(type, { item_id: item });
      if (item !== "bad" && disk.has(id)) authors.set(id, [author, type]);
    } else if (action === "flush") {
      program.flush().catch(() => {});
      await passed();
      if (chance(0.3)) {
        lock = Promise.resolve(); // of a program that was killed
        timers.clear();
        restart();
      }
    } else if (action === "wait") await wait();
    else if (action === "restart") {
      change();
      restart();
    } else if (action === "clock") wall += pick(random(), -2, 2) * 3_600_000;
    else if (action === "damage") disk.set("damaged", pick("{", "null", '{"event": {}}', "[1]"));
    else {
      const [refused] = await program.refused().catch(() => []);
      if (refused) await program.retry(refused.event.event_id).catch(() => {});
    }
  }
  // Everything is well again. The program sends by itself; then each learner comes back.
  [sick, full, learner] = [false, 0, who];
  if (chance(0.3)) listeners.online();
  const end = now + 1_000_000; // after each Retry-After and pause, but that of a day
  for (let n = 0; n < 12; n++) await wait(end);
  for (const [id, [author, type]] of authors) {
    if (author === who && !(notBefore[type] > end) && !server.has(id)) faults.push(`${id} is stuck`);
  }
  for (learner of ["ann", "ben"]) {
    restart();
    for (let n = 0; n < 12 && (await program.waiting()); n++) await wait();
    if (await program.waiting()) faults.push(`${await program.waiting()} events of ${learner} still wait`);
  }
  for (const [id, [author]] of authors) {
    if (!server.has(id)) faults.push(`${id} of ${author} was lost`);
    else if (server.get(id)[0] !== author) faults.push(`${id} of ${author} was recorded for ${server.get(id)[0]}`);
  }
  return faults;
}

await draw(run, seen);
