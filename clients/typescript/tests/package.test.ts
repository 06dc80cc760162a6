import { gzipSync } from "node:zlib";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { expect, test } from "vitest";
import * as realtime from "../src/index.js";

test("the core is smaller than 8 KiB, minified and gzipped", async () => {
  const entry = fileURLToPath(new URL("../src/index.ts", import.meta.url));
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, minify: true, format: "esm", write: false });
  const size = gzipSync(outputFiles[0]?.contents ?? "", { level: 9 }).length;
  expect(size).toBeLessThan(8 * 1024);
});

test("names of other SDKs are there, so that migration is one import line", () => {
  const client = new realtime.AerostackClient({ projectSlug: "demo", serverURL: "http://host/v1/" });
  expect(client).toBeInstanceOf(realtime.FlareletClient);
  expect([client.projectId, client.baseUrl]).toEqual(["demo", "http://host"]);
  expect(realtime.RealtimeSubscription).toBe(realtime.Channel);
  expect(client.realtime).toBeInstanceOf(realtime.RealtimeClient);
});

test.each([
  ["orders", "table/orders/demo"],
  ["table/orders", "table/orders/demo"],
  ["chat/a/demo", "chat/a/demo"],
  ["chat/a", "chat/a/demo"],
])("%s is the topic %s", (name, topic) => {
  expect(new realtime.RealtimeClient({ projectId: "demo", baseUrl: "http://host" }).channel(name).topic).toBe(topic);
});
