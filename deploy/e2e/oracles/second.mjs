// Drives the stand-in with WorkOS's Node client. Reads what to do as JSON on
// standard input, writes what it saw as JSON on standard output; node_test.go
// compares. The client is found in NODE_CLIENT, where tools.sh installed it.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const { WorkOS } = createRequire(`${process.env.NODE_CLIENT}/package.json`)('./lib/index.cjs');
const to = JSON.parse(readFileSync(0, 'utf8'));
const workos = new WorkOS(to.api_key, { apiHostname: to.host, port: to.port, https: false, clientId: to.client_id });

// Users may be asked for four times a second; the client keeps to it within one
// list only.
const users = async (p) => {
  await new Promise((r) => setTimeout(r, 270));
  return workos.directorySync.listUsers(p);
};

// Every page, by the client's own pagination.
const all = async (list) => (await (await list).autoPagination()).map((o) => o.id);

// Page by page, by hand.
const byHand = async (list) => {
  const ids = [];
  for (let after; ; ) {
    const page = await list({ limit: 2, after, order: 'asc' });
    ids.push(...page.data.map((o) => o.id));
    after = page.listMetadata.after;
    if (!after) return ids;
  }
};

const failure = async (call) => {
  try {
    await call();
    return null;
  } catch (e) {
    return { name: e.name, status: e.status, code: e.code, message: e.message };
  }
};

const seen = {
  organizations: await all(workos.organizations.listOrganizations()),
  directories: await all(workos.directorySync.listDirectories()),
  connections: await all(workos.sso.listConnections()),
  users: await all(users({ directory: to.directory })),
  members: await byHand((p) => users({ group: to.group, ...p })),
  groups: await byHand((p) => workos.directorySync.listGroups({ directory: to.directory, ...p })),
  userGroups: (await users({ directory: to.directory })).data.map((u) => u.groups),
};

const events = await workos.events.listEvents({ events: to.events, limit: 3 });
seen.firstEvents = events.data.map((e) => e.id);
seen.events = [];
for (let after; ; ) {
  const page = await workos.events.listEvents({ events: to.events, limit: 3, after });
  seen.events.push(...page.data.map((e) => ({ id: e.id, event: e.event })));
  after = page.listMetadata.after;
  if (!after) break;
}

const { profile, accessToken } = await workos.sso.getProfileAndToken({ code: to.code, clientId: to.client_id });
seen.profile = { id: profile.id, email: profile.email, organization: profile.organizationId };
seen.profileAgain = (await workos.sso.getProfile({ accessToken })).id;

seen.webhooks = [];
for (const w of to.webhooks) {
  const event = await workos.webhooks.constructEvent({ payload: JSON.parse(w.Body), sigHeader: w.Signature, secret: to.secret });
  // The client verifies every event, and then knows nothing of some types.
  seen.webhooks.push(event ? { id: event.id, event: event.event } : { id: '', event: JSON.parse(w.Body).event });
}
const [first] = to.webhooks;
seen.forged = await failure(() =>
  workos.webhooks.constructEvent({ payload: JSON.parse(first.Body), sigHeader: first.Signature, secret: 'another' }));
seen.notFound = await failure(() => workos.organizations.getOrganization('org_x'));
seen.invalid = await failure(() => workos.organizations.createOrganization({ name: '' }));
seen.usedCode = await failure(() => workos.sso.getProfileAndToken({ code: to.code, clientId: to.client_id }));

const made = await workos.organizations.createOrganization({ name: 'Hooli', domainData: [{ domain: 'hooli.test', state: 'verified' }] });
const renamed = await workos.organizations.updateOrganization({ organization: made.id, name: 'Hooli XYZ' });
seen.renamed = renamed.name;
seen.portal = (await workos.portal.generateLink({ organization: made.id, intent: 'sso' })).link;
await workos.organizations.deleteOrganization(made.id);

process.stdout.write(JSON.stringify(seen));
