// oidc-provider, in memory: `node oidc.mjs PORT ALGORITHM SECRET`. A client registers itself, and gets a JWT by its secret.

import { generateKeyPairSync } from "node:crypto";
import Provider from "oidc-provider";

const [port, alg, secret] = process.argv.slice(2);
const pair = alg === "ES256" ? generateKeyPairSync("ec", { namedCurve: "P-256" }) : generateKeyPairSync("rsa", { modulusLength: 2048 });
const key = { ...pair.privateKey.export({ format: "jwk" }), alg, use: "sig", kid: "bench" };

// What a client is that asks for tokens in its own name.
const own = {
  grant_types: ["client_credentials"],
  id_token_signed_response_alg: alg,
  redirect_uris: [],
  response_types: [],
  token_endpoint_auth_method: "client_secret_post",
};

const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys: [key] },
  clientDefaults: own,
  clients: [{ client_id: "bench", client_secret: secret, ...own }],
  scopes: ["chat", "voip"],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    registration: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => "https://chat.example.com",
      getResourceServerInfo: () => ({
        accessTokenFormat: "jwt",
        accessTokenTTL: 24 * 60 * 60,
        audience: "https://chat.example.com",
        jwt: { sign: { alg } },
        scope: "chat voip",
      }),
    },
  },
});

provider.listen(Number(port), "127.0.0.1");
