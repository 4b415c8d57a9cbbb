// Lets a program that knows no tokens send one, CLAWBACK_TOKEN, with each of its requests: node --require bearer.cjs.
const undici = require("node:module").createRequire(process.argv[1])("undici");
const { fetch } = globalThis;
const { request } = undici;
const bearer = ["authorization", `Bearer ${process.env.CLAWBACK_TOKEN}`];
globalThis.fetch = (url, options = {}) => {
  const headers = new Headers(options.headers);
  headers.set(...bearer);
  return fetch(url, { ...options, headers });
};
undici.request = (url, options = {}) =>
  request(url, { ...options, headers: { ...options.headers, [bearer[0]]: bearer[1] } });
