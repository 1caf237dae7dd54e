// Asks a running server through the official SDK all that it can do, by both transports, and prints what came of it:
// by name, the outcome and what was sent for it. Reads the variables that `mintmark dev` prints; the arguments are the
// second access key, the id of a user of another resource, and the api-versions.

import { CommunicationIdentityClient } from "@azure/communication-identity";
import { AzureKeyCredential } from "@azure/core-auth";
import { createRemoteJWKSet, jwtVerify } from "jose";

const SCOPES = ["chat", "voip", "chat.join", "chat.join.limited", "voip.join"];
const SCOPE_LISTS = [...SCOPES.map((scope) => [scope]), SCOPES];
const WRONG_KEY = Buffer.from("the key of somebody else").toString("base64");

const connectionString = process.env.COMMUNICATION_SERVICES_CONNECTION_STRING;
const httpEndpoint = process.env.MINTMARK_HTTP_ENDPOINT;
const [secondKey, foreignUser, ...versions] = process.argv.slice(2);

const [, endpoint, firstKey] = connectionString.match(/^endpoint=(.*);accesskey=(.*)$/);
const keySet = createRemoteJWKSet(new URL("/.well-known/jwks.json", httpEndpoint));

const clients = {
  https: (key, options) => new CommunicationIdentityClient(`endpoint=${endpoint};accesskey=${key}`, options),
  http: (key, options) =>
    new CommunicationIdentityClient(httpEndpoint, new AzureKeyCredential(key), {
      allowInsecureConnection: true,
      ...options,
    }),
};

function recording(makeClient, sent) {
  const policy = {
    name: "record",
    async sendRequest(request, next) {
      const response = await next(request);
      sent.push([request.method, request.url, response.status]);
      return response;
    },
  };
  return (key = firstKey, options = {}) =>
    makeClient(key, { additionalPolicies: [{ policy, position: "perRetry" }], ...options });
}

async function read({ token, expiresOn }) {
  const { payload, protectedHeader } = await jwtVerify(token, keySet, { algorithms: ["ES256"], typ: "JWT" });
  return { token, expiresOn: expiresOn.getTime() / 1000, claims: payload, header: protectedHeader };
}

async function holds(...tokens) {
  const answers = tokens.map(async ({ token }) => {
    const response = await fetch(`${process.env.MINTMARK_ADMIN_ENDPOINT}/_mintmark/introspect`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token }),
    });
    return (await response.json()).active;
  });
  return Promise.all(answers);
}

async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    const { name, statusCode, code, message, details } = error;
    return { name, statusCode, code, message, target: details?.error?.target, details: details?.error?.details };
  }
  throw new Error("This was to be refused.");
}

// The two methods that give a token, each as (client, scopes, options) => user and token.
const obtain = {
  async createUserAndToken(client, scopes, options) {
    const { user, ...token } = await client.createUserAndToken(scopes, options);
    return { user: user.communicationUserId, ...(await read(token)) };
  },
  async getToken(client, scopes, options) {
    const user = await client.createUser();
    return { user: user.communicationUserId, ...(await read(await client.getToken(user, scopes, options))) };
  },
};

// The methods that name a user, each as (client, user) => promise.
const ask = {
  getToken: (client, user) => client.getToken(user, ["chat"]),
  revokeTokens: (client, user) => client.revokeTokens(user),
  deleteUser: (client, user) => client.deleteUser(user),
};

async function lifeOfAUser(client) {
  const { user, ...first } = await client.createUserAndToken(["chat", "voip"]);
  const other = await client.createUser();
  const second = await client.getToken(user, ["voip"]);
  const before = await holds(first, second);
  await client.revokeTokens(user);
  const third = await client.getToken(user, ["chat"]);
  const revoked = await holds(first, second, third);
  await client.deleteUser(user);
  await client.deleteUser(user);
  const deleted = await holds(third);
  return { different: user.communicationUserId !== other.communicationUserId, before, revoked, deleted };
}

async function deletedUser(client, askIt) {
  const user = await client.createUser();
  await client.deleteUser(user);
  return refused(askIt(client, user));
}

// Name of an outcome => how to come by it, from a function that makes clients.
const experiments = {
  user: async (connect) => (await connect().createUser()).communicationUserId,
  noScopes: async (connect) => refused(connect().getToken(await connect().createUser(), [])),
  wrongKey: (connect) => refused(connect(WRONG_KEY).createUser()),
  secondKey: (connect) => obtain.createUserAndToken(connect(secondKey), ["voip"]),
};
for (const [name, how] of Object.entries(obtain)) {
  for (const scopes of SCOPE_LISTS) {
    experiments[`${name} ${scopes}`] = (connect) => how(connect(), scopes);
  }
  for (const minutes of [60, 61, 1440]) {
    experiments[`${name} ${minutes}`] = (connect) => how(connect(), ["chat"], { tokenExpiresInMinutes: minutes });
  }
  for (const minutes of [59, 1441]) {
    experiments[`${name} ${minutes}`] = (connect) =>
      refused(how(connect(), ["chat"], { tokenExpiresInMinutes: minutes }));
  }
  experiments[`${name} fax`] = (connect) => refused(how(connect(), ["fax"]));
}
for (const [name, how] of Object.entries(ask)) {
  experiments[`${name} of another`] = (connect) => refused(how(connect(), { communicationUserId: foreignUser }));
}
for (const name of ["getToken", "revokeTokens"]) {
  experiments[`${name} of deleted`] = (connect) => deletedUser(connect(), ask[name]);
}
for (const apiVersion of versions) {
  experiments[`life ${apiVersion}`] = (connect) => lifeOfAUser(connect(firstKey, { apiVersion }));
}

const outcomes = { https: {}, http: {} };
for (const [transport, makeClient] of Object.entries(clients)) {
  const all = Object.entries(experiments).map(async ([name, experiment]) => {
    const sent = [];
    outcomes[transport][name] = { outcome: await experiment(recording(makeClient, sent)), sent };
  });
  await Promise.all(all);
}
console.log(JSON.stringify(outcomes));
