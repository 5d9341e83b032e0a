// The receipt of an erasure: what was erased, what was found afterwards, and until when copies exist.

import { h } from './dom.js';
import { longDay, moment, number } from './format.js';

const PLACES = {
  events: 'Events emptied', sessions: 'Sessions without their learner', pending: 'Pending events deleted',
  dead_letters: 'Dead letters emptied', snapshots: 'Snapshots deleted', poisoned: 'Marks of unfoldable events deleted',
  operations: 'Operations without the learner’s id', exports: 'Exported files deleted',
  files: 'Files of the archive written again', archived_events: 'Events removed from these files',
};
const COPIES = {
  backups: 'Backups of the database gone on', pubsub: 'Messages in Pub/Sub gone on',
  pubsub_dead_letters: 'Dead letters of Pub/Sub gone on',
};

/** The receipt as a list. `result` is the JSON that the operation ends with. */
export function receipt(result) {
  const { digest, erased_at, closed_at, erased, found, places, in_events_of_others, copies_until } = JSON.parse(result);
  const left = Object.entries(places).map(([place, rows]) => `${number(rows)} in ${place}`).join(', ');
  const facts = [
    ['Learner (a digest of the id)', digest],
    ['No event accepted since', moment(erased_at)],
    ['Erased completely', moment(closed_at)],
    ...Object.keys(PLACES).filter((place) => place in erased).map((place) => [PLACES[place], number(erased[place])]),
    ['Rows found afterwards', left ? `${number(found)}: ${left}` : number(found)],
    ['Events of others that name the id', number(in_events_of_others)],
    ...Object.entries(COPIES).map(([copies, name]) => [name, longDay(copies_until[copies])]),
  ];
  return h('dl', { class: 'receipt', 'aria-label': 'Receipt' },
    facts.map(([name, value]) => [h('dt', null, name), h('dd', null, value)]));
}
