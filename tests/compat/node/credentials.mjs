// Gives a token, the only argument, to the SDKs' credential class and prints what it makes of it as JSON.

import { AzureCommunicationTokenCredential } from "@azure/communication-common";

const [token] = process.argv.slice(2);

async function read(options) {
  const credential = new AzureCommunicationTokenCredential(options);
  try {
    return await credential.getToken();
  } finally {
    credential.dispose();
  }
}

let refreshed = 0;
async function tokenRefresher() {
  refreshed += 1;
  return token;
}

const asGiven = await read(token);
const fresh = await read({ token, tokenRefresher });
const refreshedWhileFresh = refreshed;
const fetched = await read({ tokenRefresher });
console.log(JSON.stringify({ asGiven, fresh, refreshedWhileFresh, fetched, refreshed }));
