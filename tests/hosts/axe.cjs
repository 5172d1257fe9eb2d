// Opens report pages in a wide and a narrow window, light and dark, and prints as JSON what axe-core finds wrong, and
// how far each page reaches beyond its window.
//
// node axe.cjs NODE_MODULES CHROMIUM PAGE...
const { createRequire } = require("node:module");

const [modules, executablePath, ...pages] = process.argv.slice(2);
const installed = createRequire(`${modules}/`);
const axe = installed.resolve("axe-core/axe.min.js");
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];

async function main() {
  const browser = await installed("playwright-core").chromium.launch({ executablePath, args });
  const found = [];
  try {
    for (const address of pages) {
      for (const colorScheme of ["light", "dark"]) {
        for (const width of [1280, 390]) {
          // The page forbids all scripts from elsewhere.
          const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme, bypassCSP: true });
          await page.goto(address);
          await page.locator("#growth-chart svg").waitFor({ state: "attached" });
          await page.addScriptTag({ path: axe });
          const { violations, passes } = await page.evaluate(() => globalThis.axe.run());
          const wrong = violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
          const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          found.push({ wrong, checked: passes.length, beyond: Math.max(0, beyond) });
          await page.close();
        }
      }
    }
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(found));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
