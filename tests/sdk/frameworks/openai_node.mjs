// The official SDK for JavaScript: stream helpers, zod tools, runTools, responses. Prints what came of it as JSON.
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({
  baseURL: process.env.CLAWBACK_BASE_URL,
  apiKey: process.env.CLAWBACK_API_KEY,
  maxRetries: 0,
});
const model = "minimal";
const told = {};
const say = (...lines) => [{ role: "user", content: [`Task ${Math.random()}`, ...lines].join("\n") }];
const read = { type: "function", function: { name: "read", parameters: { type: "object", properties: { path: { type: "string" } } } } };

const answer = await client.chat.completions.create({ model, messages: say("!say Hello.") });
told.answer = answer.choices[0].message.content;

const stream = client.chat.completions.stream({ model, messages: say("!say Let me look.", '!call read {"path": "a"}'), tools: [read] });
told.deltas = 0;
stream.on("content", () => (told.deltas += 1));
const final = await stream.finalChatCompletion();
told.streamed = [final.choices[0].message.content, final.choices[0].message.tool_calls[0].function.arguments, final.choices[0].finish_reason];

const weather = zodFunction({ name: "weather", parameters: z.object({ city: z.string(), days: z.number() }) });
const parsed = await client.chat.completions.parse({ model, messages: say('!call weather {"city": "Oslo", "days": 2}'), tools: [weather] });
told.parsed = parsed.choices[0].message.tool_calls[0].function.parsed_arguments;

const Stars = z.object({ text: z.string(), stars: z.number() });
const shaped = await client.chat.completions.parse({ model, messages: say("How was it?"), response_format: zodResponseFormat(Stars, "stars") });
told.shaped = typeof shaped.choices[0].message.parsed.stars;

const ran = [];
const runner = client.chat.completions.runTools({
  model,
  messages: say('!call weather {"city": "Oslo", "days": 2}', '!call weather {"city": "Rome", "days": 1}', "!then"),
  tools: [zodFunction({
    name: "weather",
    parameters: z.object({ city: z.string(), days: z.number() }),
    function: ({ city }) => { ran.push(city); return `sunny in ${city}`; },
  })],
  stream: true,
});
told.ran = [await runner.finalContent(), ran];

const flat = { type: "function", name: "read", parameters: read.function.parameters, strict: false };
const first = await client.responses.create({ model, input: say('!call read {"path": "a"}', "!then"), tools: [flat] });
const call = first.output.find((item) => item.type === "function_call");
const second = await client.responses.create({
  model,
  previous_response_id: first.id,
  input: [{ type: "function_call_output", call_id: call.call_id, output: "alpha" }],
  tools: [flat],
});
told.responses = second.output_text;

const events = [];
const responses = client.responses.stream({ model, input: say("!say One.", '!call read {"path": "b"}'), tools: [flat] });
for await (const event of responses) events.push(event.type);
told.response_events = [events[0], events.at(-1), (await responses.finalResponse()).output.map((item) => item.type)];

try {
  await client.chat.completions.create({ model, messages: say("x"), temperature: 9 });
} catch (error) {
  told.refused = [error.constructor.name, error.status, error.param, Boolean(error.requestID)];
}
console.log(JSON.stringify(told));
