// The Vercel AI SDK with its provider for OpenAI-compatible servers. Prints what came of it as JSON.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, isStepCount, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const provider = createOpenAICompatible({
  name: "clawback",
  baseURL: process.env.CLAWBACK_BASE_URL,
  apiKey: process.env.CLAWBACK_API_KEY,
  includeUsage: true,
});
const model = provider("minimal");
const atMost = isStepCount ?? stepCountIs;
const told = {};
const say = (...lines) => [`Task ${Math.random()}`, ...lines].join("\n");
const ran = [];
const tools = {
  weather: tool({
    description: "Get the weather.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => { ran.push(city); return { city, sunny: true }; },
  }),
};

const first = say(
  '!call weather {"city": "Oslo"}', '!call weather {"city": "Rome"}', "!then", '!call weather {"city": "Bern"}', "!then",
  '!call weather {"city": "Nice"}', "!then", "!say Done.",
);
const whole = await generateText({ model, tools, stopWhen: atMost(5), prompt: first });
told.generated = [whole.text, [...ran], whole.steps.length, whole.totalUsage.inputTokens > 0];

ran.length = 0;
const messages = [
  { role: "user", content: first }, ...whole.response.messages,
  { role: "user", content: say('!call weather {"city": "Oslo"}', "!then", "!say All sunny.") },
];
const stream = streamText({ model, tools, stopWhen: atMost(5), messages });
const kinds = new Set();
let text = "";
for await (const part of stream.fullStream) {
  kinds.add(part.type);
  if (part.type === "text-delta") text += part.text;
  if (part.type === "error") throw part.error;
}
told.streamed = [text, [...ran], ["tool-input-start", "tool-input-delta", "tool-call", "tool-result"].filter((kind) => kinds.has(kind))];
console.log(JSON.stringify(told));
