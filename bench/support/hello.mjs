// Miniflare with a Worker that says hello, on a port of choice: node hello.mjs NODE_MODULES_PARENT STATE [PORT]
import { createRequire } from "node:module";
import { join } from "node:path";

const [installed, , port] = process.argv.slice(2);
const { Miniflare } = createRequire(join(installed, "node_modules/"))("miniflare");
const miniflare = new Miniflare({
  host: "127.0.0.1",
  cf: false,
  telemetry: { enabled: false },
  modules: true,
  script: 'export default { fetch() { return new Response("Hello World!"); } }',
  compatibilityDate: "2026-07-01",
  port: Number(port ?? 0),
});
console.log((await miniflare.ready).origin);
