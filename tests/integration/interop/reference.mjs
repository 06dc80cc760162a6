// Runs miniflare on a state folder: `node reference.mjs <folder with node_modules> <state folder>`. Each line on standard
// input is the JSON body of one request; its answer is one line on standard output. The end of the input ends it.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";

const [installed, folder] = process.argv.slice(2);
const { Miniflare } = createRequire(`${installed}/`)("miniflare");
const module = async (path) => ({
  type: "ESModule",
  path,
  contents: await readFile(new URL(path, import.meta.url), "utf8"),
});
const miniflare = new Miniflare({
  name: "interop",
  host: "127.0.0.1",
  cf: false,
  telemetry: { enabled: false },
  compatibilityDate: "2026-07-01",
  modules: [await module("worker.mjs"), await module("values.mjs")],
  durableObjects: { KEEPER: { className: "Keeper", useSQLite: true } },
  d1Databases: { DB: "interop-db" },
  kvNamespaces: { KV: "interop-kv" },
  durableObjectsPersist: `${folder}/do`,
  d1Persist: `${folder}/d1`,
  kvPersist: `${folder}/kv`,
});
try {
  for await (const line of createInterface({ input: process.stdin })) {
    const response = await miniflare.dispatchFetch("http://localhost/", { method: "POST", body: line });
    const text = await response.text();
    process.stdout.write(`${response.ok ? text : JSON.stringify({ failed: text })}\n`);
  }
} finally {
  await miniflare.dispose();
}
