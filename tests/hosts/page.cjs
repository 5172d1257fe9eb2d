// Opens the Inspector's page as a person does: connects, reads the list of tools, calls one without a key, fills the
// key in under `## API_KEY` of SKILL.md, calls once more. Prints what the page showed, as JSON.
//
// node page.cjs NODE_MODULES CHROMIUM PAGE LINK SKILL.md KEY PICTURE
const { createRequire } = require("node:module");
const { appendFileSync } = require("node:fs");

const [modules, executablePath, address, link, skill, key, picture] = process.argv.slice(2);
const { chromium } = createRequire(`${modules}/`)("playwright-core");
const quiet = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
  ...["--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
];

async function main() {
  const browser = await chromium.launch({ executablePath, args: quiet });
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    page.setDefaultTimeout(60_000);
    await page.goto(address);
    const button = (name) => page.getByRole("button", { name });
    await page.getByRole("switch", { name: "Connect or disconnect" }).click({ force: true }); // drawn over by its label
    await page.getByText("Tools", { exact: true }).click();
    await button("Close monitoring sidebar").click();
    await page.getByRole("heading", { name: "Tools (3)" }).waitFor();
    const listed = page.getByRole("main").getByRole("button").filter({ hasText: "_" });
    const tools = await listed.locator("p:last-of-type").allInnerTexts();
    await button("download_video").click();
    await page.getByRole("textbox", { name: "url" }).fill(link);
    await button("Execute Tool").click();
    const refused = await page.getByRole("alert", { name: "Tool Error" }).innerText();
    await button("Close results").click();
    appendFileSync(skill, `\n${key}\n`);
    await button("Execute Tool").click();
    await page.getByText("size_bytes").first().waitFor();
    const done = await page.getByRole("main").innerText();
    await page.screenshot({ path: picture });
    const version = await page.getByRole("contentinfo").innerText();
    console.log(JSON.stringify({ tools, refused, done, version }));
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
