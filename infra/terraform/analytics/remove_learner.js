// Remove every user_id and userid, at any depth, from a message that Pub/Sub writes to BigQuery. The erasure of a
// learner does not change BigQuery, so BigQuery must not get the learner's id. Of a CloudEvent, which has a
// specversion, only the fields that Progress reads are kept: others, such as the subject, may name the learner. Events
// about lists, in which learners write words, are dropped.
function removeLearner(message, metadata) {
  const ofLists = ["ListPublished", "ListArchived", "ItemListed", "ItemUnlisted", "ListAssigned", "ListUnassigned"];
  const learners = new Set();
  const withoutLearner = (key, value) => {
    if (key !== "user_id" && key !== "userid") return value;
    learners.add(value);
    return undefined;
  };
  const narrow = (event) => {
    if (event?.specversion == null) return event;
    const { specversion, id, type, time, data } = event;
    return { specversion, id, type, time, data };
  };

  const { user_id, ...attributes } = message.attributes || {};
  learners.add(user_id);
  const typeOf = (event) => {
    const isCloudEvent = event?.specversion != null;
    const data = event?.data ?? (isCloudEvent ? null : event?.event_data);
    const own = isCloudEvent ? event.type : event?.event_type ?? (data == null ? event?.type : null);
    return own ?? data?.type ?? attributes.event_type;
  };

  let body;
  try {
    body = JSON.parse(message.data, withoutLearner);
    const all = [body].flat();
    const events = all.filter((event) => !ofLists.includes(typeOf(event)));
    if (all.length && !events.length) return null;
    body = Array.isArray(body) ? events.map(narrow) : narrow(body);
  } catch (error) {
    return null; // drop a message that is not JSON, because it may contain a user_id; Progress keeps a dead letter
  }

  // Pub/Sub writes the ordering key to BigQuery, and a transform cannot remove it. A message whose ordering key is a
  // learner's id is therefore dropped.
  const { ordering_key } = metadata || {};
  if (ordering_key && learners.has(ordering_key)) return null;

  return { data: JSON.stringify(body), attributes };
}
