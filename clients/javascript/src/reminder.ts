// A learner's next local notification: their numbers at the hour at which they want to be reminded.

export interface ReminderOptions {
  url: string; // the origin of the GraphQL API
  token: (fresh: boolean) => string | Promise<string>; // fresh: the server did not accept the last one
  hour: number; // 0 to 23, by the device's clock
  language?: string | undefined; // of the text, such as "ja"; the browser's, if omitted
}

/** What will be true at `at`, if nothing is studied until then. Its day is the learner's local day at that instant. */
export interface Reminder {
  at: Date; // the next instant at which the device's clock reads the hour
  due: number; // words that are due on the day, or before
  streak: number; // days of the streak that ends with the day; 0: none does
  tasks: number; // that are not done, and end on the day or the next
  text: { title: string; body: string };
}

const QUARTER_MS = 900_000; // of which the offsets of all zones are multiples
const DAY_MS = 86_400_000;
// At a moment ahead, the server tells what will be true then. Tasks take no moment: they hold until the end of a day.
const QUERY = `query Reminder($at: DateTime!, $after: String) {
  dueForecast(days: 1, asOf: $at) { date items }
  workload(asOf: $at) { minutes }
  streak(asOf: $at) { current atRisk }
  tasks(after: $after) { edges { node { dueOn done } } pageInfo { hasNextPage endCursor } }
}`;

/** Return what to plan; null: there is nothing to say. Rejects if the server does not answer: a former plan stands. */
export async function reminder({ url, token, hour, language }: ReminderOptions): Promise<Reminder | null> {
  if (!Number.isInteger(hour) || hour < 0 || hour > 23) {
    throw new TypeError(`hour: expected an integer from 0 to 23 - found ${hour}`);
  }
  const at = next(hour);
  const ask = async (after?: string, fresh = false): Promise<any> => {
    const response = await fetch(`${url.replace(/\/+$/, "")}/graphql`, {
      method: "POST",
      headers: { authorization: `Bearer ${await token(fresh)}`, "content-type": "application/json" },
      body: JSON.stringify({ query: QUERY, variables: { at, after } }),
    });
    if (response.status === 401 && !fresh) return ask(after, true);
    const { data, errors } = await response.json();
    if (errors || !data) throw new Error(errors?.[0].message ?? `the server answered ${response.status}`);
    return data;
  };
  let tasks = 0;
  let after: string | undefined;
  while (true) {
    const { dueForecast, workload, streak: run, tasks: page } = await ask(after);
    const [{ date, items: due }] = dueForecast;
    const tomorrow = new Date(Date.parse(date) + DAY_MS).toISOString().slice(0, 10);
    for (const { node } of page.edges) {
      if (node.done === false && node.dueOn >= date && node.dueOn <= tomorrow) tasks++;
    }
    after = page.pageInfo.endCursor;
    if (page.pageInfo.hasNextPage && page.edges.at(-1).node.dueOn >= date) continue; // the latest of twenty come first
    const streak = run.atRisk ? run.current : 0;
    if (!due && !streak && !tasks) return null;
    const write = /^ja\b/i.test(language ?? globalThis.navigator?.language ?? "") ? japanese : english;
    return { at, due, streak, tasks, text: write(due, workload.minutes, streak, tasks) };
  }
}

function next(hour: number): Date {
  const at = new Date(Math.floor(Date.now() / QUARTER_MS) * QUARTER_MS);
  do at.setTime(+at + QUARTER_MS);
  while (at.getHours() !== hour || at.getMinutes());
  return at;
}

type Write = (due: number, minutes: number | null, streak: number, tasks: number) => Reminder["text"];

const english: Write = (due, minutes, streak, tasks) => {
  const some = (count: number, noun: string) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
  const time = minutes ? `, about ${some(minutes, "minute")}` : "";
  const body = [
    due && `${some(due, "word")} ${due === 1 ? "is" : "are"} due today${time}.`,
    streak && `One answer makes a streak of ${some(streak + 1, "day")}.`,
    tasks && `${some(tasks, "task")} ${tasks === 1 ? "ends" : "end"} today or tomorrow.`,
  ];
  return { title: "Words for today", body: body.filter(Boolean).join(" ") };
};

const japanese: Write = (due, minutes, streak, tasks) => {
  const body = [
    due && `今日の復習は${due.toLocaleString("ja")}語です${minutes ? `（約${minutes}分）` : ""}。`,
    streak && `1問答えると、連続${streak + 1}日になります。`,
    tasks && `今日か明日までの課題が${tasks}件あります。`,
  ];
  return { title: "今日の学習", body: body.filter(Boolean).join("") };
};
