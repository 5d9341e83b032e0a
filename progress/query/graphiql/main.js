// GraphiQL, signed in with the token that the page keeps while the tab is open.

import { examples } from './examples.js';
import { fetcher } from './fetcher.js';
import { learner } from './session.js';

const { React, ReactDOM, GraphiQL } = window;

const session = document.getElementById('session');
if (learner()) {
  session.textContent = `Signed in as ${learner()}. `;
} else {
  const link = document.createElement('a');
  link.href = './';
  link.textContent = 'Sign in on the page';
  session.append('You are not signed in. ', link, ', then open this address in the same tab.');
}

ReactDOM.createRoot(document.getElementById('graphiql')).render(
  React.createElement(GraphiQL, {
    fetcher,
    defaultTabs: examples,
    shouldPersistHeaders: false, // they may contain a token
    defaultEditorToolsVisibility: 'variables',
  }),
);
