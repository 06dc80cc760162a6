// A counter object behind a Worker, on miniflare: `node counter.mjs <folder with node_modules> <state folder>`. Prints
// its URL; ends when it is killed.
import { createRequire } from "node:module";

const [installed, state] = process.argv.slice(2);
const { Miniflare } = createRequire(`${installed}/`)("miniflare");
const script = `
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {
  async increment() {
    const value = ((await this.ctx.storage.get("value")) ?? 0) + 1;
    await this.ctx.storage.put("value", value);
    return value;
  }
}
export default {
  async fetch(request, env) {
    const name = new URL(request.url).pathname;
    return new Response(String(await env.COUNTER.getByName(name).increment()));
  },
};
`;
const miniflare = new Miniflare({
  name: "bench",
  host: "127.0.0.1",
  cf: false,
  telemetry: { enabled: false },
  compatibilityDate: "2026-07-01",
  modules: true,
  script,
  durableObjects: { COUNTER: { className: "Counter", useSQLite: true } },
  durableObjectsPersist: state,
});
console.log((await miniflare.ready).origin);
setInterval(() => {}, 1 << 30);
