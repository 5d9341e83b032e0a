// What the outbox keeps of an event, and the rule of a wrong clock.

import { UUID } from "./ids.js";

/** An event as the server takes it. */
export interface ProgressEvent {
  event_id: string;
  event_type: string;
  occurred_at: string;
  data: Record<string, unknown>;
}

/** One value of the storage, as JSON. */
export interface Entry {
  event: ProgressEvent;
  run: string; // the run of the program that recorded the event
  wall: number; // the device's clock at that time, in ms
  tick: number; // a clock of this run that only runs forward, in ms; it may stand while the device sleeps
  sub?: string; // the learner whose event it is; clients up to 0.3 write none
  moved?: number; // by how many ms the times were moved; once it is there, the event keeps its bytes
  reason?: string; // why the server refused the event
}

/** The server's time, and this device's two clocks, at one instant. */
export interface Clock {
  server: number;
  wall: number;
  tick: number;
}

const MINUTE = 60_000;
const LAST_MS = 8.64e15; // of a Date

/** Return by how many ms the device's clock has run faster than the forward clock since the entry was made. */
export function gap(since: { wall: number; tick: number }, clock: Clock): number {
  return clock.wall - since.wall - (clock.tick - since.tick);
}

/** Return the entry with its final times. Without a clock, they are those that it has. */
export function settle(entry: Entry, run: string, clock: Clock | undefined): Entry {
  if (entry.moved !== undefined) return entry;
  if (!clock) return { ...entry, moved: 0 };
  let moved = entry.run === run ? difference(entry, clock) : 0;
  const at = Date.parse(entry.event.occurred_at);
  if (at + moved > clock.server && (moved || entry.run !== run)) moved = clock.server - at;
  moved = Math.round(moved);
  return { ...entry, moved, event: moved ? move(entry.event, moved) : entry.event };
}

/** Return by how many ms the clock was wrong when this run made the entry; 0 if it may have been right. */
function difference(entry: Entry, clock: Clock): number {
  const now = clock.server - clock.wall;
  const then = now + gap(entry, clock);
  if (Math.abs(then) <= MINUTE) return 0;
  // The forward clock stands while a device sleeps. So a device's clock that has gained on it was mended, or is right.
  if (gap(entry, clock) <= MINUTE) return then;
  return Math.abs(now) > MINUTE ? now : 0;
}

function move(event: ProgressEvent, by: number): ProgressEvent {
  const later = (time: string) => new Date(Math.min(Date.parse(time) + by, LAST_MS)).toISOString();
  const { due } = event.data;
  const data = typeof due === "string" && Date.parse(due) ? { ...event.data, due: later(due) } : event.data;
  return { ...event, occurred_at: later(event.occurred_at), data };
}

/** Cut the entries into batches of at most so many events and bytes; one larger event is a batch of its own. */
export function* batches(entries: Entry[], most: { events: number; bytes: number }): Generator<Entry[]> {
  let batch: Entry[] = [];
  let bytes = 1;
  for (const entry of entries) {
    const size = byteLength(JSON.stringify(entry.event)) + 1; // a comma, or the last bracket
    if (batch.length && (batch.length >= most.events || bytes + size > most.bytes)) {
      yield batch;
      [batch, bytes] = [[], 1];
    }
    batch.push(entry);
    bytes += size;
  }
  if (batch.length) yield batch;
}

/** Return the entry that a text of the storage holds, or undefined if it holds none of ours. */
export function read(text: unknown): Entry | undefined {
  try {
    const entry = JSON.parse(text as string);
    const { event, wall, tick, moved = 0, reason } = entry;
    const numbers = [wall, tick, moved, Date.parse(event.occurred_at)];
    if (!UUID.test(event.event_id) || !numbers.every(Number.isFinite) || !event.data) return undefined;
    // Clients up to 0.3 took an answer of a proxy for the server's.
    if (/^HTTP \d+$/.test(reason)) delete entry.reason;
    return entry;
  } catch {
    return undefined;
  }
}

// Not every React Native has TextEncoder.
function byteLength(text: string): number {
  return encodeURIComponent(text).replace(/%../g, "x").length;
}
