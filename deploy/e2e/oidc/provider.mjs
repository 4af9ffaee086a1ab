// A real OpenID provider (panva's oidc-provider) with one client and no
// passwords: whoever a login hint names is signed in; with "people", a page asks
// who of them it is. It takes its settings as JSON in the first argument and
// prints its issuer when it is ready.
//
//   {port, clientId, clientSecret, redirectUri, postLogoutRedirectUri, backchannelLogoutUri, alg, people: ["ada", …],
//    tls: {cert: path, key: path}}   // then it is at https://localhost
import { createServer } from 'node:http';
import { createServer as createTLSServer } from 'node:https';
import { readFileSync } from 'node:fs';
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const set = JSON.parse(process.argv[2]);

const key = set.alg === 'RS256'
  ? generateKeyPairSync('rsa', { modulusLength: 2048 })
  : generateKeyPairSync('ec', { namedCurve: 'P-256' });
const jwk = { ...key.privateKey.export({ format: 'jwk' }), alg: set.alg, use: 'sig' };

let handler = (_, res) => res.writeHead(503).end();
const answered = (req, res) => handler(req, res);
const server = set.tls
  ? createTLSServer({ cert: readFileSync(set.tls.cert), key: readFileSync(set.tls.key) }, answered)
  : createServer(answered);
await new Promise((done) => server.listen(set.port, '127.0.0.1', done));
const issuer = `${set.tls ? 'https://localhost' : 'http://127.0.0.1'}:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [{
    client_id: set.clientId,
    client_secret: set.clientSecret,
    redirect_uris: [set.redirectUri],
    post_logout_redirect_uris: [set.postLogoutRedirectUri],
    backchannel_logout_uri: set.backchannelLogoutUri,
    backchannel_logout_session_required: true,
    id_token_signed_response_alg: set.alg,
    response_types: ['code'],
    grant_types: ['authorization_code'],
    require_auth_time: true,
  }],
  jwks: { keys: [jwk] },
  cookies: { keys: ['a key that signs cookies of a test'] },
  claims: { openid: ['sub', 'groups'], email: ['email', 'email_verified'], profile: ['given_name', 'family_name'] },
  pkce: { required: () => true },
  features: {
    devInteractions: { enabled: false },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: {
      enabled: true,
      logoutSource: (ctx, form) => { ctx.body = `<!doctype html><title>Sign out?</title><h1>Sign out of the provider?</h1>${form}
        <button type="submit" form="op.logoutForm" name="logout" value="yes">Yes, sign me out</button>`; },
    },
  },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  // The gate under test is on loopback, which the provider keeps away from.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({
      sub: id, email: `${id}@acme.test`, email_verified: id !== 'mallory', given_name: id, groups: ['Engineering', 'Everyone'],
    }),
  }),
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope('openid email profile');
    await grant.save();
    return grant;
  },
});

// ask shows a page with a button for everybody who may sign in.
const ask = (res) => res.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' })
  .end(`<!doctype html><title>Sign in</title><h1>Who are you?</h1><form method="post">${set.people.map((id) =>
    `<p><button name="account" value="${id}">${id}@acme.test</button></p>`).join('')}<p><button name="account" value="">Cancel</button></p></form>`);

// picked reads what was picked on that page.
const picked = async (req) => {
  let body = '';
  for await (const chunk of req) body += chunk;
  const accountId = new URLSearchParams(body).get('account');
  if (accountId === '') return { error: 'access_denied', error_description: "the provider's own words" };
  if (!set.people.includes(accountId)) throw new Error('nobody of that name');
  return { login: { accountId } };
};

const answer = provider.callback();
handler = async (req, res) => {
  if (!req.url.startsWith('/interaction/')) return answer(req, res);
  try {
    const { params } = await provider.interactionDetails(req, res);
    if (set.people && req.method !== 'POST') return ask(res);
    const result = set.people ? await picked(req) : { login: { accountId: (params.login_hint ?? 'ada').split('@')[0] } };
    await provider.interactionFinished(req, res, result, { mergeWithLastSubmission: false });
  } catch (err) {
    res.writeHead(500).end(String(err));
  }
};
for (const event of ['server_error', 'backchannel.error', 'grant.error', 'authorization.error']) {
  provider.on(event, (...args) => console.error(event, args.find((a) => a instanceof Error)?.stack ?? ''));
}
console.log(JSON.stringify({ issuer }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0)); // the test is gone
