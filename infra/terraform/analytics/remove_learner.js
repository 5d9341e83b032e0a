// Remove every user_id, at any depth, from a message that Pub/Sub writes to BigQuery. The erasure of a learner does not
// change BigQuery, so BigQuery must not get the learner's id.
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
    return null; // drop a message that is not JSON, because it may contain a user_id; Progress keeps a dead letter
  }

  const { user_id, ...attributes } = message.attributes || {};
  learners.add(user_id);

  // Pub/Sub writes the ordering key to BigQuery, and a transform cannot remove it. A message whose ordering key is a
  // learner's id is therefore dropped.
  const { ordering_key } = metadata || {};
  if (ordering_key && learners.has(ordering_key)) return null;

  return { data: JSON.stringify(body), attributes };
}
