// Remove every user_id, at any depth, from a message for BigQuery, which the erasure of a learner does not reach.
function removeLearner(message, metadata) {
  const learners = new Set();
  const withoutLearner = (key, value) => {
    if (key !== "user_id") return value;
    learners.add(value);
    return undefined;
  };

  let body;
  try {
    body = JSON.parse(message.data, withoutLearner);
  } catch (error) {
    return null; // not JSON, so a user_id cannot be removed; Progress keeps it as a dead letter
  }

  const { user_id, ...attributes } = message.attributes || {};
  learners.add(user_id);

  // Pub/Sub writes the ordering key to BigQuery, and a transform cannot remove it.
  const { ordering_key } = metadata || {};
  if (ordering_key && learners.has(ordering_key)) return null;

  return { data: JSON.stringify(body), attributes };
}
