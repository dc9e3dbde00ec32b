// A walk through the console in a real browser. What is wrong ends it with a message and exit code 1.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

const { PLAYWRIGHT, CHROMIUM, ADDRESS, TOKEN, SECRET, SHOTS, TOPIC } = process.env;
const { chromium } = createRequire(import.meta.url)(PLAYWRIGHT);
const TABS_MAX = 120;

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
const context = await browser.newContext({ viewport: { width: 1180, height: 900 }, colorScheme: "light" });
const page = await context.newPage();
page.setDefaultTimeout(45000);

// What the browser finds wrong: errors, breaches of the security policy, and requests that leave the worker.
const wrong = [];
page.on("pageerror", (error) => wrong.push(`error: ${error.stack}`));
page.on("console", (message) => {
  if (["error", "warning"].includes(message.type())) wrong.push(`console: ${message.text()}`);
});
page.on("request", (request) => {
  if (new URL(request.url()).host !== ADDRESS) wrong.push(`request to ${request.url()}`);
  if (request.url().includes(TOKEN)) wrong.push("the token stands in an address");
});
await page.addInitScript(() => {
  document.addEventListener("securitypolicyviolation", (event) => {
    console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
  });
});

function clean(step, expected) {
  const found = wrong.splice(0).filter((line) => !(expected && line.includes(expected)));
  assert.deepEqual(found, [], step);
  console.log(`well: ${step}`);
}

const press = (key) => page.keyboard.press(key);
const focused = () => page.evaluate(() => {
  const node = document.activeElement;
  const style = getComputedStyle(node);
  return {
    name: (node.getAttribute("aria-label") || node.textContent || node.value || node.name || "").trim(),
    tag: node.tagName,
    seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
  };
});

// Goes on by the Tab key until the focus is on what matches; it is seen on every stop.
async function tabTo(matches, what) {
  for (let stop = 0; stop < TABS_MAX; stop += 1) {
    await press("Tab");
    const here = await focused();
    if (here.tag === "BODY") continue;
    assert.ok(here.seen, `the focus is not seen on ${here.tag} ${here.name}`);
    if (matches(here)) return;
  }
  assert.fail(`${what} is not reached by the Tab key`);
}

const heading = (text) => page.getByRole("heading", { name: text, level: 1 }).waitFor();
const rows = (table) => page.getByRole("table", { name: table, exact: true }).locator("tbody tr");
const settled = () => page.waitForFunction(() => ![...document.querySelectorAll("main .note")].some((node) => node.textContent.startsWith("Looking")));

