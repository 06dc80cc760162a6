// The TypeScript client as a process of its own: reads a JSON command a line, writes a JSON answer a line.
// Its arguments: the bundled client, the module `ws`, the server's address.

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [bundle, ws, baseUrl] = process.argv.slice(2);
const { createClient } = await import(pathToFileURL(bundle).href);
const { WebSocket } = await import(pathToFileURL(ws).href);
const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

const { realtime } = createClient({ projectId: "demo", baseUrl, userId: "ts", WebSocket });
realtime.onError((error) => say({ error: `${error.name}: ${error.message}` }));
const VALUES = {
  edge: () => [2 ** 53 - 1, -(2 ** 53 - 1), 2 ** 53, 1e21, 5e-324, 0.1 + 0.2, -0],
  base64: () => Buffer.from(Uint8Array.from({ length: 256 }, (_, byte) => byte)).toString("base64"),
  array: () => Array.from(Uint8Array.from({ length: 256 }, (_, byte) => byte)),
  surrogate: () => "\ud83d",
};
// What arrived, also as this side's arithmetic and bytes see it.
const SEEN = {
  number: (data) => ({ safe: Number.isSafeInteger(data), text: String(data) }),
  base64: (data) => ({ bytes: [...Buffer.from(data, "base64")] }),
  text: (data) => ({ units: data.length, points: [...data].length }),
};

const topic = realtime.channel("chat/between");
topic.onReady(() => say({ ready: true }));
topic.on("from-python", ({ data, userId }) => {
  const kind = typeof data === "number" ? "number" : typeof data === "string" ? "text" : undefined;
  say({ data, userId, seen: kind && SEEN[kind](data) });
});
topic.on("binary-from-python", ({ data }) => say(SEEN.base64(data)));
topic.subscribe();

for await (const line of createInterface({ input: process.stdin })) {
  const { name, data } = JSON.parse(line);
  const ack = await topic.publish("from-typescript", name ? VALUES[name]() : data, { persist: true });
  say({ ack: ack.offset > 0 });
}
realtime.disconnect();
