// Uses the official SDK as a page of another origin does, and hands what came of it back to the page's own server.

import { CommunicationIdentityClient } from "@azure/communication-identity";
import { AzureKeyCredential } from "@azure/core-auth";

const { connectionString, httpEndpoint, accessKey, wrongKey } = await (await fetch("/settings.json")).json();
const insecure = { allowInsecureConnection: true };

const clients = {
  https: new CommunicationIdentityClient(connectionString),
  http: new CommunicationIdentityClient(httpEndpoint, new AzureKeyCredential(accessKey), insecure),
};

async function outcome(promise) {
  try {
    return await promise;
  } catch (error) {
    return { name: error.name, statusCode: error.statusCode, code: error.code, message: error.message };
  }
}

const outcomes = { origin: location.origin };
for (const [transport, client] of Object.entries(clients)) {
  outcomes[transport] = await outcome(client.createUserAndToken(["chat", "voip"], { tokenExpiresInMinutes: 60 }));
}
const denied = new CommunicationIdentityClient(httpEndpoint, new AzureKeyCredential(wrongKey), insecure);
outcomes.denied = await outcome(denied.createUser());
await fetch("/outcomes", { method: "POST", body: JSON.stringify(outcomes) });
