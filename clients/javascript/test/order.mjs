// Draw runs of an app whose clock may be early, with kills, sleep and two tabs: node order.mjs FIRST LAST
// Print where events of ours contradict the order in which they happened, and how much happened.

import { Progress } from "learner-progress";
import { draw, generator } from "./draw.mjs";

const BEGIN = Date.parse("2026-11-27T09:00:00Z");
const MINUTE = 60_000;
const seen = { runs: 0, events: 0, moved: 0 };
let [now, ahead, slept] = [0, 0, 0]; // ms since BEGIN; the device's clock is so early; its forward clock stood so long
Date.now = () => BEGIN + Math.floor(now) + ahead;
performance.now = () => now - slept;

async function run(seed) {
  const random = generator(seed);
  const pick = (...values) => values[Math.floor(random() * values.length)];
  const [disk, happened, got] = [new Map(), [], new Map()];
  let online = false;
  [now, slept] = [0, 0];
  globalThis.fetch = async (url, { body }) => {
    const way = () => (now += random() * pick(10, 2_000));
    way();
    if (!online) throw new TypeError("Failed to fetch");
    if (!body) {
      const text = JSON.stringify({ now: new Date(BEGIN + now).toISOString() });
      way();
      return new Response(text);
    }
    const events = JSON.parse(body);
    for (const { event_id, occurred_at } of events) got.set(event_id, Date.parse(occurred_at));
    return new Response(JSON.stringify({ accepted: events.length, refused: [] }), { status: 202 });
  };
  const storage = {
    load: async () => [...disk.values()],
    save: async (texts) => Object.entries(texts).forEach(([id, text]) => disk.set(id, text)),
    remove: async (ids) => ids.forEach((id) => disk.delete(id)),
  };
  const open = () => new Progress({ url: "https://a.example", learner: "ann", token: () => "t", storage, delayMs: Infinity });
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
  for (let count = 1 + Math.floor(random() * 3); count; count--) {
    seen.runs++;
    ahead = tabs === 1 ? pick(0, 0, 2 * MINUTE, Math.floor((1 + random() * 179) * MINUTE)) : 0;
    const clients = Array.from({ length: tabs }, open);
    for (let step = 0; step < 12; step++) {
      online = random() < 0.1;
      const client = pick(...clients);
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
    for (const client of clients) client.close();
    now += 1_000 + random() * pick(1_000, 10 * MINUTE);
  }
  [online, ahead] = [true, 0];
  const last = open();
  await act(last, true);
  await last.flush();
  const faults = [];
  for (const [place, { id, subject, isRight, at }] of happened.entries()) {
    seen.events++;
    const by = Math.abs(got.get(id) - at); // a burst takes 2 ms for each event
    if (isRight && by > 50) faults.push(`${place} is moved though its clock was right`);
    seen.moved += by > 50;
    const next = happened.slice(place + 1).find((one) => one.subject === subject);
    if (next && got.get(next.id) < got.get(id) + 1) faults.push(`${place} is not before the next about ${subject}`);
    const after = happened[place + 1];
    if (after && got.get(after.id) < got.get(id) - 1) faults.push(`${place} is after the next`);
  }
  return [...new Set(faults)];
}

await draw(run, seen);
