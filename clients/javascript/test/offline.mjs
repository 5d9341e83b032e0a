// Nine days without a connection, 60 reviews a day, which are two batches; then one flush.

import { Progress, fileStorage } from "learner-progress";

const { API: url, TOKEN: token, OUTBOX: path } = process.env;
const options = { learner: "traveller", token: () => token, storage: fileStorage(path), delayMs: Infinity };
const now = Date.now(); // so that midnight divides no day
const offline = new Progress({ ...options, url: "http://127.0.0.1:9" });
for (let day = 9; day > 0; day--) {
  for (let number = 0; number < 60; number++) {
    const at = now - day * 86_400_000;
    await offline.reviewed({ itemId: `item-${number}`, rating: 3, intervalDays: 1, durationMs: 2_000, at });
  }
  await offline.flush();
}
const errors = [];
const online = new Progress({ ...options, url, onError: (error) => errors.push(`${error}`) });
console.log(JSON.stringify({ ...(await online.flush()), errors }));
