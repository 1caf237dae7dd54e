// Does everything that the official SDK can do, once, and prints what came of it. The argument is, as JSON, a connection
// string and a Teams user's token with its application and its user. Node trusts NODE_EXTRA_CA_CERTS.

import { CommunicationIdentityClient } from "@azure/communication-identity";

const { connectionString, teams } = JSON.parse(process.argv[2]);
const client = new CommunicationIdentityClient(connectionString);

const { user, token: first } = await client.createUserAndToken(["chat", "voip"], { tokenExpiresInMinutes: 60 });
const other = await client.createUser();
const { token: second } = await client.getToken(other, ["voip"]);
await client.revokeTokens(user);
const { token: third } = await client.getToken(user, ["chat"]);
await client.deleteUser(other);
const { token: exchanged } = await client.getTokenForTeamsUser(teams);
console.log(JSON.stringify({ first, second, third, exchanged }));
