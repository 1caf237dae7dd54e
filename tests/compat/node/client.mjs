// Does as it is told, through the official SDK: one JSON object a line in, one out.
// In: { endpoint, accessKey, options, operation, user, patience }, patience in milliseconds or null.
// Out: { requestIds, user, token } or { requestIds, error: { name, statusCode, code } }, its code only where there is no
// status; requestIds has x-ms-client-request-id of each try.

import { createInterface } from "node:readline";
import { CommunicationIdentityClient } from "@azure/communication-identity";
import { AzureKeyCredential } from "@azure/core-auth";

async function obey({ endpoint, accessKey, options, operation, user, patience }, requestIds) {
  const policy = {
    name: "note",
    sendRequest(request, next) {
      requestIds.push(request.headers.get("x-ms-client-request-id"));
      return next(request);
    },
  };
  const client = new CommunicationIdentityClient(endpoint, new AzureKeyCredential(accessKey), {
    allowInsecureConnection: true,
    additionalPolicies: [{ policy, position: "perRetry" }],
    ...options,
  });
  const call = patience === null ? {} : { abortSignal: AbortSignal.timeout(patience) };
  const who = { communicationUserId: user };
  switch (operation) {
    case "create":
      return client.createUserAndToken(["chat"], call);
    case "issue":
      return client.getToken(who, ["chat"], call);
    case "revoke":
      return client.revokeTokens(who, call);
    case "delete":
      return client.deleteUser(who, call);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const requestIds = [];
  try {
    const { user, token } = (await obey(JSON.parse(line), requestIds)) ?? {};
    console.log(JSON.stringify({ requestIds, user: user?.communicationUserId, token }));
  } catch ({ name, statusCode, code }) {
    console.log(JSON.stringify({ requestIds, error: { name, statusCode, code: statusCode ? undefined : code } }));
  }
}