async function walk() {
  await page.goto(`http://${ADDRESS}/`);
  await heading("The fleet");
  await rows("Partitions").nth(1).waitFor();
  assert.equal(await rows("Partitions").count(), 2);
  assert.match(await rows("Partitions").first().textContent(), new RegExp(TOPIC.replaceAll(".", "\\.")));
  assert.equal(await rows("Workers").count(), 1);
  assert.match(await rows("Workers").first().textContent(), /running/);
  assert.match(await page.getByRole("table", { name: /Records by outcome/ }).textContent(), /dead letter/i);
  await page.waitForFunction(() => /now, at most/.test(document.querySelector("svg.chart").getAttribute("aria-label")));
  const curve = () => page.locator("path.curve").first().getAttribute("d");
  const before = (await curve()).length;
  await page.waitForFunction((length) => document.querySelector("path.curve").getAttribute("d").length > length, before);
  clean("the fleet is shown, and its lag goes on");

  const shape = await page.evaluate(() => ({
    language: document.documentElement.lang,
    tables: [...document.querySelectorAll("table")].filter((table) => !table.caption || !table.querySelector("th[scope=col]") || !table.querySelector("th[scope=row]")).length,
    landmarks: ["header", "nav", "main", "footer"].filter((name) => !document.querySelector(name)),
    current: document.querySelector("nav [aria-current=page]")?.textContent,
  }));
  assert.deepEqual(shape, { language: "en", tables: 0, landmarks: [], current: "Fleet" });
  clean("tables and landmarks say what they are");

  await tabTo((here) => here.tag === "BUTTON" && here.name === "Behind", "the column Behind");
  await press("Enter");
  await page.locator("th[aria-sort=descending]", { hasText: "Behind" }).waitFor();
  assert.equal((await focused()).name, "Behind");
  clean("a table is sorted by the keyboard, and the focus stays");

  await page.evaluate(() => document.activeElement.blur());
  await tabTo((here) => here.name === "Dead letters" && here.tag === "A", "Dead letters");
  await press("Enter");
  await heading("Dead letters");
  await rows("Open letters by reason").nth(3).waitFor();
  await settled();
  await tabTo((here) => here.name === "sink.rejected", "the reason sink.rejected");
  await press("Enter");
  await heading("Dead letters: sink.rejected");
  await rows("Open letters: sink.rejected").nth(1).waitFor();
  await settled();
  await tabTo((here) => /\.dlq\/\d+\/\d+$/.test(here.name) && here.tag === "A", "a letter");
  await press("Enter");
  await heading(/^Letter /);
  await page.getByRole("region", { name: "Life of the record" }).getByText("dead letter after attempt").waitFor();
  assert.match(await page.locator("pre").textContent(), /"message": <text, 17 bytes>/);
  assert.ok(!(await page.content()).includes(SECRET), "the payload is not masked");
  clean("a letter and its life, by the keyboard alone, and masked");

  await page.goBack();
  await rows("Open letters: sink.rejected").nth(1).waitFor();
  await settled();
  await tabTo((here) => here.name.startsWith("Send these again"), "Send these again");
  await press("Enter");
  await heading("Send letters again");
  await tabTo((here) => here.name === "Show what would be sent", "Show what would be sent");
  await press("Enter");
  await page.locator("#plan-count").waitFor();
  assert.equal(await page.locator("#plan-count").textContent(), "2 letters");
  assert.match((await focused()).name, /nothing is sent yet/);
  assert.ok(await page.locator("#start").isDisabled());
  clean("the plan of a replay, by the keyboard alone; without the token nothing can be sent");

  await page.getByLabel("Token", { exact: true }).focus();
  await page.keyboard.type("not-the-token-of-this");
  await press("Enter");
  await page.getByText("that token is not right").waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  clean("a wrong token is refused and forgotten", "401");
  await page.getByLabel("Token", { exact: true }).fill(TOKEN);
  await press("Enter");
  await page.getByText("with the token").waitFor();
  assert.deepEqual(await page.evaluate(() => [localStorage.length, document.cookie, sessionStorage.length]), [0, "", 1]);
  clean("the token opens, and stays in this tab");
}

