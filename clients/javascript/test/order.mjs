// Draw runs of an app whose clock may be early, with kills, sleep and two tabs: node order.mjs FIRST LAST
// Print where events of ours contradict the order in which they happened, and how much happened.

import { Progress } from "learner-progress";
import { BEGIN, draw, generator } from "./draw.mjs";

const MINUTE = 60_000;
const seen = { moved: 0 };
let [now, ahead, slept] = [0, 0, 0]; // ms since BEGIN; the device's clock is so early; its forward clock stood so long
let zero = 0; // of the forward clock of the tab that runs
Date.now = () => BEGIN + Math.floor(now) + ahead;
performance.now = () => now - slept + zero;

async function run(seed) {
  const { random, pick } = generator(seed);
  const [disk, happened, got] = [new Map(), [], new Map()];
  let online = false;
  [now, slept] = [0, 0];
  globalThis.fetch = async (url, { body }) => {
    now += random() * pick(10, 2_000);
    if (!online) throw new TypeError("Failed to fetch");
    const events = JSON.parse(body ?? "[]");
    for (const { event_id, occurred_at } of events) got.set(event_id, Date.parse(occurred_at));
    const text = JSON.stringify({ now: new Date(BEGIN + now), accepted: events.length, refused: [] });
    now += random() * pick(10, 2_000);
    return new Response(text, { status: body ? 202 : 200 });
  };
  const storage = {
    load: async () => [...disk.values()],
    save: async (texts) => Object.entries(texts).forEach(([id, text]) => disk.set(id, text)),
    remove: async (ids) => ids.forEach((id) => disk.delete(id)),
  };
  const open = () => {
    zero = random() * 1e6;
    const options = { url: "https://a.example", learner: "ann", token: () => "t", storage, delayMs: Infinity };
    return Object.assign(new Progress(options), { zero });
  };
  const act = async (client, isRight) => {
    const [type, data] = pick(
      ["CardReviewed", { item_id: pick("a", "b"), rating: 3, interval_days: 1 }],
      ["GoalSet", { answers_per_day: 5 }],
      [pick("ListPublished", "ListArchived"), { list_id: "l" }],
      [pick("ItemListed", "ItemUnlisted"), { list_id: "l", item_id: "a" }],
    );
    const subject = data.item_id ?? data.list_id ?? type;
    happened.push({ id: await client.record(type, data), subject, isRight, at: BEGIN + now });
    now += pick(0, 0, 0.4, 1, 20, 5_000);
  };
  const tabs = random() < 0.4 ? 2 : 1;
  for (let count = pick(1, 2, 3); count; count--) {
    ahead = tabs === 1 ? pick(0, 0, 2 * MINUTE, Math.floor((1 + random() * 179) * MINUTE)) : 0;
    const clients = Array.from({ length: tabs }, open);
    for (let step = 0; step < 12; step++) {
      online = random() < 0.1;
      const client = pick(...clients);
      ({ zero } = client);
      if (tabs === 2) now += 20; // nobody uses two at once
      if (random() < 0.8) await act(client, !ahead);
      else if (random() < 0.7) await client.flush();
      else if (tabs === 2) clients[clients.indexOf(client)] = open(); // a tab that is loaded again
      else {
        // The device sleeps. After as long as its clock is early, the clock looks as if it had been right.
        const ms = pick(random() * 5_000, ahead + 2 * MINUTE + random() * 300 * MINUTE);
        [now, slept] = [now + ms, slept + ms];
      }
    }
    now += 1_000 + random() * pick(1_000, 10 * MINUTE);
  }
  [online, ahead] = [true, 0];
  const last = open();
  await act(last, true);
  await last.flush();
  const faults = new Set();
  for (const [place, { id, subject, isRight, at }] of happened.entries()) {
    const time = got.get(id);
    const isMoved = Math.abs(time - at) > 50; // a burst takes 2 ms for each event
    seen.moved += isMoved;
    if (isRight && isMoved) faults.add(`${place} is moved though its clock was right`);
    const rest = happened.slice(place + 1);
    const next = rest.find((one) => one.subject === subject);
    if (got.get(next?.id) < time + 1) faults.add(`${place} is not before the next about ${subject}`);
    if (got.get(rest[0]?.id) < time - 1) faults.add(`${place} is after the next`);
  }
  return [...faults];
}

await draw(run, seen);
