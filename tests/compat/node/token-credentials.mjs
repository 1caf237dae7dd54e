// Signs in at the development issuer through @azure/identity and MSAL, asks the service through the official SDK, and
// prints what came of it: by name, the outcome and what was sent for it. Reads the variables that `mintmark dev`
// prints; the arguments are an application's id and secret, and the rows of refused exchanges as JSON.

import { CommunicationIdentityClient } from "@azure/communication-identity";
import { ClientSecretCredential, DefaultAzureCredential, ManagedIdentityCredential } from "@azure/identity";
import { PublicClientApplication } from "@azure/msal-node";

const TEAMS = "https://auth.msft.communication.azure.com";
const SCOPES = [`${TEAMS}/Teams.ManageCalls`, `${TEAMS}/Teams.ManageChats`];

const [applicationId, secret, refusedExchanges] = process.argv.slice(2);
const {
  COMMUNICATION_SERVICES_CONNECTION_STRING: connectionString,
  COMMUNICATION_M365_APP_ID: clientId,
  COMMUNICATION_M365_AAD_AUTHORITY: authorityHost,
  COMMUNICATION_M365_AAD_TENANT: tenant,
  COMMUNICATION_MSAL_USERNAME: username,
  COMMUNICATION_MSAL_PASSWORD: password,
  MINTMARK_HTTP_ENDPOINT: httpEndpoint,
} = process.env;
const [, endpoint] = connectionString.match(/^endpoint=(.*);accesskey=/);

const withSecret = (given) => new ClientSecretCredential(tenant, applicationId, given, { authorityHost });
const credentials = {
  "client secret": withSecret(secret),
  "managed identity": new ManagedIdentityCredential(),
  default: new DefaultAzureCredential(),
};

function connect(sent, credential, address = endpoint) {
  const policy = {
    name: "record",
    async sendRequest(request, next) {
      const response = await next(request);
      sent.push([request.method, request.url, response.status]);
      return response;
    },
  };
  return new CommunicationIdentityClient(address, credential, {
    additionalPolicies: [{ policy, position: "perRetry" }],
    allowInsecureConnection: true,
  });
}

async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    const { name, statusCode, code, message, details } = error;
    return { name, statusCode, code, message, target: details?.error?.target };
  }
  throw new Error("This was to be refused.");
}

async function life(client) {
  const { user, token: first } = await client.createUserAndToken(["chat"]);
  const { token: second } = await client.getToken(await client.createUser(), ["voip"]);
  await client.revokeTokens(user);
  const { token: third } = await client.getToken(user, ["chat"]);
  await client.deleteUser(user);
  return { first, second, third };
}

// MSAL for Node asks the cloud about an authority that it is not told of.
function signIn(given = password, knownAuthorities = [authorityHost]) {
  const auth = { clientId, authority: `${authorityHost}/${tenant}`, knownAuthorities };
  return new PublicClientApplication({ auth }).acquireTokenByUsernamePassword({
    scopes: SCOPES,
    username,
    password: given,
  });
}

// Name of an outcome => how to come by it; `sent` takes note of requests to the service.
const experiments = {
  "wrong secret": (sent) => refused(connect(sent, withSecret("wrong")).createUser()),
  "plain http": (sent) => refused(connect(sent, credentials.default, httpEndpoint).createUser()),
  "wrong password": () => refused(signIn("wrong")),
  async exchange(sent) {
    const { accessToken, idTokenClaims } = await signIn();
    const { token, expiresOn } = await connect(sent, credentials.default).getTokenForTeamsUser({
      teamsUserAadToken: accessToken,
      clientId,
      userObjectId: idTokenClaims.oid,
    });
    return { token, expiresOn: expiresOn.getTime() / 1000 };
  },
  async "refused exchanges"(sent) {
    const { accessToken, idTokenClaims } = await signIn();
    const right = { teamsUserAadToken: accessToken, clientId, userObjectId: idTokenClaims.oid };
    const client = connect(sent, credentials.default);
    const all = Object.entries(JSON.parse(refusedExchanges)).map(async ([name, wrong]) => {
      return [name, await refused(client.getTokenForTeamsUser({ ...right, ...wrong }))];
    });
    return Object.fromEntries(await Promise.all(all));
  },
};
for (const [name, credential] of Object.entries(credentials)) {
  experiments[`life by ${name}`] = (sent) => life(connect(sent, credential));
}

const outcomes = {};
const all = Object.entries(experiments).map(async ([name, experiment]) => {
  const sent = [];
  outcomes[name] = { outcome: await experiment(sent), sent };
});
await Promise.all(all);
console.log(JSON.stringify(outcomes));
