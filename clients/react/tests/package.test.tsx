import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";
import { expect, test } from "vitest";

const WORKSPACE = fileURLToPath(new URL("../..", import.meta.url));

const PAGE = `<!doctype html><div id="root"></div><script type="module" src="/main.tsx"></script>`;
const MAIN = `
import { createRoot } from "react-dom/client";
import { FlareletProvider, useTable } from "@flarelet/react";

function Orders() {
  const { rows } = useTable<{ id: number; item: string }>("orders");
  return <ul>{rows.map((row) => <li key={row.id}>{row.item}</li>)}</ul>;
}
createRoot(document.getElementById("root")!).render(
  <FlareletProvider projectId="demo"><Orders /></FlareletProvider>,
);
`;
const CONFIG = {
  compilerOptions: {
    strict: true, jsx: "react-jsx", module: "ESNext", moduleResolution: "bundler", target: "ES2022",
    lib: ["ES2022", "DOM", "DOM.Iterable"], noEmit: true, skipLibCheck: false, types: [],
  },
  include: ["main.tsx"],
};

test("the packed packages install into an empty Vite project, which checks and builds", async () => {
  const folder = mkdtempSync(join(tmpdir(), "flarelet-vite-"));
  try {
    const npm = (...words: string[]) => execFileSync("npm", words, { cwd: WORKSPACE, encoding: "utf8" });
    npm("run", "build", "--workspaces");
    npm("pack", "--workspaces", "--pack-destination", folder);
    const modules = join(folder, "node_modules");
    for (const tarball of readdirSync(folder).filter((name) => name.endsWith(".tgz"))) {
      const target = join(modules, "@flarelet", tarball.includes("react") ? "react" : "realtime");
      mkdirSync(target, { recursive: true });
      execFileSync("tar", ["-xzf", join(folder, tarball), "-C", target, "--strip-components=1"]);
      expect(readdirSync(target).sort()).toEqual(["README.md", "dist", "package.json"]);
    }
    for (const name of ["react", "react-dom", "scheduler"]) symlinkSync(join(WORKSPACE, "node_modules", name), join(modules, name));
    mkdirSync(join(modules, "@types"));
    for (const name of ["react", "react-dom", "csstype"]) {
      const types = name === "csstype" ? name : join("@types", name);
      symlinkSync(join(WORKSPACE, "node_modules", types), join(modules, types));
    }
    writeFileSync(join(folder, "index.html"), PAGE);
    writeFileSync(join(folder, "main.tsx"), MAIN);
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(CONFIG));
    execFileSync(join(WORKSPACE, "node_modules", ".bin", "tsc"), ["-p", folder], { encoding: "utf8" });
    await build({ root: folder, logLevel: "error", esbuild: { jsx: "automatic" } });
    const [script] = readdirSync(join(folder, "dist", "assets"));
    expect(readFileSync(join(folder, "dist", "assets", script as string), "utf8")).toContain("flarelet-v1");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}, 120_000);
