// What an app says of a review, and its form in the event CardReviewed.

/** A time: a Date, RFC 3339 with an offset, ms since 1970, or what Firestore, Luxon and Day.js make of one. */
export type Time = Date | string | number | { toDate(): Date } | { toMillis(): number };

interface Answered {
  itemId: string;
  durationMs?: number | null | undefined;
  sessionId?: string | null | undefined;
}

/** One answer: 1 again, 2 hard, 3 good, 4 easy; now, if `at` is omitted; the next at `due` or after `intervalDays`. */
export type Review = Answered & { rating: number; at?: Time | undefined } &
  ({ due: Time; intervalDays?: number | null | undefined } | { due?: null | undefined; intervalDays: number });

/** A card of ts-fsrs after the review, and the item that it asks. */
export interface ScheduledCard extends Answered {
  due: Time;
  scheduled_days: number;
}

/** What ts-fsrs says of a review. */
export interface ReviewLog {
  rating: number;
  review: Time;
}

const RFC_3339 = /^\d{4}-\d\d-\d\dt\d\d:\d\d:\d\d(\.\d+)?(z|[+-]\d\d:\d\d)$/i;
const YEARS = /^(?!0000)\d{4}-/; // 1 to 9999
const MOST_DAYS = 4_294_967_295;
const FIRST_MS = 1e11; // a smaller number is in seconds

/** Return the data of the event; throw a TypeError that names the field which the server would never accept. */
export function describe(given: Review | ScheduledCard, log: ReviewLog | undefined): Record<string, unknown> {
  const { itemId, due, scheduled_days, intervalDays, durationMs, sessionId } = given as any;
  const rating = (log ?? (given as Review)).rating;
  const days = number("scheduled_days", scheduled_days, MOST_DAYS) ?? number("intervalDays", intervalDays, MOST_DAYS);
  if (![1, 2, 3, 4].includes(rating)) throw wrong("rating", "1, 2, 3 or 4", rating);
  if (due == null && days === undefined) throw wrong("due", "it, or intervalDays", due);
  return {
    item_id: text("itemId", itemId),
    rating,
    due: due == null ? undefined : iso("due", due),
    interval_days: days,
    duration_ms: number("durationMs", durationMs, 1e12),
    session_id: sessionId == null ? undefined : text("sessionId", sessionId),
  };
}

/** Return the time as RFC 3339; throw a TypeError that names the field if it is none. */
export function iso(field: string, time: unknown): string {
  const it = time as any;
  const value = it?.toMillis?.() ?? it?.toDate?.() ?? it;
  let ms = value?.getTime?.(); // a Date, also of another window
  if (typeof value === "number" && Math.abs(value) >= FIRST_MS) ms = value;
  if (typeof value === "string" && RFC_3339.test(value)) ms = Date.parse(value.toUpperCase());
  const found = new Date(ms).toJSON();
  if (YEARS.test(found)) return found;
  throw wrong(field, "a Date, RFC 3339 or ms since 1970", time);
}

/** Return the text; throw a TypeError that names the field unless it has 1 to 200 characters. */
export function text(field: string, value: unknown): string {
  if (typeof value === "string" && /^[^\0\ud800-\udfff]{1,200}$/u.test(value)) return value;
  throw wrong(field, "a text of 1 to 200 characters", value);
}

function number(field: string, value: unknown, most: number): number | undefined {
  if (value == null) return undefined;
  if (typeof value === "number" && value >= 0 && value <= most) return value;
  throw wrong(field, `a number from 0 to ${most}`, value);
}

function wrong(field: string, expected: string, found: unknown): TypeError {
  const shown = typeof found === "string" ? JSON.stringify(found) : found;
  return new TypeError(`${field}: expected ${expected} - found ${shown}`);
}
