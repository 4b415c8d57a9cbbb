// Says what the installed OpenClaw does with answers: reads {"pieces": [...], "reasoning": [...]} a line, and writes
// {"runs": [...], "orders": [...]} a line. What it asks are OpenClaw's own functions, found by their names in its bundles,
// whose file names change with every release.
import fs from "node:fs";
import { registerHooks } from "node:module";
import path from "node:path";
import process from "node:process";
import readline from "node:readline";
import url from "node:url";

const NAMES = [
  "createStreamingDirectiveAccumulator", "extractAssistantVisibleText",
  "extractStandaloneMessageToolText", "extractTtsDirectiveFacts", "isNonDeliverableSessionsReply",
  "isSuppressedControlReplyText", "normalizeRawOutboundPayload", "normalizeReplyPayloadOutcome", "parseReplyDirectives",
  "parseStandalonePlainTextToolCallBlocks", "processCompletionsStream", "resolveRawAssistantAnswerText",
  "stripAssistantInternalScaffolding", "stripHeartbeatToken", "stripInternalRuntimeScaffolding", "stripSilentToken",
  "stripSuppressedControlReplyToken", "wrapStreamFnPromoteStandaloneTextToolCalls",
];
const TOOLS = ["exec", "read", "write"];
const TOKENS = ["NO_REPLY", "ANNOUNCE_SKIP", "REPLY_SKIP"];

const modules = fs.realpathSync(process.argv[2]);
const found = new Map();
for (const folder of ["openclaw/dist", "@openclaw/ai/dist"]) {
  for (const name of fs.readdirSync(path.join(modules, folder))) {
    if (!name.endsWith(".mjs")) continue;
    const file = path.join(modules, folder, name);
    const source = fs.readFileSync(file, "utf8");
    for (const wanted of NAMES) {
      if (!found.has(wanted) && source.includes(`function ${wanted}(`)) found.set(wanted, url.pathToFileURL(file).href);
    }
  }
}
const missing = NAMES.filter((name) => !found.has(name));
if (missing.length) throw new Error(`this OpenClaw has no ${missing.join(", ")}`);

// Bundles export only what other bundles need, under one letter: the functions are exported once more, by their names.
registerHooks({
  load(address, context, next) {
    const loaded = next(address, context);
    const here = NAMES.filter((name) => found.get(name) === address);
    if (!here.length) return loaded;
    const exported = here.map((name) => `${name} as real_${name}`).join(", ");
    return { ...loaded, source: `${loaded.source}\nexport { ${exported} };\n` };
  },
});
const real = {};
for (const name of NAMES) real[name] = (await import(found.get(name)))[`real_${name}`];

const model = (thinkingFormat) => ({
  id: "m", provider: "clawback", api: "openai-completions", baseUrl: "http://127.0.0.1:1/v1", reasoning: true, input: ["text"],
  compat: thinkingFormat ? { thinkingFormat } : {},
});

async function* chunks(pieces) {
  for (const [kind, text] of pieces) {
    const delta = kind === "reasoning" ? { reasoning_content: text } : { content: text };
    yield { id: "c", choices: [{ index: 0, delta, finish_reason: null }] };
  }
  yield { id: "c", choices: [{ index: 0, delta: {}, finish_reason: "stop" }] };
}

// The message that OpenClaw makes of a streamed answer, after it has taken text for calls.
async function message(pieces, thinkingFormat) {
  const output = { role: "assistant", content: [], api: "openai-completions", provider: "clawback", model: "m", stopReason: "stop", usage: {} };
  const events = [];
  await real.processCompletionsStream(chunks(pieces), output, model(thinkingFormat), { push: (event) => events.push(event) }, {
    emitReasoning: true, sawStreamDONE: () => true,
  });
  const stream = {
    result: async () => output,
    async *[Symbol.asyncIterator]() {
      yield* events;
      yield { type: "done", reason: output.stopReason, message: output };
    },
  };
  const streamed = real.wrapStreamFnPromoteStandaloneTextToolCalls(() => stream, new Set(TOOLS))();
  let last;
  for await (const event of streamed) if (event.type === "done") last = event.message;
  return [last, await streamed.result()];
}

const calls = (message) => (Array.isArray(message.content) ? message.content : []).filter((block) => block.type === "toolCall").map((block) => block.name);
const plain = (message) =>
  typeof message.content === "string" ? message.content : message.content.filter((block) => block.type === "text").map((block) => block.text).join("\n");

function told(text) {
  const orders = [];
  const parsed = real.parseReplyDirectives(text, { currentMessageId: "1" });
  if (parsed.mediaUrls?.length) orders.push("attach");
  if (parsed.replyToTag) orders.push("reply to");
  if (parsed.audioAsVoice) orders.push("send as voice");
  if (parsed.isSilent) orders.push("say nothing");
  if (real.extractTtsDirectiveFacts(text).facts) orders.push("speak");
  const outcome = real.normalizeReplyPayloadOutcome({ text });
  if (outcome.kind === "suppress" && outcome.reason !== "empty") orders.push(`suppress: ${outcome.reason}`);
  if (text.trim() && !real.normalizeRawOutboundPayload({ text })?.text) orders.push("relay nothing");
  if (real.stripHeartbeatToken(text).didStrip) orders.push("acknowledge");
  if (real.isSuppressedControlReplyText(text) || real.isNonDeliverableSessionsReply(text)) orders.push("suppress: control");
  for (const token of TOKENS) if (real.stripSilentToken(text, token) !== text.trim()) orders.push("strip: silent");
  if (real.extractStandaloneMessageToolText(text, { allowCurrentSourceReply: true, allowRoutedReply: true }) !== undefined) orders.push("send a message");
  const accumulated = real.createStreamingDirectiveAccumulator().consume(text, { final: true });
  if (accumulated?.replyToTag || accumulated?.audioAsVoice) orders.push("streamed directive");
  return orders;
}

async function asked(pieces) {
  const runs = new Set();
  const texts = new Set();
  // A model that is set up as one of DeepSeek's differs only in what it makes of bars.
  const formats = pieces.some(([, text]) => /[|\uff5c]/.test(text)) ? [undefined, "deepseek"] : [undefined];
  for (const thinkingFormat of formats) {
    for (const said of await message(pieces, thinkingFormat)) {
      calls(said).forEach((name) => runs.add(name));
      const raw = plain(said);
      if (texts.has(raw)) continue;
      for (const text of [
        raw, real.stripAssistantInternalScaffolding(raw), real.stripInternalRuntimeScaffolding(raw),
        real.extractAssistantVisibleText(said), real.resolveRawAssistantAnswerText(said),
      ]) {
        if (text) texts.add(text);
      }
    }
  }
  const orders = new Set();
  for (const text of texts) {
    told(text).forEach((order) => orders.add(order));
    // What it would run if it looked at a text again, without what it takes for reasoning.
    for (const block of real.parseStandalonePlainTextToolCallBlocks(text) ?? []) runs.add(`again: ${block.name}`);
  }
  return { runs: [...runs], orders: [...orders] };
}

process.stdout.write(`${JSON.stringify({ version: JSON.parse(fs.readFileSync(path.join(modules, "openclaw/package.json"), "utf8")).version })}\n`);
for await (const line of readline.createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = await asked(JSON.parse(line).pieces);
  } catch (error) {
    answer = { error: String(error?.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
