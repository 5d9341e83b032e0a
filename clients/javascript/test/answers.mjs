// A learner who answers until the program is killed; each answer has an item of its own.

import { Progress } from "learner-progress";

/** Ask the test what to do, and do it: tell each item once its event is on disk, or send what is left. */
export async function start(origin, storage) {
  const { url, learner, token, run } = await (await fetch(`${origin}/given`)).json();
  const tell = (text) => fetch(`${origin}/told`, { method: "POST", body: text });
  const options = { url, learner, token: () => token, storage };
  if (run === "drain") return await drain(new Progress({ ...options, delayMs: Infinity }), tell);
  const progress = new Progress({ ...options, delayMs: 20 });
  for (let number = 0; ; number++) {
    const item = `${run}-${number}`;
    await progress.record("CorrectAnswerGiven", { session_id: "s-1", item_id: item });
    await tell(item);
  }
}

async function drain(progress, tell) {
  while ((await progress.flush()).waiting) await new Promise((resolve) => setTimeout(resolve, 500));
  const refused = await progress.refused();
  await tell(refused.length ? JSON.stringify(refused) : "empty");
}