async function hostile() {
  const list = `http://${ADDRESS}/#/letters`;
  await page.goto(list);
  await rows("Open letters by reason").nth(3).waitFor();
  await settled();
  await page.getByRole("link", { name: /<script>/ }).click();
  await heading(/<script>/);
  await settled();
  await page.getByRole("link", { name: /\.dlq\// }).first().click();
  await heading(/^Letter /);
  await settled();
  await page.getByRole("button", { name: "Show texts and numbers" }).click();
  await page.getByRole("button", { name: "Mask texts and numbers" }).waitFor();
  assert.match(await page.locator("pre").textContent(), /<script>window\.xss=1<\/script>/);
  const found = await page.evaluate(() => ({
    ran: window.xss === undefined ? 0 : window.xss,
    elements: document.querySelectorAll("main img, main script, main iframe").length,
    controls: /[\u0000-\u0008\u000b-\u001f\u007f]/.test(document.body.innerText),
  }));
  assert.deepEqual(found, { ran: 0, elements: 0, controls: false });
  clean("scripts in payload, key, headers and reasons are text", "404");

  await page.goto(list);
  await page.getByRole("link", { name: "decode.too-large" }).click();
  await heading(/decode\.too-large/);
  await settled();
  await page.getByRole("link", { name: /\.dlq\// }).first().click();
  await settled();
  await page.getByRole("button", { name: "Show texts and numbers" }).click();
  await page.locator("pre", { hasText: "the rest is left out" }).waitFor();
  clean("a payload of a megabyte is shown in part", "404");
}

// What a link says is what is planned: the letters without a reason, a reason with spaces in it, and one letter without a reason.
async function linked() {
  const planned = async (title) => {
    await heading("Send letters again");
    await page.getByLabel("Where to").selectOption("input");
    await page.getByRole("button", { name: "Show what would be sent" }).click();
    await page.locator("#plan-count").waitFor();
    assert.equal(await page.locator("#plan-count").textContent(), "1 letter", title);
    return rows("What would be sent").first().textContent();
  };
  await page.goto(`http://${ADDRESS}/#/letters/(none)`);
  await rows("Open letters: (none)").first().waitFor();
  await settled();
  await page.getByRole("link", { name: /^Send these again/ }).click();
  assert.match(await planned("of no reason"), /^\(none\)1$/);
  await page.goto(`http://${ADDRESS}/#/letters/(none)`);
  await rows("Open letters: (none)").first().waitFor();
  await page.getByRole("link", { name: /\.dlq\// }).first().click();
  await heading(/^Letter /);
  await settled();
  await page.getByRole("link", { name: /^Send this one again/ }).click();
  assert.match(await planned("one of no reason"), /^\(none\)1$/);
  assert.match(await page.getByLabel(/^Condition/).inputValue(), /letter\.offset == \d+$/);
  await page.goto(`http://${ADDRESS}/#/record`);
  await heading("The life of one record");
  await page.goto(`http://${ADDRESS}/#/replay/${encodeURIComponent("<img src=x onerror=\"window.xss=1\"><script>window.xss=1</script>")}`);
  assert.match(await planned("of a reason with spaces"), /<script>/);
  clean("a link plans its own letters and no others", "404");
}

async function replay() {
  await page.goto(`http://${ADDRESS}/#/replay/sink.rejected`);
  await heading("Send letters again");
  await page.getByRole("button", { name: "Show what would be sent" }).focus();
  await press("Enter");
  await page.locator("#start:not([disabled])").waitFor();
  await tabTo((here) => here.name === "Send 2 letters", "Send 2 letters");
  await press("Enter");
  await page.locator("#run.good").waitFor();
  assert.match(await page.locator("#run").textContent(), /is done: 2 of 2 sent and confirmed/);
  clean("the replay runs to its end");
}

async function looks() {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.goto(`http://${ADDRESS}/#/fleet`);
  await rows("Partitions").nth(1).waitFor();
  const light = await ground();
  await page.screenshot({ path: join(SHOTS, "light.png") });
  await page.emulateMedia({ colorScheme: "dark" });
  assert.notEqual(await ground(), light);
  await page.screenshot({ path: join(SHOTS, "dark.png") });
  await page.setViewportSize({ width: 360, height: 740 });
  for (const view of ["fleet", "letters", "letters/decode.json", "replay", "record"]) {
    await page.goto(`http://${ADDRESS}/#/${view}`);
    await settled();
    const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(wide <= room, `${view} is ${wide} wide where there is room for ${room}`);
  }
  await page.screenshot({ path: join(SHOTS, "phone.png") });
  clean("dark, light, and as wide as a phone");
}

let status = 0;
try {
  await walk();
  await hostile();
  await linked();
  await replay();
  await looks();
  console.log("the walk is over");
} catch (error) {
  status = 1;
  console.error(error.stack);
  console.error(wrong.join("\n"));
  console.error(await page.locator("body").innerText().catch(() => "no page"));
  await page.screenshot({ path: join(SHOTS, "failed.png") }).catch(() => {});
} finally {
  await browser.close();
}
process.exit(status);
