// The OpenID provider that tests log in at: oidc-provider over TLS, with people, and login and consent pages of its own.
//
// node server.mjs CERTIFICATE KEY PORT_FILE
//
// It listens on a free port of 127.0.0.1, which it writes to PORT_FILE once it answers. Clients register themselves. Anybody
// whose name is in lower-case letters may log in, with the password `NAME-password`. Events go to standard output.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { randomBytes, webcrypto } from 'node:crypto';

// Node.js has these since 20 and 22.1.
globalThis.crypto ??= webcrypto;
URL.parse ??= (url, base) => (URL.canParse(url, base) ? new URL(url, base) : null);
const { default: Provider, interactionPolicy } = await import('oidc-provider');

const [certificate, key, portFile] = process.argv.slice(2);
const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) });
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const { port } = server.address();

const provider = new Provider(`https://localhost:${port}`, {
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username'] },
  // The id token has the claims of the scopes, as Google's has: not userinfo alone.
  conformIdTokenClaims: false,
  clientBasedCORS: () => false,
  cookies: { keys: [randomBytes(32).toString('hex')] },
  extraClientMetadata: { properties: ['access_token_ttl'], validator: () => {} },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    // Its own pages fetch fonts from the internet.
    deviceFlow: {
      enabled: true,
      userCodeInputSource: (ctx, form) => {
        ctx.body = page('Device', `${form}<button id="enter" form="op.deviceInputForm">Go on</button>`);
      },
      userCodeConfirmSource: (ctx, form) => {
        ctx.body = page('Device', `${form}<button id="confirm" form="op.deviceConfirmForm">It is mine</button>`);
      },
      successSource: (ctx) => {
        ctx.body = page('Device', '<p id="done">Go back to your device.</p>');
      },
    },
    introspection: { enabled: true },
    registration: { enabled: true },
    revocation: { enabled: true },
    rpInitiatedLogout: { enabled: false },
  },
  findAccount: (_, name) => ({
    accountId: name,
    claims: () => ({
      sub: name,
      name: name[0].toUpperCase() + name.slice(1),
      preferred_username: name,
      email: `${name}@example.com`,
      email_verified: true,
    }),
  }),
  interactions: { policy: interactionPolicy.base(), url: (_, { uid }) => `/interaction/${uid}` },
  pkce: { required: () => true },
  renderError: (ctx, { error, error_description }) => {
    ctx.type = 'html';
    ctx.body = page('Error', `<p id="error">${escaped(error)}: ${escaped(error_description ?? '')}</p>`);
  },
  // With it, a refresh token that comes a second time ends all that came from the same consent.
  rotateRefreshToken: true,
  scopes: ['openid', 'offline_access', 'email', 'profile', 'files:read', 'files:write'],
  ttl: {
    AccessToken: (_ctx, _token, client) => client.access_token_ttl ?? 3600,
    AuthorizationCode: 60,
    ClientCredentials: 600,
    DeviceCode: 600,
    Grant: 86400,
    IdToken: 3600,
    Interaction: 600,
    RefreshToken: 86400,
    Session: 86400,
  },
});

for (const event of ['grant.success', 'grant.error', 'grant.revoked', 'access_token.destroyed', 'refresh_token.consumed', 'server_error']) {
  provider.on(event, (...about) => {
    const error = about.find((one) => one instanceof Error);
    console.log(event, error ? `${error.message} ${error.error_detail ?? ''}` : '');
  });
}

const answer = provider.callback();
server.on('request', (request, response) => {
  const isOurs = request.url.startsWith('/interaction/');
  const done = isOurs ? interaction(request, response) : answer(request, response);
  done.catch((error) => {
    console.log('failed', error);
    response.writeHead(500).end(String(error));
  });
});
writeFileSync(`${portFile}.new`, String(port));
renameSync(`${portFile}.new`, portFile);

/** The pages between the authorization request and its answer: login, then consent. */
async function interaction(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  const show = (title, body) => response.writeHead(200, { 'content-type': 'text/html' }).end(page(title, body));
  if (request.method !== 'POST') return show(...(prompt.name === 'login' ? login('') : consent(params)));
  const form = new URLSearchParams(await bodyOf(request));
  const finish = (result) =>
    provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
  if (form.has('deny')) {
    return finish({ error: 'access_denied', error_description: 'the person said no' });
  }
  if (prompt.name === 'login') {
    const name = form.get('login') ?? '';
    const isRight = /^[a-z]+$/.test(name) && form.get('password') === `${name}-password`;
    return isRight ? finish({ login: { accountId: name } }) : show(...login('Wrong name or password.'));
  }
  const earlier = grantId && (await provider.Grant.find(grantId));
  const grant = earlier || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  const granted = new Set(['openid', 'offline_access', ...form.getAll('scope')]);
  for (const scope of params.scope.split(' ')) {
    if (granted.has(scope)) grant.addOIDCScope(scope);
    else grant.rejectOIDCScope(scope);
  }
  return finish({ consent: { grantId: await grant.save() } });
}

function login(complaint) {
  return [
    'Log in',
    `<p id="complaint">${escaped(complaint)}</p>
     <form method="post"><input name="login" required><input name="password" type="password" required>
     <button id="log-in">Log in</button></form>${denial}`,
  ];
}

function consent(params) {
  const optional = params.scope.split(' ').filter((scope) => scope !== 'openid' && scope !== 'offline_access');
  const boxes = optional.map(
    (scope) => `<label><input type="checkbox" name="scope" value="${escaped(scope)}" checked>${escaped(scope)}</label>`,
  );
  return [
    'Consent',
    `<form method="post">${boxes.join('')}<button id="allow">Allow</button></form>${denial}`,
  ];
}

const denial = '<form method="post"><button id="deny" name="deny" value="yes">Deny</button></form>';

function page(title, body) {
  return `<!doctype html><html lang="en"><title>${title}</title><h1>${title}</h1>${body}</html>`;
}

function escaped(text) {
  return String(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

async function bodyOf(request) {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) body += chunk;
  return body;
}
