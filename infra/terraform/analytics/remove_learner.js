// What BigQuery gets of a message: all of it but who the learner is, at whatever depth. Erasure cannot reach what is there.
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
    return null; // no event, and nobody knows whose: the dead letters of Progress have it
  }

  const { user_id, ...attributes } = message.attributes || {};
  learners.add(user_id);

  // Pub/Sub writes the ordering key beside the attributes, and no transform can remove it.
  const { ordering_key } = metadata || {};
  if (ordering_key && learners.has(ordering_key)) return null;

  return { data: JSON.stringify(body), attributes };
}
