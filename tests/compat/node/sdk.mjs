// Asks a running server through the official SDK, by both transports, and prints what came of it as JSON.
// Reads the variables that `mintmark dev` prints; the second access key is the only argument.

import { CommunicationIdentityClient } from "@azure/communication-identity";
import { AzureKeyCredential } from "@azure/core-auth";
import { createRemoteJWKSet, jwtVerify } from "jose";

const SCOPES = ["chat", "voip", "chat.join", "chat.join.limited", "voip.join"];
const WRONG_KEY = Buffer.from("the key of somebody else").toString("base64");

const connectionString = process.env.COMMUNICATION_SERVICES_CONNECTION_STRING;
const httpEndpoint = process.env.MINTMARK_HTTP_ENDPOINT;
const [secondKey] = process.argv.slice(2);

const [, endpoint, firstKey] = connectionString.match(/^endpoint=(.*);accesskey=(.*)$/);
const keySet = createRemoteJWKSet(new URL("/.well-known/jwks.json", httpEndpoint));

const clients = {
  https: (key) => new CommunicationIdentityClient(`endpoint=${endpoint};accesskey=${key}`),
  http: (key) =>
    new CommunicationIdentityClient(httpEndpoint, new AzureKeyCredential(key), { allowInsecureConnection: true }),
};

async function verified(token) {
  const { payload, protectedHeader } = await jwtVerify(token, keySet, { algorithms: ["ES256"], typ: "JWT" });
  return { claims: payload, header: protectedHeader };
}

async function created(client, scopes, tokenExpiresInMinutes) {
  const { user, token, expiresOn } = await client.createUserAndToken(scopes, { tokenExpiresInMinutes });
  return { user: user.communicationUserId, expiresOn: expiresOn.getTime() / 1000, ...(await verified(token)) };
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

async function outcome(makeClient) {
  const client = makeClient(firstKey);
  return {
    user: (await client.createUser()).communicationUserId,
    tokens: await Promise.all([...SCOPES.map((scope) => [scope]), SCOPES].map((scopes) => created(client, scopes))),
    lives: { 60: await created(client, ["chat"], 60), 1440: await created(client, ["chat"], 1440) },
    outOfRange: {
      59: await refused(created(client, ["chat"], 59)),
      1441: await refused(created(client, ["chat"], 1441)),
    },
    unknownScope: await refused(created(client, ["fax"])),
    wrongKey: await refused(makeClient(WRONG_KEY).createUser()),
    secondKey: await created(makeClient(secondKey), ["voip"]),
  };
}

const outcomes = {};
for (const [transport, makeClient] of Object.entries(clients)) {
  outcomes[transport] = await outcome(makeClient);
}
console.log(JSON.stringify(outcomes));
