/** The real server as a process of its own, which tests can stop and start again on the same port and state. */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

const WORKER = `
from workers import Response, WorkerEntrypoint
from durable_objects import TopicObject


class Strict(TopicObject):
    """Refuses what is called so."""

    def authorize(self, connection, action):
        return action != "publish"


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        sql = await request.text()
        if request.method == "POST":
            result = await self.env.DB.prepare(sql).all()
            return Response.json(result.results)
        return Response("ok")
`;

const CONFIG = `
name = "clients"
main = "entry.py"
compatibility_date = "2026-07-01"
compatibility_flags = ["python_workers"]

[[d1_databases]]
binding = "DB"
database_name = "main"
database_id = "main"

[flarelet.realtime]
project = "demo"
database = "DB"

[[flarelet.realtime.topics]]
pattern = "strict/*"
class_name = "Strict"
`;

export class Server {
  readonly folder = mkdtempSync(join(tmpdir(), "flarelet-clients-"));
  url = "";
  output = "";
  #process: ChildProcess | undefined;
  #port = 0;

  constructor(more: { config?: string } = {}) {
    writeFileSync(join(this.folder, "wrangler.toml"), CONFIG + (more.config ?? ""));
    writeFileSync(join(this.folder, "entry.py"), WORKER);
  }

  /** Start and wait until it answers. */
  async start(): Promise<this> {
    const child = spawn(
      join(ROOT, ".venv", "bin", "python"),
      ["-u", "-m", "workers", "dev", "--port", String(this.#port), "--persist-to", join(this.folder, "state")].concat(
        ["--config", join(this.folder, "wrangler.toml")],
      ),
      { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] },
    );
    this.#process = child;
    this.url = await new Promise<string>((resolve, reject) => {
      const read = (chunk: Buffer) => {
        this.output += chunk;
        const ready = /^Ready on (\S+)/m.exec(this.output.slice(from));
        if (ready) resolve(ready[1] as string);
      };
      const from = this.output.length;
      child.stdout?.on("data", read);
      child.stderr?.on("data", read);
      child.on("exit", () => reject(new Error(`the server ended:\n${this.output}`)));
    });
    this.#port = Number(new URL(this.url).port);
    return this;
  }

  /** Stop it: properly, or as a power cut would. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }

  /** Stop it and remove its state. */
  async remove(): Promise<void> {
    await this.stop("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Run a statement on the database, from outside. */
  async sql(statement: string): Promise<unknown> {
    const response = await fetch(this.url, { method: "POST", body: statement });
    if (!response.ok) throw new Error(await response.text());
    return response.json();
  }
}

/** Wait until `check` is true; polls, because what is waited for has no event of its own. */
export async function until(check: () => unknown, what: string, limitMs = 15_000): Promise<void> {
  const end = Date.now() + limitMs;
  while (!check()) {
    if (Date.now() > end) throw new Error(`waited too long: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
