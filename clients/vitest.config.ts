import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const source = fileURLToPath(new URL("typescript/src/index.ts", import.meta.url));

export default defineConfig({
  resolve: { alias: { "@flarelet/realtime": source } },
  esbuild: { jsx: "automatic" },
  test: {
    include: ["typescript/tests/**/*.test.ts", "react/tests/**/*.test.tsx"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    minWorkers: 1,
    unhandledRejections: "strict",
  } as object,
});
