// A learner who answers until the program is killed; each answer has an item of its own.

import { Progress } from "learner-progress";

/** Answer without an end, and tell each item once its event is on disk. */
export async function answer({ url, token, storage, run, tell }) {
  const progress = new Progress({ url, token: () => token, storage, delayMs: 20 });
  for (let number = 0; ; number++) {
    const item = `${run}-${number}`;
    await progress.record("CorrectAnswerGiven", { session_id: "s-1", item_id: item });
    await tell(item);
  }
}

/** Send what is left; tell "empty" once nothing waits. */
export async function drain({ url, token, storage, tell }) {
  const progress = new Progress({ url, token: () => token, storage, delayMs: Infinity });
  while ((await progress.flush()).waiting) await new Promise((resolve) => setTimeout(resolve, 500));
  const refused = await progress.refused();
  await tell(refused.length ? JSON.stringify(refused) : "empty");
}
