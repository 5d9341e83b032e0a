// The values of your app. Replace all of them.

// The addresses of the learner's page that may get a token, each with its slash at the end.
export const PAGES = ['https://learners.example.com/'];

// Firebase: what console.firebase.google.com shows in the settings of the project, at "Your apps".
export const FIREBASE = { apiKey: '…', authDomain: 'example.firebaseapp.com', projectId: 'example' };

// Or any other OpenID Connect issuer (FIREBASE = null): where it describes itself, and the id of the client that you
// have registered with it, as a single-page application that may be redirected to the address of index.html.
export const OIDC = { issuer: 'https://login.example.com', client: 'progress' };
