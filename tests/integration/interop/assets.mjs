// Answers requests with miniflare's static files: `node assets.mjs <folder with node_modules> <file with a JSON request>`.
// The request is {folder, assetConfig, routerConfig, date, requests: [[method, path, headers], ...]}; the answer is one
// line of JSON, [status, headers, body] for each.
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { request } from "node:http";

const [installed, file] = process.argv.slice(2);
const { Miniflare } = createRequire(`${installed}/`)("miniflare");
const { folder, assetConfig, routerConfig, date, requests } = JSON.parse(await readFile(file, "utf8"));
const script = `export default {
  async fetch(request, env) {
    if (request.headers.get("x-ask")) return env.ASSETS.fetch(request);
    return new Response("worker " + request.method + " " + new URL(request.url).pathname);
  },
};`;
const miniflare = new Miniflare({
  name: "interop",
  host: "127.0.0.1",
  cf: false,
  telemetry: { enabled: false },
  compatibilityDate: date,
  modules: true,
  script,
  assets: { workerName: "interop", directory: folder, binding: "ASSETS", assetConfig, routerConfig },
});
try {
  const { hostname, port } = await miniflare.ready;
  // Over the wire: fetch would not let a header such as sec-fetch-mode through.
  const asked = ([method, path, headers]) =>
    new Promise((resolve, reject) => {
      const target = path.replace(/[^\x21-\x7e]+/g, encodeURIComponent);
      request({ hostname, port, method, path: target, headers: { host: "localhost", ...headers } }, (response) => {
        const chunks = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("end", () => {
          const fields = Object.entries(response.headers).map(([name, value]) => [name, String(value)]);
          resolve([response.statusCode, fields, Buffer.concat(chunks).toString()]);
        });
      }).on("error", reject).end();
    });
  const answers = [];
  for (const one of requests) answers.push(await asked(one));
  process.stdout.write(`${JSON.stringify(answers)}\n`);
} finally {
  await miniflare.dispose();
}
