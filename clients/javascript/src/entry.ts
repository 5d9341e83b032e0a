// What the outbox keeps of an event, and the rule of a wrong clock.

import { UUID } from "./ids.js";

/** An event as the server takes it. */
export interface ProgressEvent {
  event_id: string;
  event_type: string;
  occurred_at: string;
  data: Record<string, unknown>;
}

/** The run of the program that recorded an event. */
export interface Run {
  run: string;
  number: number; // one more than the highest in the outbox when the run first read it; 0 of clients up to 0.4
  seen: number; // the latest `wall` in it; 0, too
}

/** One value of the storage, as JSON. */
export interface Entry extends Run {
  event: ProgressEvent;
  wall: number; // the device's clock at that time, in ms; it is the event's time, unless the app gave one
  tick: number; // a clock of this run that only runs forward, in ms; it may stand while the device sleeps
  sub?: string; // the learner whose event it is; clients up to 0.3 write none
  moved?: number | undefined; // by how many ms the times were moved; once it is there, the event keeps its bytes
  reason?: string | undefined; // why the server refused the event
}

export type Since = Pick<Entry, "wall" | "tick">;

/** This device's two clocks at one instant, and by how many ms the first one was behind the server's. */
export type Clock = Since & { late: number };

const MINUTE = 60_000;

/** Return by how many ms the device's clock has run faster than the forward clock since the entry was made. */
export function gap(since: Since, clock: Since): number {
  return clock.wall - since.wall - (clock.tick - since.tick);
}

/** Give the entries final times, and return those that had none. Without a clock, they keep those that they have. */
export function settle(
  entries: Entry[],
  run: string,
  clock: Clock | undefined,
  earlier: Record<string, number> = {}, // the latest `wall` of each run, when this one first read the outbox
  began?: Since, // when this run recorded its first event
): Entry[] {
  const open = entries.filter(({ moved }) => moved === undefined);
  for (const entry of open) entry.moved = 0;
  if (!clock) return open;
  const isEarlier = (entry: Entry) => entry.wall <= earlier[entry.run]!;
  const now = clock.wall + clock.late;
  const runs = moveRuns(open.filter(isEarlier), began ? began.wall + difference(began, clock) : Infinity, now);
  for (const entry of open) {
    const isOwn = entry.run === run;
    // Another program that writes now has the same device's clock, but another forward clock.
    let moved = isEarlier(entry) ? runs[entry.run]! : difference(isOwn ? entry : clock, clock);
    const at = Date.parse(entry.event.occurred_at);
    // What the app gave may lie ahead by any time, the rest by less than a minute.
    const ahead = at + moved - now;
    if (ahead > (at === entry.wall ? MINUTE : 0) && (moved || !isOwn)) moved -= ahead;
    entry.moved = moved;
    if (moved) entry.event = move(entry.event, moved);
  }
  return open;
}

/**
 * Return by how many ms each earlier run moves, as a whole: its latest time lies before the server's now and the first
 * time of the next run. Two programs that wrote while both ran have one clock, so neither follows the other.
 */
function moveRuns(entries: Entry[], next: number, now: number): Record<string, number> {
  const moves: Record<string, number> = {};
  let seenByNext = Infinity;
  const newest = (one: Entry, other: Entry) => other.number - one.number || other.wall - one.wall;
  for (const { run, wall, seen } of entries.sort(newest)) {
    const first = wall > seenByNext ? Infinity : next;
    moves[run] ??= wall > Math.min(now, first - 1) ? Math.min(now, first) - 1 - wall : 0;
    next = Math.min(next, wall + moves[run]);
    seenByNext = Math.min(seenByNext, seen);
  }
  return moves;
}

/** Return by how many ms the clock was wrong when this run made the entry; 0 if it may have been right. */
function difference(since: Since, clock: Clock): number {
  const gained = gap(since, clock);
  // The forward clock stands while a device sleeps. So a device's clock that has gained on it was mended, or is right.
  const by = Math.round(clock.late + Math.min(0, gained));
  const wasRight = gained > MINUTE && Math.abs(clock.late + gained) <= MINUTE;
  return wasRight || Math.abs(by) <= MINUTE ? 0 : by;
}

function move(event: ProgressEvent, by: number): ProgressEvent {
  const later = (time: string) => new Date(Date.parse(time) + by).toJSON();
  const { due } = event.data;
  const data = typeof due === "string" && Date.parse(due) ? { ...event.data, due: later(due) } : event.data;
  return { ...event, occurred_at: later(event.occurred_at), data };
}

/** Return 1 if the event changes a list, else 0: the two have allowances of their own. */
export function kindOf({ event }: Entry): number {
  return +/list/i.test(event.event_type);
}

/** Cut the entries into batches of one kind and at most so many events and bytes; one larger event is a batch. */
export function* batches(entries: Entry[], most: { events: number; bytes: number }): Generator<Entry[]> {
  let batch: Entry[] = [];
  let bytes = 1;
  for (const entry of entries) {
    const size = byteLength(JSON.stringify(entry.event)) + 1; // a comma, or the last bracket
    const isFull = batch.length >= most.events || bytes + size > most.bytes;
    if (batch[0] && (isFull || kindOf(batch[0]) !== kindOf(entry))) {
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
    return { number: 0, seen: 0, ...entry };
  } catch {
    return undefined;
  }
}

// Not every React Native has TextEncoder.
function byteLength(text: string): number {
  return encodeURIComponent(text).replace(/%../g, "x").length;
}
