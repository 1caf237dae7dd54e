// A day in the life of a refreshing credential, in no time: the clocks of this process and of the server move together.

import { mock } from "node:test";
import { AzureCommunicationTokenCredential } from "@azure/communication-common";
import { CommunicationIdentityClient } from "@azure/communication-identity";

const MINUTE = 60 * 1000;
const admin = process.env.MINTMARK_ADMIN_ENDPOINT;
const client = new CommunicationIdentityClient(process.env.COMMUNICATION_SERVICES_CONNECTION_STRING);

async function ask(path, body) {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${admin}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

async function pass(minutes) {
  await ask("/_mintmark/clock", { action: "advance", milliseconds: minutes * MINUTE });
  mock.timers.tick(minutes * MINUTE);
}

mock.timers.enable({ apis: ["Date"], now: Date.now() });
const user = await client.createUser();
const { token: first } = await client.getToken(user, ["chat"]);
let refreshed = 0;
const credential = new AzureCommunicationTokenCredential({
  token: first,
  async tokenRefresher() {
    refreshed += 1;
    return (await client.getToken(user, ["chat"])).token;
  },
});

async function look() {
  const { token } = await credential.getToken();
  const { active: firstLives } = await ask("/_mintmark/introspect", { token: first });
  const { active: lives } = await ask("/_mintmark/introspect", { token });
  return { refreshed, lives, firstLives };
}

const day = { "at first": await look() };
await pass(23 * 60);
day["after 23 hours"] = await look();
await pass(61);
day["after more than 24 hours"] = await look();
credential.dispose();
await ask("/_mintmark/clock", { action: "resume" });
console.log(JSON.stringify(day));
