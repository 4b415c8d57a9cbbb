// Anthropic's SDK for JavaScript: whole, streamed, tools, counts, models. Prints what came of it as JSON.
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({
  baseURL: process.env.CLAWBACK_BASE_URL.replace(/\/v1$/, ""),
  authToken: process.env.CLAWBACK_API_KEY,
  apiKey: null,
  maxRetries: 0,
});
const told = {};
const say = (...lines) => [{ role: "user", content: [`Task ${Math.random()}`, ...lines].join("\n") }];
const asked = {
  model: "minimal",
  max_tokens: 500,
  tools: [{ name: "read", input_schema: { type: "object", properties: { path: { type: "string" } } } }],
};

const answer = await client.messages.create({ ...asked, messages: say("!say Hello.") });
told.answer = [answer.content[0].text, answer.stop_reason];

const messages = say("!say Let me look.", '!call read {"path": "a"}', "!then", "!say Read.");
const stream = client.messages.stream({ ...asked, messages });
told.deltas = 0;
stream.on("text", () => (told.deltas += 1));
const message = await stream.finalMessage();
const call = message.content.find((block) => block.type === "tool_use");
told.streamed = [message.content[0].text, call.input, message.stop_reason];

messages.push({ role: "assistant", content: message.content });
messages.push({ role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "alpha" }] });
told.afterResults = (await client.messages.create({ ...asked, messages })).content[0].text;

told.counted = (await client.messages.countTokens({ model: "minimal", messages: say("words ".repeat(100)) })).input_tokens > 100;
told.models = (await client.models.list()).data.some((model) => model.id === "minimal");
console.log(JSON.stringify(told));
