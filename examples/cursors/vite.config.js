export default {
  root: "page",
  build: { outDir: "../dist", emptyOutDir: true },
  esbuild: { jsx: "automatic" },
  resolve: { dedupe: ["react", "react-dom"] }, // linked packages bring no React of their own
};
